"""The kinds of router that a forward must work on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, override

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.ssh.credentials import Credentials
from tests.lab.hijacks import Hijack, NftRedirect, NftTproxy, Redirect, Tproxy, Tun
from tests.lab.network import Lab
from tests.lab.options import (
    FirewallKind,
    IptablesKind,
    RouterOptions,
    ShellKind,
)
from tests.lab.proxies import Proxy

SUDO_USER: Final = Credentials("keeper", "the keeper's password")


@dataclass(frozen=True)
class Kind:
    """A kind of router, and what stands beside a forward there."""

    name: str
    options: RouterOptions = field(default_factory=RouterOptions)
    hijack: Hijack | None = None
    """The transparent proxy that runs there."""
    sudo: bool = False
    """Whether Home Assistant logs in as a user who has to ask `sudo`."""
    without: tuple[str, ...] = ()
    """Commands that this router lacks."""
    linked: Mapping[str, str] = field(default_factory=dict)
    """Commands that it has in addition, each with which of the host's it is."""
    beside: str = ""
    """Rules of nft that its owner has loaded beside those of the firewall."""

    @override
    def __str__(self) -> str:
        """What it is called in the table, and by pytest."""
        return self.name

    @property
    def backends(self) -> tuple[Backend, ...]:
        """What the owner may choose, each that does something else."""
        both = (
            self.options.iptables is not None
            # The login is the same for any of them.
            and self.options.shell == "sh"
            and self.options.system == "debian"
            and "nft" not in self.without
        )
        return (Backend.AUTO, Backend.IPTABLES) if both else (Backend.AUTO,)

    @property
    def account(self) -> Credentials | None:
        """Who logs in; None for root."""
        return SUDO_USER if self.sudo else None

    @contextmanager
    def running(self, lab: Lab) -> Iterator[Running]:
        """Make the lab's router one of this kind, with its proxy running."""
        commands = lab.bypass.commands
        commands.hide(*self.without)
        for name, target in self.linked.items():
            commands.link(name, target)
        if self.sudo:
            assert SUDO_USER.password
            lab.bypass.users.add(SUDO_USER.username, SUDO_USER.password, sudo="all")
        if self.beside:
            lab.bypass.run("nft", "-f", "-", input=self.beside)
        proxy = Proxy(self.hijack) if self.hijack else None
        if proxy:
            proxy.start(lab.bypass)
        try:
            yield Running(lab, proxy)
        finally:
            if proxy:
                proxy.stop()


@dataclass(frozen=True)
class Running:
    """A router of a kind, as it runs."""

    lab: Lab
    proxy: Proxy | None

    def disturb(self) -> None:
        """Let the firewall be reloaded, or the proxy put its rules first again."""
        if self.proxy:
            self.proxy.reinsert()
        else:
            self.lab.bypass.firewall.reload()


def _called(variant: IptablesKind | None) -> str:
    """What a variant is called in the table."""
    return f"iptables-{variant}" if variant else "nftables"


def _debian(name: str, *variants: IptablesKind | None, **options: Any) -> list[Kind]:
    """Return a Debian with such options, for each variant of iptables."""
    return [
        Kind(
            f"{name}, {_called(variant)}",
            RouterOptions(variant, **options),
        )
        for variant in variants
    ]


def _behind(firewall: FirewallKind, *variants: IptablesKind | None) -> list[Kind]:
    """Return a Debian with this firewall, for each variant of iptables."""
    return _debian(firewall, *variants, firewall=firewall)


