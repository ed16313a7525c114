"""How a router tells that its rules may have changed.

A script stays on the router and prints a line when something happens. What it
prints is taken for a hint alone: whoever hears it reads the rules.

- `nft monitor` hears all that `nft` and `iptables-nft` do, and names the program
  that did it. It starts no process while nothing happens.
- Changes by `iptables-legacy` reach no one. There, a loop compares our chains
  and the kernel's that enter them once a second, beside `nft monitor` or alone.
- `ip monitor` hears of rules of routing, beside `nft monitor`.
- `conntrack -E` hears of each connection that was translated.

The script ends when its stdin does, so no process stays behind on the router
when the connection dies. A router whose link is cut hears no end; the script
therefore also ends when `HEARTBEAT_LIMIT` seconds bring no line on stdin, where
a shell can wait for so long and no longer: dash can't, but bash, if there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
import re
import secrets

from .conntrack import hearing
from .forward import Transport
from .ssh.shell import HEARTBEAT_LIMIT
from .ssh.sudo import as_root

LISTEN_PAUSE = 0.02
LISTEN_TRIES = 500
"""How often, with that pause, it is seen whether the router's `nft` listens yet."""

_TRAILER = re.compile(r"# new generation \d+ by process \d+ \((.+)\)")
# Of `ip monitor`; no line of nft's begins so.
_ROUTE_RULE = re.compile(r"(?:Deleted )?[0-9]+:\s+(?:not )?from ")
_CONNECTION = re.compile(r"\s*\[NEW\]\s+(tcp|udp)\s.*? dport=([0-9]{1,5})\s")
# Of `nft monitor` and `ip monitor`: more happened than the kernel keeps for them.
_OVERRUN = re.compile(r"# ERROR: |netlink receive error ")
# A process may call itself anything; this is shown, where links can be made.
_NO_NAME = re.compile(r"[^A-Za-z0-9_.:+/@-]")
# Chains and rules may hold ours, or decide over them; elements are ours in one table.
_RELEVANT = re.compile(
    r"table ip |(?:chain|rule) (?:ip|inet) |(?:element|set|map) ip ha_bypass "
)

# `read -t` fails with 2 in a shell that does not know it.
_SCRIPT = """\
main() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec 3<&0
{watchers}
guard='while read -r -t {limit} _; do :; done; kill "$@"'
shell=sh norc=
(read -r -t 1 _ </dev/null) 2>/dev/null
if [ "$?" = 2 ]; then
  # Under sshd, bash would read a `.bashrc` first.
  if command -v bash >/dev/null; then shell=bash norc=--norc
  else guard='while read -r _; do :; done; kill "$@"'
  fi
fi
watchers="$watcher $looker $routes $connections"
"$shell" $norc -c "$guard" "$shell" $watchers <&3 >/dev/null 2>&1 &
guard=$!
exec 3<&-
{ready}
wait ${{watcher:-$looker}}
kill "$guard" $looker $routes $connections 2>/dev/null
exit
}}
main
"""
_WATCHER = """\
{{
{watch}
}} </dev/null 2>&1 3<&- &
{name}=$!"""
# Lines of /proc/net/netlink: who listens to the rules, and to rules of routing. Each
# group has a bit of its own, and `conntrack` listens to others.
_RULES = "12 +[0-9]+ +[0-9a-f]*[4-7c-f][0-9a-f]"
_ROUTING = "0 +[0-9]+ +[0-9a-f]*[89a-f][0-9a-f]"
# A process `hears` once the kernel lists someone who did not listen before. To count
# them is not enough: one of an earlier connection may just be ending. Nor may an
# account send a signal to what its sudo has made root's.
_BEFORE = """\
lives() {{ kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ]; }}
listeners() {{
  sed -nE 's/^[0-9a-f]+ +('"$1"') .* ([0-9]+) *$/\\2/p' /proc/net/netlink 2>/dev/null |
    tr '\\n' ' '
}}
hears() {{
  tries=0
  while lives "$1" && [ "$tries" -lt {tries} ]; do
    for listener in $(listeners "$2"); do
      case " $before " in *" $listener "*) ;; *) return ;; esac
    done
    if sleep {pause} 2>/dev/null; then tries=$((tries + 1))
    else sleep 1; tries=$((tries + 50))
    fi
  done
  return 1
}}
rules='{rules}'
routing='{routing}'
before=$(listeners "$rules"; listeners "$routing")
"""
_READY = """\
hears "$routes" "$routing"
if hears "$watcher" "$rules"
then printf '\\n%s\\n' '{word} ready'
else printf '\\n%s\\n' '{word} deaf'
fi"""
_LOOP = """\
look() {{
{look}
}}
last=$(look 2>&1)
printf '\\n%s\\n' '{word} ready'
while sleep 1; do
  now=$(look 2>&1)
  if [ "$now" != "$last" ]; then echo changed; fi
  last=$now
done"""


