"""The rules that count what arrives at a forward's ports, and the script that has them.

They only count, and stand for a while at two places. Where the kernel sees packets
first, before any can be dropped: what comes to the ports from outside, and of that what
`sources` lets in. And where packets have left all else behind: what the target answers
to those clients by the interface that they came by, and what these say to that. All of
it is by the transport, since one proves nothing for the other.

They stand in a table of nft of their own or, without `nft`, at the top of chains of
iptables, and bear a comment of ours. iptables remembers no client, so it counts who is
answered, and not who of those that came. All of this is text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
import re
from zlib import crc32

from ..forward import Forward, Transport
from ..iptables.rules import ports_text
from ..probe.probe import Probe
from ..rules.base import RouterContext, Tag
from ..ssh.script import HEARTBEAT_LIMIT
from ..ssh.sudo import as_root
from .visitors import home_networks

_TABLE = "ip ha_bypass_watch"
_FIRST = "type filter hook prerouting priority -310; policy accept;"
_LAST = "type filter hook postrouting priority 310; policy accept;"
# More clients than could be told apart in a minute.
_SET = "type ipv4_addr; size 512; flags dynamic;"
# Any other name is left out of the rules; answers that go elsewhere are counted too.
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")

# One function, so that all of it is read before `read` takes a line. `read -t` fails
# with 2 in a shell that does not know it; one without bash then waits for the end.
_SCRIPT = """\
main() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec 2>&1
{clear_first}
look() {{
{look}
}}
clear() {{
{clear}
}}
{set_up}
# Whoever may set the rules, and not look at them, would see no packets for ever.
if [ "$?" != 0 ] || ! look >/dev/null
then clear >/dev/null; echo; echo '{word} failed'; exit
fi
echo; echo '{word} ready'
trap clear EXIT
trap 'exit 0' HUP INT TERM PIPE
limit='-t {limit}'
(read -r -t 1 _ </dev/null) 2>/dev/null
[ "$?" = 2 ] && limit=
while read -r $limit _; do
  look
  echo; echo '{word} seen'
done
}}
main
"""


@dataclass(frozen=True, slots=True)
class _Commands:
    """What is done with the rules, as text of sh."""

    set_up: str = "false"
    look: str = ":"
    clear: str = ":"


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is counted, and where."""

    forward: Forward
    address: IPv4Address
    """The router's."""
    interface: str
    """The LAN's, or nothing."""
    home: tuple[IPv4Network, ...]
    """The networks that no client from outside is of."""

    @property
    def sources(self) -> tuple[IPv4Network, ...]:
        """Who may come in from outside; nothing where everybody may."""
        return tuple(
            source
            for source in self.forward.sources
            if not any(source.subnet_of(network) for network in self.home)
        )


def counting_script(
    forward: Forward, context: RouterContext, probe: Probe, word: str
) -> str:
    """Return the script that counts what comes to a forward at the router's address.

    It says the word before each of its own words: `ready` or `failed`, and `seen` after
    each look.
    """
    tag, tools = Tag(context.owner, forward.id), probe.tools
    known = _INTERFACE.fullmatch(probe.interface)
    counted = _Counted(
        forward,
        context.address.ip,
        probe.interface if known else "",
        home_networks(forward, context.address),
    )
    commands = _Commands()
    # An account that sudo lets listen to nft is not let do more.
    if tools.nft or (tools.listens and not tools.sudo):
        commands = _by_nft(as_root("nft", sudo=tools.sudo), counted, tag)
    elif tools.iptables:
        command = as_root(tools.iptables.command, sudo=tools.sudo)
        commands = _by_iptables(command, counted, tag, sudo=tools.sudo)
    return _SCRIPT.format(
        word=word,
        clear_first=f"{{\n{commands.clear}\n}} >/dev/null 2>&1",
        set_up=commands.set_up,
        look=commands.look,
        clear=commands.clear,
        limit=HEARTBEAT_LIMIT,
    )


