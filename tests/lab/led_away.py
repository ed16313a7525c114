"""How a router leads what a device sends to the internet elsewhere.

Each way is the commands that a program or its guide has a router run, for a POSIX
shell. The tunnel is the lab's own: it swallows what it gets (see `hijacker`).
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, override

from .disk import REAL_COMMANDS
from .hijacks import TPROXY_PORT, TUN_INTERFACE, Hijack

LAN: Final = "192.168.50.0/24"
MAIN_ROUTER: Final = "192.168.50.1"
TARGET: Final = "192.168.50.10"
_PRIVATE: Final = (
    "{ 0.0.0.0/8, 10.0.0.0/8, 127.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16,"
    " 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/4, 240.0.0.0/4 }"
)
# A list of networks as proxies have them, of which one is the lab's internet.
_LISTED: Final = ("198.51.100.0/24", "203.0.112.0/21", "8.8.8.0/24")
_NFT: Final = f"{REAL_COMMANDS}/sbin/nft"
_UP: Final = f"""
ip address add 198.18.0.1/30 dev {TUN_INTERFACE}
ip link set {TUN_INTERFACE} up
"""
_DOWN: Final = f"""
ip link set {TUN_INTERFACE} down
ip address flush dev {TUN_INTERFACE}
"""


@dataclass(frozen=True)
class LedAway(Hijack):
    """One such way; what is done is undone in the order of `undo`."""

    name: str
    do: str
    undo: str = ""
    nft: str = ""
    """Chains of a native table `inet away`."""
    mangle: tuple[str, ...] = ()
    """The same by iptables, as rules of a chain that PREROUTING leads to."""
    listener: tuple[str, str] = ("tun", TUN_INTERFACE)

    def by_iptables(self, variant: Literal["nft", "legacy"]) -> Self:
        """Return the same, done by iptables."""
        command = f"{REAL_COMMANDS}/sbin/iptables-{variant} --wait -t mangle"
        rules = ["-N AWAY", *(f"-A AWAY {it}" for it in self.mangle)]
        rules.append("-A PREROUTING -j AWAY")
        gone = "-D PREROUTING -j AWAY", "-F AWAY", "-X AWAY"
        if not self.mangle:
            return self
        return replace(
            self,
            nft="",
            do="\n".join((self.do, *(f"{command} {it}" for it in rules))),
            undo="\n".join((self.undo, *(f"{command} {it}" for it in gone), "")),
        )

    @override
    def set_up(self, ssh_port: int) -> str:
        """Raise the interface, and lead packets there."""
        table = ""
        if self.nft:
            table = f"{_NFT} -f - <<END\ntable inet away {{\n{self.nft}\n}}\nEND\n"
        return _UP * (self.listener[0] == "tun") + self.do + "\n" + table

    @property
    @override
    def tear_down(self) -> str:
        table = f"{_NFT} delete table inet away\n" if self.nft else ""
        return table + self.undo + _DOWN * (self.listener[0] == "tun") + "\ntrue\n"

    @property
    @override
    def reinsert(self) -> str:
        """Do it all again, as after a restart of the program."""
        return f"( {self.tear_down} ) 2>/dev/null\n{self.set_up(22)}"

    @override
    def __str__(self) -> str:
        """What pytest calls it."""
        return self.name


def _prerouting(rules: str, priority: str = "mangle") -> str:
    """Return a chain of these rules."""
    hook = f"type filter hook prerouting priority {priority}; policy accept;"
    return f"chain prerouting {{ {hook}\n{rules}\n}}"


def _by_mark(
    mark: str, table: str, rules: str, pref: int = 0, priority: str = "mangle"
) -> dict[str, Any]:
    """Return a rule of routing for a mark into the tunnel, and what sets the mark."""
    place = f"pref {pref} " if pref else ""
    return {
        "do": f"ip route add default dev {TUN_INTERFACE} table {table}\n"
        f"ip rule add {place}fwmark {mark} lookup {table}",
        "undo": f"ip rule del fwmark {mark} lookup {table}\n"
        f"ip route flush table {table}\n",
        "nft": _prerouting(rules, priority),
    }


_SPARED: Final = (
    f"! -s {LAN} -j RETURN",
    *(f"-d {net}.0.0/16 -j RETURN" for net in ("192.168", "172.16", "10.0")),
)
_NOT_PRIVATE: Final = f"""
ip saddr != {LAN} return
ip daddr {_PRIVATE} return
"""
SHELLCRASH_TUN: Final = LedAway(
    "ShellCrash Tun",
    mangle=(
        *_SPARED,
        "-p tcp -j MARK --set-mark 7892",
        "-p udp -j MARK --set-mark 7892",
    ),
    **_by_mark(
        "7892", "100", f"{_NOT_PRIVATE} meta l4proto {{ tcp, udp }} meta mark set 7892"
    ),
)
SHELLCRASH_MIX: Final = LedAway(
    "ShellCrash Mix",
    mangle=(*_SPARED, "-p udp -j MARK --set-mark 7892"),
    **_by_mark("7892", "100", f"{_NOT_PRIVATE} meta l4proto udp meta mark set 7892"),
)
PBR: Final = LedAway(
    "pbr by device",
    mangle=(f"-s {TARGET} -j MARK --set-xmark 0x20000/0xff0000",),
    **_by_mark(
        "0x20000/0xff0000",
        "201",
        f"ip saddr {TARGET} meta mark set meta mark and 0xff00ffff or 0x20000",
        pref=29998,
    ),
)
PBR_BY_RULE: Final = LedAway(
    "pbr by a rule of routing",
    do=f"ip route add default dev {TUN_INTERFACE} table 202\n"
    f"ip rule add pref 29997 from {TARGET} lookup 202",
    undo="ip rule del pref 29997\nip route flush table 202\n",
)
MWAN3: Final = LedAway(
    "mwan3 by device",
    mangle=(
        "-m mark --mark 0/0x3f00 -j CONNMARK --restore-mark --mask 0x3f00",
        "-d 192.168.0.0/16 -m mark --mark 0/0x3f00 -j MARK --set-xmark 0x3f00/0x3f00",
        f"-s {TARGET} -m mark --mark 0/0x3f00 -j MARK --set-xmark 0x200/0x3f00",
        "-j CONNMARK --save-mark --mask 0x3f00",
    ),
    **_by_mark(
        "0x200/0x3f00",
        "2",
        f"""
        meta mark and 0x3f00 == 0 meta mark set ct mark and 0x3f00
        ip saddr {TARGET} meta mark and 0x3f00 == 0 ip daddr != {_PRIVATE} \
        meta mark set meta mark and 0xffffc0ff or 0x200
        ct mark set meta mark and 0x3f00
        """,
        pref=2002,
    ),
)
SAVED: Final = LedAway(
    "a mark saved in conntrack",
    mangle=(
        "-m conntrack --ctstate NEW -j CONNMARK --set-mark 0x66",
        f"-s {LAN} -j CONNMARK --restore-mark",
    ),
    **_by_mark(
        "0x66",
        "66",
        f"""
        ct state new ct mark set 0x66
        ip saddr {LAN} ip daddr != {_PRIVATE} meta mark set ct mark
        """,
        priority="filter",
    ),
)
OPENVPN: Final = LedAway(
    "OpenVPN's def1",
    do=f"""
    ip route add 198.51.100.7 via {MAIN_ROUTER}
    ip route add 0.0.0.0/1 dev {TUN_INTERFACE}
    ip route add 128.0.0.0/1 dev {TUN_INTERFACE}
    """,
    undo="for net in 198.51.100.7 0.0.0.0/1 128.0.0.0/1; do ip route del $net; done\n",
)
ONLY_DEFAULT: Final = LedAway(
    "a VPN as main's only default",
    do=f"""
    ip route add 198.51.100.7 via {MAIN_ROUTER}
    ip route del default
    ip route add default dev {TUN_INTERFACE}
    """,
    undo=f"ip route replace default via {MAIN_ROUTER}\nip route del 198.51.100.7\n",
)
NO_GATEWAY: Final = LedAway(
    "a VPN that tells no gateway",
    do=f"ip route del default\nip route add default dev {TUN_INTERFACE}",
    undo=f"ip route replace default via {MAIN_ROUTER}\n",
)
TWO_DEFAULTS: Final = LedAway(
    "two defaults",
    do=f"""
    ip route del default
    ip route add default via {MAIN_ROUTER} metric 100
    ip route add default dev {TUN_INTERFACE} metric 50
    """,
    undo=f"ip route del default metric 50\nip route del default metric 100\n"
    f"ip route add default via {MAIN_ROUTER}\n",
)
WG_QUICK: Final = LedAway(
    "wg-quick",
    do=f"""
    ip route add default dev {TUN_INTERFACE} table 51820
    ip rule add not fwmark 51820 table 51820
    ip rule add table main suppress_prefixlength 0
    """,
    undo="ip rule del table 51820\nip rule del table main suppress_prefixlength 0\n"
    "ip route flush table 51820\n",
)
OPENCLASH: Final = LedAway(
    "OpenClash's TUN",
    mangle=(
        *_SPARED[1:],
        "-p tcp -j MARK --set-mark 0x162",
        "-p udp -j MARK --set-mark 0x162",
    ),
    **_by_mark(
        "0x162",
        "354",
        f"""
        ip daddr {_PRIVATE} return
        meta l4proto {{ tcp, udp }} meta mark set 0x162 counter
        """,
        priority="mangle + 10",
    ),
)
LISTED: Final = LedAway(
    "a list of networks in a table",
    do="".join(
        f"ip route add {network} dev {TUN_INTERFACE} table 2022\n"
        for network in _LISTED
    )
    + "ip rule add pref 9001 lookup 2022",
    undo="ip rule del pref 9001\nip route flush table 2022\n",
)
LISTED_IN_MAIN: Final = LedAway(
    "a list of networks in main",
    do="".join(f"ip route add {network} dev {TUN_INTERFACE}\n" for network in _LISTED),
    undo="".join(f"ip route del {network}\n" for network in _LISTED),
)
BY_INTERFACE: Final = LedAway(
    "all that comes from the LAN",
    do=f"ip route add default dev {TUN_INTERFACE} table 77\n"
    "ip rule add pref 500 iif lan lookup 77",
    undo="ip rule del pref 500\nip route flush table 77\n",
)
SING_TUN: Final = LedAway(
    "sing-tun's rules",
    do=f"""
    ip route add default dev {TUN_INTERFACE} table 2022
    ip -batch - <<END
