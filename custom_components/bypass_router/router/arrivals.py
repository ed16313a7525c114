"""Watching what arrives at a forward's ports while somebody tries from outside.

"Never arrived" is to be proved by packets. So rules that only count stand for a while
where the kernel sees packets first, before it knows connections: what comes to the
ports, of that what `sources` lets in, and what the target answers. They stand in a
table of nft of their own or, without `nft`, at the top of a chain of iptables, and
bear a comment of ours.

A script on the router sets them, prints the counts for each line that it gets, and
takes them away when its stdin ends or when nothing has come for a minute, where its
shell can wait for so long and no longer. Whatever is left by a router's crash is gone
with its kernel's rules, or is taken away by the next watch of the same forward.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
import re
import secrets
from zlib import crc32

from .errors import TimedOut
from .firewall import Tag
from .forward import Forward
from .router import Router
from .watch import HEARTBEAT_LIMIT

_LOOK_INTERVAL = 1.0
# Seconds that a slow router may take beyond those that were asked for.
_PATIENCE = 15
_MOST_LINES = 10_000
_TABLE = "ip ha_bypass_watch"
_HOOK = "type filter hook prerouting priority -310; policy accept;"
_COUNTER = re.compile(r"counter packets ([0-9]{1,20}) .*comment \"([a-z]+)\"")
_COUNTED = re.compile(
    r"--comment \"?bypass_router:[0-9A-Za-z:]+\.([a-z]+)\"?.* -c ([0-9]{1,20}) "
)
_SOURCE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})")

# One function, so that all of it is read before `read` takes a line. `read -t` fails
# with 2 in a shell that does not know it; one without bash then waits for the end.
_SCRIPT = """\
main() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec 2>&1
{clear_first}
{set_up}
if [ "$?" != 0 ]; then echo; echo '{word} failed'; exit; fi
echo; echo '{word} ready'
look() {{
{look}
}}
clear() {{
{clear}
}}
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
class Arrivals:
    """What was seen so far."""

    counting: bool = False
    """Whether packets were counted at all."""
    packets: int = 0
    """Requests to the forward's ports, from whomever."""
    admitted: int = 0
    """Of these, what `sources` lets in."""
    answers: int = 0
    """What came back from the target's service."""
    refusals: int = 0
    """Of TCP: what the target refused."""
    source: str | None = None
    """A client's address, where it is known."""


async def watch_arrivals(
    router: Router,
    forward: Forward,
    seconds: int,
    on_progress: Callable[[int, int], None],
) -> Arrivals:
    """Count for so many seconds, or until somebody was answered. Raises RouterError.

    `on_progress` gets the seconds that are left, and the packets that came.
    """
    word = f"bypass-router-{secrets.token_hex(8)}"
    found = Arrivals()
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    left = seconds
    stream = router.stream(_script(router, forward, word), _LOOK_INTERVAL)
    try:
        async with asyncio.timeout(seconds + _PATIENCE), aclosing(stream) as heard:
            async for line in heard:
                if line == f"{word} failed":
                    break
                if line == f"{word} ready":
                    found = Arrivals(counting=True)
                    lines.clear()
                elif line == f"{word} seen":
                    found = _read(lines)
                    lines.clear()
                    left -= 1
                    on_progress(left, found.packets)
                    if found.answers or not left:
                        break
                else:
                    lines.append(line)
    except TimeoutError:
        raise TimedOut(seconds=f"{seconds + _PATIENCE}") from None
    return found


def _script(router: Router, forward: Forward, word: str) -> str:
    """Return the script that counts."""
    tag = Tag(router.site.owner, forward.id)
    tools = router.probe.tools
    root = "sudo -n " if tools.sudo else ""
    if tools.nft or tools.listens:
        clear, set_up, look = _by_nft(f"{root}nft", router, forward, tag)
    elif tools.iptables:
        command = f"{root}{tools.iptables.command}"
        clear, set_up, look = _by_iptables(command, router, forward, tag)
    else:
        clear, set_up, look = ":", "false", ":"
    return _SCRIPT.format(
        word=word,
        clear_first=f"{{\n{clear}\n}} >/dev/null 2>&1",
        set_up=set_up,
        look=look,
        clear=clear,
        limit=HEARTBEAT_LIMIT,
    )


def _fed(command: str, lines: list[str]) -> str:
    """Return a command that reads these lines."""
    return "\n".join((f"{command} <<'END'", *lines, "END"))


def _by_nft(
    nft: str, router: Router, forward: Forward, tag: Tag
) -> tuple[str, str, str]:
    """Return how to take away, set and look at the rules of nft."""
    table = f"{_TABLE}_{crc32(str(tag).encode()):08x}"
    lines = [
        f"add table {table}",
        f"add set {table} seen {{ type ipv4_addr; size 64; flags dynamic; }}",
        f"add chain {table} pre {{ {_HOOK} }}",
    ]
    for name, match in _nft_matches(forward, router):
        lines.append(f'add rule {table} pre {match} counter comment "{name}"')
    lines += [
        f"add rule {table} pre {match} add @seen {{ ip saddr }}"
        for name, match in _nft_matches(forward, router)
        if name == "packets"
    ]
    return (
        _fed(f"{nft} -f -", [f"delete table {table}"]),
        _fed(f"{nft} -f -", lines),
        f"{nft} list table {table}",
    )


def _nft_matches(forward: Forward, router: Router) -> Iterator[tuple[str, str]]:
    """Yield each counter's name, and what it counts."""
    address, target = router.site.address.ip, forward.target
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
    command: str, router: Router, forward: Forward, tag: Tag
) -> tuple[str, str, str]:
    """Return how to take away, set and look at the rules of iptables.

    In a table that is there anyway, if one is: to use another would make it.
    """
    table = "for table in raw mangle; do grep -qsx $table /proc/net/ip_tables_names"
    table = f"{table} && break; done"
    rules = [
        f'PREROUTING {match} -m comment --comment "{tag}.{name}"'
        for name, match in _iptables_matches(forward, router)
    ]

    def restore(verb: str) -> str:
        lines = (f"{verb} {rule}" for rule in rules)
        text = " ".join(f"'{line}'" for line in lines)
        restore = f"{command}-restore --noflush --wait 5"
        return f"printf '%s\\n' \"*$table\" {text} COMMIT | {restore}"

    return (
        f"{table}\n{restore('-D')}",
        restore("-I"),
        f"{command} --wait 5 -t $table -v -S PREROUTING",
    )


def _iptables_matches(forward: Forward, router: Router) -> Iterator[tuple[str, str]]:
    """Yield each counter's name, and what it counts."""
    address, target = router.site.address.ip, forward.target
    external, ports = (
        str(it).replace("-", ":") for it in (forward.external, forward.target_ports)
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


def _read(lines: Iterable[str]) -> Arrivals:
    """Return what a look has printed."""
    counts: dict[str, int] = {}
    source = None
    elements = False
    for line in lines:
        if found := _COUNTER.search(line):
            name, number = found[2], int(found[1])
        elif found := _COUNTED.search(line):
            name, number = found[1], int(found[2])
        else:
            elements = elements or "elements = {" in line
            if elements and (address := _SOURCE.search(line)):
                source = source or address[1]
            elements = elements and "}" not in line
            continue
        counts[name] = counts.get(name, 0) + number
    return Arrivals(
        counting=True,
        packets=counts.get("packets", 0),
        admitted=counts.get("admitted", 0),
        answers=counts.get("answers", 0),
        refusals=counts.get("refusals", 0),
        source=source,
    )