def _beside_proxies() -> Iterator[Kind]:
    """Yield a router beside each way of a transparent proxy."""
    nft, legacy, native = (RouterOptions(kind) for kind in ("nft", "legacy", None))
    openwrt = RouterOptions(system="openwrt")
    fw3 = RouterOptions(system="openwrt-fw3")
    yield Kind("REDIRECT, iptables-nft", nft, Redirect())
    yield Kind("REDIRECT, iptables-legacy", legacy, Redirect(variant="legacy"))
    yield Kind("REDIRECT, nftables", native, NftRedirect())
    yield Kind("REDIRECT by nft, iptables-nft", nft, NftRedirect())
    yield Kind("REDIRECT by nft, iptables-legacy", legacy, NftRedirect())
    early = NftRedirect(priority="dstnat - 20")
    yield Kind("early REDIRECT by nft, iptables-nft", nft, early)
    yield Kind("REDIRECT, OpenWrt fw4", openwrt, NftRedirect())
    yield Kind("REDIRECT, OpenWrt fw3", fw3, Redirect(variant="legacy"))
    for spares in (False, True):
        how = ", private spared" if spares else ""
        by_nft = NftTproxy(spares_private=spares)
        by_legacy = Tproxy(spares_private=spares, variant="legacy")
        yield Kind(f"TPROXY{how}, iptables-nft", nft, Tproxy(spares_private=spares))
        yield Kind(f"TPROXY{how}, iptables-legacy", legacy, by_legacy)
        yield Kind(f"TPROXY{how}, nftables", native, by_nft)
        yield Kind(f"TPROXY by nft{how}, iptables-nft", nft, by_nft)
        yield Kind(f"TPROXY{how}, OpenWrt fw4", openwrt, by_nft)
    yield Kind("TUN, iptables-nft", nft, Tun())
    yield Kind("TUN, iptables-legacy", legacy, Tun())
    yield Kind("TUN, nftables", native, Tun())
    # Its package ip-full, which such proxies need.
    yield Kind("TUN, OpenWrt fw4", openwrt, Tun(), linked={"ip": "bin/ip"})


_MASQUERADE: Final = """
table ip home {
    chain out {
        type nat hook postrouting priority srcnat;
        oifname "lan" masquerade
    }
}
"""
# Its chain comes first, and the policy of the chain that leads there drops all else.
_MINIUPNPD: Final = """
table inet filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        jump miniupnpd
        ip saddr 203.0.113.99 counter drop
        tcp flags syn / syn,rst tcp option maxseg size set rt mtu
        ip saddr 192.168.50.0/24 ip daddr != 192.168.50.0/24 accept
    }
    chain miniupnpd {
        iifname "ppp0" ip daddr 192.168.50.77 tcp dport 3074 accept
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        jump prerouting_miniupnpd
    }
    chain prerouting_miniupnpd {
        iifname "ppp0" tcp dport 3074 dnat ip to 192.168.50.77:3074
    }
}
"""
_VARIANTS: Final[tuple[IptablesKind, ...]] = ("nft", "legacy")
_SHELLS: Final[tuple[ShellKind, ...]] = ("chatty", "fish", "zsh")
KINDS: Final = (
    *_debian("Debian", "nft", "legacy", None),
    Kind("without nft, iptables-nft", without=("nft",)),
    Kind("without nft, iptables-legacy", RouterOptions("legacy"), without=("nft",)),
    *_debian("no MASQUERADE", "nft", masquerade=False),
    *_debian("INVALID dropped", "nft", "legacy", None, drop_invalid=True),
    *_debian("strict rp_filter", "nft", strict_rp_filter=True),
    *_behind("drop", "nft", "legacy", None),
    *_behind("reject", "nft", "legacy", None),
    *_behind("docker", "nft", "legacy"),
    *_behind("docker-28", "nft", "legacy"),
    *_behind("shorewall", "legacy"),
    *_behind("ufw", "nft", "legacy"),
    *_behind("firewalld", "nft"),
    *_behind("firewalld-strict", "nft", "legacy", None),
    *_behind("firewalld-iptables", "nft"),
    *_behind("firewalld-strict-iptables", "nft", "legacy"),
    Kind("OpenWrt fw4", RouterOptions(system="openwrt")),
    Kind("OpenWrt fw3", RouterOptions(system="openwrt-fw3")),
    *_debian("rules in both variants", "nft", "legacy", rules_in=("nft", "legacy")),
    *_debian("rules in legacy only", "nft", rules_in=("legacy",)),
    *_debian("rules in nft only", "legacy", rules_in=("nft",)),
    *_debian("no rules", "legacy", rules_in=("nft",), masquerade=False),
    *_debian(
        "drop in both variants", "nft", firewall="drop", rules_in=("nft", "legacy")
    ),
    *(
        Kind(
            f"MASQUERADE by nft, {_called(variant)}",
            RouterOptions(variant, masquerade=False),
            beside=_MASQUERADE,
        )
        for variant in _VARIANTS
    ),
    Kind("miniupnpd by nft, iptables-nft", beside=_MINIUPNPD),
    *_beside_proxies(),
    Kind("by sudo, iptables-nft", sudo=True),
    Kind("by sudo, iptables-legacy", RouterOptions("legacy"), sudo=True),
    Kind("by sudo, nftables", RouterOptions(None), sudo=True),
    Kind("by sudo, TUN, iptables-nft", hijack=Tun(), sudo=True),
    *(Kind(f"login by {shell}", RouterOptions(shell=shell)) for shell in _SHELLS),
)
