"""How many connections a forward has had, over all the lives of its rules.

The router counts from nothing whenever the rules are set again: after it restarted,
after someone removed them, after the switch was off. The total goes on.

No connection is ever counted twice. Uncounted stay those that came between the last
reading and the end of the rules, and as many as were seen before, if more than that
come before the first reading of the new rules.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of a forward's connections."""

    total: int = 0
    """How many there were."""
    seen: int = 0
    """What the rules' own counter said when it was read last."""
    boot: str = ""
    """On which boot of the router that was."""
    last: float | None = None
    """When the last one came, or was noticed, in Unix time."""

    def counted(self, seen: int, boot: str, when: float) -> Tally:
        """Return the tally after another reading of the rules' counter.

        `when` is the time of the last connection, if there was one in between.
        """
        begins_anew = seen < self.seen or boot != self.boot
        gained = seen if begins_anew else seen - self.seen
        last = max(when, self.last or 0) if gained else self.last
        return Tally(self.total + gained, seen, boot, last)

    def continues(self, former: Tally) -> bool:
        """Return whether reading on from `former` could give a total that was lost."""
        return self.boot == former.boot and self.seen >= former.seen
