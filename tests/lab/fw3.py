"""OpenWrt's firewall up to 21.02: fw3, which writes rules of iptables.

They are what fw3 makes of one zone `lan` that masquerades, whose forwarding is
rejected but for one rule: out of the LAN.
"""

import re
from typing import Final, override

from .disk import REAL_COMMANDS
from .firewall import LAN, Firewall

_LEGACY: Final = f"{REAL_COMMANDS}/sbin/iptables-legacy"
_ESTABLISHED: Final = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"

# What stands behind # is the rule's name, part of the comment that all rules have.
_FILTER: Final = f"""
INPUT -i lo -j ACCEPT
INPUT -j input_rule # Custom input rule chain
INPUT {_ESTABLISHED}
INPUT -p tcp -m tcp --syn -j syn_flood
INPUT -i lan -j zone_lan_input
FORWARD -j forwarding_rule # Custom forwarding rule chain
FORWARD {_ESTABLISHED}
FORWARD -i lan -j zone_lan_forward
FORWARD -j reject
OUTPUT -o lo -j ACCEPT
OUTPUT -j output_rule # Custom output rule chain
OUTPUT {_ESTABLISHED}
OUTPUT -o lan -j zone_lan_output
reject -p tcp -j REJECT --reject-with tcp-reset
reject -j REJECT --reject-with icmp-port-unreachable
syn_flood -m limit --limit 25/sec --limit-burst 50 -j RETURN
syn_flood -j DROP
zone_lan_dest_ACCEPT -o lan -m conntrack --ctstate INVALID -j DROP # Prevent NAT leakage
zone_lan_dest_ACCEPT -o lan -j ACCEPT
zone_lan_dest_REJECT -o lan -j reject
zone_lan_forward -j forwarding_lan_rule # Custom lan forwarding rule chain
zone_lan_forward -s {LAN} ! -d {LAN} -j zone_lan_dest_ACCEPT # Allow-LAN-out
zone_lan_forward -j zone_lan_dest_REJECT
zone_lan_input -j input_lan_rule # Custom lan input rule chain
zone_lan_input -j zone_lan_src_ACCEPT
zone_lan_output -j output_lan_rule # Custom lan output rule chain
zone_lan_output -j zone_lan_dest_ACCEPT
zone_lan_src_ACCEPT -i lan -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT
"""
_NAT: Final = """
PREROUTING -j prerouting_rule # Custom prerouting rule chain
PREROUTING -i lan -j zone_lan_prerouting
POSTROUTING -j postrouting_rule # Custom postrouting rule chain
POSTROUTING -o lan -j zone_lan_postrouting
zone_lan_postrouting -j postrouting_lan_rule # Custom lan postrouting rule chain
zone_lan_prerouting -j prerouting_lan_rule # Custom lan prerouting rule chain
"""
_MASQUERADE: Final = "zone_lan_postrouting -j MASQUERADE\n"

_CHAIN: Final = re.compile(r"(?:^|-j )([a-z]\w+)", re.MULTILINE)
_USER_CHAIN: Final = re.compile(r":\S+ - ")
_FOREIGN: Final = re.compile(r"\[\S+\] -A (?!zone_|reject |syn_flood )(?!.*!fw3)")


class Fw3(Firewall):
    """fw3's rules, without fw3."""

    @override
    def start(self) -> None:
        """Load them."""
        tables = {
            "filter": _FILTER,
            "nat": _NAT + _MASQUERADE * self.options.masquerade,
        }
        text = ""
        for table, rules in tables.items():
            saved = self._saved(table)
            kept = [line for line in saved if _FOREIGN.match(line)]
            own = [_commented(rule) for rule in rules.split("\n") if rule]
            chains = {line for line in saved if _USER_CHAIN.match(line)}
            chains |= {f":{name} - [0:0]" for name in _CHAIN.findall(rules)}
            policy = ":FORWARD DROP [0:0]" if table == "filter" else ""
            lines = [f"*{table}", policy, *sorted(chains), *kept, *own, "COMMIT\n"]
            text += "\n".join(lines)
        self.router.run(f"{_LEGACY}-restore", "--wait", "--counters", input=text)

    @override
    def reload(self) -> None:
        """Run `fw3 reload`: it removes its own rules, and sets them behind the rest.

        What others put into its own chains goes too, but not what stands in those
        for the user, such as `forwarding_rule`.
        """
        self.start()

    def _saved(self, table: str) -> list[str]:
        """What there is, as iptables-save gives it with counters."""
        saved = self.router.run(f"{_LEGACY}-save", "-c", "-t", table).stdout
        return saved.splitlines()


def _commented(rule: str) -> str:
    """A rule as iptables-save gives it, with the comment that marks it as fw3's."""
    rule, _, name = rule.partition(" # ")
    match, _, target = rule.partition("-j ")
    comment = f'-m comment --comment "!fw3{f": {name}" if name else ""}"'
    return f"[0:0] -A {match}{comment} -j {target}"
