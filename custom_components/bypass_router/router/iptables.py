"""Forwards as rules of iptables, and back.

For each transport of a forward, where R is the router's address:

- nat, HA-BYPASS-PRE: DNAT of what is addressed to R at the external ports, one
  rule a source. Without `-d R`, other devices' outgoing connections to those
  ports would be taken as well.
- nat, HA-BYPASS-POST: SNAT to R of what was translated so, and nothing else, so
  that the target answers through the router. Where the target is to see the
  client's address, only clients of the LAN are rewritten (the target would
  answer them directly), and the rest is accepted, since a MASQUERADE further
  down would rewrite it.
- filter, HA-BYPASS-FWD: ACCEPT of what was translated so, both directions.

The conntrack match names the flow by its original destination, which only our
DNAT rule takes. Our chains are entered from the top of the kernel's, so that no
catch-all of a proxy stands before them.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from ipaddress import IPv4Address
import re
from typing import Self

from .errors import BadOutput, FirewallFailed, NotPrivileged
from .firewall import Live, Site, Tag
from .forward import (
    Forward,
    PortRange,
    Protocol,
    Transport,
    normal_sources,
    parse_sources,
)
from .probe import incompatible
from .rule import Rule, listed
from .script import Result, Script

_WAIT = "--wait 5"
# Forwards whose rules are kept as values, so that a look costs little.
_KEPT = 8192
_DESTINATION = re.compile(
    r"([0-9.]+)(?::([0-9]{1,5})(?:-([0-9]{1,5})(?:/([0-9]{1,5}))?)?)?"
)
_PORTS = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Hook:
    """A chain of ours, and the kernel's chain that enters it."""

    table: str
    builtin: str
    chain: str

    @property
    def jump(self) -> Rule:
        """The rule that enters our chain."""
        return Rule.of(f"-j {self.chain}")


PRE = Hook("nat", "PREROUTING", "HA-BYPASS-PRE")
POST = Hook("nat", "POSTROUTING", "HA-BYPASS-POST")
FWD = Hook("filter", "FORWARD", "HA-BYPASS-FWD")
HOOKS = (FWD, PRE, POST)


@lru_cache(_KEPT)
def rules_of(forward: Forward, site: Site) -> tuple[tuple[Hook, Rule], ...]:
    """Return the rules that carry out a forward, in the kernel's own order."""
    return tuple(_rules_of(forward, site))


def _rules_of(forward: Forward, site: Site) -> Iterator[tuple[Hook, Rule]]:
    """Yield them, one by one."""
    router = site.address.ip
    comment = f'-m comment --comment "{Tag(site.owner, forward.id)}"'
    ports = _ports(forward.external)
    for transport in forward.protocol.transports:
        for source in forward.sources or (None,):
            match = f"-s {source} " if source else ""
            yield (
                PRE,
                Rule.of(
                    f"{match}-d {router}/32 -p {transport} -m {transport}"
                    f" --dport {ports} {comment}"
                    f" -j DNAT --to-destination {_destination(forward)}"
                ),
            )
        flow = (
            f"-p {transport} -m conntrack --ctstate DNAT"
            f" --ctorigdst {router} --ctorigdstport {ports} {comment}"
        )
        snat = f"{flow} -j SNAT --to-source {router}"
        if forward.keep_client_address:
            lan = site.address.network
            yield POST, Rule.of(f"-s {lan} {snat}")
            yield POST, Rule.of(f"! -s {lan} {flow} -j ACCEPT")
        else:
            yield POST, Rule.of(snat)
        yield FWD, Rule.of(f"{flow} -j ACCEPT")


def removal_commands(forward: Forward, site: Site) -> list[str]:
    """Return the commands by which a person takes a forward's rules away."""
    return [
        f"iptables -t {hook.table} -D {hook.chain} {rule}"
        for hook, rule in rules_of(forward, site)
    ]


