"""Rules that stop a forward's packets before anything of ours is asked.

What is never tracked is never translated, and what is dropped before that is gone. Of
the rules that do so, those are named that surely mean the forward's packets, whoever
sends them: what is not understood, or stands behind what may let them pass, is not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
import re
from typing import Final

from ..forward import Forward, PortRange, Transport
from ..iptables.legacy import NAMES
from ..iptables.rule import Rule
from ..nftables.listing import NftChain, read_tables
from ..probe.probe import Probe
from ..rules.obstacles import Hindrance, Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root

# Of chains at `prerouting`, by priority: what is before the kernel tracks, and before
# anyone translates for us.
_TRACKING = -200
_TRANSLATING = -105
_TABLES: Final[Mapping[str, int]] = {"raw": -300, "mangle": -150}
# What a rule says beside what it matches, and lets the packet go on.
_ASIDE = re.compile(r"counter(?: packets [0-9]+ bytes [0-9]+)?(?: |$)")
_VALUE = r'(?:\{ [^{}]* \}|"[^"]*"|[^ {}"]+)'
_MATCHES = re.compile(
    rf"(iifname|iif|ip daddr|ip protocol|meta l4proto|meta nfproto"
    rf"|(?:tcp|udp|th) dport) ({_VALUE})(?: |$)"
)
_VERDICT = re.compile(r"notrack|drop")
# What may let a packet go past the rules behind it.
_PASSING = re.compile(r"\b(?:accept|return|jump|goto|queue|vmap)\b")
_GOES_ON = re.compile(
    "CONNMARK|CT|DROP|DSCP|LOG|MARK|NFLOG|NOTRACK|REJECT|TCPMSS|TOS|TRACE|TTL"
)


@dataclass(frozen=True, slots=True)
class _Packets:
    """The forward's packets over one transport, on their way in."""

    transport: Transport
    ports: PortRange
    address: IPv4Address
    interface: str

    def means(self, what: str, values: Iterable[str]) -> bool:
        """Return whether a match of a rule surely means these packets, or some."""
        told = [value.strip('"') for value in values]
        match what:
            case "iif" | "iifname":
                return self.interface in told
            case "ip daddr":
                return str(self.address) in [it.removesuffix("/32") for it in told]
            case "ip protocol" | "meta l4proto":
                return self.transport in told
            case "meta nfproto":
                return "ipv4" in told
        transport = what.partition(" ")[0]
        return transport in (self.transport, "th") and any(map(self._is_among, told))

    def _is_among(self, ports: str) -> bool:
        """Return whether some of the ports are among those of a rule."""
        first, _, last = ports.replace(":", "-").partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return False
        return int(first) <= self.ports.last and self.ports.first <= int(last or first)


def add_early(script: Script, probe: Probe) -> None:
    """Add the commands whose output `read_early` understands."""
    tools = probe.tools
    if tools.nft_rules:
        nft = as_root("nft", sudo=tools.sudo)
        script.run("early.nft", f"{nft} -t -s -a list ruleset")
    # What an account may do by sudo is of other tables; what nft shows is known.
    if tools.sudo:
        return
    commands = {"nft": "iptables-nft", "legacy": "iptables-legacy"}
    for known in (tools.iptables, tools.other):
        if known:
            name = "legacy" if known.variant == "legacy" else "nft"
            commands[name] = known.command
    for table in _TABLES:
        listing = f"--wait 5 -t {table} -S PREROUTING"
        if not tools.nft_rules and tools.iptables:
            script.run(f"early.nft.{table}", f"{commands['nft']} {listing}")
        look = f"grep -qsx {table} {NAMES} && {commands['legacy']} {listing}"
        script.run(f"early.legacy.{table}", f"sh -c '{look}'")


def read_early(
    sections: Mapping[str, Result], forward: Forward, probe: Probe
) -> tuple[Obstacle, ...]:
    """Return what stops a forward's packets that early."""
    found: list[Obstacle] = []
    for transport in forward.protocol.transports:
        address, interface = probe.address.ip, probe.interface
        packets = _Packets(transport, forward.external, address, interface)
        found += [one for one in _found(sections, packets) if one not in found]
    return tuple(found)


