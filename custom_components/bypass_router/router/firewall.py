"""What every firewall backend can do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
import re
from typing import Protocol, Self, override

from .forward import Forward
from .script import Result, Script

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
class Site:
    """What the rules depend on beside the forward."""

    owner: str
    """A short id of this Home Assistant, in lower case letters and digits."""
    address: IPv4Interface
    """The router's LAN address, with the LAN's prefix."""


@dataclass(frozen=True, slots=True)
class Live:
    """What a router's kernel does for forwards, as read back from it."""

    forwards: Mapping[str, Forward]
    """By id, the forwards of this owner that are in force, every rule of them."""
    damaged: frozenset[str]
    """Forwards of this owner of which only a part, or something else, is there."""
    foreign: frozenset[Tag]
    """Forwards of another Home Assistant on the same router."""


class Snapshot(Protocol):
    """The rules that concern us, at one moment."""

    @property
    def live(self) -> Live:
        """What the rules amount to."""


class Plan(Protocol):
    """A change of the rules; false if there is nothing to change."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to change."""

    def add_to(self, script: Script) -> None:
        """Add the command that carries out the change, labelled `apply`."""


class Firewall[S: Snapshot](Protocol):
    """A firewall of a router: text for it, and values from its text."""

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules."""

    def read(self, sections: Mapping[str, Result]) -> S:
        """Return the rules that those commands printed.

        Raises FirewallFailed where a command failed.
        """

    def plan(self, wished: Collection[Forward], snapshot: S) -> Plan:
        """Return the smallest change after which exactly `wished` is live.

        Applied to `snapshot`, it leaves nothing to plan. Rules of other owners
        and of other programs stay as they are.
        """
