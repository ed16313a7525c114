"""How transparent proxies have a router's packets given to them.

Each way is the commands that its users, or the proxy itself, run on the router.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, override

from .disk import REAL_COMMANDS

REDIRECT_PORT: Final = 7892
TPROXY_PORT: Final = 7893
TUN_INTERFACE: Final = "Meta"

_TUN_NETWORK: Final = "198.18.0.0/30"
_TUN_ADDRESS: Final = "198.18.0.1/30"
# What most guides tell to leave out.
_PRIVATE: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_TO_SELF: Final = """
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
"""
_TO_SELF_NO_MORE: Final = """
ip rule del fwmark 1 lookup 100
ip route del local default dev lo table 100
true
"""


class Hijack(ABC):
    """A way to be given packets; its commands are for a POSIX shell.

    `tear_down` leaves nothing of `set_up`, other than the kernel's own chains, which
    iptables makes and never removes.
    """

    listener: tuple[str, str]
    """What the proxy listens as; see `hijacker`."""

    @abstractmethod
    def set_up(self, ssh_port: int) -> str:
        """Take what there is, but not SSH to the router: no one locks himself out."""

    @property
    @abstractmethod
    def tear_down(self) -> str:
        """Take no more."""

    @property
    @abstractmethod
    def reinsert(self) -> str:
        """Stand first again, which a proxy's watchdog sees to now and then."""


@dataclass(frozen=True)
class Redirect(Hijack):
    """nat REDIRECT of all TCP, by iptables."""

    spares_private: bool = False
    variant: Literal["nft", "legacy"] = "nft"
    listener = ("redirect", str(REDIRECT_PORT))

    @override
    def set_up(self, ssh_port: int) -> str:
        """Fill a chain, and enter it from the top of PREROUTING."""
        return _chain(
            self,
            "nat",
            [
                *_spared(ssh_port, private=self.spares_private),
                f"-p tcp -j REDIRECT --to-ports {REDIRECT_PORT}",
            ],
        )

    @property
    @override
    def tear_down(self) -> str:
        return _no_chain(self, "nat")

    @property
    @override
    def reinsert(self) -> str:
        return _jump_again(self, "nat")


@dataclass(frozen=True)
class Tproxy(Hijack):
    """mangle TPROXY of all TCP and UDP, by iptables."""

    spares_private: bool = False
    variant: Literal["nft", "legacy"] = "nft"
    listener = ("tproxy", str(TPROXY_PORT))

    @override
    def set_up(self, ssh_port: int) -> str:
        """Fill a chain, enter it, and route what is marked to this machine."""
        take = f"-j TPROXY --on-port {TPROXY_PORT} --tproxy-mark 1"
        rules = [
            *_spared(ssh_port, private=self.spares_private),
            f"-p tcp {take}",
            f"-p udp {take}",
        ]
        return _TO_SELF + _chain(self, "mangle", rules)

    @property
    @override
    def tear_down(self) -> str:
        return _no_chain(self, "mangle") + _TO_SELF_NO_MORE

    @property
    @override
    def reinsert(self) -> str:
        return _jump_again(self, "mangle")


def _spared(ssh_port: int, *, private: bool) -> list[str]:
    """Return the rules that spare something, as they follow `-A CLASH`."""
    networks = _PRIVATE if private else ()
    return [
        f"-p tcp --dport {ssh_port} -j RETURN",
        *(f"-d {network} -j RETURN" for network in networks),
    ]


def _chain(hijack: Redirect | Tproxy, table: str, rules: list[str]) -> str:
    """Return the commands that make the chain CLASH of these rules."""
    lines = ["-N CLASH", *(f"-A CLASH {rule}" for rule in rules)]
    return _iptables(hijack, table, *lines, "-I PREROUTING -j CLASH")


def _no_chain(hijack: Redirect | Tproxy, table: str) -> str:
    """Return the commands that remove it."""
    lines = ("-D PREROUTING -j CLASH 2>/dev/null", "-F CLASH", "-X CLASH; true")
    return _iptables(hijack, table, *lines)


def _jump_again(hijack: Redirect | Tproxy, table: str) -> str:
    """Return the commands that move the jump to the top, or put it back."""
    lines = ("-D PREROUTING -j CLASH 2>/dev/null || true", "-I PREROUTING -j CLASH")
    return _iptables(hijack, table, *lines)


