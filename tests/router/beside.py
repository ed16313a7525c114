"""What becomes of a forward's packets beside rules of others: by hand, and by ours.

By hand means by DNAT and SNAT alone, so that others' rules decide.
"""

# As in the lab: Home Assistant's plugin forbids the class that is made of it.
import _socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
import re
import subprocess
from typing import Final

from custom_components.bypass_router.router.forward import Forward
from tests.lab.disk import REAL_COMMANDS
from tests.lab.exchange import Outcome, Transport
from tests.lab.network import Lab
from tests.lab.waiting import soon, wait_until

from .situations import BANNED, CLIENT, TARGET, Situation


def _forward(name: str, external: int, protocol: str = "both") -> Forward:
    """Return a forward to the lab's target."""
    return Forward.parse(
        name,
        protocol=protocol,
        external_port=str(external),
        target=TARGET,
        target_port=str(external - 8000),
        keep_client_address=name == "02KEPT",
    )


PLAIN: Final = _forward("01PLAIN", 8443)
KEPT: Final = _forward("02KEPT", 8447)
MEASURED: Final = _forward("03MSS", 8449, "tcp")
"""Its target has a socket that tells its MSS."""
FORWARDS: Final = (PLAIN, KEPT, MEASURED)

_TRANSPORTS: Final[tuple[Transport, ...]] = ("tcp", "udp")
_CLIENTS: Final = ("C", "B", "L")
_LINES: Final = (b"hello", b"more than one packet " * 200)
PATIENCE: Final = 4.0
"""Seconds for an answer that is expected to come; it takes two milliseconds."""
HASTE: Final = 0.06
"""Seconds for an answer that is not expected to come, at the first look."""

_BY_HAND: Final = """
table ip by_hand {
    chain pre {
        type nat hook prerouting priority dstnat;
        ip daddr R meta l4proto { tcp, udp } th dport 8443 dnat to T:443
        ip daddr R meta l4proto { tcp, udp } th dport 8447 dnat to T:447
        ip daddr R tcp dport 8449 dnat to T:449
    }
    chain post {
        type nat hook postrouting priority 95;
        ip saddr != 192.168.50.0/24 ip daddr T meta l4proto { tcp, udp } \
            th dport 447 accept
        ct status dnat ct original ip daddr R snat to R
    }
}
"""


@dataclass(frozen=True)
class Seen:
    """What clients got, and what others' rules did with their packets."""

    got: Mapping[str, str]
    """By who asked for what: how far it came, and whom the target saw."""
    counted: Mapping[str, int]
    """By name. Of datagrams the number, of others whether there were any."""
    remembered: tuple[str, ...] = ()
    """The elements of a set that rules fill."""
    mss: int | None = None
    """That of the target's side of a connection."""


def prepare(lab: Lab) -> None:
    """Give the banned client its address, and let the target answer."""
    lab.internet.ip(f"address add {BANNED}/24 dev wan")
    # Or only the first of those who are refused at once would be told.
    lab.bypass.sysctl("net.ipv4.icmp_ratelimit", "0")
    for protocol, forward in product(_TRANSPORTS, (PLAIN, KEPT)):
        lab.target.serve(protocol, str(forward.target_ports))


def by_hand(lab: Lab, *, on: bool) -> None:
    """Translate by hand, or no more."""
    text = re.sub(r"\bR\b", lab.bypass.address, re.sub(r"\bT\b", TARGET, _BY_HAND))
    lab.bypass.run("nft", "-f", "-", input=text if on else "delete table ip by_hand\n")


@contextmanager
def loaded(lab: Lab, situation: Situation) -> Iterator[bool]:
    """Have its rules loaded; False where this kernel can't, and need not."""
    if situation.owned:
        with _owned(lab, situation):
            yield True
        return
    tool = ("nft", "-f", "-") if situation.native else ("iptables-restore",)
    check = not situation.optional
    done = lab.bypass.run(*tool, input=situation.rules, check=check)
    yield not done.returncode
    if not situation.native:
        lab.bypass.run(*tool, input=_EMPTY)
    elif not done.returncode:
        for table in _tables(situation):
            lab.bypass.run("nft", "delete", "table", *table.split())


_EMPTY = "".join(
    f"*{table}\n:FORWARD ACCEPT [0:0]\nCOMMIT\n" for table in ("mangle", "filter")
)


@contextmanager
def _owned(lab: Lab, situation: Situation) -> Iterator[None]:
    """Let a program own the table; it is gone when the program ends."""
    program = lab.bypass.spawn("nft", "-i", stdin=subprocess.PIPE)
    assert program.stdin is not None
    print(situation.rules.replace("\n", "; "), file=program.stdin, flush=True)

    def there() -> bool:
        listed = lab.bypass.run("nft", "list", "tables").stdout
        return all(f"table {it}\n" in listed for it in _tables(situation))

    try:
        wait_until(there)
        yield
    finally:
        program.stdin.close()
        wait_until(lambda: not there())
        lab.bypass.stop(program)


def _tables(situation: Situation) -> list[str]:
    """Return the names of its tables of nft."""
    return re.findall(r"^table (\w+ \S+)", situation.rules, re.MULTILINE)


