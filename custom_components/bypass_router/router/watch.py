"""How a router tells that its rules may have changed.

A script stays on the router and prints a line when something happens. What it
prints is taken for a hint alone: whoever hears it reads the rules.

- `nft monitor` hears all that `nft` and `iptables-nft` do, and names the program
  that did it. It starts no process while nothing happens.
- Changes by `iptables-legacy` reach nobody. There, a loop compares our chains
  and the kernel's that enter them once a second.

The script ends when its stdin does, so no process stays behind on the router
when the connection dies. A router whose link is cut hears no end; the script
therefore also ends when `HEARTBEAT_LIMIT` seconds bring no line on stdin, where
a shell can wait for so long and no longer: dash can't, but bash, if there is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
import re
import secrets

from .iptables import HOOKS
from .probe import Probe

HEARTBEAT_INTERVAL = 20.0
"""Seconds between the lines that we send."""
HEARTBEAT_LIMIT = 60
"""Seconds after which the router's end gives us up."""

_TRAILER = re.compile(r"# new generation \d+ by process \d+ \((.+)\)")
# A process may call itself anything; this is shown, where links can be made.
_NO_NAME = re.compile(r"[^A-Za-z0-9_.:+/@-]")
# The tables that hold rules of ours, or rules that decide over them.
_RELEVANT = re.compile(r"\btable ip\b|\bip (?:nat|filter|mangle|ha_bypass)\b")

# `read -t` fails with 2 in a shell that does not know it.
_SCRIPT = """\
main() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
subscribers() {{
  grep -cE '^[0-9a-f]+ +12 +[0-9]+ +0*[1-9a-f]' /proc/net/netlink
}}
before=$(subscribers 2>/dev/null)
exec 3<&0
{{
{watch}
}} </dev/null 2>&1 3<&- &
watcher=$!
guard='while read -r -t {limit} _; do :; done; kill "$1"'
shell=sh
(read -r -t 1 _ </dev/null) 2>/dev/null
if [ "$?" = 2 ]; then
  if command -v bash >/dev/null; then shell=bash
  else guard='while read -r _; do :; done; kill "$1"'
  fi
fi
"$shell" -c "$guard" "$shell" "$watcher" <&3 >/dev/null 2>&1 &
guard=$!
exec 3<&-
{ready}
wait "$watcher"
kill "$guard" 2>/dev/null
exit
}}
main
"""
# Nobody is heard before `nft` has joined the kernel's list of listeners.
_NFT_READY = """\
tries=0
while [ "$(subscribers 2>/dev/null)" = "$before" ] && [ "$tries" -lt 100 ] &&
  kill -0 "$watcher" 2>/dev/null
do
  tries=$((tries + 1))
  sleep 0.02 2>/dev/null
done
if kill -0 "$watcher" 2>/dev/null
then printf '\\n%s\\n' '{word} ready'
else printf '\\n%s\\n' '{word} deaf'
fi"""
_LOOP = """\
look() {{
{look}
}}
last=$(look 2>&1 | cksum)
printf '\\n%s\\n' '{word} ready'
while sleep 1; do
  now=$(look 2>&1 | cksum)
  if [ "$now" != "$last" ]; then echo changed; fi
  last=$now
done"""


@dataclass(frozen=True, slots=True)
class Change:
    """The rules may have changed; `cause` is the program that did it, if known."""

    cause: str | None = None


def hears_programs(probe: Probe) -> bool:
    """Tell whether this router names the programs that change its rules."""
    return probe.nft and probe.iptables.variant == "nf_tables"


class Watch:
    """A watching script, and what its lines mean."""

    def __init__(self, probe: Probe, *, by_report: bool) -> None:
        """Choose how to watch: by what the router reports, or by looking."""
        sudo = "sudo -n " if probe.sudo else ""
        self._uses_nft = by_report
        self.deaf = False
        """Whether the router does not report to us after all."""
        self._word = f"bypass-router-{secrets.token_hex(8)}"
        self._ready = False
        self._relevant = False
        if self._uses_nft:
            watch, ready = f"exec {sudo}nft monitor", _NFT_READY
        else:
            # The loop itself says when it has something to compare with.
            watch, ready = _LOOP, ":"
        words = {"word": self._word, "look": _look(sudo), "limit": HEARTBEAT_LIMIT}
        self.text = _SCRIPT.format(
            watch=watch.format(**words), ready=ready.format(**words), **words
        )

    def heard(self, line: str) -> Iterator[Change]:
        """Return the changes that a line tells of.

        The first one says that from now on nothing is missed: the rules are to
        be read now, and whenever another comes.
        """
        if line == f"{self._word} ready":
            self._ready = True
            yield Change()
        elif self._uses_nft and line == f"{self._word} deaf":
            self.deaf = True
        elif not self._ready:
            # The login profile's, or a change before we looked for the first time.
            return
        elif trailer := _TRAILER.fullmatch(line):
            if self._relevant:
                yield Change(_NO_NAME.sub("?", trailer[1])[:40])
            self._relevant = False
        elif self._uses_nft and not line.startswith("#"):
            self._relevant = self._relevant or bool(_RELEVANT.search(line))
        elif line == "changed":
            yield Change()


def _look(sudo: str) -> str:
    """Return the commands whose output changes when our rules do."""
    return "\n".join(
        f"{sudo}iptables --wait 5 -t {hook.table} -S {chain}"
        for hook in HOOKS
        for chain in (hook.builtin, hook.chain)
    )
