"""Rules of others in forward chains, of each kind, and who gets through them by hand.

By hand means translated and nothing more (DNAT and SNAT). C is a client on the
internet, B one that is banned, L a host of the LAN. Rules are text for `nft -f`, or
for `iptables-restore` of the tables filter and mangle.
"""

from dataclasses import dataclass
from typing import Final, override

from custom_components.bypass_router.router.rules.obstacles import Hindrance

BANNED: Final = "203.0.113.11"
CLIENT: Final = "203.0.113.10"
TARGET: Final = "192.168.50.10"
_LAN: Final = "192.168.50.0/24"
OTHERS_CARD: Final = "02:00:c0:a8:32:14"


@dataclass(frozen=True)
class Situation:
    """Rules of someone else's, and what becomes of a forward by hand beside them."""

    name: str
    rules: str
    stopped: str = "B"
    """Who is kept out of a forward by hand: clients, or one with its transport."""
    let_in: str = ""
    """Which of those get through ours: a catch-all alone kept them out."""
    hindrance: Hindrance | None = None
    """What ours is to name as being in the way."""
    spent: bool = False
    """Whether an exchange before is to use up what they allow."""
    clamped: bool = False
    """Whether the target's side of a connection tells."""
    owned: bool = False
    """Whether a program holds the table, which no one else may change then."""
    optional: bool = False
    """Whether there are kernels that can't load them."""

    @override
    def __str__(self) -> str:
        """What it is called."""
        return self.name

    @property
    def native(self) -> bool:
        """Whether they are rules of nft's own."""
        return self.rules.startswith("table")

    def passes(self, client: str, transport: str, *, ours: bool) -> bool:
        """Return whether a client gets through."""
        names = {client, f"{client}-{transport}"}
        if ours and names & set(self.let_in.split()):
            return True
        return not names & set(self.stopped.split())


def _chain(rules: str, priority: str = "filter", policy: str = "accept") -> str:
    """Return a chain of nft at the hook."""
    name = "at_" + "".join(filter(str.isalnum, priority))
    head = f"type filter hook forward priority {priority}; policy {policy};"
    return f"chain {name} {{ {head}\n{rules}\n}}\n"


def _nft(*blocks: str, family: str = "inet", name: str = "theirs") -> str:
    """Return a table of nft."""
    return f"table {family} {name} {{\n{''.join(blocks)}}}\n"


_BANS: Final = f"set banned {{ type ipv4_addr; elements = {{ {BANNED} }}; }}\n"
_FRIENDS: Final = f"set friends {{ type ipv4_addr; elements = {{ {CLIENT} }}; }}\n"
_CLAMP: Final = "tcp flags & (fin|syn|rst) == syn tcp option maxseg size set 1360\n"
_ESTABLISHED: Final = "ct state established,related accept\n"
_BAN: Final = "ip saddr @banned drop\n"
_COUNTERS: Final = "counter before {}\ncounter udp_before {}\ncounter udp_behind {}\n"
_COUNTS: Final = "counter name before\nmeta l4proto udp counter name udp_before\n"
_DAYS: Final = ", ".join(
    f'"{day}day"' for day in ("Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun")
)


