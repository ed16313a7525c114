"""Forward chains as programs write them, in few words, and where ours belongs there.

A rule is its conditions and what it does. `who` is any condition that may tell one
client from another, `what` one that does not; what is not known else is a mark, a
clamp or the like, which decides nothing.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Final

from custom_components.bypass_router.router.passage.chains import (
    Action,
    Branch,
    Chain,
    ChainRule,
    Chains,
)
from custom_components.bypass_router.router.passage.packet import (
    Condition,
    Key,
    interval_of,
)
from custom_components.bypass_router.router.rules.obstacles import Hindrance

type Place = tuple[str, int, int]
"""A chain, and behind how many rules: at least, and at most."""

_WORDS: Final = {
    "est": (Key.STATE, "established related"),
    "new": (Key.STATE, "new"),
    "dnat": (Key.STATE, "dnat"),
    "invalid": (Key.STATE, "invalid"),
    "tcp": (Key.TRANSPORT, "tcp"),
    "udp": (Key.TRANSPORT, "udp"),
    "icmp": (Key.TRANSPORT, "icmp"),
    "broadcast": (Key.KIND, "broadcast multicast"),
}
_KEYS: Final = {
    "in": Key.INPUT,
    "out": Key.OUTPUT,
    "from": Key.SOURCE,
    "to": Key.DESTINATION,
    "port": Key.DESTINATION_PORT,
    "asked": Key.ORIGINAL_PORT,
}


def _condition(word: str) -> Condition:
    """Return the condition that a word stands for."""
    negated = word.startswith("!")
    name, _, value = word.removeprefix("!").partition(":")
    if name in ("who", "what"):
        return Condition(Key.UNKNOWN, negated=negated, by_client=name == "who")
    if name in _WORDS:
        key, words = _WORDS[name]
        return Condition(key, words=frozenset(words.split()), negated=negated)
    key = _KEYS[name]
    if key in (Key.INPUT, Key.OUTPUT):
        return Condition(key, words=frozenset({value}), negated=negated)
    interval = (
        interval_of(IPv4Network(value))
        if key in (Key.SOURCE, Key.DESTINATION)
        else (int(value), int(value))
    )
    return Condition(key, (interval,), negated=negated)


def _branch(text: str) -> Branch:
    """Return what a branch's words mean."""
    *conditions, verdict = text.split()
    name, _, chain = verdict.partition(":")
    action = Action(name) if name in set(Action) else Action.CONTINUE
    return Branch(tuple(map(_condition, conditions)), action, chain)


def chains_of(text: Mapping[str, str]) -> Chains:
    """Return the chains; one whose policy drops has a `!` behind its name."""
    found = {}
    for name, rules in text.items():
        made = tuple(
            ChainRule(
                rule.strip(),
                tuple(_branch(part) for part in rule.split(" / ")),
                rule.split()[-1] == "log",
            )
            for rule in rules.split(";")
            if rule.strip()
        )
        found[name.removesuffix("!")] = Chain(made, name.endswith("!"))
    return found


def _accepting(chains: Mapping[str, str]) -> dict[str, str]:
    """Return the same with a policy that accepts."""
    return {name.removesuffix("!"): rules for name, rules in chains.items()}


