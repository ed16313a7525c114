"""Shorewall's rules, as its compiled script restores them.

They are those of a router with a single interface, whose zone has the option
`routeback`: what goes from the LAN to the LAN has a chain of its own, with its rules,
and an end that logs and rejects. There is no Shorewall, only its rules.
"""

from typing import override

from .firewall import GATEWAY, SavedRules

_FILTER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:dynamic - [0:0]
:loc-loc - [0:0]
:loc_frwd - [0:0]
:logflags - [0:0]
:reject - [0:0]
:tcpflags - [0:0]
-A FORWARD -i lan -j loc_frwd
-A FORWARD -m addrtype --dst-type BROADCAST -j DROP
-A FORWARD -m addrtype --dst-type MULTICAST -j DROP
-A FORWARD -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 10 \
--hashlimit-mode srcip --hashlimit-name lograte -j LOG --log-prefix "FORWARD REJECT " \
--log-level 6
-A FORWARD -g reject
-A dynamic -s 203.0.113.99/32 -j DROP
-A loc_frwd -m conntrack --ctstate NEW,INVALID,UNTRACKED -j dynamic
-A loc_frwd -p tcp -j tcpflags
-A loc_frwd -o lan -j loc-loc
-A loc-loc -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{gateway}\
-A loc-loc -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A loc-loc -m addrtype --dst-type BROADCAST -j DROP
-A loc-loc -m addrtype --dst-type MULTICAST -j DROP
-A loc-loc -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 10 \
--hashlimit-mode srcip --hashlimit-name lograte -j LOG --log-prefix "loc-loc REJECT " \
--log-level 6
-A loc-loc -g reject
-A logflags -j DROP
-A reject -m addrtype --src-type BROADCAST -j DROP
-A reject -s 224.0.0.0/4 -j DROP
-A reject -p igmp -j DROP
-A reject -p tcp -j REJECT --reject-with tcp-reset
-A reject -p udp -j REJECT
-A reject -p icmp -j REJECT --reject-with icmp-host-unreachable
-A reject -j REJECT --reject-with icmp-host-prohibited
-A tcpflags -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG -g logflags
-A tcpflags -p tcp -m tcp --tcp-flags SYN,RST SYN,RST -g logflags
-A tcpflags -p tcp -m tcp --sport 0 --tcp-flags FIN,SYN,RST,ACK SYN -g logflags
COMMIT
"""


class Shorewall(SavedRules):
    """Its rules; a reload restores all of the tables nat and filter."""

    @override
    def _text(self) -> str:
        """Return them."""
        gateway = "".join(f"-A loc-loc {rule}\n" for rule in GATEWAY)
        nat = "-A POSTROUTING -o lan -j MASQUERADE\n" * self.options.masquerade
        return f"{_FILTER.format(gateway=gateway)}*nat\n{nat}COMMIT\n"
