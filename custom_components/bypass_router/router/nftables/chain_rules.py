"""Rules of others as nft prints them, read as what becomes of a packet there.

Nothing that is printed breaks the reader. Behind what it does not know, it looks for
the rule's verdict alone, which then may be reached or not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..passage.chains import Action, Branch, Chain, ChainRule, Marking
from ..passage.packet import Condition, Key
from .conditions import Selector, joined, read_selector, skip_expression
from .values import bits_set
from .verdict_maps import VERDICTS, WHO_KNOWS, Elements, conditions_of, read_map
from .words import Comparison, Words

_TRANSLATING = frozenset({"masquerade", "redirect", "snat", "dnat", "tproxy"})
_LOG_OPTIONS = frozenset({"prefix", "level", "group", "snaplen", "queue-threshold"})
_COUNTING = frozenset({"limit", "quota", "count"})
_SETS = frozenset({"add", "update", "delete"})
# Targets of iptables that let a packet go on; of others, no one knows.
_GOING_ON = frozenset(
    [
        "LOG",
        "NFLOG",
        "ULOG",
        "TCPMSS",
        "MARK",
        "CONNMARK",
        "CT",
        "CLASSIFY",
        "DSCP",
        "TOS",
        "TTL",
        "SET",
        "TRACE",
        "NOTRACK",
        "CHECKSUM",
        "AUDIT",
        "FLOWOFFLOAD",
        "SECMARK",
        "CONNSECMARK",
        "TEE",
        "ECN",
        "HL",
    ]
)
# Of what a mark is set to.
_TELLING = frozenset({"saddr", "sport", "jhash", "symhash"})
_MOST_KEYS = 64
_DEEPEST = 16
ANONYMOUS = "{"
"""How the names of chains begin that stand in a rule, and have none."""


def read_chain_rule(
    text: str, name: str, elements: Elements
) -> tuple[ChainRule, Mapping[str, Chain]]:
    """Return a rule, and the chains that stand in it, whose names begin with a name."""
    reader = _Reader(Words.of(text), f"{ANONYMOUS}{name}", elements)
    return reader.rule(text), reader.chains


@dataclass(slots=True)
class _Reader:
    """A rule in the reading."""

    words: Words
    name: str
    elements: Elements
    depth: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    _conditions: list[Condition] = field(default_factory=list)
    _either: list[tuple[Condition, ...]] = field(default_factory=lambda: [()])
    """Of these, any one is to be met as well."""
    _branches: list[Branch] = field(default_factory=list)
    _marks: list[Marking] = field(default_factory=list)
    _only_logs: bool = True
    _untracks: bool = False
    _lost: bool = False

    def rule(self, text: str) -> ChainRule:
        """Return all of it."""
        while self.words:
            if self._verdict():
                self._only_logs = False
                break
            if self._lost:
                self.words.skip()
            elif not (self._statement() or self._match()):
                self._lose()
        else:
            self._add(Action.CONTINUE)
        only_logs = self._only_logs and not self._lost
        return ChainRule(
            text,
            tuple(self._branches),
            only_logs,
            untracks=self._untracks,
            marks=tuple(self._marks),
        )

    def _lose(self) -> None:
        """Give up to understand what is asked for."""
        self._lost = True
        self._conditions.append(WHO_KNOWS)
        self.words.skip()

    def _add(
        self, action: Action, chain: str = "", conditions: Iterable[Condition] = ()
    ) -> None:
        """Take note of what is done where all conditions are met."""
        self._branches += (
            Branch((*self._conditions, *either, *conditions), action, chain)
            for either in self._either
        )

    def _verdict(self) -> bool:
        """Take the rule's verdict, if it comes next."""
        word = self.words.next
        if action := VERDICTS.get(word):
            self.words.take()
            chain = ""
            if action in (Action.JUMP, Action.GOTO):
                chain = self._inner() if self.words.next == "{" else self.words.take()
            self._add(action, chain)
        elif word in _TRANSLATING:
            self._add(Action.CONTINUE)
        elif word == "vmap" and self._lost:
            self.words.take()
            self._map([Selector()])
        elif self.words.took("xt", "target"):
            self._target(self.words.take().strip('"'))
        else:
            return False
        return True

    def _target(self, name: str) -> None:
        """Take note of a target of iptables."""
        if name == "REJECT":
            self._add(Action.DROP)
        elif name in _GOING_ON:
            if name in ("MARK", "CONNMARK"):
                self._marks.append(Marking(Key.MARK))
            self._add(Action.CONTINUE)
        else:
            for action in (Action.ACCEPT, Action.DROP):
                self._add(action, conditions=[WHO_KNOWS])

    def _inner(self) -> str:
        """Take a chain that stands in the rule, and return the name it is given."""
        group = self.words.group()
        name = f"{self.name}.{len(self.chains)}"
        if self.depth >= _DEEPEST:
            self._conditions.append(WHO_KNOWS)
            return name
        self.chains[name] = Chain()
        rules = []
        for part in group.parts(";"):
            text = " ".join(part.rest())
            inner = _Reader(part, self.name, self.elements, self.depth + 1, self.chains)
            rules.append(inner.rule(text))
        self.chains[name] = Chain(tuple(rules))
        return name

    def _statement(self) -> bool:
        """Take what is done beside a verdict, if that comes next."""
        words = self.words
        if words.took("counter") or words.took("last"):
            if words.took("name") or words.took("used"):
                words.take()
            elif words.took("packets"):
                words.take(3)
        elif words.took("comment"):
            words.take()
        elif words.took("log"):
            while words.next in _LOG_OPTIONS or words.next == "flags":
                self._log_option()
        elif self._counts():
            self._conditions.append(WHO_KNOWS)
        elif words.next in _SETS:
            words.take(2)
            self._keeps()
        elif words.took("xt", "match"):
            words.take()
            self._conditions.append(WHO_KNOWS)
            self._only_logs = False
        else:
            changes = self._changes()
            self._only_logs &= not changes
            return changes
        return True

    def _log_option(self) -> None:
        """Take an option of `log`."""
        if self.words.take() != "flags":
            self.words.take()
        elif self.words.take() in ("tcp", "ip"):
            self.words.take()
            while self.words.took(","):
                self.words.take()

    def _counts(self) -> bool:
        """Take what goes by how much there was before, if that comes next."""
        words = self.words
        if words.took("limit", "name") or words.took("quota", "name"):
            words.take()
        elif words.took("limit", "rate"):
            self._rate()
        elif words.took("quota"):
            words.took_any(frozenset({"over", "until"}))
            words.take(2)
            if words.took("used"):
                words.take(2)
        elif words.took("ct", "count"):
            words.took("over")
            words.take()
        elif words.took("meter"):
            while words and words.next != "{":
                words.take()
            self._keeps()
        else:
            return False
        return True

    def _keeps(self) -> None:
        """Take what is kept in a set, which may be how often each has come.

        By that a log is limited, which then is no more than a log.
        """
        kept = set(self.words.group().rest()) if self.words.next == "{" else set()
        if _COUNTING & kept:
            self._conditions.append(WHO_KNOWS)
        self._only_logs &= "limit" in kept

    def _rate(self) -> None:
        """Take what stands behind `limit rate`."""
        words = self.words
        words.took("over")
        words.take()
        if words.next.partition("/")[0].endswith("bytes"):
            words.take()
        if words.took("burst"):
            words.take(2)

    def _changes(self) -> bool:
        """Take what changes something, if that comes next."""
        words = self.words
        if words.took("set"):
            while words and not words.take().startswith("@"):
                pass
        elif words.took("flow"):
            words.take(2)
        elif words.took("reset"):
            words.take(3)
        elif words.took("dup", "to") or words.took("fwd", "to"):
            skip_expression(words)
            if words.took("device"):
                words.take()
        elif words.took("notrack"):
            self._untracks = True
        else:
            return False
        return True

    def _match(self) -> bool:
        """Take a condition, if one comes next; or what is set to something."""
        selectors = [read_selector(self.words)]
        while selectors[-1] and self.words.took("."):
            selectors.append(read_selector(self.words))
        found = [selector for selector in selectors if selector]
        if len(found) < len(selectors):
            return False
        if self.words.took("set"):
            rest = self.words.rest()
            skip_expression(self.words)
            self._sets(found[0].key, rest[: len(rest) - len(self.words.rest())])
            self._only_logs = False
            return True
        for selector in found:
            self._conditions += selector.implied
        if self.words.masked_for("vmap"):
            found = [Selector(found[0].key, joined(found).by_client)]
        if self.words.took("vmap"):
            self._map(found)
            self._only_logs = False
            # Nothing stands behind it that a packet could come to.
            self.words.take(len(self.words.rest()))
            return True
        if len(found) > 1:
            self._one_of(found)
        else:
            self._conditions.append(found[0].condition(self.words.comparison()))
        return True

    def _one_of(self, selectors: list[Selector]) -> None:
        """Take with which values several things are compared together."""
        self.words.took("==")
        if self.words.next == "{" and len(self._either) == 1:
            keys = [part.rest() for part in self.words.group().parts(",")]
            if len(keys) <= _MOST_KEYS:
                self._either = [conditions_of(key, selectors) for key in keys]
                return
        else:
            self.words.comparison()
        self._conditions.append(joined(selectors).condition(Comparison()))

    def _sets(self, key: Key, expression: list[str]) -> None:
        """Take note of a mark that is set to what an expression says."""
        if key not in (Key.MARK, Key.LABEL):
            return
        by_client = not _TELLING.isdisjoint(expression)
        self._marks.append(Marking(key, *bits_set(expression), by_client))

    def _map(self, selectors: list[Selector]) -> None:
        """Take a map of verdicts."""
        if len(self._either) > 1:
            # Each of them with each element would be too many.
            self._either = [(WHO_KNOWS,)]
        for branch in read_map(self.words, selectors, self.elements):
            self._add(branch.action, branch.chain, branch.conditions)