@dataclass(frozen=True, slots=True)
class Change:
    """The rules may have changed; `cause` is the program that did it, if known."""

    cause: str | None = None


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection to the router was translated: perhaps by a forward."""

    transport: Transport
    port: int
    """The external one."""


class Monitor:
    """A watching script, and what its lines mean."""

    def __init__(
        self,
        looks: Sequence[str],
        *,
        sudo: bool,
        by_report: bool,
        patience: float = 0,
        connections_at: IPv4Address | None = None,
    ) -> None:
        """Choose how to watch: by what the router reports, by looking, or both.

        `looks` are commands whose output changes when rules do that are not reported.
        With `connections_at`, the router's address, `conntrack` tells of connections.
        `patience` is how many seconds `sudo` may take before it runs a command.
        """
        self._uses_nft = by_report
        self.unavailable = False
        """Whether the router does not report to us after all."""
        self._word = f"bypass-router-{secrets.token_hex(8)}"
        self._awaited = 0
        self._listed = self._relevant = False
        words = {"word": self._word, "limit": HEARTBEAT_LIMIT}
        watchers, ready = ["watcher= looker= routes= connections="], ":"
        if by_report:
            kernels = {"rules": _RULES, "routing": _ROUTING}
            tries = LISTEN_TRIES + (int(patience / LISTEN_PAUSE) if sudo else 0)
            watchers.append(_BEFORE.format(tries=tries, pause=LISTEN_PAUSE, **kernels))
            watch = f"exec {as_root('nft monitor', sudo=sudo)}"
            watchers.append(_WATCHER.format(watch=watch, name="watcher"))
            # busybox's has no such word, and ends.
            watch = "exec ip -4 monitor rule"
            watchers.append(_WATCHER.format(watch=watch, name="routes"))
            ready = _READY.format(**words)
            self._awaited += 1
        if looks:
            # The loop itself says when it has something to compare with.
            watch = _LOOP.format(look="\n".join(looks), **words)
            watchers.append(_WATCHER.format(watch=watch, name="looker"))
            self._awaited += 1
        if connections_at is not None:
            watch = f"exec {as_root(hearing(connections_at), sudo=sudo)}"
            watchers.append(_WATCHER.format(watch=watch, name="connections"))
        self.text = _SCRIPT.format(watchers="\n".join(watchers), ready=ready, **words)

    def heard(self, line: str) -> Iterator[Change | NewConnection]:
        """Return what a line tells of.

        The first one says that from now on nothing is missed: the rules are to
        be read now, and whenever another comes.
        """
        if line == f"{self._word} ready":
            self._awaited -= 1
            if not self._awaited:
                yield Change()
        elif self._uses_nft and line == f"{self._word} deaf":
            self.unavailable = True
        elif self._awaited:
            # The login profile's, or a change before we looked for the first time.
            return
        elif trailer := _TRAILER.fullmatch(line):
            # One that came alone: nft could not print what changed.
            if self._relevant or not self._listed:
                yield Change(_NO_NAME.sub("?", trailer[1])[:40])
            self._relevant = self._listed = False
        elif connection := _CONNECTION.match(line):
            port = int(connection[2])
            yield NewConnection("tcp" if connection[1] == "tcp" else "udp", port)
        elif line == "changed" or _ROUTE_RULE.match(line) or _OVERRUN.match(line):
            yield Change()
        elif not line.startswith("#"):
            self._listed = True
            self._relevant = self._relevant or bool(_RELEVANT.search(line))