def _found(sections: Mapping[str, Result], packets: _Packets) -> Iterator[Obstacle]:
    """Yield what stops packets over one transport."""
    if (listing := sections.get("early.nft")) and listing.ok:
        for shown in read_tables(listing.output):
            for chain in shown.chains:
                yield from _in_nft(chain, packets)
    for table, priority in _TABLES.items():
        for variant in ("nft", "legacy"):
            printed = sections.get(f"early.{variant}.{table}")
            if printed and printed.ok:
                yield from _in_iptables(table, priority, printed.lines, packets)


def _in_nft(chain: NftChain, packets: _Packets) -> Iterator[Obstacle]:
    """Yield the first rule of a chain that stops these packets, if one does."""
    base, family = chain.base, chain.family
    if base is None or base.type != "filter":
        return
    if family == "netdev" and base.hook == "ingress":
        # Its devices are not among what is read: only a rule that names ours is sure.
        priority = -(2**31)
    elif family in ("ip", "inet") and base.hook == "prerouting":
        # One that makes no sense is taken for a late one.
        priority = base.number or 0
    else:
        return
    if priority >= _TRANSLATING:
        return
    sure = family != "netdev"
    for rule in chain.rules:
        verdict = _verdict(rule.text, packets)
        if verdict == "drop" or (verdict == "notrack" and priority < _TRACKING):
            if sure or f"ip daddr {packets.address} " in rule.text:
                yield _obstacle(verdict, str(chain), rule.text)
            return
        if _PASSING.search(rule.text):
            return
    if base.policy == "drop" and sure:
        yield _obstacle("drop", str(chain), "policy drop")


def _verdict(text: str, packets: _Packets) -> str:
    """Return what a rule surely does with packets; nothing where it is not sure."""
    while text:
        if aside := _ASIDE.match(text):
            text = text[aside.end() :]
        elif verdict := _VERDICT.fullmatch(text):
            return verdict[0]
        elif (match := _MATCHES.match(text)) and packets.means(
            match[1], match[2].strip("{} ").split(", ")
        ):
            text = text[match.end() :]
        else:
            return ""
    return ""


def _in_iptables(
    table: str, priority: int, lines: Iterable[str], packets: _Packets
) -> Iterator[Obstacle]:
    """Yield the first rule of the kernel's chain that stops these packets."""
    for line in lines:
        _, added, text = line.partition("-A PREROUTING ")
        if not added:
            continue
        try:
            rule = Rule.of(text)
        except ValueError:
            return
        verdict = _does(rule, packets)
        if verdict == "drop" or (verdict == "notrack" and priority < _TRACKING):
            yield _obstacle(verdict, f"{table} PREROUTING", text)
            return
        target = rule.value("-j")
        # Another chain may let it pass, too.
        if rule.value("-g") or (target and not _GOES_ON.fullmatch(target)):
            return


def _does(rule: Rule, packets: _Packets) -> str:
    """Return what a rule of iptables surely does with packets, or nothing."""
    transport = rule.value("-p") or packets.transport
    kinds = {
        "-i": "iifname",
        "-d": "ip daddr",
        "-p": "ip protocol",
        "--dport": f"{transport} dport",
        "--dports": f"{transport} dport",
    }
    verdict = ""
    for option, *values in rule.options:
        if option in kinds and len(values) == 1:
            if not packets.means(kinds[option], values[0].split(",")):
                return ""
        elif (option, *values) == ("-j", "DROP"):
            verdict = "drop"
        elif (option, *values) == ("-j", "NOTRACK") or option == "--notrack":
            verdict = "notrack"
        elif not (
            option == "--comment"
            or (option, *values) == ("-j", "CT")
            or (option == "-m" and values[0] in ("tcp", "udp", "multiport", "comment"))
        ):
            return ""
    return verdict


def _obstacle(verdict: str, chain: str, rule: str) -> Obstacle:
    """Return what a rule is to a forward."""
    kind = Hindrance.UNTRACKED if verdict == "notrack" else Hindrance.DROPPED_EARLY
    return Obstacle(kind, {"chain": chain, "rule": rule})