rule add pref 9000 to 198.18.0.0/30 lookup 2022
rule add pref 9001 lookup 2022 suppress_prefixlength 0
rule add pref 9002 not dport 53 lookup main suppress_prefixlength 0
rule add pref 9002 iif {TUN_INTERFACE} goto 9010
rule add pref 9003 not iif lo lookup 2022
rule add pref 9010 nop
END
    """,
    undo="for pref in 9000 9001 9002 9002 9003 9010; do ip rule del pref $pref; done\n"
    "ip route flush table 2022\n",
)
TPROXY_LATE: Final = LedAway(
    "TPROXY at priority 0",
    do="ip rule add fwmark 1 lookup 100\nip route add local default dev lo table 100",
    undo="ip rule del fwmark 1 lookup 100\nip route flush table 100\n",
    nft=_prerouting(
        "tcp dport 22 return\n"
        f"ip saddr {LAN} ip daddr != {_PRIVATE} meta l4proto {{ tcp, udp }}"
        f" meta mark set 1 tproxy ip to :{TPROXY_PORT} accept",
        "filter",
    ),
    listener=("tproxy", str(TPROXY_PORT)),
)
AWAY: Final = (
    SHELLCRASH_TUN,
    SHELLCRASH_MIX,
    PBR,
    PBR_BY_RULE,
    MWAN3,
    SAVED,
    OPENVPN,
    ONLY_DEFAULT,
    TWO_DEFAULTS,
    WG_QUICK,
    OPENCLASH,
    LISTED,
    LISTED_IN_MAIN,
    BY_INTERFACE,
    SING_TUN,
    TPROXY_LATE,
)
