"""Rules of others in forward chains of iptables, of each kind."""

from typing import Final

from custom_components.bypass_router.router.rules.obstacles import Hindrance

from .situations import BANNED, CLIENT, OTHERS_CARD, Situation


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
_SYN: Final = (
    "-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
    " -j REJECT --reject-with tcp-reset\n"
)
_UDP: Final = "-A FORWARD -p udp -j REJECT\n"
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
            _iptables(f"-A FORWARD -m mac --mac-source {OTHERS_CARD} -j DROP"),
            "L",
        ),
        Situation(
            "iptables: banned, as all others return, and a policy",
            _iptables(
                f"-A FORWARD -j BANS\n{_EST}-A BANS ! -s {BANNED} -j RETURN\n"
                "-A BANS -j DROP",
                "DROP",
                "BANS",
            ),
            "C B L",
            "C L",
        ),
        Situation(
            "iptables: banned by a goto, and a last rule for what opens a connection",
            _iptables(
                f"-A FORWARD -s {BANNED} -g NO\n{_EST}{_SYN}{_UDP}-A NO -j DROP",
                chains="NO",
            ),
            "C B L",
            "C L",
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
            "iptables: all but a friend dropped, then all",
            _iptables(f"{_EST}-A FORWARD ! -s {CLIENT} -j DROP\n-A FORWARD -j DROP"),
            "C B L",
            "C",
            hindrance=listed,
        ),
        Situation(
            "iptables: all but the LAN dropped",
            _iptables(
                f"{_EST}-A FORWARD ! -s 192.168.50.0/24 -j REFUSE\n"
                "-A REFUSE -j NFLOG\n-A REFUSE -j DROP",
                chains="REFUSE",
            ),
            "C B",
            hindrance=listed,
        ),
        Situation(
            "iptables: let in by a mark that tells friends",
            _iptables(
                f"{_EST}-A FORWARD -m mark --mark 0x5 -j ACCEPT",
                "DROP",
                mangle=f"-A FORWARD -s {CLIENT} -j MARK --set-mark 0x5\n",
            ),
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


BY_IPTABLES: Final = (*_bans_by_iptables(), *_others_work_by_iptables())

DROPS_BY_IPTABLES: Final = Situation(
    "iptables: all dropped", _iptables("", "DROP"), "C B L", "C B L"
)
