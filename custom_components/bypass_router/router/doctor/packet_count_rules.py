"""The rules that count what arrives at a forward's ports, and the script that has them.

They only count, and stand for a while where the kernel sees packets first, before it
knows connections: what comes to the ports, of that what `sources` lets in, and what the
target answers. They stand in a table of nft of their own or, without `nft`, at the top
of a chain of iptables, and bear a comment of ours. All of this is text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from zlib import crc32

from ..forward import Forward
from ..probe.firewalls import Tools
from ..rules.base import RouterContext, Tag
from ..ssh.script import HEARTBEAT_LIMIT
from ..ssh.sudo import as_root

_TABLE = "ip ha_bypass_watch"
_HOOK = "type filter hook prerouting priority -310; policy accept;"

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


def counting_script(
    forward: Forward, context: RouterContext, tools: Tools, word: str
) -> str:
    """Return the script that counts what comes to a forward at the router's address.

    It says the word before each of its own words: `ready` or `failed`, and `seen` after
    each look.
    """
    tag, address = Tag(context.owner, forward.id), context.address.ip
    commands = _Commands()
    # An account that sudo lets listen to nft is not let do more.
    if tools.nft or (tools.listens and not tools.sudo):
        commands = _by_nft(as_root("nft", sudo=tools.sudo), forward, tag, address)
    elif tools.iptables:
        command = as_root(tools.iptables.command, sudo=tools.sudo)
        commands = _by_iptables(command, forward, tag, address)
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


def _by_nft(nft: str, forward: Forward, tag: Tag, address: IPv4Address) -> _Commands:
    """Return what is done by nft, whose set tells who came."""
    table = f"{_TABLE}_{crc32(str(tag).encode()):08x}"
    lines = [
        f"add table {table}",
        f"add set {table} seen {{ type ipv4_addr; size 64; flags dynamic; }}",
        f"add chain {table} pre {{ {_HOOK} }}",
    ]
    for name, match in _nft_matches(forward, address):
        lines.append(f'add rule {table} pre {match} counter comment "{name}"')
    lines += [
        f"add rule {table} pre {match} add @seen {{ ip saddr }}"
        for name, match in _nft_matches(forward, address)
        if name == "packets"
    ]
    return _Commands(
        set_up=_fed(f"{nft} -f -", lines),
        look=f"{nft} list table {table}",
        clear=_fed(f"{nft} -f -", [f"delete table {table}"]),
    )


def _nft_matches(forward: Forward, address: IPv4Address) -> Iterator[tuple[str, str]]:
    """Yield each counter's name, and what it counts."""
    target = forward.target
    for transport in forward.protocol.transports:
        opens = " tcp flags & (syn | ack) == syn" if transport == "tcp" else ""
        asks = f"ip daddr {address} {transport} dport {forward.external}{opens}"
        tells = f"ip saddr {target} {transport} sport {forward.target_ports}"
        yield "packets", asks
        for source in forward.sources or ("0.0.0.0/0",):
            yield "admitted", f"ip saddr {source} {asks}"
        if transport == "tcp":
            yield "answers", f"{tells} tcp flags & rst == 0"
            yield "refusals", f"{tells} tcp flags & rst == rst"
        else:
            yield "answers", tells


def _by_iptables(
    command: str, forward: Forward, tag: Tag, address: IPv4Address
) -> _Commands:
    """Return what is done by iptables, which does not tell who came.

    In a table that is there anyway, if one is: to use another would make it.
    """
    table = "for table in raw mangle; do grep -qsx $table /proc/net/ip_tables_names"
    table = f"{table} && break; done"
    rules = [
        f'PREROUTING {match} -m comment --comment "{tag}.{name}"'
        for name, match in _iptables_matches(forward, address)
    ]

    def restore(verb: str) -> str:
        lines = (f"{verb} {rule}" for rule in rules)
        text = " ".join(f"'{line}'" for line in lines)
        restore = f"{command}-restore --noflush --wait 5"
        return f"printf '%s\\n' \"*$table\" {text} COMMIT | {restore}"

    return _Commands(
        set_up=restore("-I"),
        look=f"{command} --wait 5 -t $table -v -S PREROUTING",
        clear=f"{table}\n{restore('-D')}",
    )


def _iptables_matches(
    forward: Forward, address: IPv4Address
) -> Iterator[tuple[str, str]]:
    """Yield each counter's name, and what it counts."""
    target = forward.target
    external, ports = (
        str(ports).replace("-", ":")
        for ports in (forward.external, forward.target_ports)
    )
    for transport in forward.protocol.transports:
        opens = " --tcp-flags SYN,ACK SYN" if transport == "tcp" else ""
        asks = (
            f"-d {address}/32 -p {transport} -m {transport} --dport {external}{opens}"
        )
        tells = f"-s {target}/32 -p {transport} -m {transport} --sport {ports}"
        yield "packets", asks
        for source in forward.sources or ("0.0.0.0/0",):
            yield "admitted", f"-s {source} {asks}"
        if transport == "tcp":
            yield "answers", f"{tells} --tcp-flags RST NONE"
            yield "refusals", f"{tells} --tcp-flags RST RST"
        else:
            yield "answers", tells