_FW4: Final = {
    "forward!": "est accept; in:lan jump:forward_lan; in:wan jump:forward_wan;"
    " jump:handle_reject",
    "forward_wan": "icmp who accept; jump:reject_to_wan",
    "reject_to_wan": "out:wan jump:handle_reject",
    "accept_to_wan": "out:wan accept",
    "accept_to_lan": "out:lan accept",
    "reject_to_lan": "out:lan jump:handle_reject",
    "handle_reject": "tcp drop; drop",
}
_FW3: Final = {
    "FORWARD!": "jump:forwarding_rule; est accept; in:lan jump:zone_lan_forward;"
    " jump:reject",
    "forwarding_rule": "",
    "forwarding_lan_rule": "who drop",
    "zone_lan_forward": "jump:forwarding_lan_rule; jump:zone_lan_dest_REJECT",
    "zone_lan_dest_REJECT": "out:lan jump:reject",
    "reject": "tcp drop; drop",
}
_UFW: Final = {
    "FORWARD!": "jump:before-logging; jump:before; jump:after; jump:after-logging;"
    " jump:reject; jump:track",
    "before-logging": "",
    "before": "est accept; icmp accept; jump:user",
    "user": "from:203.0.113.11/32 drop",
    "after": "what mark",
    "after-logging": "who log",
    "reject": "",
    "track": "",
}
_FIREWALLD: Final = {
    "FORWARD": "est accept; dnat accept; in:lo accept; invalid drop; jump:zones; drop",
    "zones": "from:10.0.0.0/8 goto:drop; goto:public",
    "drop": "drop",
    "public": "drop",
}
_DOCKER_27: Final = {
    "FORWARD!": "jump:DOCKER-USER; jump:DOCKER-ISOLATION-STAGE-1;"
    " out:docker0 est accept; out:docker0 jump:DOCKER; in:docker0 !out:docker0 accept;"
    " in:docker0 out:docker0 accept",
    "DOCKER-USER": "from:203.0.113.11/32 drop; return",
    "DOCKER-ISOLATION-STAGE-1": "in:docker0 !out:docker0 drop; return",
    "DOCKER": "to:172.17.0.2/32 !in:docker0 out:docker0 tcp port:80 accept",
}
_DOCKER_28: Final = {
    "FORWARD!": "jump:DOCKER-USER; jump:DOCKER-FORWARD",
    "DOCKER-USER": "who jump:f2b; return",
    "f2b": "from:203.0.113.11/32 drop; return",
    "DOCKER-FORWARD": "jump:DOCKER-CT; jump:DOCKER-BRIDGE; in:docker0 accept",
    "DOCKER-CT": "out:docker0 est accept",
    "DOCKER-BRIDGE": "out:docker0 jump:DOCKER",
    "DOCKER": "!in:docker0 out:docker0 drop",
}
_SHOREWALL: Final = {
    "FORWARD!": "in:lan jump:loc_frwd; who log; goto:reject",
    "loc_frwd": "new jump:dynamic; tcp jump:tcpflags; out:lan jump:loc-loc",
    "dynamic": "from:203.0.113.11/32 drop",
    "tcpflags": "what goto:logflags",
    "logflags": "drop",
    "loc-loc": "est accept; tcp port:22 accept; broadcast drop; who log; goto:reject",
    "reject": "broadcast drop; tcp drop; udp drop; drop",
}

