"""Our table of nftables: what is in it, and how that is changed."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Network
import time
from typing import ClassVar

from ..forward import Forward
from ..rules.base import (
    Claim,
    Cut,
    Phase,
    PlanStep,
    Problem,
    RouterContext,
    Tag,
    Way,
)
from ..rules.ends import CUT_FOR
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .elements import (
    MAPS,
    PLACES,
    TABLE,
    Element,
    Translation,
    add_line,
    delete_line,
    elements_of,
    ended_forward,
    forward_of_elements,
    read_count,
    read_element,
)
from .gate import CUT, Open, cut_rule, read_cut
from .listing import read_tables
from .own_table import (
    Condition,
    condition_of,
    read_own_table,
    table_lines,
    upgrade_lines,
)


@dataclass(frozen=True)
class NftState:
    """Our table; `elements` are those with a tag, as often as they are there."""

    condition: Condition | None = None
    """None without a table."""
    elements: tuple[tuple[Tag, Element], ...] = ()
    strangers: bool = False
    """Whether elements are there that are no one's forward."""
    cuts: tuple[tuple[Cut, bool], ...] = ()
    """What cuts connections, and whether it is to be renewed."""
    odd: bool = False
    """Whether there is more where that is than what is ours."""
    read_at: float = field(default=0, compare=False)
    """In Unix time."""

    @property
    def sound(self) -> bool:
        """Whether the table translates what its elements say."""
        return self.condition in (Condition.SOUND, Condition.EARLIER)

    @cached_property
    def tagged(self) -> Mapping[Tag, frozenset[Element]]:
        """The elements of each tag."""
        tagged: dict[Tag, set[Element]] = {}
        for tag, element in self.elements:
            tagged.setdefault(tag, set()).add(element)
        return {tag: frozenset(elements) for tag, elements in tagged.items()}


