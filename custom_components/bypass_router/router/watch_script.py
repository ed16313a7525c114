"""The script that watches a router: its parts, and what watches these.

Its text is fixed but for a random word, numbers, and commands of ours. Each part is a
process of its own:

- `nft` is `nft monitor`, `routes` is `ip monitor`, `connections` is `conntrack -E`;
- `neighbours` is `ip monitor` as well, or a look each minute where that can't be, and a
  shell that lets through only what is news of the devices that forwards follow;
- `looks` is a loop that looks once a second, and tells when it sees something else.

A guard reads the lines that we send. With each one it sees whether all parts live, and
answers; when no more come, it ends them all, so no process stays behind on the router
when the connection dies. A router whose link is cut hears no end; the guard therefore
also ends when `HEARTBEAT_LIMIT` seconds bring no line, where a shell can wait for so
long and no longer: dash can't, but bash, if there is one.

While nothing happens, neither the guard nor `nft monitor` starts a process.
"""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from shlex import quote

from .conntrack import hearing
from .network.whereabouts import Followed
from .ssh.script import HEARTBEAT_LIMIT
from .ssh.sudo import as_root, without_sudo

LISTEN_PAUSE = 0.02
LISTEN_TRIES = 500
"""How often, with that pause, it is seen whether the router's `nft` listens yet."""

LOOKS_BETWEEN = 10
"""After so many looks it is told what is seen, though it is the same."""

LOOK = "look"
"""The line that asks for what the next look sees."""

AGAIN = "again"
"""The line that ends it, since it is to be begun again; and the name of that end."""

NEIGHBOURS_EVERY = 60
"""Seconds between looks at the neighbours where nothing tells of them."""

# `read -t` fails with 2 in a shell that does not know it. sudo before 1.9.13 heeds no
# signal from its own process group, so the guard has another. Where no process can be
# started any more, the shell itself ends, and its trap ends what it has started.
_SCRIPT = """\
main() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec 3<&0
parts= watcher= looker= routes= connections= guard=
trap 'kill $watcher $looker $routes $connections $guard 2>/dev/null' EXIT
{parts}
guard='
trap "" PIPE
word=$1 looker=$2 limit=$3
shift 3
while read -r $limit line; do
  for part; do
    kill -0 "${{part#*=}}" 2>/dev/null || [ -d "/proc/${{part#*=}}" ] || {{
      printf "\\n%s ended %s\\n" "$word" "${{part%=*}}"
      break 2
    }}
  done
  if [ "$line" = {again} ]; then
    printf "\\n%s ended {again}\\n" "$word"
    break
  fi
  [ "$line" = {look} ] && [ "$looker" ] && kill -USR1 "$looker"
  printf "\\n%s there\\n" "$word"
done
for part; do
  kill -{end} "${{part#*=}}"
  kill -CONT "${{part#*=}}"
done'
shell=sh norc= limit='-t {limit}'
(read -r -t 1 _ </dev/null) 2>/dev/null
if [ "$?" = 2 ]; then
  # Under sshd, bash would read a `.bashrc` first.
  if command -v bash >/dev/null; then shell=bash norc=--norc; else limit=; fi
fi
{own}"$shell" $norc -c "$guard" "$shell" {word} "$looker" "$limit" $parts main=$$ \
<&3 2>/dev/null &
guard=$!
exec 3<&-
{ready}
wait "${{watcher:-$looker}}"
printf '\\n%s ended %s\\n' {word} {first}
wait "$guard"
exit
}}
main
"""
_PART = """\
{{
{run}
}} </dev/null 2>&1 3<&- &
{variable}=$! parts="$parts {name}=$!\""""
_OWN_GROUP = "$(command -v setsid) "
# Of busybox's `ip`, nothing can be heard.
_ROUTES = """\
case $(ip -V 2>/dev/null) in *iproute2*)
{part} ;;
esac"""
# Both tell their process, by which it is ended; the shell that has begun them does not
# stay. What is as it is to be is told once, and again after something else was told.
_NEIGHBOURS = """\
exec 4>&1
neighbours=$(
exec 5>&1 >&4 3<&-
sh -c {source} </dev/null 2>/dev/null | sh -c {news} 2>/dev/null &
)
exec 4>&-
for it in $neighbours; do parts="$parts neighbours=$it"; done"""
_TELLS_ITSELF = 'echo "$$" >&5; exec 4>&- 5>&-'
_SOURCE = """\
{begin}
case $(ip -V 2>/dev/null) in *iproute2*) exec ip -4 monitor neigh ;; esac
while ip -4 neigh && sleep {every} >/dev/null; do :; done"""
_NEWS = """\
{begin}
while read -r line; do
  case "$line " in
  Deleted*) continue ;;
{arms}
  *) continue ;;
  esac
  printf '\\n%s met %s\\n' {word} "$line"
done"""
_AS_IT_IS = """\
  "{target} "*" lladdr {mac} "*)
    [ "$odd{number}" != no ] || continue
    odd{number}=no ;;"""
