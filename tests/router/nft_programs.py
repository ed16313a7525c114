"""What programs write at the hook `forward`, as nft prints it.

Each with the places where accept rules of ours belong: the chain, and the rule that
they stand in front of, or nothing for the chain's end.
"""

from dataclasses import dataclass, field
from typing import Final

LAN: Final = "192.168.50.0/24"


@dataclass(frozen=True)
class Program:
    """A program's tables."""

    text: str
    places: dict[str, str] = field(default_factory=dict)
    named: str = ""
    """The rule that keeps out whoever is not on a list."""


def _fw4(forward_lan: str, tail: str = "jump handle_reject", jump: str = "lan") -> str:
    """Return OpenWrt's table."""
    return f"""
table inet fw4 {{
	chain forward {{
		type filter hook forward priority filter; policy drop;
		ct state vmap {{ established : accept, related : accept, invalid : drop }}
		iifname "{jump}" jump forward_lan
		{tail}
	}}

	chain forward_lan {{
		ip saddr @banned counter drop comment "!fw4: ban"
		limit rate over 100/second counter drop comment "!fw4: @rule[1]"
		meta nfproto ipv4 ip saddr {LAN} ip daddr != {LAN} counter jump accept_to_wan
		{forward_lan}
	}}

	chain accept_to_wan {{
		meta nfproto ipv4 oifname "wan" ct state invalid counter drop
		oifname "wan" counter accept comment "!fw4: accept wan IPv4/IPv6 traffic"
	}}

	chain accept_to_lan {{
		oifname "lan" counter accept comment "!fw4: accept lan IPv4/IPv6 traffic"
	}}

	chain reject_to_lan {{
		oifname "lan" counter jump handle_reject comment "!fw4: reject lan traffic"
	}}

	chain drop_to_lan {{
		oifname "lan" counter drop comment "!fw4: drop lan IPv4/IPv6 traffic"
	}}

	chain handle_reject {{
		meta l4proto tcp reject with tcp reset comment "!fw4: Reject TCP traffic"
		reject comment "!fw4: Reject any other traffic"
	}}

	chain mangle_forward {{
		type filter hook forward priority mangle; policy accept;
		iifname "lan" tcp flags syn tcp option maxseg size set rt mtu
	}}

	set banned {{
		type ipv4_addr
	}}
}}
"""


def _firewalld(translated: str) -> str:
    """Return firewalld's table."""
    return f"""
table inet firewalld {{
	chain filter_FORWARD {{
		type filter hook forward priority filter + 10; policy accept;
		ct state {{ established, related }} accept
		{translated}
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr {{ ::/96, ::ffff:0.0.0.0/96 }} reject with icmpv6 addr-unreachable
		jump filter_FORWARD_POLICIES
		reject with icmpx admin-prohibited
	}}

	chain filter_FORWARD_POLICIES {{
		iifname "lan" oifname "lan" jump filter_FWD_public
		iifname "lan" reject with icmpx admin-prohibited
		reject with icmpx admin-prohibited
	}}

	chain filter_FWD_public {{
		jump filter_FWD_public_deny
		meta l4proto {{ icmp, ipv6-icmp }} accept
	}}

	chain filter_FWD_public_deny {{
		ip saddr @b drop
	}}

	chain filter_FORWARD_dnat {{
		meta l4proto tcp ct original proto-dst 2222 accept
		reject with icmpx admin-prohibited
	}}

	set b {{
		type ipv4_addr
	}}
}}
"""


_REJECT: Final = "reject with icmpx admin-prohibited"
_RATE: Final = "ip saddr limit rate 1/second burst 3 packets"
_FOOMUURIS_STATES: Final = (
    "invalid : jump invalid_drop, established : accept, related : accept,"
    " new : jump smurfs_4, untracked : jump smurfs_4"
)
_BANIP: Final = """
table inet banIP {
	set allow {
		type ipv4_addr
		flags interval
		elements = { 192.168.50.0/24, 203.0.113.10 }
	}

	set blocked {
		type ipv4_addr
		flags interval
	}

	chain wan-forward {
		type filter hook forward priority filter - 200; policy accept;
		ct state established,related accept
		iifname != "lan" accept
		LISTED
	}

	chain lan-forward {
		type filter hook forward priority filter - 200; policy accept;
		ct state established,related accept
		oifname != "lan" accept
		ip daddr @blocked counter reject with icmp admin-prohibited
	}
}
"""

