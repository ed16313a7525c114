"""What every firewall backend can do."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
import re
from typing import ClassVar, Protocol, Self, override

from ..errors import FirewallFailed, NotPrivileged, RouterError
from ..forward import Forward, PortRange, Transport
from ..ssh.script import Result, Script
from ..ssh.sudo import refused_by_sudo
from .obstacles import Obstacle

# In the words of iptables, and of nft.
_NOT_ROOT = re.compile("you must be root|Operation not permitted")
# How iptables says that it can't show the rules of a chain, which it may change
# all the same.
_INCOMPATIBLE = ("is incompatible, use 'nft' tool", "Parsing nftables rule failed")
_TAG = re.compile(r"bypass_router:([0-9a-z]{1,32}):([0-9A-Za-z]{1,64})")


@dataclass(frozen=True, slots=True)
class Tag:
    """The comment on each rule: whose it is, and which forward's."""

    owner: str
    forward: str

    @override
    def __str__(self) -> str:
        """Return the comment's text."""
        return f"bypass_router:{self.owner}:{self.forward}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the tag, or None if the comment is none."""
        found = _TAG.fullmatch(text)
        return cls(found[1], found[2]) if found else None


@dataclass(frozen=True, slots=True)
class RouterContext:
    """What the rules depend on beside the forward."""

    owner: str
    """A short id of this Home Assistant, in lower case letters and digits."""
    address: IPv4Interface
    """The router's LAN address, with the LAN's prefix."""
    main_router: IPv4Address | None = None
    """The main router's address, where the user has said it."""
    cuts: bool = False
    """Whether rules of ours cut connections of forwards that are no longer live. Else
    they are ended by other means, or are to go on."""


@dataclass(frozen=True, slots=True)
class Live:
    """What a router's kernel does for forwards, as read back from it."""

    forwards: Mapping[str, Forward]
    """By id, the forwards of this owner that are active, every rule of them."""
    damaged: frozenset[str]
    """Forwards of this owner of which only a part, or something else, is there."""
    foreign: frozenset[Tag]
    """Forwards of another Home Assistant on the same router."""
    foreign_forwards: Mapping[Tag, Forward] = field(default_factory=dict)
    """Those of them that are active, as far as they can be read."""
    closes_at: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By id, when the kernel ends forwards by itself, as it says, in Unix time."""
    ended: Mapping[str, Forward] = field(default_factory=dict)
    """By id, the forwards that it has ended, and whose rules are still there."""


def target_of(
    desired: Iterable[Forward], untouched: Iterable[str], live: Mapping[str, Forward]
) -> list[Forward]:
    """Return what is to be live, where some stay as they are, or away."""
    left = frozenset(untouched)
    return [
        *(forward for forward in desired if forward.id not in left),
        *(live[key] for key in left if key in live),
    ]


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a change."""

    live: Live
    """As it was read back."""
    refused: Mapping[str, RouterError]
    """By id, the forwards that could not be changed, and why; the others were."""
    untried: AbstractSet[str] = frozenset()
    """Those of them that were not tried by themselves, as that took too long."""

    def checked(self) -> Live:
        """Return what is live, if all is as desired; raise the first error else."""
        for error in self.refused.values():
            raise error
        return self.live


@dataclass(frozen=True, slots=True)
class Claim:
    """What a rule leads away, whether the rest of its forward is there or not."""

    tag: Tag
    transport: Transport
    ports: PortRange
    """The external ones."""


@dataclass(frozen=True, slots=True)
class Way:
    """Which clients reach which target by which of the router's ports."""

    source: IPv4Network
    transport: Transport
    ports: PortRange
    target: IPv4Address
    shift: int = 0
    """By which the target's ports are higher."""

    @property
    def target_ports(self) -> PortRange:
        """The target's ports."""
        return self.ports.shifted(self.ports.first + self.shift)


@dataclass(frozen=True, slots=True)
class Cut:
    """That connections of a forward are over which is no more."""

    tag: Tag
    way: Way
    until: int
    """When none of them can be left, in Unix time of Home Assistant's clock."""


