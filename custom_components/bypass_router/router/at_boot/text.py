"""The text of a file that brings forwards back when a router starts.

It is what a change would do to a router that has nothing of ours, as a script. Each
step adds only what is not there, so that it may be run at any time, and beside that of
another Home Assistant. What translates comes whatever else stands there. What lets
packets pass comes where the table reads as it did when this was written, but for ours,
and else not: it belongs before some rules of others and behind the rest, and no one is
there to look.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import md5
import re
from shlex import quote
from typing import Any, Final

from ..forward import Forward
from ..nftables.elements import TABLE
from ..routing.marks import MarksState
from ..routing.nft_marks import ANSWERS_TABLE
from ..routing.part import RoutingState
from ..rules.base import Part, Phase, PlanStep
from ..rules.ruleset import Ruleset
from ..ssh.script import Result, Script
from ..ssh.sudo import without_sudo
from .clock import FUNCTION, NOT_YET

DAYS: Final = 30
"""For so long, a file holds after Home Assistant was there last."""
# Seconds by which the router's clock may be behind Home Assistant's. One that is not
# set is behind by far more.
_BEHIND: Final = 3600
_END: Final = "BYPASS_ROUTER_END"
_WHOSE: Final = ' comment "bypass_router:'
_OURS: Final = "HA-BYPASS-"
_NAME: Final = re.compile(r"(?:ip|inet) [A-Za-z0-9_-]+")
_NFT_RULE: Final = re.compile(
    r"(?:add|insert) rule (\S+ \S+) (\S+) (?:handle ([0-9]+) )?(.+)"
)
_INSERTION: Final = re.compile(r"-I (\S+) ([0-9]+) (.+)")
_NOT_THERE: Final = {
    "nft.table": Result("Error: No such file or directory", 1),
    "answers.table": Result("Error: No such file or directory", 1),
    "chain": Result("iptables: No chain/target/match by that name.", 1),
    "jump": Result("", 1),
    "cut": Result("", 1),
}
"""What is printed of ours where it is not there, by label, or how that begins."""

_HEAD: Final = """\
PATH=${{PATH:-/usr/bin:/bin}}:/usr/local/sbin:/usr/sbin:/sbin
export PATH LC_ALL=C
# Not twice at a time.
exec 9<"$0"
flock 9 2>/dev/null
# Not before the clock is set, nor long after Home Assistant was here last.
now=$(date +%s)
[ "$now" -ge {since} ] && clock_is_known || exit {not_yet}
[ "$now" -lt {until} ] || exit 0
"""
_FUNCTIONS: Final = """\
# Adds lines to a table of iptables that its chains do not have.
complete() {
  command=$1 table=$2
  shift 2
  {
    for chain; do
      $command --wait 5 -t "$table" -S "$chain" </dev/null 2>/dev/null
    done
    echo =
    cat
  } | awk -v table="$table" '
    $0 == "=" && !wanted { wanted = 1; print "*" table; next }
    # Not all put quotes around a comment.
    !wanted { gsub(/"/, ""); there[$0]; next }
    {
      rule = $0
      if ($1 == "-I") {
        rule = "-A " $2
        for (n = 4; n <= NF; n++) rule = rule " " $n
      }
    }
    !(rule in there)
    END { print "COMMIT" }' | $command-restore --noflush --wait 5
}

# The same where our chain is entered, or the table, or one chain, reads as it did.
admit() {
  if $1 --wait 5 -t "$2" -S </dev/null 2>/dev/null | grep -q -e "-j $3\\$"; then
    sed '/^-I /d'
  else
    seen=$($1 --wait 5 -t "$2" -S $5 </dev/null 2>/dev/null)
    sum=$(printf '%s\\n' "$seen" | grep -v HA-BYPASS- | md5sum)
    if [ "${sum%% *}" = "$4" ]; then cat; fi
  fi | complete "$1" "$2" "$3" $5
}

# Adds rules to chains of a table of nft's, if it reads as it did and has none of them.
admit_nft() {
  seen=$(nft -t -s -a list ruleset </dev/null | sed -n "/^table $1 {/,/^}/p")
  case $seen in *" comment \\"bypass_router:$3:"*) return ;; esac
  sum=$(
    printf '%s\\n' "$seen" |
      sed -e '/ comment "bypass_router:/d' -e 's/ # handle [0-9]*$//' | md5sum
  )
  [ "${sum%% *}" = "$2" ] || return 0
  {
    printf '%s\\n=\\n' "$seen"
    cat
  } | awk -v table="$1" '
    $0 == "=" && !wanted { wanted = 1; next }
    !wanted && / \\{( # handle [0-9]+)?$/ { at = $1 == "chain" ? $2 : ""; n = 0; next }
    !wanted && at != "" && / # handle [0-9]+$/ && !/ comment "bypass_router:/ {
      handle[at " " n++] = $NF
    }
    !wanted { next }
    {
      chain = $1; place = $1 " " $2; last = $2 == "-"
      sub(/^[^ ]+ [^ ]+ /, "")
      if (last) print "add rule " table " " chain " " $0
      else if (place in handle)
        print "insert rule " table " " chain " handle " handle[place] " " $0
    }' | nft -f -
}
"""


def header(now: int) -> list[str]:
    """Return the lines that have a file do nothing at the wrong time.

    `now` is Home Assistant's clock, in Unix time.
    """
    words = {"since": now - _BEHIND, "until": now + DAYS * 86400, "not_yet": NOT_YET}
    return [*FUNCTION.splitlines(), *_HEAD.format(**words).splitlines()]


def body(
    ruleset: Ruleset, sections: Mapping[str, Result], forwards: Collection[Forward]
) -> list[str]:
    """Return the lines that bring forwards back, where the rules read as they do.

    Raises FirewallFailed, NotPrivileged and BadOutput.
    """
    cleaned = {
        label: _without_ours(label, result) for label, result in sections.items()
    }
    steps: list[tuple[PlanStep, Part[Any], Any]] = []
    stale = ruleset.translators[1:]
    for part in ruleset.parts:
        if part in stale:
            continue
        state = part.read(cleaned)
        if isinstance(state, RoutingState):
            state = _without_our_ways(state)
        steps += [(step, part, state) for step in part.steps(forwards, state)]
    # What lets packets pass is there before what translates.
    steps.sort(key=lambda found: found[0].phase)
    lines = _FUNCTIONS.splitlines()
    for step, part, state in steps:
        if step.phase in (Phase.ALLOW, Phase.TRANSLATE):
            lines += _commands(step, part, state, cleaned)
    return lines


def _without_ours(label: str, result: Result) -> Result:
    """Return what a command would print if nothing of ours were there."""
    kind = label.partition(".")[0]
    if absent := _NOT_THERE.get(label) or _NOT_THERE.get(kind):
        return absent
    if label == "nft.ruleset":
        # Chains of ours in it are left out by whoever reads it.
        kept = [line for line in result.output.split("\n") if _WHOSE not in line]
    else:
        kept = [
            line
            for line in result.output.split("\n")
            if _OURS not in line and not line.startswith("#")
        ]
    return Result("\n".join(kept), result.status)


def _without_our_ways(state: RoutingState) -> RoutingState:
    """Return the same of routing."""
    ways = replace(state.ways, rules=frozenset(), routes=frozenset())
    return replace(state, ways=ways, marks=MarksState(), flows=frozenset())


def _commands(
    step: PlanStep, part: Part[Any], state: Any, cleaned: Mapping[str, Result]
) -> Iterator[str]:
    """Yield the lines of one step."""
    command = without_sudo(step.command)
    if command == "nft -f -":
        yield from _by_nft(step.lines, state, cleaned)
    elif "-restore " in command:
        yield from _by_iptables(step, command.partition("-restore ")[0], part, cleaned)
    elif command.startswith("ip "):
        # What is there already is refused.
        yield f"{command} 2>/dev/null"


def _by_nft(
    lines: Iterable[str], state: Any, cleaned: Mapping[str, Result]
) -> Iterator[str]:
    """Yield the lines that add these by nft."""
    admitted: dict[str, list[str]] = {}
    ours: dict[str, list[str]] = {}
    for line in lines:
        table = " ".join(line.split()[2:4])
        if table in (TABLE, ANSWERS_TABLE):
            ours.setdefault(table, []).append(line)
        elif (found := _NFT_RULE.fullmatch(line)) and _NAME.fullmatch(table):
            _, chain, handle, rule = found.groups()
            handles = state.handles[table, chain]
            place = handles.index(int(handle)) if handle else "-"
            admitted.setdefault(table, []).append(f"{chain} {place} {rule}")
    for table, added in ours.items():
        elements = [line for line in added if " element " in line]
        made = [line for line in added if " element " not in line]
        yield "{"
        yield f"nft list table {table} >/dev/null 2>&1 || " + _here("cat", made)
        # What says the same is there already, and anything else is refused.
        yield _here("cat", [re.sub("^create ", "add ", line) for line in elements])
        yield "} | nft -f -"
    for table, rules in admitted.items():
        listing = cleaned["nft.ruleset"].output
        found = re.search(rf"(?ms)^table {table} \{{.*?^\}}", listing)
        seen = re.sub(r"(?m) # handle [0-9]+$", "", found[0] if found else "")
        owner = rules[0].rpartition(_WHOSE)[2].partition(":")[0]
        yield _here(f"admit_nft {quote(table)} {_sum(seen)} {owner}", rules)


def _by_iptables(
    step: PlanStep, command: str, part: Part[Any], cleaned: Mapping[str, Result]
) -> Iterator[str]:
    """Yield the lines that add these by iptables."""
    table, lines = step.lines[0].removeprefix("*"), list(step.lines[1:-1])
    chains = dict.fromkeys(line.split()[1] for line in lines)
    placed = [found for line in lines if (found := _INSERTION.fullmatch(line))]
    if step.phase is Phase.TRANSLATE or not placed:
        yield _here(f"complete {command} {table} {' '.join(chains)}", lines)
        return
    look = f"{command} --wait 5 -t {table} -S"
    script = Script()
    part.add_read(script)
    labels = [
        label
        for label, words in script.commands.items()
        if words.removesuffix("'").endswith(look)
    ]
    if not labels or not (seen := cleaned[labels[0]]).ok:
        # No one has seen where these belong.
        return
    ours = next(name for name in chains if name.startswith(_OURS))
    listing, within = seen.output, ""
    builtin, number, jump = placed[0].groups()
    there = [line for line in seen.lines if line.startswith(f"-A {builtin} ")]
    policy = [line for line in seen.lines if line.startswith(f"-P {builtin} ")]
    if len(placed) == 1 and policy and int(number) == len(there) + 1:
        # Behind all, nothing but the policy decides about what comes by.
        lines[lines.index(placed[0][0])] = f"-A {builtin} {jump}"
        listing, within = "\n".join([*policy, *there]), f" {builtin}"
    yield _here(f"admit {command} {table} {ours} {_sum(listing)}{within}", lines)


def _sum(listing: str) -> str:
    """Return the checksum of what is printed, as the router computes it."""
    content = f"{listing}\n".encode(errors="replace")
    return md5(content, usedforsecurity=False).hexdigest()


def _here(command: str, lines: Iterable[str]) -> str:
    """Return a command that reads these lines, none of which the shell expands."""
    return "\n".join([f"{command} <<'{_END}'", *lines, _END])