PROGRAMS: Final = {
    "fw4, zone REJECT": Program(
        _fw4("jump reject_to_lan"), {"inet fw4 forward_lan": "jump reject_to_lan"}
    ),
    "fw4, zone DROP": Program(
        _fw4("jump drop_to_lan"), {"inet fw4 forward_lan": "jump drop_to_lan"}
    ),
    "fw4, zone ACCEPT": Program(_fw4("jump accept_to_lan")),
    "fw4 with redirects": Program(
        _fw4("ct status dnat accept\n\t\tjump reject_to_lan")
    ),
    "fw4, LAN in no zone": Program(
        _fw4("jump reject_to_lan", jump="eth9"),
        {"inet fw4 forward": "jump handle_reject"},
    ),
    "fw4, LAN in no zone, log": Program(
        _fw4(
            "jump reject_to_lan",
            'limit rate 10/minute log prefix "reject: "\n\t\tjump handle_reject',
            "eth9",
        ),
        {"inet fw4 forward": 'limit rate 10/minute log prefix "reject: "'},
    ),
    "fw4, policy alone": Program(
        _fw4("counter", "counter"), {"inet fw4 forward": "counter"}
    ),
    "firewalld 1.3": Program(_firewalld("ct status dnat accept")),
    "firewalld 2, strict": Program(
        _firewalld("ct status dnat jump filter_FORWARD_dnat"),
        {"inet firewalld filter_FORWARD_dnat": _REJECT},
    ),
    "Docker 29": Program(
        """
table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-in__docker0 }
	}

	map filter-forward-out-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-out__docker0 }
	}

	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		oifname vmap @filter-forward-in-jumps
		iifname vmap @filter-forward-out-jumps
	}

	chain filter-forward-in__docker0 {
		ct state established,related counter accept
		iifname "docker0" counter accept comment "ICC"
		counter drop comment "UNPUBLISHED PORT DROP"
	}

	chain filter-forward-out__docker0 {
		ct state established,related counter accept
		counter accept comment "OUTGOING"
	}
}
"""
    ),
    "Docker 28": Program(
        """
table ip docker-bridges {
	map filter-forward-in-jumps {
		type ifname : verdict
		elements = { "docker0" : jump filter-forward-in__docker0 }
	}

	chain filter-FORWARD {
		type filter hook forward priority filter; policy drop;
		oifname vmap @filter-forward-in-jumps
	}

	chain filter-forward-in__docker0 {
		counter drop
	}
}
""",
        {"ip docker-bridges filter-FORWARD": ""},
    ),
    "CrowdSec": Program(
        """
table ip crowdsec {
	set crowdsec-blacklists {
		type ipv4_addr
		flags timeout
	}

	chain crowdsec-chain-input {
		type filter hook input priority filter - 10; policy accept;
		ip saddr @crowdsec-blacklists drop
	}

	chain crowdsec-chain-forward {
		type filter hook forward priority filter - 10; policy accept;
		ip saddr @crowdsec-blacklists drop
	}
}
"""
    ),
    "fail2ban": Program(
        """
table inet f2b-table {
	set addr-set-web {
		type ipv4_addr
	}

	chain f2b-chain {
		type filter hook forward priority filter - 1; policy accept;
		tcp dport { 443, 8443 } ip saddr @addr-set-web reject with icmp port-unreachable
	}
}
"""
    ),
    "banIP, a list of the banned": Program(
        _BANIP.replace("LISTED", "ip saddr @blocked counter drop")
    ),
    "banIP, a list of the allowed": Program(
        _BANIP.replace("LISTED", "ip saddr != @allow counter drop"),
        named="ip saddr != @allow counter drop",
    ),
    "miniupnpd": Program(
        """
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "ppp0" oifname "lan" jump miniupnpd
		ct state established,related accept
	}

	chain miniupnpd {
	}
}
""",
        {"inet filter forward": ""},
    ),
    "Debian's sample": Program(
        """
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
}
"""
    ),
    "Arch's sample": Program(
        """
table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state invalid drop comment "early drop of invalid connections"
	}

	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
""",
        {"inet filter forward": ""},
    ),
    "libvirt": Program(
        """
table ip libvirt_network {
	chain forward {
		type filter hook forward priority filter; policy accept;
		counter jump guest_cross
		counter jump guest_input
		counter jump guest_output
	}

	chain guest_output {
		ip saddr 192.168.122.0/24 iif "lo" counter accept
		iifname "virbr0" counter reject
	}

	chain guest_input {
		oifname "virbr0" ct state established,related counter accept
		oifname "virbr0" counter reject
	}

	chain guest_cross {
		iifname "virbr0" oifname "virbr0" counter accept
	}
}
"""
    ),
    "netavark": Program(
        """
table inet netavark {
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		ct state invalid drop
		jump NETAVARK-ISOLATION-1
		ip daddr 10.88.0.0/16 ct state { established, related } accept
		ip saddr 10.88.0.0/16 accept
	}

	chain NETAVARK-ISOLATION-1 {
		iifname "podman1" oifname != "podman1" jump NETAVARK-ISOLATION-2
	}

	chain NETAVARK-ISOLATION-2 {
		oifname "podman2" drop
	}
}
"""
    ),
    "Incus": Program(
        """
table inet incus {
	chain fwd.incusbr0 {
		type filter hook forward priority filter; policy accept;
		ip version 4 oifname "incusbr0" accept
		ip version 4 iifname "incusbr0" accept
	}
}
"""
    ),
    "OpenClash in fw4": Program(
        _fw4("jump reject_to_lan")
        .replace(
            "		ct state vmap",
            '		oifname "utun" udp dport 443 ip daddr != @route counter reject'
            ' comment "OpenClash QUIC REJECT"\n'
            '		meta l4proto { tcp, udp } iifname "utun" counter accept'
            ' comment "OpenClash TUN Forward"\n		ct state vmap',
            1,
        )
        .replace(
            "	set banned",
            "	set route {\n		type ipv4_addr\n	}\n\n	set banned",
        ),
        {"inet fw4 forward_lan": "jump reject_to_lan"},
    ),
    "WireGuard's own policy": Program(
        """
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		iifname "wg*" accept
		oifname "wg*" ct state established,related accept
		ip saddr 192.168.50.0/24 ip daddr != 192.168.50.0/24 accept
		counter
		limit rate 5/minute log prefix "drop "
	}
}
""",
        {"inet filter forward": "counter"},
    ),
    "Foomuuri": Program(
        f"""
table inet foomuuri {{
	map forward_zones {{
		type ifname . ifname : verdict
		elements = {{ "lo" . "lo" : accept,
				"lan" . "lan" : jump public-public }}
	}}

	set _lograte_set_4 {{
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 1m
	}}

	chain allow_icmp_4 {{
		icmp type {{ destination-unreachable, time-exceeded }} accept
	}}

	chain smurfs_4 {{
		ip saddr 0.0.0.0 return
		fib saddr type {{ broadcast, multicast }} jump smurfs_drop
	}}

	chain invalid_drop {{
		drop
	}}

	chain smurfs_drop {{
		drop
	}}

	chain forward {{
		type filter hook forward priority filter + 5; policy accept;
		iifname . oifname vmap @forward_zones
		update @_lograte_set_4 {{ {_RATE} }} log prefix "FORWARD DROP "
		drop
	}}

	chain public-public {{
		meta nfproto vmap {{ ipv4 : jump public-public_4, ipv6 : drop }}
	}}

	chain public-public_4 {{
		jump allow_icmp_4
		ct state vmap {{ {_FOOMUURIS_STATES} }}
		meta pkttype {{ broadcast, multicast }} drop
		ip saddr 203.0.113.11 drop
		tcp dport 22 accept
		update @_lograte_set_4 {{ {_RATE} }} log prefix "public-public REJECT "
		{_REJECT}
	}}
}}
""",
        {
            "inet foomuuri public-public_4": f"update @_lograte_set_4 {{ {_RATE} }}"
            ' log prefix "public-public REJECT "'
        },
    ),
    "NetworkManager, shared": Program(
        """
table ip nm-shared-br9 {
	chain filter_forward {
		type filter hook forward priority filter; policy accept;
		ip daddr 10.42.0.0/24 oifname "br9" ct state { established, related } accept
		ip saddr 10.42.0.0/24 iifname "br9" accept
		iifname "br9" oifname "br9" accept
		iifname "br9" reject
		oifname "br9" reject
	}
}
"""
    ),
    "NetBird's own table": Program(
        """
table ip netbird {
	chain netbird-acl-forward-filter {
		type filter hook forward priority filter; policy accept;
		iifname "wt0" jump netbird-rt-fwd
		meta mark 0x0001bd21 accept
		iifname "wt0" drop
	}

	chain netbird-rt-fwd {
	}
}
"""
    ),
}