class Nftables:
    """The table `ip ha_bypass`, on a router that has `nft`."""

    priority: ClassVar = -105

    def __init__(self, context: RouterContext, *, sudo: bool) -> None:
        """Take the context, and whether the commands need `sudo -n` in front."""
        self._context = context
        self._nft = as_root("nft", sudo=sudo)

    def add_read(self, script: Script) -> None:
        """Add the command that prints the table, with elements and counters."""
        script.run("nft.table", self._list)

    def read(self, sections: Mapping[str, Result]) -> NftState:
        """Return what that command printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        result = sections["nft.table"]
        if (table := read_own_table(TABLE, result)) is None:
            return NftState()
        now = time.time()
        found = [
            read_element(place, text, now)
            for place in PLACES
            for text in table.sets.get(place, ())
        ]
        rules = [
            rule for chain in table.chains if chain.name == CUT for rule in chain.rules
        ]
        cuts = [read_cut(rule, now) for rule in rules]
        return NftState(
            condition_of(table, self._context),
            elements=tuple(filter(None, found)),
            strangers=None in found,
            cuts=tuple(filter(None, cuts)),
            odd=None in cuts,
            read_at=now,
        )

    def tags(self, state: NftState) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""
        return state.tagged.keys()

    def forwards(self, state: NftState) -> Mapping[Tag, Forward]:
        """Return what is translated, whoever's it is."""
        if not state.sound:
            return {}
        found = {
            tag: forward_of_elements(tag, tagged)
            for tag, tagged in state.tagged.items()
        }
        return {tag: forward for tag, forward in found.items() if forward}

    def ended(self, state: NftState) -> Mapping[Tag, Forward]:
        """Return the forwards whose time is over, and which are still here."""
        found = {
            tag: ended_forward(tag, tagged) for tag, tagged in state.tagged.items()
        }
        return {tag: forward for tag, forward in found.items() if forward}

    def closes_at(self, state: NftState) -> Mapping[Tag, float]:
        """Return when the kernel ends forwards, in Unix time of Home Assistant's."""
        return {
            tag: state.read_at + element.expires
            for tag, element in state.elements
            if isinstance(element, Open)
        }

    def claims(self, state: NftState) -> Iterator[Claim]:
        """Yield what each element leads away; no two of the same."""
        for tag, elements in state.tagged.items():
            for element in elements:
                if isinstance(element, Translation):
                    yield Claim(tag, element.transport, element.ports)

    def carries(self, forward: Forward, state: NftState) -> bool:
        """Return whether exactly this forward is translated here."""
        tag = Tag(self._context.owner, forward.id)
        return state.sound and state.tagged.get(tag) == frozenset(elements_of(forward))

    def problems(self, forward: Forward, state: NftState) -> AbstractSet[Problem]:
        """Return whether it is translated."""
        return set() if self.carries(forward, state) else {Problem.MISSING}

    def ways(self, state: NftState) -> Iterator[tuple[Tag, Way]]:
        """Yield who reaches what by each element that translates."""
        for tag, element in state.elements:
            if isinstance(element, Translation):
                yield tag, element.way

    def cuts(self, state: NftState) -> Iterator[Cut]:
        """Yield what cuts connections, for as long as it is not to be renewed."""
        for cut, due in state.cuts:
            yield replace(cut, until=int(state.read_at) + CUT_FOR) if due else cut

    def steps(
        self,
        desired: Collection[Forward],
        state: NftState,
        cuts: Collection[Cut] = (),
        over: Collection[Cut] = (),
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly these are here."""
        lines = tuple(self._lines(desired, state, cuts, over))
        return [PlanStep(Phase.TRANSLATE, f"{self._nft} -f -", lines)] if lines else []

    def _lines(
        self,
        desired: Collection[Forward],
        state: NftState,
        cuts: Collection[Cut],
        over: Collection[Cut],
    ) -> Iterator[str]:
        """Yield the lines of the change."""
        owner = self._context.owner
        wanted = Counter(
            (Tag(owner, forward.id), element)
            for forward in desired
            for element in elements_of(forward)
        )
        found = Counter(state.elements)
        ours = Counter({item: n for item, n in found.items() if item[0].owner == owner})
        others = found - ours
        cut = self._all_cuts(state, cuts, over)
        if not (wanted or others or cut or state.strangers):
            if state.condition:
                yield f"delete table {TABLE}"
            return
        if state.condition is None and not (wanted or cut):
            return
        yield from self._table_lines(state)
        if not state.sound:
            ours, wanted = Counter(), others + wanted
        # What goes comes first: another forward may get its ports.
        for _, element in (ours - wanted).elements():
            yield delete_line(element)
        held = {(element.place, element.key) for _, element in others}
        now = time.time()
        for tag, element in (wanted - ours).elements():
            taken = tag.owner == owner and (element.place, element.key) in held
            yield add_line(tag, element, now=now, taken=taken)
        yield from _cut_lines(cut, state)

    def _table_lines(self, state: NftState) -> Iterator[str]:
        """Yield what makes the table one of ours, where it is not."""
        if state.condition is Condition.DAMAGED:
            # Made again as a whole, with the elements of others.
            yield f"delete table {TABLE}"
        if not state.sound:
            yield from table_lines(self._context)
        elif state.condition is Condition.EARLIER:
            yield from upgrade_lines(self._context)

    def _all_cuts(
        self, state: NftState, cuts: Collection[Cut], over: Collection[Cut]
    ) -> frozenset[Cut]:
        """Return what is to cut connections, whoever's it is."""
        goes = {(cut.tag, cut.way) for cut in over}
        others = (
            cut
            for cut, _ in state.cuts
            if cut.tag.owner != self._context.owner and (cut.tag, cut.way) not in goes
        )
        return frozenset([*cuts, *others])

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""
        if "nft.table" not in script:
            script.run("count", self._list)

    def read_counts(self, sections: Mapping[str, Result]) -> Mapping[Tag, int]:
        """Return that number for each tag, since its elements were added."""
        counts: Counter[Tag] = Counter()
        # Read together with the rules, these tell it.
        result = sections.get("count") or sections["nft.table"]
        for table in read_tables(result.output) if result.ok else ():
            for place in MAPS:
                for text in table.sets.get(place, ()):
                    if found := read_count(place, text):
                        counts[found[0]] += found[1]
        return counts

    def rules(self, forward: Forward) -> list[str]:
        """Return the elements that a forward has here, for people to read."""
        tag = Tag(self._context.owner, forward.id)
        return [f"nft {add_line(tag, element)}" for element in elements_of(forward)]

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward away."""
        return [f"nft '{delete_line(element)}'" for element in elements_of(forward)]

    def obstacles(self, _: Forward, __: NftState) -> Iterable[Obstacle]:
        """Return nothing: what is in the way here goes, or is let be."""
        return ()

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        return [] if heard else [self._list]

    @property
    def _list(self) -> str:
        """The command that prints the table."""
        return f"{self._nft} list table {TABLE}"


def _cut_lines(wanted: frozenset[Cut], state: NftState) -> Iterator[str]:
    """Yield the lines after which exactly this is cut, of a table that is ours."""
    there = Counter(cut for cut, _ in state.cuts) if state.sound else Counter()
    if there != Counter(wanted) or (state.odd and state.sound):
        yield f"flush chain {TABLE} {CUT}"
        for text in sorted(map(cut_rule, wanted)):
            yield f"add rule {TABLE} {CUT} {text}"


def check_lines(context: RouterContext) -> list[str]:
    """Return lines that only a sufficient `nft -c` can take: all that we ever use."""
    sample = Forward.parse(
        "check",
        protocol="both",
        external_port="8443",
        target="192.0.2.1",
        target_port="443",
        sources=["198.51.100.0/24"],
    )
    span = Forward.parse(
        "check", protocol="both", external_port="6000-6010", target="192.0.2.1"
    )
    span = replace(span, until=0)
    tag = Tag(context.owner, "check")
    some = IPv4Network("198.51.100.0/24")
    cut = Cut(tag, Way(some, "tcp", span.external, span.target), 0)
    # In a table of another name: ours may be there already.
    return [
        line.replace(TABLE, f"{TABLE}_check")
        for line in (
            *table_lines(context),
            *(
                add_line(tag, element)
                for forward in (sample, span)
                for element in elements_of(forward)
            ),
            f"add rule {TABLE} {CUT} {cut_rule(cut)}",
        )
    ]