def _fed(command: str, lines: list[str]) -> str:
    """Return a command that reads these lines."""
    return "\n".join((f"{command} <<'END'", *lines, "END"))


def _by_nft(nft: str, counted: _Counted, tag: Tag) -> _Commands:
    """Return what is done by nft, whose sets tell who came, and who was answered."""
    table = f"{_TABLE}_{crc32(str(tag).encode()):08x}"
    lines = [
        f"add table {table}",
        *(f"add set {table} {name} {{ {_SET} }}" for name in ("near", "seen")),
        *(f"add set {table} {name} {{ {_SET} }}" for name in ("passed", "answered")),
        f"add chain {table} pre {{ {_FIRST} }}",
        f"add chain {table} post {{ {_LAST} }}",
    ]
    for transport in counted.forward.protocol.transports:
        for chain, rules in (
            ("pre", _nft_arrivals(counted, transport)),
            ("post", _nft_answers(counted, transport)),
        ):
            lines += (f"add rule {table} {chain} {rule}" for rule in rules)
    return _Commands(
        set_up=_fed(f"{nft} -f -", lines),
        look=f"{nft} list table {table}",
        clear=_fed(f"{nft} -f -", [f"delete table {table}"]),
    )


def _nft_arrivals(counted: _Counted, transport: Transport) -> Iterator[str]:
    """Yield the rules for what comes."""
    asks = f"ip daddr {counted.address} {transport} dport {counted.forward.external}"
    home = f"{{ {', '.join(map(str, counted.home))} }}"
    outside, near = f"ip saddr != {home} {asks}", f"ip saddr {home} {asks}"
    opens = ""
    if transport == "tcp":
        opens = " tcp flags & (syn | ack) == syn"
        yield _nft_counter(f"{outside} tcp flags & syn == 0", "tcp-going")
    yield _nft_counter(f"{outside}{opens}", f"{transport}-opened")
    for source in counted.sources or ("0.0.0.0/0",):
        admitted = f"ip saddr {source} {outside}{opens}"
        yield _nft_counter(admitted, f"{transport}-admitted")
    yield f"{outside} add @seen {{ ip saddr }}"
    yield _nft_counter(f"{near}{opens}", f"{transport}-near")
    yield f"{near}{opens} add @near {{ ip saddr }}"


def _nft_answers(counted: _Counted, transport: Transport) -> Iterator[str]:
    """Yield the rules for what is passed on, and what is answered to that."""
    home = f"{{ {', '.join(map(str, counted.home))} }}"
    flow = (
        f"ct status dnat ct original ip daddr {counted.address}"
        f" ct reply ip saddr {counted.forward.target}"
        f" meta l4proto {transport} ct original proto-dst {counted.forward.external}"
    )
    passed = f"ct direction original {flow} ct original ip saddr"
    by = f'oifname "{counted.interface}" ' if counted.interface else ""
    answers = f"ct direction reply {by}{flow} ip daddr @passed"
    yield _nft_counter(f"{passed} != {home}", f"{transport}-passed")
    yield f"{passed} != {home} add @passed {{ ct original ip saddr }}"
    kept = ""
    if transport == "tcp":
        kept = " tcp flags & rst == 0"
        yield _nft_counter(f"{answers} tcp flags & rst == rst", "tcp-refusals")
        yield _nft_counter(f"{passed} @answered tcp flags & syn == 0", "tcp-heard")
    yield _nft_counter(f"{answers}{kept}", f"{transport}-replies")
    yield f"{answers}{kept} add @answered {{ ip daddr }}"


def _nft_counter(match: str, name: str) -> str:
    """Return a rule that counts."""
    return f'{match} counter comment "{name}"'


