"""How many connections a forward has had, over all the lives of its rules.

The router counts from nothing whenever the rules are set again: after it restarted,
after someone removed them, after the switch was off. The total goes on.

No connection is ever counted twice, and none of Home Assistant's own that it knows of;
who kills it makes it forget those of the last five minutes.
Uncounted stay those that came between the last reading and the end of the rules, and as
many as were seen before, if more than that come before the first reading of the new
rules.
"""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from .visits import Visits


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
    own: int = 0
    """How many of our own are known that no reading has shown yet."""
    visits: Visits = field(default_factory=Visits)
    """Those from the internet that are known to have been answered."""
    source: IPv4Address | None = None
    """Whose the last one was; None where no one has told. It goes to no disk."""

    def counted(
        self,
        seen: int,
        boot: str,
        when: float,
        own: int = 0,
        source: IPv4Address | None = None,
    ) -> Tally:
        """Return the tally after another reading of the rules' counter.

        `when` is the time of the last connection, if there was one in between, and
        `source` its client's address, where the router has told of it. `own`
        of them came from Home Assistant itself, as was heard since the last reading;
        this one may have been too early to show them all.
        """
        begins_anew = seen < self.seen or boot != self.boot
        gained = seen if begins_anew else seen - self.seen
        # What was not shown of rules that have ended is never shown.
        own += 0 if begins_anew else self.own
        visitors = max(0, gained - own)
        last = max(when, self.last or 0) if visitors else self.last
        if not visitors:
            # Who is told of now may have been counted before that.
            source = self.source or (source if self.last else None)
        return replace(
            self,
            total=self.total + visitors,
            seen=seen,
            boot=boot,
            last=last,
            own=max(0, own - gained),
            source=source,
        )

    def continues(self, former: Tally) -> bool:
        """Return whether reading on from `former` could give a total that was lost."""
        return self.boot == former.boot and self.seen >= former.seen