class Problem(StrEnum):
    """What keeps a forward from working, as far as our own rules tell."""

    MISSING = "missing"
    """It is not translated."""
    SHADOWED = "shadowed"
    """Someone's rules are asked before ours."""
    INTERCEPTED = "intercepted"
    """A transparent proxy may take its packets, and nothing of ours keeps them."""
    DROPPED = "dropped"
    """What is forwarded may be dropped, and nothing of ours lets it pass."""
    MISROUTED = "misrouted"
    """Answers to the internet are routed into a tunnel."""


class Phase(IntEnum):
    """When a step of a change is taken.

    What lets packets pass is there before what translates, and goes after it:
    whatever interrupts the change leaves no forward that is translated and then
    dropped, or accepted by another rule. What is left over goes last, and may stay.
    """

    ALLOW = 0
    TRANSLATE = 1
    REVOKE = 2
    CLEAN_UP = 3


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A part of a change: a command, and the lines of its stdin if it takes any."""

    phase: Phase
    command: str
    lines: tuple[str, ...]


class Part[S](Protocol):
    """Rules of ours in one place of a router, as text and as values.

    `S` is what was read there, at one moment.
    """

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules."""

    def read(self, sections: Mapping[str, Result]) -> S:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """

    def tags(self, state: S) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""

    def carries(self, forward: Forward, state: S) -> bool:
        """Return whether all that the forward needs here is active, and no more."""

    def problems(self, forward: Forward, state: S) -> AbstractSet[Problem]:
        """Return why it is not carried; nothing if it is."""

    def steps(self, desired: Collection[Forward], state: S) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` is here.

        Applied to `state`, it leaves nothing to change. Rules of other owners
        and of other programs stay as they are.
        """

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""

    def obstacles(self, forward: Forward, state: S) -> Iterable[Obstacle]:
        """Return what keeps its packets out here that is not ours to take away."""

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do.

        Where `nft monitor` is heard, only of what it does not report.
        """


class Translator[S](Part[S], Protocol):
    """The part that sends packets elsewhere; the others only let them pass."""

    priority: ClassVar[int]
    """Of its chain at `prerouting`: the kernel asks the lowest first."""

    def forwards(self, state: S) -> Mapping[Tag, Forward]:
        """Return what is translated, whoever's it is: each as one forward.

        Leaves out of what only a part, or something else, is there.
        """

    def ended(self, state: S) -> Mapping[Tag, Forward]:
        """Return the forwards whose time is over, and whose rules are still here."""

    def closes_at(self, state: S) -> Mapping[Tag, float]:
        """Return when the kernel ends forwards, in Unix time of Home Assistant's."""

    def claims(self, state: S) -> Iterator[Claim]:
        """Yield what each rule leads away, in the order in which the kernel asks."""

    def ways(self, state: S) -> Iterator[tuple[Tag, Way]]:
        """Yield who reaches what by each rule that translates, whoever's it is."""

    def cuts(self, state: S) -> Iterator[Cut]:
        """Yield what cuts connections here, whoever's it was."""

    @override
    def steps(
        self,
        desired: Collection[Forward],
        state: S,
        cuts: Collection[Cut] = (),
        over: Collection[Cut] = (),
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly these are here.

        And after which nothing of others' cuts connections that is to be `over`.
        """

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""

    def read_counts(self, sections: Mapping[str, Result]) -> Mapping[Tag, int]:
        """Return that number for each tag, since its rules were set."""

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""


def unreadable(command: str, result: Result) -> FirewallFailed | NotPrivileged:
    """Return the error that a command means which could not print the rules."""
    if _NOT_ROOT.search(result.output) or refused_by_sudo(result):
        return NotPrivileged(command=command, message=result.message)
    return FirewallFailed(command=command, message=result.message)


def not_changed(command: str, result: Result) -> FirewallFailed | NotPrivileged:
    """Return the error that a command means which could not change the rules.

    To root, the kernel says "Operation not permitted" of a table that another
    program owns: that is no lack of privileges.
    """
    if refused_by_sudo(result):
        return NotPrivileged(command=command, message=result.message)
    # What follows is more than people need to know.
    return FirewallFailed(command=command.split(" -", 1)[0], message=result.message)


def incompatible(result: Result) -> bool:
    """Return whether iptables may read the chain, and can't show its rules.

    So it is when a native nft rule stands in the chain, or one beyond what
    iptables can parse at all.
    """
    return any(words in result.output for words in _INCOMPATIBLE)