def _by_iptables(command: str, counted: _Counted, tag: Tag, *, sudo: bool) -> _Commands:
    """Return what is done by iptables, which does not tell who came.

    Arrivals in `raw`, before anything can drop them, if that is there: to use it would
    make it. An account may look at `mangle` alone.
    """
    tables = "mangle" if sudo else "raw mangle"
    table = f"for table in {tables}; do grep -qsx $table /proc/net/ip_tables_names"
    table = f"{table} && break; done"
    arrivals = [
        f"PREROUTING {match}"
        for transport in counted.forward.protocol.transports
        for match in _iptables_arrivals(counted, transport, tag)
    ]
    answers = [
        f"POSTROUTING {match}"
        for transport in counted.forward.protocol.transports
        for match in _iptables_answers(counted, transport, tag)
    ]

    def restore(verb: str) -> str:
        # Each goes in before the others: the last of them is printed first.
        text = " ".join(
            f'"*{at}" '
            + " ".join(f"'{verb} {rule}'" for rule in reversed(rules))
            + " COMMIT"
            for at, rules in (("$table", arrivals), ("mangle", answers))
        )
        restore = f"{command}-restore --noflush --wait 5"
        return f"printf '%s\\n' {text} | {restore}"

    look = f"{command} --wait 5 -t"
    return _Commands(
        set_up=restore("-I"),
        look=f"{look} $table -v -S PREROUTING && {look} mangle -v -S POSTROUTING",
        clear=f"{table}\n{restore('-D')}",
    )


def _iptables_arrivals(
    counted: _Counted, transport: Transport, tag: Tag
) -> Iterator[str]:
    """Yield the rules for what comes, whoever it is from, and what is from home."""
    to = f"-d {counted.address}/32 -p {transport} -m {transport}"
    asks = f"{to} --dport {ports_text(counted.forward.external)}"
    opens = ""
    if transport == "tcp":
        opens = " --tcp-flags SYN,ACK SYN"
        going = f"{asks} --tcp-flags SYN NONE"
        yield from _iptables_counters(counted, going, "-s", f"{tag}.tcp-going")
    opening = f"{asks}{opens}"
    yield from _iptables_counters(counted, opening, "-s", f"{tag}.{transport}-opened")
    admitted = f"{tag}.{transport}-admitted"
    if not counted.sources:
        yield from _iptables_counters(counted, opening, "-s", admitted)
    for source in counted.sources:
        yield f"-s {source} {opening} {_named(admitted)}"
        for network in counted.home:
            if network.subnet_of(source):
                yield f"-s {network} {opening} {_named(f'{admitted}-home')}"


def _iptables_answers(
    counted: _Counted, transport: Transport, tag: Tag
) -> Iterator[str]:
    """Yield the rules for what is answered, and what is said to that."""
    ports = ports_text(counted.forward.external)
    flow = (
        f"--ctstate DNAT --ctorigdst {counted.address}/32"
        f" --ctorigdstport {ports} --ctreplsrc {counted.forward.target}/32"
    )
    by = f"-o {counted.interface} " if counted.interface else ""
    protocol = f"-p {transport} -m {transport}"
    counters = {"passed": ("ORIGINAL", ""), "replies": ("REPLY", "")}
    if transport == "tcp":
        counters["replies"] = ("REPLY", " --tcp-flags RST NONE")
        counters["refusals"] = ("REPLY", " --tcp-flags RST RST")
        counters["heard"] = ("ORIGINAL", " --tcp-flags SYN NONE")
    for name, (direction, kept) in counters.items():
        out = by if direction == "REPLY" else ""
        match = f"{out}{protocol}{kept} -m conntrack {flow} --ctdir {direction}"
        yield from _iptables_counters(
            counted, match, "--ctorigsrc", f"{tag}.{transport}-{name}"
        )


def _iptables_counters(
    counted: _Counted, match: str, client: str, name: str
) -> Iterator[str]:
    """Yield the rules that count all, and what of that is from home."""
    yield f"{match} {_named(name)}"
    for network in counted.home:
        yield f"{match} {client} {network} {_named(f'{name}-home')}"


def _named(name: str) -> str:
    """Return a rule's comment."""
    return f'-m comment --comment "{name}"'
