"""What keeps a forward's packets out, and is not ours to take away.

A forward is live where its own rules are as they should be. Something else on the
router may stop its packets all the same, for a reason of its own: that is named, with
the rule, and left as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..errors import printable

# Letters of a rule: enough to find it.
_LONGEST = 160


class Hindrance(StrEnum):
    """The kinds of what is in the way; the names are translation keys."""

    ALLOW_LIST = "allow_list"
    """A rule drops who is not on a list, or comes too often. seen: chain, rule."""
    DENIED = "denied"
    """A rule drops what goes to just this target or port. seen: chain, rule."""
    OWNED = "owned"
    """A table drops, which only the program that made it may change. seen: table,
    program."""
    QUEUED = "queued"
    """A program of the router decides on each packet. seen: chain, rule."""
    UNTRACKED = "untracked"
    """A rule keeps the packets from being tracked, so that none is translated. seen:
    chain, rule."""
    DROPPED_EARLY = "dropped_early"
    """A rule drops the packets before they can be translated. seen: chain, rule."""
    NO_GATEWAY = "no_gateway"
    """Answers leave by a tunnel, and no one knows the main router's address. seen:
    interface."""
    BRIDGED = "bridged"
    """The LAN's bridge hands packets to the firewall, and then can't send them back by
    the port that they came by. seen: interface."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that is in the way."""

    kind: Hindrance
    seen: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Short printable words for the sentence."""

    def __post_init__(self) -> None:
        """Make the words fit to be shown, whatever a router has said."""
        seen = {name: printable(word, _LONGEST) for name, word in self.seen.items()}
        object.__setattr__(self, "seen", seen)

    @property
    def untold(self) -> bool:
        """Whether the router reports no change when it is gone.

        As of a setting; and of a table that the kernel drops when its owner ends.
        """
        return self.kind in (Hindrance.BRIDGED, Hindrance.OWNED)
