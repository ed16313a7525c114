"""How a gateway answers: what differs between those that people have at home."""

from dataclasses import dataclass
from typing import Final, Literal

from ..exchange import Transport

WAN_IP: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"
WAN_IP_2: Final = "urn:schemas-upnp-org:service:WANIPConnection:2"
WAN_PPP: Final = "urn:schemas-upnp-org:service:WANPPPConnection:1"

type Way = Literal[
    "plain",
    "chunked",
    "no_length",
    "two_segments",
    "drip",
    "trailing",
    "nuls",
    "stray",
    "too_long",
    "too_short",
    "open",
    "endless",
    "closes",
    "silent",
]
"""How an answer is sent.

`trailing` has bytes after its end, `nuls` as a part of it, and `stray` another answer;
`too_long` and `too_short` is what the Content-Length says; `open` leaves the connection
open whatever was asked, `silent` before an answer.
"""

type Rule = Literal[
    "one_segment",
    "quotes",
    "not_last",
    "no_expect",
    "no_space",
    "capitals",
    "remote_host",
    "numeric_host",
    "host_port",
    "type",
]
"""What a request must keep to.

It comes in one segment (else 411), its SOAPAction has quotes (400) and a header behind
it (501: the body is read on from there), it expects nothing (400), its XML has no space
before it (400), the protocol is TCP or UDP (500), there is a NewRemoteHost (402), its
Host is an address (404) with the port (400), and the service is the URL's (401).
"""

ALL_RULES: Final[frozenset[Rule]] = frozenset(
    (
        "one_segment",
        "quotes",
        "not_last",
        "no_expect",
        "no_space",
        "capitals",
        "remote_host",
        "numeric_host",
        "host_port",
        "type",
    )
)


@dataclass(frozen=True)
class Service:
    """A service of the description. In URLs, `{base}` is `http://ADDRESS:PORT`.

    Those of another `device` stand in a WANDevice of their own. `connected` is what
    GetStatusInfo says, and `address` what GetExternalIPAddress does, if it is not what
    the gateway has.
    """

    type: str = WAN_IP
    control: str = "/ctl/IPConn"
    events: str = "/evt/IPConn"
    scpd: str = "/WANIPCn.xml"
    service_id: str = "urn:upnp-org:serviceId:WANIPConn1"
    device: int = 0
    connected: bool = True
    address: str | None = None


