"""Our accept rules in chains of others: what one lets pass, and its text."""

from dataclasses import dataclass
import re
from typing import Literal

from ..forward import Forward, PortRange, Transport
from ..rules.base import RouterContext
from .listing import NftRule

_ACCEPT = re.compile(
    r"meta l4proto (tcp|udp|icmp) (ct state related )?(ct status dnat )?"
    r"(?:ct direction (original|reply) )?"
    r"(?:ct original (?:ip )?saddr (!= )?([0-9.]+(?:/[0-9]+)?) )?"
    r"ct original (?:ip )?daddr ([0-9.]+) ct original proto-dst ([0-9]+)(?:-([0-9]+))?"
    r"(?: counter(?: packets [0-9]+ bytes [0-9]+)?)? accept"
)

type Admitted = Transport | Literal["icmp"]
"""What one rule lets pass: a transport, or errors."""


@dataclass(frozen=True, slots=True)
class Accept:
    """What one rule lets pass: a transport's packets, or errors about any of them."""

    protocol: Admitted
    address: str
    ports: PortRange
    clients: str = ""
    """Whose connections: a network's, all but its with `!= ` in front, or anyone's."""
    direction: str = ""
    """`original` or `reply`, where it is for requests or for answers alone."""
    translated: bool = True
    """Whether its packets come by translated: at all hooks but `prerouting`."""

    @property
    def text(self) -> str:
        """The rule. Before translation, the first packet has no status yet."""
        related = "ct state related " if self.protocol == "icmp" else ""
        status = "ct status dnat " if self.translated else ""
        direction = f"ct direction {self.direction} " if self.direction else ""
        clients = f"ct original ip saddr {self.clients} " if self.clients else ""
        return (
            f"meta l4proto {self.protocol} {related}{status}{direction}{clients}"
            f"ct original ip daddr {self.address}"
            f" ct original proto-dst {self.ports} accept"
        )

    def belongs_to(self, forward: Forward, context: RouterContext) -> bool:
        """Return whether it lets pass what is a forward's, wherever it stands."""
        return (
            self.protocol in (*forward.protocol.transports, "icmp")
            and self.address == str(context.address.ip)
            and self.ports == forward.external
        )


def read_accept(rule: NftRule) -> Accept | None:
    """Return what a rule lets pass, if it is an accept rule of ours."""
    if not (found := _ACCEPT.fullmatch(rule.text)):
        return None
    protocol, related, status, direction, but, clients, address, first, last = (
        found.groups()
    )
    try:
        ports = PortRange(int(first), int(last or first))
    except ValueError:
        return None
    if bool(related) != (protocol == "icmp"):
        return None
    return Accept(
        protocol,  # type: ignore[arg-type]  # one of the three
        address,
        ports,
        f"{but or ''}{clients or ''}",
        direction or "",
        translated=bool(status),
    )