def _ports(ports: PortRange) -> str:
    """Return a range as iptables writes it."""
    if len(ports) == 1:
        return str(ports.first)
    return f"{ports.first}:{ports.last}"


def _destination(forward: Forward) -> str:
    """Return the value of --to-destination.

    A range without shift names no port, and each port stays as it is. A shifted
    one names the first external port too: without it, the kernel sends every
    port to the first of the target's.
    """
    if len(forward.external) == 1:
        return f"{forward.target}:{forward.target_ports}"
    if not forward.shifted:
        return str(forward.target)
    return f"{forward.target}:{forward.target_ports}/{forward.external.first}"


def forward_of(
    tag: Tag, rules: Counter[tuple[Hook, Rule]], site: Site
) -> Forward | None:
    """Return the forward that exactly these rules carry out, if there is one."""
    return _carried_out(tag, frozenset(rules.items()), site)


@lru_cache(_KEPT)
def _carried_out(
    tag: Tag, counted: frozenset[tuple[tuple[Hook, Rule], int]], site: Site
) -> Forward | None:
    """Return the same, of what can be remembered."""
    rules = Counter(dict(counted))
    try:
        forward = _guess(tag, [rule for hook, rule in rules if hook is PRE], rules)
    except ValueError:
        return None
    return forward if Counter(rules_of(forward, site)) == rules else None


def _guess(
    tag: Tag, translations: list[Rule], rules: Collection[tuple[Hook, Rule]]
) -> Forward:
    """Return what the DNAT rules say, if they say one thing. Raises ValueError."""
    transports: set[Transport] = set()
    sources: set[str] = set()
    told: set[tuple[PortRange, IPv4Address, PortRange]] = set()
    for rule in translations:
        match rule.value("-p"):
            case "tcp" | "udp" as transport:
                transports.add(transport)
            case other:
                raise ValueError(f"a forward of {other}")
        sources.add(rule.value("-s") or "0.0.0.0/0")
        external = _read_ports(rule.value("--dport"))
        told.add((external, *_read_destination(rule, external)))
    if len(told) != 1:
        raise ValueError("no DNAT rule, or two that differ")
    external, target, target_ports = told.pop()
    return Forward(
        id=tag.forward,
        protocol=Protocol.of(transports),
        external=external,
        target=target,
        target_ports=target_ports,
        sources=normal_sources(parse_sources(sources)),
        keep_client_address=any(
            hook is POST and rule.value("-j") == "ACCEPT" for hook, rule in rules
        ),
    )


def _read_ports(text: str | None) -> PortRange:
    """Read a range as iptables writes it."""
    if not (found := _PORTS.fullmatch(text or "")):
        raise ValueError(f"no ports: {text}")
    return PortRange(int(found[1]), int(found[2] or found[1]))


def _read_destination(rule: Rule, external: PortRange) -> tuple[IPv4Address, PortRange]:
    """Return the target and its ports."""
    text = rule.value("--to-destination") or ""
    if not (found := _DESTINATION.fullmatch(text)):
        raise ValueError(f"no destination: {text}")
    target = IPv4Address(found[1])
    return target, external.shifted(int(found[2])) if found[2] else external


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a chain of the kernel enters ours."""

    jumps: tuple[Rule, ...] = ()
    """Every rule that does."""
    first: bool = False
    """Whether the first rule of the kernel's chain is one of them."""


