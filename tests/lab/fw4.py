"""OpenWrt's firewall since 22.03: fw4, which writes one table of nftables.

The ruleset is what fw4 makes of one zone `lan` that masquerades, whose forwarding is
rejected but for one rule: out of the LAN.
"""

from typing import TYPE_CHECKING, Final, override

from .disk import REAL_COMMANDS
from .firewall import LAN, Firewall

if TYPE_CHECKING:
    from .bypass import Bypass

_FILTER: Final = f"""
    chain input {{
        type filter hook input priority filter; policy drop;
        iif "lo" accept comment "!fw4: Accept traffic from loopback"
        ct state vmap {{ established : accept, related : accept }} \
comment "!fw4: Handle inbound flows"
        tcp flags & (fin | syn | rst | ack) == syn jump syn_flood \
comment "!fw4: Rate limit TCP syn packets"
        iifname "lan" jump input_lan comment "!fw4: Handle lan IPv4/IPv6 input traffic"
        jump handle_reject
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state vmap {{ established : accept, related : accept }} \
comment "!fw4: Handle forwarded flows"
        iifname "lan" jump forward_lan \
comment "!fw4: Handle lan IPv4/IPv6 forward traffic"
        jump handle_reject
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        oif "lo" accept comment "!fw4: Accept traffic towards loopback"
        ct state vmap {{ established : accept, related : accept }} \
comment "!fw4: Handle outbound flows"
        oifname "lan" jump output_lan \
comment "!fw4: Handle lan IPv4/IPv6 output traffic"
    }}
    chain prerouting {{
        type filter hook prerouting priority filter; policy accept;
    }}
    chain handle_reject {{
        meta l4proto tcp reject with tcp reset comment "!fw4: Reject TCP traffic"
        reject with icmpx type port-unreachable comment "!fw4: Reject any other traffic"
    }}
    chain syn_flood {{
        limit rate 25/second burst 50 packets return \
comment "!fw4: Accept SYN packets below rate-limit"
        drop comment "!fw4: Drop excess packets"
    }}
    chain input_lan {{
        jump accept_from_lan
    }}
    chain output_lan {{
        jump accept_to_lan
    }}
    chain forward_lan {{
        ip saddr {LAN} ip daddr != {LAN} counter jump accept_to_lan \
comment "!fw4: Allow-LAN-out"
        jump reject_to_lan
    }}
    chain accept_from_lan {{
        iifname "lan" counter accept comment "!fw4: accept lan IPv4/IPv6 traffic"
    }}
    chain accept_to_lan {{
        meta nfproto ipv4 oifname "lan" ct state invalid counter drop \
comment "!fw4: Prevent NAT leakage"
        oifname "lan" counter accept comment "!fw4: accept lan IPv4/IPv6 traffic"
    }}
    chain reject_to_lan {{
        oifname "lan" counter jump handle_reject \
comment "!fw4: reject lan IPv4/IPv6 traffic"
    }}
"""
_NAT: Final = """
    chain dstnat {
        type nat hook prerouting priority dstnat; policy accept;
    }
    chain srcnat {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "lan" jump srcnat_lan \
comment "!fw4: Handle lan IPv4/IPv6 srcnat traffic"
    }
    chain srcnat_lan {
        MASQUERADE
    }
"""
_MASQUERADE: Final = (
    'meta nfproto ipv4 masquerade comment "!fw4: Masquerade IPv4 lan traffic"'
)
_BASE_CHAINS: Final = "".join(
    f"""
    chain {table}_{hook} {{
        type {kind} hook {hook} priority {table}; policy accept;
    }}"""
    for table, hook, kind in (
        ("raw", "prerouting", "filter"),
        ("raw", "output", "filter"),
        ("mangle", "prerouting", "filter"),
        ("mangle", "postrouting", "filter"),
        ("mangle", "input", "filter"),
        ("mangle", "output", "route"),
        ("mangle", "forward", "filter"),
    )
)


class Fw4(Firewall):
    """fw4's ruleset, without fw4."""

    def __init__(self, router: Bypass) -> None:
        """Make the folder of the user's own rules."""
        super().__init__(router)
        router.disk.path("/etc/nftables.d").mkdir()

    @override
    def start(self) -> None:
        """Load the table, in one transaction that empties what there is of it."""
        nat = _NAT.replace("MASQUERADE", _MASQUERADE * self.options.masquerade)
        self.router.run(
            f"{REAL_COMMANDS}/sbin/nft",
            "-f",
            "-",
            input="table inet fw4\nflush table inet fw4\n"
            'table inet fw4 {\n    include "/etc/nftables.d/*.nft"\n'
            f"{_FILTER}{nat}{_BASE_CHAINS}\n}}\n",
        )

    @override
    def reload(self) -> None:
        """Load it again: chains of others in the table stay, without their rules."""
        self.start()