_ODD = """\
  "{target} "*" lladdr "*|*" lladdr {mac} "*) odd{number}=yes ;;"""
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
if [ "$routes" ] && ! hears "$routes" "$routing"
then printf '\\n%s deaf %s\\n' {word} routes
fi
if hears "$watcher" "$rules"
then printf '\\n%s ready\\n' {word}
else printf '\\n%s deaf %s\\n' {word} nft
fi"""
# What it is asked for is what a look sees that begins after that. A `sleep` that fails
# again and again is left to whoever begins the loop anew.
_LOOP = """\
see() {{ printf '%s\\n\\n' "$("$@" </dev/null 2>&1)"; }}
look() {{
{{
{looks}
}}{filtered}
}}
sum=
for tool in md5sum sha256sum; do command -v "$tool" >/dev/null && sum=$tool; done
tell() {{
  printf '\\n%s %s %s\\n' {word} "$1" "$([ -z "$sum" ] || printf %s "$last" | $sum)"
}}
asked= failed=0 left={between}
trap 'asked=1' USR1
last=$(look)
tell sees
printf '\\n%s ready\\n' {word}
while [ "$failed" -lt 5 ]; do
  if sleep 1; then failed=0; else failed=$((failed + 1)); fi
  left=$((left - 1))
  if [ "$asked" ]; then asked= left=0; fi
  now=$(look)
  if [ "$now" != "$last" ]; then last=$now left={between}; tell changed
  elif [ "$left" -lt 1 ]; then left={between}; tell sees
  fi
done"""

# Counters are no rules; only nft prints them with these.
_WITHOUT_COUNTERS = " | sed 's/packets [0-9]* bytes [0-9]*//g'"


def watch_script(
    word: str,
    looks: Sequence[str],
    *,
    sudo: bool,
    by_report: bool,
    routes: bool,
    connections_at: IPv4Address | None,
    followed: Collection[Followed],
    patience: float,
) -> str:
    """Return the script that says the word before each of its own words.

    The looks are commands as the account runs them; without `sudo`, it is root's.
    """
    parts: list[str] = []
    if by_report:
        tries = LISTEN_TRIES + (int(patience / LISTEN_PAUSE) if sudo else 0)
        kernels = {"rules": _RULES, "routing": _ROUTING}
        parts.append(_BEFORE.format(tries=tries, pause=LISTEN_PAUSE, **kernels))
        parts.append(_part("nft", "watcher", as_root("nft monitor", sudo=sudo)))
        if routes:
            part = _part("routes", "routes", "ip -4 monitor rule route link")
            parts.append(_ROUTES.format(part=part))
    if looks:
        commands = looks if sudo else map(without_sudo, looks)
        run = _LOOP.format(
            looks="\n".join(f"see {command}" for command in commands),
            filtered=_WITHOUT_COUNTERS if any("nft" in it for it in looks) else "",
            word=word,
            between=LOOKS_BETWEEN,
        )
        # The loop itself says when it has something to compare with.
        parts.append(_PART.format(run=run, name="looks", variable="looker"))
    if connections_at is not None:
        command = as_root(hearing(connections_at), sudo=sudo)
        parts.append(_part("connections", "connections", command))
    if followed:
        parts.append(_neighbours(word, followed))
    return _SCRIPT.format(
        parts="\n".join(parts),
        ready=_READY.format(word=word) if by_report else ":",
        first="nft" if by_report else "looks",
        word=word,
        limit=HEARTBEAT_LIMIT,
        look=LOOK,
        again=AGAIN,
        own=_OWN_GROUP if sudo else "",
        # sudo passes on what it can take note of.
        end="TERM" if sudo else "KILL",
    )


def _neighbours(word: str, followed: Collection[Followed]) -> str:
    """Return what begins the part that tells of devices that are followed."""
    arms = [
        arm.format(target=it.target, mac=it.mac, number=number)
        for arm in (_AS_IT_IS, _ODD)
        for number, it in enumerate(sorted(followed))
    ]
    return _NEIGHBOURS.format(
        source=quote(_SOURCE.format(begin=_TELLS_ITSELF, every=NEIGHBOURS_EVERY)),
        news=quote(_NEWS.format(begin=_TELLS_ITSELF, arms="\n".join(arms), word=word)),
    )


def _part(name: str, variable: str, command: str) -> str:
    """Return what begins a part that is one command."""
    return _PART.format(run=f"exec {command}", name=name, variable=variable)