@dataclass(frozen=True)
class IptablesSnapshot:
    """Our chains and the jumps to them; None stands for a chain that is absent."""

    site: Site
    chains: Mapping[Hook, tuple[Rule, ...] | None]
    entrances: Mapping[Hook, Entrance]

    @cached_property
    def tagged(self) -> Mapping[Tag, Counter[tuple[Hook, Rule]]]:
        """The rules that carry a tag, whoever's it is.

        One that we could not even name to iptables-restore was never ours.
        """
        tagged: dict[Tag, Counter[tuple[Hook, Rule]]] = {}
        for hook, rules in self.chains.items():
            for rule in rules or ():
                if tag := _tag_of(rule):
                    tagged.setdefault(tag, Counter())[hook, rule] += 1
        return tagged

    @cached_property
    def live(self) -> Live:
        """What the rules amount to."""
        entered = all(entrance.first for entrance in self.entrances.values())
        forwards: dict[str, Forward] = {}
        ours = {tag for tag in self.tagged if tag.owner == self.site.owner}
        for tag in ours if entered else ():
            if forward := forward_of(tag, self.tagged[tag], self.site):
                forwards[tag.forward] = forward
        return Live(
            forwards=forwards,
            damaged=frozenset(tag.forward for tag in ours).difference(forwards),
            foreign=frozenset(self.tagged.keys() - ours),
        )


@dataclass(frozen=True, slots=True)
class IptablesPlan:
    """A change, as the input of iptables-restore.

    The tables are committed one after the other. What accepts is there before
    what translates, and goes after it: whatever interrupts the change leaves no
    forward that is translated and then dropped, or accepted by another rule.
    """

    command: str
    lines: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether there is anything to change."""
        return bool(self.lines)

    @property
    def reports(self) -> list[str]:
        """The names under which `nft monitor` reports it: one a transaction.

        The kernel cuts a process's name after 15 characters.
        """
        return ["iptables-restor"] * self.lines.count("COMMIT")

    def add_to(self, script: Script) -> None:
        """Add the command that carries out the change, labelled `apply`."""
        script.feed("apply", self.command, list(self.lines))


class Iptables:
    """The firewall of a router that has iptables, in either variant."""

    def __init__(self, site: Site, *, sudo: bool) -> None:
        """Take the site, and whether the commands need `sudo -n` in front."""
        self._site = site
        self._sudo = "sudo -n " if sudo else ""

    def of(self, owner: str) -> Self:
        """Return the same firewall, seen by another owner."""
        return type(self)(replace(self._site, owner=owner), sudo=bool(self._sudo))

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules.

        Chain by chain: `iptables-save` prints nothing of a table in which
        anyone has put a native nft rule.
        """
        for hook in HOOKS:
            command = f"{self._sudo}iptables {_WAIT} -t {hook.table}"
            script.run(f"entrance.{hook.chain}", f"{command} -S {hook.builtin}")
            script.otherwise(
                f"jump.{hook.chain}", f"{command} -C {hook.builtin} {hook.jump}"
            )
            script.run(f"chain.{hook.chain}", f"{command} -S {hook.chain}")

    def read(self, sections: Mapping[str, Result]) -> IptablesSnapshot:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        return IptablesSnapshot(
            self._site,
            {hook: _read_chain(hook, sections) for hook in HOOKS},
            {hook: _read_entrance(hook, sections) for hook in HOOKS},
        )

    def plan(
        self, wished: Collection[Forward], snapshot: IptablesSnapshot
    ) -> IptablesPlan:
        """Return the smallest change after which exactly `wished` is live."""
        rules = Counter(
            item for forward in wished for item in rules_of(forward, self._site)
        )
        ours: Counter[tuple[Hook, Rule]] = Counter()
        for tag, tagged in snapshot.tagged.items():
            if tag.owner == self._site.owner:
                ours.update(tagged)
        added = list((rules - ours).elements())
        removed = list((ours - rules).elements())
        changes = {
            hook: _changes(
                hook,
                snapshot.chains[hook],
                snapshot.entrances[hook],
                added=[rule for at, rule in added if at == hook],
                removed=[rule for at, rule in removed if at == hook],
            )
            for hook in HOOKS
        }
        accept, accept_no_more = changes[FWD]
        translate = [
            line for hook in (PRE, POST) for part in changes[hook] for line in part
        ]
        return IptablesPlan(
            f"{self._sudo}iptables-restore --noflush {_WAIT}",
            (
                *_commit("filter", accept),
                *_commit("nat", translate),
                *_commit("filter", accept_no_more),
            ),
        )


