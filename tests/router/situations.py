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
_OTHERS_CARD: Final = "02:00:c0:a8:32:14"


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


def _iptables(
    rules: str, policy: str = "ACCEPT", chains: str = "", mangle: str = ""
) -> str:
    """Return rules for iptables-restore."""
    made = "".join(f":{name} - [0:0]\n" for name in chains.split())
    lines = "\n".join(filter(None, (line.strip() for line in rules.splitlines())))
    return (
        f"*mangle\n:FORWARD ACCEPT [0:0]\n{mangle}COMMIT\n"
        f"*filter\n:FORWARD {policy} [0:0]\n{made}{lines}\nCOMMIT\n"
    )


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
            "banned by a card", _nft(_chain(f"ether saddr {_OTHERS_CARD} drop")), "L"
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
            "let in by a map",
            _nft(_chain(f"{_ESTABLISHED}ip saddr vmap {{ {CLIENT} : accept }}\ndrop")),
            "B L",
            hindrance=others,
        ),
        Situation(
            "all but a list dropped",
            _nft(_FRIENDS, _chain(f"{_ESTABLISHED}ip saddr != @friends drop")),
            "B L",
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


_F2B: Final = f"-A f2b-web -s {BANNED} -j REJECT\n-A f2b-web -j RETURN\n"
_TO_F2B: Final = "-A FORWARD -p {} -m multiport --dports 443,447,449 -j f2b-web\n"
_DOCKER: Final = """\
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
"""
_DOCKERS: Final = "DOCKER DOCKER-USER DOCKER-FORWARD DOCKER-CT DOCKER-BRIDGE "
_UFW: Final = f"""\
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-user-forward -s {BANNED} -j DROP
-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j NFLOG
"""
_UFWS: Final = (
    "ufw-before-logging-forward ufw-before-forward ufw-after-forward"
    " ufw-after-logging-forward ufw-reject-forward ufw-track-forward ufw-user-forward"
)
_EST: Final = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
_SEEN: Final = "-A FORWARD -p udp -m comment --comment udp_seen\n"
_TCPMSS: Final = (
    "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1360\n"
)


def _bans_by_iptables() -> list[Situation]:
    """Return who is kept out of chains of iptables that let all others pass."""
    each = {
        "by -s": f"-A FORWARD -s {BANNED} -j DROP",
        "by -d": f"-A FORWARD -d {BANNED} -j DROP",
        "by a range": "-A FORWARD -m iprange --src-range 203.0.113.11-203.0.113.19"
        " -j REJECT --reject-with icmp-host-prohibited",
        "for days": f"-A FORWARD -s {BANNED} -m time --weekdays"
        " Mon,Tue,Wed,Thu,Fri,Sat,Sun -j DROP",
        "by how many": f"-A FORWARD -s {BANNED} -m connlimit --connlimit-above 0"
        " -j REJECT",
        "by a network": f"-A FORWARD -s {BANNED}/32 ! -i tun9 -m conntrack"
        " --ctstate NEW -j DROP",
    }
    fail2ban = _F2B + _TO_F2B.format("tcp") + _TO_F2B.format("udp")
    return [
        *(
            Situation(f"iptables: banned {name}", _iptables(rules))
            for name, rules in each.items()
        ),
        Situation(
            "iptables: banned by fail2ban",
            _iptables(_TO_F2B.format("tcp") + _F2B, chains="f2b-web"),
            "B-tcp",
        ),
        Situation(
            "iptables: banned in DOCKER-USER, policy ACCEPT",
            _iptables(
                f"-A DOCKER-USER -s {BANNED} -j DROP\n"
                f"-A DOCKER-USER -j RETURN\n{_DOCKER}",
                chains=_DOCKERS,
            ),
        ),
        Situation(
            "iptables: banned in DOCKER-USER",
            _iptables(
                f"-A DOCKER-USER -i lan -j f2b-web\n{_F2B}"
                f"-A DOCKER-USER -j RETURN\n{_DOCKER}",
                "DROP",
                _DOCKERS + "f2b-web",
            ),
            "C B L",
            "C L",
        ),
        Situation(
            "iptables: banned by ufw, logged",
            _iptables(_UFW, "DROP", _UFWS),
            "C B L",
            "C L",
        ),
        Situation(
            "iptables: banned by ufw that rejects",
            _iptables(f"{_UFW}-A ufw-reject-forward -j REJECT", "DROP", _UFWS),
            "C B L",
            "C L",
        ),
        Situation(
            "iptables: banned by a card",
            _iptables(f"-A FORWARD -m mac --mac-source {_OTHERS_CARD} -j DROP"),
            "L",
        ),
        Situation(
            "iptables: banned, and a policy",
            _iptables(fail2ban + _EST, "DROP", "f2b-web"),
            "C B L",
            "C L",
        ),
        Situation(
            "iptables: banned, and a last rule",
            _iptables(f"{fail2ban}{_SEEN}{_EST}-A FORWARD -j REJECT", chains="f2b-web"),
            "C B L",
            "C L",
        ),
    ]


def _others_work_by_iptables() -> list[Situation]:
    """Return chains of iptables that do something else, and lists and limits."""
    listed = Hindrance.ALLOW_LIST
    limits = {
        "so many a day": "-m limit --limit 1/day --limit-burst 1",
        "so many a day each": "-m hashlimit --hashlimit-upto 1/day --hashlimit-burst 1"
        " --hashlimit-mode dstip --hashlimit-name each",
    }
    return [
        Situation(
            "iptables: MSS clamped",
            _iptables("", mangle=_TCPMSS),
            "",
            clamped=True,
        ),
        Situation(
            "iptables: MSS clamped in filter's table, and a policy",
            _iptables(_SEEN + _EST, "DROP", mangle=_TCPMSS),
            "C B L",
            "C B L",
            clamped=True,
        ),
        Situation(
            "iptables: marked, and seen behind",
            _iptables(
                "-A FORWARD -m mark --mark 0x5 -m comment --comment marked\n"
                "-A FORWARD -m connmark --mark 0x7 -m comment --comment ct_marked\n"
                + _SEEN,
                mangle=f"-A FORWARD -s {CLIENT} -j MARK --set-mark 0x5\n"
                f"-A FORWARD -s {CLIENT} -j CONNMARK --set-mark 0x7\n",
            ),
            "",
        ),
        Situation(
            "iptables: logged",
            _iptables(f"-A FORWARD -j NFLOG --nflog-group 5\n{_SEEN}"),
            "",
        ),
        Situation(
            "iptables: let in by a list",
            _iptables(f"{_EST}-A FORWARD -s {CLIENT} -j ACCEPT\n-A FORWARD -j DROP"),
            "B L",
            hindrance=listed,
        ),
        Situation(
            "iptables: let go on by a list",
            _iptables(
                f"{_EST}-A FORWARD -j LISTED\n-A LISTED -s {CLIENT} -j RETURN\n"
                "-A LISTED -j DROP",
                chains="LISTED",
            ),
            "B L",
            hindrance=listed,
        ),
        *(
            Situation(
                f"iptables: {name}",
                _iptables(
                    f"{_EST}-A FORWARD -m conntrack --ctstate NEW {limit} -j ACCEPT\n"
                    "-A FORWARD -j DROP"
                ),
                "C B L",
                hindrance=listed,
                spent=True,
            )
            for name, limit in limits.items()
        ),
    ]


BY_NFT: Final = (
    *_bans_by_nft(),
    *_others_work_by_nft(),
    *_catch_alls_by_nft(),
    *_lists_by_nft(),
)
BY_IPTABLES: Final = (*_bans_by_iptables(), *_others_work_by_iptables())