def _iptables(hijack: Redirect | Tproxy, table: str, *lines: str) -> str:
    """Return commands of iptables.

    By its own name, as a test may have hidden or replaced `iptables`.
    """
    command = f"{REAL_COMMANDS}/sbin/iptables-{hijack.variant} --wait -t {table}"
    return "".join(f"{command} {line}\n" for line in lines)


@dataclass(frozen=True)
class NftRedirect(Hijack):
    """Redirect of all TCP in a native nft table, at the place of iptables' nat."""

    spares_private: bool = False
    priority: str = "dstnat"
    listener = ("redirect", str(REDIRECT_PORT))

    @override
    def set_up(self, ssh_port: int) -> str:
        """Add the table: of chains of one priority, the newest is asked first."""
        take = f"meta l4proto tcp redirect to :{REDIRECT_PORT}"
        hook = f"type nat hook prerouting priority {self.priority}"
        return _table(hook, ssh_port, take, private=self.spares_private)

    @property
    @override
    def tear_down(self) -> str:
        return _NO_TABLE

    @property
    @override
    def reinsert(self) -> str:
        return _TABLE_AGAIN


@dataclass(frozen=True)
class NftTproxy(Hijack):
    """`tproxy to` of all TCP and UDP in a native nft table."""

    spares_private: bool = False
    listener = ("tproxy", str(TPROXY_PORT))

    @override
    def set_up(self, ssh_port: int) -> str:
        """Add the table, and route what is marked to this machine."""
        take = (
            "meta l4proto { tcp, udp }"
            f" meta mark set 1 tproxy ip to :{TPROXY_PORT} accept"
        )
        hook = "type filter hook prerouting priority mangle"
        return _TO_SELF + _table(hook, ssh_port, take, private=self.spares_private)

    @property
    @override
    def tear_down(self) -> str:
        return _NO_TABLE + _TO_SELF_NO_MORE

    @property
    @override
    def reinsert(self) -> str:
        return _TABLE_AGAIN


_NFT: Final = f"{REAL_COMMANDS}/sbin/nft"
_NO_TABLE: Final = f"{_NFT} delete table inet clash; true\n"
_TABLE_AGAIN: Final = f"""
saved=$({_NFT} list table inet clash)
{_NFT} delete table inet clash
echo "$saved" | {_NFT} -f -
"""


def _table(hook: str, ssh_port: int, take: str, *, private: bool) -> str:
    """Return the command that adds the table `inet clash`."""
    networks = ", ".join(_PRIVATE)
    standby = f"ip daddr {{ {networks} }} return" if private else ""
    return f"""
{_NFT} -f - <<END
table inet clash {{
    chain prerouting {{
        {hook}; policy accept;
        tcp dport {ssh_port} return
        {standby}
        meta nfproto ipv4 {take}
    }}
}}
END
"""


@dataclass(frozen=True)
class Tun(Hijack):
    """A TUN interface and policy routing, as sing-tun sets them.

    That is what mihomo and sing-box do by `auto-route`; mihomo's names are taken.
    """

    listener = ("tun", TUN_INTERFACE)

    @override
    def set_up(self, ssh_port: int) -> str:
        """Make its table the default, but where main knows a narrower route."""
        return f"""
ip address add {_TUN_ADDRESS} dev {TUN_INTERFACE}
ip link set {TUN_INTERFACE} mtu 9000 up
ip route add default dev {TUN_INTERFACE} table 2022
{_TUN_RULES}"""

    @property
    @override
    def tear_down(self) -> str:
        """Remove the rules; the routes go with the interface, and that with us."""
        return _NO_TUN_RULES

    @property
    @override
    def reinsert(self) -> str:
        """Set the rules again, as sing-tun does when the network changes."""
        return _NO_TUN_RULES + _TUN_RULES


_TUN_RULES: Final = f"""
ip -batch - <<END
rule add pref 9000 to {_TUN_NETWORK} lookup 2022
rule add pref 9001 lookup 2022 suppress_prefixlength 0
rule add pref 9002 not dport 53 lookup main suppress_prefixlength 0
rule add pref 9002 iif {TUN_INTERFACE} goto 9010
rule add pref 9003 not iif lo lookup 2022
rule add pref 9003 from 0.0.0.0 iif lo lookup 2022
rule add pref 9003 from {_TUN_NETWORK} iif lo lookup 2022
rule add pref 9010 nop
END
"""
_NO_TUN_RULES: Final = """
for pref in 9000 9001 9002 9003 9010; do
    while ip rule del pref $pref 2>/dev/null; do :; done
done
"""