@dataclass(frozen=True)
class GatewayOptions:
    """A gateway, which does what it should unless told otherwise.

    It is strict (`rules`): what it takes, all of them do.
    """

    # How it is found.
    upnp: bool = True
    """Whether it speaks UPnP at all."""
    ssdp: bool = True
    ssdp_port: int = 1900
    """From which it answers; 0: any."""
    ssdp_host: str = ""
    """From which it answers, if that is not its own address."""
    ssdp_multicast_only: bool = False
    ssdp_all: bool = True
    """Whether a search for all finds the gateway too."""
    location_host: str = ""
    """What LOCATION says instead of its own address."""
    others: tuple[GatewayOptions, ...] = ()
    """Further descriptions of it, announced before its own: where each is, its version
    and its services."""

    # How it describes itself.
    version: Literal[1, 2] = 1
    domain: str = "schemas-upnp-org"
    """Of the devices' types in the description."""
    services: tuple[Service, ...] = (Service(),)
    other_services: tuple[str, ...] = ()
    """Types that nobody asked for, before the services."""
    description_path: str = "/rootDesc.xml"
    description_status: int = 200
    description_way: Way = "plain"
    broken: Literal["", "mismatched", "control", "not_xml", "entities"] = ""
    """How the description is none."""
    url_base: str | None = None
    """As it stands there, `{base}` and all."""
    friendly_name: str | None = "A gateway"
    manufacturer: str = "Nobody"
    model: str = "Fake"
    udn: str = "uuid:00000000-0000-4000-8000-000000000002"
    control_port: int | None = None
    """Where its URLs lead, if not to the port of the description."""
    redirect: str = ""
    """Where it sends everybody, by a 302."""

    # How it talks.
    rules: frozenset[Rule] = ALL_RULES
    way: Way = "plain"
    http_version: Literal["1.0", "1.1"] = "1.1"
    server: str = "Linux/5.4 UPnP/1.1 Fake/1.0"
    random_path: bool = False
    """Its URLs have a path of their own after each start."""
    answers_only: int | None = None
    """It is silent after so many requests, until it is started again."""
    fault_status: int = 500
    fault_way: Way | None = None
    prefix: str = "s"
    """Of what belongs to SOAP."""
    fault_capitals: bool = False
    """Says faultCode and faultString."""
    fault_body: Literal["fault", "empty", "html"] = "fault"
    fault_domain: str = "schemas-upnp-org"
    login: bool = False
    """Takes actions of those alone who have signed in, which no one has: 401."""
    seconds: float = 0.0
    """How long it takes for each answer."""

    # What it opens.
    lease: Literal["any", "only_for_good", "never_for_good", "capped", "fixed"] = "any"
    """`capped`: 0, and what is longer than `longest`, becomes that; `fixed`: all do."""
    lease_code: int = 725
    longest: int = 604_800
    leased_last: float | None = None
    """Seconds after which what has a lease is gone, whatever it is."""
    for_good_last: float | None = None
    unused_last: float | None = None
    """Seconds without traffic after which a mapping is gone."""
    keeps_expired: bool = False
    always: int = 0
    """By what code it refuses every mapping."""
    third_party: bool = False
    """Whether anybody may ask for anybody."""
    third_party_code: int = 718
    delete_code: int = 606
    """When another's is to be deleted."""
    lowest: int = 1
    lowest_code: int = 606
    lowest_inside: int = 1
    lowest_inside_code: int = 606
    taken: frozenset[tuple[Transport, int]] = frozenset()
    """Ports that it keeps for itself, and does not list."""
    taken_code: int = 718
    conflict_code: int = 718
    most: int = 1000
    full_code: int = 728
    """0: it says that it was done."""
    one_transport: bool = False
    """TCP and UDP exclude each other."""
    one_port_inside: bool = False
    """A port of a client can be led to by one port only."""
    replaces: bool = True
    """Whether who has a mapping may ask for it again."""
    lists: bool = True
    """Whether it lists what it says that it has opened."""
    effect: bool = True
    """Whether it lets packets in."""
    effect_lasts: float | None = None
    """Seconds after which what it lists lets no packets in any more."""
    notices: bool = True
    """Whether what was flushed is put back when it is asked for again."""
    description: Literal["kept", "blank", "first"] = "kept"
    longest_description: int = 1000
    plain_descriptions: bool = False
    """Refuses (402) what is no letter, digit, space, dot, colon, dash, underscore."""

    # What it tells.
    none_code: int = 714
    none_text: str = ""
    list_end_code: int = 713
    list_way: Literal["plain", "repeats", "holes", "refused"] = "plain"
    address: str = "45.32.7.9"
    address_code: int = 0
    status: str = "Connected"
    unknown_code: int = 401
    unknown: frozenset[str] = frozenset()
    """Actions that it does not know, though it should."""

    # What it does later.
    remembers: bool = False
    """Whether it has after a restart what it had before."""
    subscribe: int = 200
    subscribe_own_only: bool = False
    """412 where the callback is not the subscriber's own address."""

    # What it says at UDP 5351.
    nat_pmp: bool = False
    nat_pmp_code: int = 0
    """3, 4 and 5 are PCP's 7, 8 and 4."""
    pcp: bool = False
    pcp_code: int = 0
    udp: Literal["right", "silent", "truncated", "wrong", "low_byte", "nonsense"] = (
        "right"
    )
    """`wrong`: nonce and port inside are others; `low_byte`: of the public port."""
    other_port: bool = False
    """It gives the next port instead."""
    lifts_ports: bool = False
    """Instead of one that is too low, it gives the lowest."""
    epoch: Literal["runs", "on", "back", "zero"] = "runs"
    """`on`: it runs on over a restart."""