def _bans_by_nft() -> list[Situation]:
    """Return who is kept out of chains that let all others pass."""
    each = {
        "by a set, early": _nft(_BANS, _chain(_ESTABLISHED + _BAN, "-100")),
        "CrowdSec's": _nft(
            _BANS, _chain("ip saddr @banned counter drop", "-10"), family="ip"
        ),
        "banIP's, by source": _nft(
            _BANS,
            _chain(
                f'{_ESTABLISHED}iifname != "lan" counter accept\n'
                "meta nfproto ipv4 ip saddr @banned counter drop",
                "filter - 100",
            ),
        ),
        "banIP's, of answers": _nft(
            _BANS,
            _chain(
                'oifname != "lan" counter accept\n'
                "ip daddr @banned reject with icmp type admin-prohibited"
            ),
        ),
        "by a map": _nft(
            _chain(f"ip saddr vmap {{ {BANNED} : drop, 9.9.9.9 : accept }}")
        ),
        "by a jump": _nft(
            "chain bans { ip saddr 203.0.113.11 counter reject\nreturn\n}\n",
            _chain("meta l4proto { tcp, udp } th dport 443-450 jump bans"),
        ),
        "by a goto": _nft(
            "chain bans { ip saddr 203.0.113.11 counter drop\n}\n",
            _chain('iifname vmap { "lan" : goto bans }'),
        ),
        "by another ICMP": _nft(
            _chain(f"ip saddr {BANNED} reject with icmp type host-unreachable")
        ),
        "for days": _nft(_chain(f"ip saddr {BANNED} meta day {{ {_DAYS} }} drop")),
        "by how many": _nft(
            "set many { type ipv4_addr; flags dynamic; size 64; }\n",
            _chain(
                f"ct state new ip saddr {BANNED}"
                " add @many { ip saddr ct count over 0 } reject"
            ),
        ),
        "marked by another": _nft(
            _chain(f"ip saddr {BANNED} ct mark set 0x7", "mangle"),
            _chain("ct mark 0x7 drop"),
        ),
        "behind a proxy for others": _nft(
            _BANS,
            "chain pre { type filter hook prerouting priority mangle;\n"
            "ip saddr 192.168.50.77 meta l4proto tcp tproxy ip to 127.0.0.1:7893\n"
            "udp dport 53 tproxy ip to 127.0.0.1:7893\nip saddr @banned drop\n}\n"
            "chain nat { type nat hook prerouting priority -150;\n"
            "tcp dport 53 redirect to :5353\nip saddr @banned drop\n}\n",
        ),
        "at two priorities": _nft(
            _chain(f"ip saddr {BANNED} udp dport 443-450 drop", "mangle"),
            _chain(f"ip saddr {BANNED} tcp dport 443-450 drop", "security"),
        ),
    }
    return [
        *(Situation(f"banned {name}", rules) for name, rules in each.items()),
        Situation(
            "banned over TCP by fail2ban",
            _nft(
                "set addr-set-web { type ipv4_addr; elements = { 203.0.113.11 }; }\n"
                "chain f2b-chain { type filter hook forward priority filter - 1;\n"
                "tcp dport { 443-450 } ip saddr @addr-set-web"
                " reject with icmp type port-unreachable\n}\n",
                name="f2b-table",
            ),
            "B-tcp",
        ),
        Situation(
            "banned by a card", _nft(_chain(f"ether saddr {OTHERS_CARD} drop")), "L"
        ),
    ]


def _others_work_by_nft() -> list[Situation]:
    """Return chains that do something else than decide."""
    return [
        Situation("MSS clamped", _nft(_chain(_CLAMP, "mangle")), "", clamped=True),
        Situation("counted", _nft(_COUNTERS, _chain(_COUNTS)), ""),
        Situation(
            "marked, and seen behind",
            _nft(
                "counter marked {}\ncounter ct_marked {}\n",
                _chain("ip saddr 203.0.113.10 meta mark set 5 ct mark set 7", "mangle"),
                _chain(
                    "meta mark 5 counter name marked\nct mark 7 counter name ct_marked"
                ),
            ),
            "",
        ),
        Situation("logged", _nft(_COUNTERS, _chain("log group 5\n" + _COUNTS)), ""),
        Situation(
            "remembered",
            _nft(
                "set seen { type ipv4_addr; flags dynamic; size 64; }\n",
                _chain("ct state new add @seen { ip saddr }"),
            ),
            "",
        ),
        Situation(
            "offloaded",
            _nft(
                "flowtable ft { hook ingress priority 0; devices = { lan }; }\n",
                _COUNTERS,
                _chain("meta l4proto { tcp, udp } flow add @ft\n" + _COUNTS),
            ),
            "",
            optional=True,
        ),
    ]


def _catch_alls_by_nft() -> list[Situation]:
    """Return chains that drop all that no rule lets pass."""
    work = _COUNTS + _CLAMP + _ESTABLISHED + _BAN
    refuse = (
        "chain refuse { log group 5\n"
        "meta l4proto tcp reject with tcp reset\nreject\n}\n"
    )
    each = {
        "a policy": _chain(work, policy="drop"),
        "a last rule": _chain(f"{work}ct state invalid drop\ndrop"),
        "a last rule that logs": _chain(f"{work}log group 5\ncounter drop"),
        "a jump": refuse + _chain(f"{work}jump refuse"),
        "a goto": refuse + _chain(f"{work}goto refuse"),
        "fw4": (
            refuse
            + "chain reject_to_lan { oifname lan counter jump refuse\n}\n"
            + f"chain forward_lan {{ {work}jump reject_to_lan\n}}\n"
            + _chain(
                "ct state vmap { established : accept, related : accept }\n"
                'iifname "lan" jump forward_lan\njump refuse',
                policy="drop",
            )
        ),
        "a map": (
            f"chain from_lan {{ {work}drop\n}}\n"
            + _chain('iifname vmap { "lan" : goto from_lan, "tun9" : accept }')
        ),
        "marks": _chain(f"{work}meta mark & 0x100 == 0x100 accept\ndrop"),
        "the LAN only": _chain(
            f"{work}ip saddr {_LAN} ip daddr != {_LAN} accept\n"
            'iifname "tun9" accept\ndrop'
        ),
        "two of them": (
            _chain(f"{_COUNTS}{_ESTABLISHED}{_BAN}", "mangle", "drop")
            + _chain(f"{_ESTABLISHED}{_BAN}drop", "filter + 10")
        ),
    }
    return [
        Situation(
            f"all dropped by {name}",
            _nft(_COUNTERS, _BANS, chains),
            "C B L",
            "C L",
            clamped=name != "two of them",
        )
        for name, chains in each.items()
    ]