def measured(
    lab: Lab, situation: Situation, *, ours: bool, unexpected: float = HASTE
) -> Seen:
    """Let all clients ask at once, and say what came of it.

    Those who are not expected to get an answer wait for it so many seconds.
    """

    def patience(client: str, transport: str) -> float:
        passes = situation.passes(client, transport, ours=ours)
        return PATIENCE if passes else unexpected

    before = _counters(lab, situation)
    asked = [
        (client, transport, forward)
        for client, transport, forward in product(_CLIENTS, _TRANSPORTS, (PLAIN, KEPT))
    ]

    def ask(one: tuple[str, Transport, Forward]) -> str:
        client, transport, forward = one
        return _asked(lab, client, transport, forward, patience(client, transport))

    with ThreadPoolExecutor(len(asked) + 1) as threads:
        mss = None
        if situation.clamped:
            mss = threads.submit(_mss, lab, patience("C", "tcp"))
        got = dict(zip(map(_named, asked), threads.map(ask, asked), strict=True))
    counted = {
        name: number - before[name]
        if name.startswith("udp_")
        else int(number > before[name])
        for name, number in _counters(lab, situation).items()
    }
    return Seen(
        got, counted, _remembered(lab, situation), mss.result() if mss else None
    )


_ALL_RULES: Final = f"""
cd {REAL_COMMANDS}
sbin/nft --stateless list ruleset
bin/ip rule
for kind in nft legacy; do
    sbin/iptables-$kind-save | sed 's/ \\[.*//; /^# Generated/d; /^# Completed/d'
done
"""


def all_rules(lab: Lab) -> list[str]:
    """Return all rules of the router, without what the kernel counts and remembers."""
    listed = lab.bypass.run("sh", "-c", _ALL_RULES).stdout
    return _FILLED_BY_RULES.sub(r"\1", listed).splitlines()


_FILLED_BY_RULES = re.compile(
    r"(\n\t\tflags [^\n]*\bdynamic\b[^}]*?)\n\t\telements = \{[^}]*\}"
)
"""Elements of a set to which packets add, and which the kernel drops in its time."""


def expected(situation: Situation) -> dict[str, bool]:
    """Return who is to get through ours, by name."""
    return {
        _named(one): situation.passes(one[0], one[1], ours=True)
        for one in product(_CLIENTS, _TRANSPORTS, (PLAIN, KEPT))
    }


def passed(got: str) -> bool:
    """Return whether this client got what it asked for."""
    return got.startswith(Outcome.PASSED)


def _named(one: tuple[str, str, Forward]) -> str:
    """Return what an exchange is called."""
    client, transport, forward = one
    return f"{client} {transport} {'kept' if forward is KEPT else 'plain'}"


def _asked(
    lab: Lab, client: str, transport: Transport, forward: Forward, patience: float
) -> str:
    """Exchange payload, and say how far it came."""
    source = {"C": CLIENT, "B": BANNED}.get(client, "")
    lan = client == "L"
    result = (lab.other if lan else lab.internet).exchange(
        transport,
        lab.bypass.address if lan else lab.main.wan_address,
        forward.external.first,
        lines=_LINES[: 1 + (transport == "tcp")],
        timeout=patience,
        source=source,
    )
    return f"{result.outcome}, seen as {result.peer_seen}"


def large(lab: Lab) -> set[str]:
    """Return what becomes of answers that are larger than some link on their way."""

    def ask(forward: Forward) -> str:
        # Too large for that link, which no one knows before the first of them comes.
        return lab.internet.exchange(
            "tcp",
            lab.main.wan_address,
            forward.external.first,
            lines=(b"large" * 4000,),
            timeout=PATIENCE,
        ).outcome.value

    with ThreadPoolExecutor(2) as threads:
        return set(threads.map(ask, (PLAIN, KEPT)))


def use_up(lab: Lab) -> None:
    """Let a client take what there is to be had, over each transport."""
    for transport in _TRANSPORTS:
        lab.internet.exchange(
            transport,
            lab.main.wan_address,
            PLAIN.external.first,
            lines=_LINES[:1],
            timeout=HASTE,
        )


def _mss(lab: Lab, patience: float) -> int | None:
    """Return the MSS of the target's side of a new connection; None for none."""
    with lab.target.enter():
        server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        server.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        server.bind(("", MEASURED.target_ports.first))
        server.listen()
    with lab.internet.enter():
        client = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        client.settimeout(soon(patience))
        client.connect((lab.main.wan_address, MEASURED.external.first))
        # The class underneath has no other way to accept.
        descriptor, _ = server._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        accepted = _socket.socket(fileno=descriptor)
        found = accepted.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_MAXSEG)
        accepted.close()
    except OSError:
        return None
    else:
        return found
    finally:
        client.close()
        server.close()


_NAMED = re.compile(r"counter (\w+) \{[^}]*?packets (\d+)")
_COMMENTED = re.compile(r"--comment \"?(\w+)\"?.* -c (\d+) ")


def _counters(lab: Lab, situation: Situation) -> dict[str, int]:
    """Return how many packets its named counters have seen."""
    found = []
    if " name " in situation.rules:
        found = _NAMED.findall(lab.bypass.run("nft", "list", "counters").stdout)
    elif "--comment" in situation.rules:
        listed = lab.bypass.run("iptables", "-v", "-S", "FORWARD").stdout
        found = _COMMENTED.findall(listed)
    return {name: int(number) for name, number in found}


def _remembered(lab: Lab, situation: Situation) -> tuple[str, ...]:
    """Return the elements of its set, and empty it."""
    if "set seen" not in situation.rules:
        return ()
    at = ("set", "inet", "theirs", "seen")
    listed = lab.bypass.run("nft", "list", *at).stdout
    lab.bypass.run("nft", "flush", *at)
    return tuple(sorted(re.findall(r"(\d+\.\d+\.\d+\.\d+)", listed)))