def _changes(
    hook: Hook,
    chain: tuple[Rule, ...] | None,
    entrance: Entrance,
    *,
    added: list[Rule],
    removed: list[Rule],
) -> tuple[list[str], list[str]]:
    """Return the lines that add to a chain, and those that take from it."""
    left = len(chain or ()) + len(added) - len(removed)
    gains = [f"-A {hook.chain} {rule}" for rule in added]
    losses = [f"-D {hook.chain} {rule}" for rule in removed]
    enter = [f"-D {hook.builtin} {jump}" for jump in entrance.jumps]
    if not left:
        # Nobody's rules are in there any more.
        if chain is not None:
            losses += [*enter, f"-X {hook.chain}"]
        return [], losses
    if chain is None:
        # -N and no `:CHAIN`, which would empty a chain that another Home
        # Assistant has made since we looked.
        gains.insert(0, f"-N {hook.chain}")
    if not (entrance.first and len(entrance.jumps) == 1):
        gains += [*enter, f"-I {hook.builtin} 1 {hook.jump}"]
    return gains, losses


def _commit(table: str, lines: list[str]) -> list[str]:
    """Return a transaction of one table."""
    return [f"*{table}", *lines, "COMMIT"] if lines else []


def _read_chain(hook: Hook, sections: Mapping[str, Result]) -> tuple[Rule, ...] | None:
    """Return the rules of our chain."""
    result = sections[f"chain.{hook.chain}"]
    if result.ok:
        return tuple(_appended(hook.chain, result))
    # The nft variant calls an absent chain incompatible.
    if "No chain/target/match" in result.output or "is incompatible" in result.output:
        return None
    raise _failure(f"iptables -t {hook.table} -S {hook.chain}", result)


def _read_entrance(hook: Hook, sections: Mapping[str, Result]) -> Entrance:
    """Return how the kernel's chain enters ours."""
    result = sections[f"entrance.{hook.chain}"]
    if result.ok:
        rules = list(_appended(hook.builtin, result))
        jumps = tuple(
            rule for rule in rules if rule.value("-j") == hook.chain and rule.writable
        )
        return Entrance(jumps, first=rules[:1] == [hook.jump])
    # A native nft rule stands in the kernel's chain. iptables can tell then
    # whether the jump is there, and not where.
    if incompatible(result):
        if sections[f"jump.{hook.chain}"].ok:
            return Entrance((hook.jump,), first=True)
        return Entrance()
    raise _failure(f"iptables -t {hook.table} -S {hook.builtin}", result)


def _appended(chain: str, result: Result) -> Iterator[Rule]:
    """Return the rules of a chain's listing. Raises BadOutput if it is none."""
    is_listing = False
    for line in listed(result.output):
        if line.startswith(f"-A {chain} "):
            is_listing = True
            text = line.removeprefix(f"-A {chain} ")
            try:
                yield Rule.of(text)
            except ValueError:
                # Not one of ours, but it takes its place in the order.
                yield Rule((text,), frozenset({(text,)}))
        elif line == f"-N {chain}" or line.startswith(f"-P {chain} "):
            is_listing = True
    if not is_listing:
        # Taken for an empty chain, it would show as off what may be open.
        raise BadOutput(output=result.message)


def _tag_of(rule: Rule) -> Tag | None:
    """Return the tag that a rule carries."""
    tags = filter(None, map(Tag.parse, rule.values("--comment")))
    return next(tags, None) if rule.writable else None


def _failure(command: str, result: Result) -> FirewallFailed | NotPrivileged:
    """Return the error that a failed command means."""
    if "you must be root" in result.output or "sudo:" in result.output:
        return NotPrivileged(command=command, message=result.message)
    return FirewallFailed(command=command, message=result.message)