def _lists_by_nft() -> list[Situation]:
    """Return chains whose catch-all is the other half of a list, or of a limit."""
    others = Hindrance.ALLOW_LIST
    return [
        Situation(
            "let in by a list",
            _nft(_FRIENDS, _chain(f"{_ESTABLISHED}ip saddr @friends accept\ndrop")),
            "B L",
            hindrance=others,
        ),
        Situation(
            "let in by a list, then a policy",
            _nft(
                _FRIENDS,
                _chain(f"{_ESTABLISHED}ip saddr @friends accept", policy="drop"),
            ),
            "B L",
            hindrance=others,
        ),
        Situation(
            "let go on by a list",
            _nft(
                _FRIENDS,
                "chain listed { ip saddr @friends return\ndrop\n}\n",
                _chain(f"{_ESTABLISHED}jump listed"),
            ),
            "B L",
            hindrance=others,
        ),
        Situation(
            "let in by a mark",
            _nft(
                _FRIENDS,
                _chain("ip saddr @friends ct mark set 7", "mangle"),
                _chain(f"{_ESTABLISHED}ct mark 7 accept", policy="drop"),
            ),
            "B L",
            hindrance=others,
        ),
        Situation(
            "let in by a map",
            _nft(_chain(f"{_ESTABLISHED}ip saddr vmap {{ {CLIENT} : accept }}\ndrop")),
            "B L",
            hindrance=others,
        ),
        Situation(
            "all but a list dropped",
            _nft(_FRIENDS, _chain(f"{_ESTABLISHED}ip saddr != @friends drop")),
            "B L",
            hindrance=others,
        ),
        Situation(
            "all but a friend dropped",
            _nft(_chain(f"{_ESTABLISHED}ip saddr != {CLIENT} drop")),
            "B L",
            hindrance=others,
        ),
        Situation(
            "all but a friend dropped, then all",
            _nft(_chain(f"{_ESTABLISHED}ip saddr != {CLIENT} drop\ndrop")),
            "C B L",
            "C",
            hindrance=others,
        ),
        Situation(
            "all but the LAN dropped",
            _nft(_chain(f"{_ESTABLISHED}ip saddr != {_LAN} log group 5 drop")),
            "C B",
            hindrance=others,
        ),
        Situation(
            "so many a day",
            _nft(
                _chain(
                    f"{_ESTABLISHED}ct state new limit rate 1/day burst 1 packets"
                    " accept\ndrop"
                )
            ),
            "C B L",
            hindrance=others,
            spent=True,
        ),
        Situation(
            "just this target dropped",
            _nft(_chain(f"{_ESTABLISHED}ip daddr {TARGET} drop")),
            "C B L",
            hindrance=Hindrance.DENIED,
        ),
    ]


def _owned() -> list[Situation]:
    """Return tables that only their program may change, such as firewalld's."""
    head = "flags owner\n"
    accepts = f"{_ESTABLISHED}ct status dnat accept\n"
    return [
        Situation(
            "owned, lets pass",
            _nft(head, _chain(f"{accepts}reject", "filter + 10")),
            "",
            owned=True,
        ),
        Situation(
            "owned, bans",
            _nft(head, _BANS, _chain(f"{_BAN}{accepts}reject", "filter + 10")),
            owned=True,
        ),
        Situation(
            "owned, drops all",
            _nft(head, _chain(f"{_ESTABLISHED}reject", "filter + 10")),
            "C B L",
            hindrance=Hindrance.OWNED,
            owned=True,
        ),
    ]


BY_NFT: Final = (
    *_bans_by_nft(),
    *_others_work_by_nft(),
    *_catch_alls_by_nft(),
    *_lists_by_nft(),
    *_owned(),
)

DROPS_BY_NFT: Final = Situation(
    "all dropped, as in Arch's file", _nft(_chain("", policy="drop")), "C B L", "C B L"
)