PROGRAMS: Final[dict[str, tuple[dict[str, str], Place | Hindrance | None]]] = {
    "1 fw4, zone forward ACCEPT": (
        {**_FW4, "forward_lan": "out:wan jump:accept_to_wan; jump:accept_to_lan"},
        None,
    ),
    "1 fw4, zone forward REJECT": (
        {
            **_FW4,
            "forward_lan": "who drop; out:wan jump:accept_to_wan; jump:reject_to_lan",
        },
        ("forward_lan", 2, 2),
    ),
    "1 fw4, with a redirect": (
        {
            **_FW4,
            "forward_lan": "who drop; out:wan jump:accept_to_wan; dnat accept;"
            " jump:reject_to_lan",
        },
        None,
    ),
    "1 fw4, no zone": (
        {**_FW4, "forward!": "est accept; in:wan jump:forward_wan; jump:handle_reject"},
        ("forward", 2, 2),
    ),
    "1 fw4, no zone, DROP": (
        {**_FW4, "forward!": "est accept; in:wan jump:forward_wan"},
        ("forward", 2, 2),
    ),
    "2 fw3, REJECT": (_FW3, ("zone_lan_forward", 1, 1)),
    "2 fw3, REJECT, no rule of the owner's": (
        {**_FW3, "forwarding_lan_rule": ""},
        ("zone_lan_forward", 1, 1),
    ),
    "2 fw3, ACCEPT": ({**_FW3, "zone_lan_dest_REJECT": "out:lan accept"}, None),
    "2 fw3, no zone": (
        {**_FW3, "FORWARD!": "jump:forwarding_rule; est accept; jump:reject"},
        ("FORWARD", 2, 2),
    ),
    "3 ufw, deny": (_UFW, ("FORWARD", 3, 6)),
    "3 ufw, deny, no rule of the owner's": (
        {**_UFW, "user": "", "after": ""},
        ("FORWARD", 3, 6),
    ),
    "4 ufw, reject": ({**_UFW, "reject": "drop"}, ("FORWARD", 3, 4)),
    "5 ufw, allow": (_accepting({**_UFW, "track": "new accept"}), None),
    "6 firewalld 1": (_FIREWALLD, None),
    "7 firewalld 2, strict": (
        {
            **_FIREWALLD,
            "FORWARD": "est accept; dnat jump:FORWARD_dnat; jump:zones; drop",
            "FORWARD_dnat": "asked:8080 accept; drop",
        },
        ("FORWARD_dnat", 1, 1),
    ),
    "9 Docker 27": (_DOCKER_27, ("FORWARD", 6, 6)),
    "9 Docker 27, policy ACCEPT": (_accepting(_DOCKER_27), None),
    "10 Docker 28": (_DOCKER_28, ("FORWARD", 2, 2)),
    "11 Docker 29 by nft": (
        {"FORWARD": "out:docker0 jump:br / out:br-1 jump:br; in:docker0 jump:br"},
        None,
    ),
    "12 netavark": (
        {
            "FORWARD": "invalid drop; jump:ISOLATION; to:10.88.0.0/16 est accept;"
            " from:10.88.0.0/16 accept",
            "ISOLATION": "",
        },
        None,
    ),
    "14 libvirt": (
        {
            "FORWARD!": "jump:LIBVIRT_FWX; jump:LIBVIRT_FWI; jump:LIBVIRT_FWO",
            "LIBVIRT_FWX": "in:virbr0 out:virbr0 accept",
            "LIBVIRT_FWI": "to:192.168.122.0/24 out:virbr0 est accept; out:virbr0 drop",
            "LIBVIRT_FWO": "from:192.168.122.0/24 in:virbr0 accept; in:virbr0 drop",
        },
        ("FORWARD", 3, 3),
    ),
    "16 Proxmox": (
        {
            "FORWARD": "jump:PVEFW-FORWARD",
            "PVEFW-FORWARD": "invalid drop; est accept; what jump:PVEFW-FWBR-IN",
            "PVEFW-FWBR-IN": "who drop",
        },
        None,
    ),
    "17 kube-proxy": (
        {
            "FORWARD!": "new jump:KUBE-PROXY-FIREWALL; jump:KUBE-FORWARD;"
            " jump:FLANNEL-FWD",
            "KUBE-PROXY-FIREWALL": "",
            "KUBE-FORWARD": "invalid drop; what accept; est accept",
            "FLANNEL-FWD": "from:10.42.0.0/16 accept; to:10.42.0.0/16 accept",
        },
        ("FORWARD", 3, 3),
    ),
    "19 Calico": (
        {
            "FORWARD": "jump:cali-FORWARD",
            "cali-FORWARD": "mark; in:cali* jump:cali-from; what accept",
            "cali-from": "drop",
        },
        None,
    ),
    "21 Tailscale, policy drop": (
        {
            "FORWARD!": "jump:ts-forward; est accept",
            "ts-forward": "in:tailscale0 mark; what accept; out:tailscale0 drop",
        },
        ("FORWARD", 2, 2),
    ),
    "23 NetworkManager": (
        {
            "FORWARD": "jump:nm-sh-fw-lan",
            "nm-sh-fw-lan": "out:lan est accept; in:lan from:10.42.0.0/24 accept;"
            " in:lan out:lan accept; out:lan drop; in:lan drop",
        },
        None,
    ),
    "24 fail2ban": (
        {
            "FORWARD": "tcp port:443 jump:f2b; udp jump:f2b",
            "f2b": "from:203.0.113.11/32 drop; return",
        },
        None,
    ),
    "25 CrowdSec": ({"FORWARD": "who drop"}, None),
    "26 banIP": ({"forward": "est accept; !in:wan accept; who drop"}, None),
    "26 banIP, an allow-list": ({"forward": "est accept; !who drop"}, None),
    "28 CSF": ({"FORWARD!": "in:eth0 accept"}, ("FORWARD", 1, 1)),
    "29 Shorewall": (_SHOREWALL, ("loc-loc", 3, 4)),
    "29 Shorewall, no routeback": (
        {**_SHOREWALL, "loc_frwd": "new jump:dynamic; tcp jump:tcpflags"},
        ("FORWARD", 1, 2),
    ),
    "30 Debian's": ({"forward": ""}, None),
    "30 Arch's": ({"forward!": ""}, ("forward", 0, 0)),
    "31 ShellCrash": ({"forward": "in:utun accept; out:utun udp port:443 drop"}, None),
    "32 miniupnpd": (
        {
            "forward!": "jump:miniupnpd; est accept",
            "miniupnpd": "in:wan tcp to:192.168.50.77/32 port:80 accept",
        },
        ("forward", 2, 2),
    ),
    "a clamp, a ban, a last rule": (
        {"forward": "tcp mark; who drop; who log; drop"},
        ("forward", 2, 3),
    ),
    "an allow-list": (
        {"forward": "est accept; from:9.9.9.0/24 accept; drop"},
        Hindrance.ALLOW_LIST,
    ),
    "an allow-list, by policy": ({"forward!": "who accept"}, Hindrance.ALLOW_LIST),
    "an allow-list in a chain": (
        {"forward": "jump:listed", "listed": "who return; drop"},
        Hindrance.ALLOW_LIST,
    ),
    "an allow-list in front of a chain": (
        {"forward": "jump:listed", "listed": "who return; jump:no", "no": "drop"},
        Hindrance.ALLOW_LIST,
    ),
    "an allow-list in a map": (
        {"forward": "who continue / drop"},
        Hindrance.ALLOW_LIST,
    ),
    "a list of the LAN's": (
        {"forward": "from:192.168.50.0/24 accept; drop"},
        ("forward", 1, 1),
    ),
    "all but the LAN dropped": (
        {"forward": "!from:192.168.50.0/24 drop"},
        Hindrance.ALLOW_LIST,
    ),
    "all but the LAN dropped, in a chain": (
        {"forward": "!from:192.168.50.0/24 jump:no", "no": "who log; drop"},
        Hindrance.ALLOW_LIST,
    ),
    "a zone of addresses": (
        {
            "forward": "est accept; !from:192.168.50.0/24 goto:net",
            "net": "tcp port:22 accept; who drop; drop",
        },
        ("net", 2, 2),
    ),
    "a rate": ({"forward": "new who accept; drop"}, Hindrance.ALLOW_LIST),
    "this target": ({"forward": "to:192.168.50.10/32 drop"}, Hindrance.DENIED),
    "this port": ({"forward!": "tcp port:443 return; mark"}, Hindrance.DENIED),
    "a program": ({"forward": "queue"}, Hindrance.QUEUED),
    "a return for all": ({"forward!": "mark; return; accept"}, ("forward", 1, 1)),
    "chains for the owner's rules, without any": (
        {"forward": "jump:outer; jump:inner; drop", "outer": "jump:inner", "inner": ""},
        ("forward", 2, 2),
    ),
    "a goto for all": (
        {"forward!": "mark; goto:last; accept", "last": "mark; who drop"},
        ("last", 2, 2),
    ),
    "a ban by which all others return": (
        {"forward!": "jump:bans; est accept", "bans": "!who return; drop"},
        ("forward", 2, 2),
    ),
    "all but the banned accepted": (
        {"forward!": "est accept; !who accept; drop"},
        None,
    ),
    "friends, by which all others return": (
        {"forward!": "est accept; jump:friends", "friends": "!who return; accept"},
        Hindrance.ALLOW_LIST,
    ),
    "a ban by a goto": (
        {"forward": "who goto:no; est accept; drop", "no": "drop"},
        ("forward", 2, 2),
    ),
    "a chain that is come to twice": (
        {"forward!": "jump:all; who drop; goto:all", "all": "mark"},
        ("forward", 2, 2),
    ),
    "a chain that bans lead to as well": (
        {"forward": "who jump:no; mark; jump:no", "no": "mark; drop"},
        ("forward", 2, 2),
    ),
}
"""By the number of a program where it has one."""
