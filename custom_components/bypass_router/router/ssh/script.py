"""Shell scripts for the router, and the reading of what they print.

A script is fixed text; what varies goes in through `quote` or as the lines of
a here-document. It reaches the router on the stdin of `sh -s`, wrapped in one
function: the shell has read all of it before it runs the first command, so a
connection that breaks in the middle runs nothing, and no command can eat the
rest of the script. Each command's output stands in a section between marks
that carry a random word, so neither a chatty login profile nor the router's
own text can be taken for an answer.

A job that the profile has left behind may print at any moment. So the shell keeps
the whole answer, and prints it with its length: one that something got into is asked
for again, and nothing is run twice.

Everything here is POSIX sh, for busybox `ash` as well.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
import re
import secrets
from typing import Final, Self

from ..errors import BadOutput, printable

# The shell's own status.
_NOT_FOUND = 127
_MARK = re.compile(r"[a-z]+(?:[:.-][A-Za-z0-9]+)*")

_HEAD = """\
main() {{
run() {{
  printf '\\n{word} begin %s\\n' "$1"; shift
  status=0; "$@" </dev/null 2>&1 || status=$?
  printf '\\n{word} end %s\\n' "$status"
}}
"""
# Commands of the system stand in sbin, which an ordinary account's PATH lacks. In the
# locale `C`, a shell counts bytes.
# Each mark is a `printf` of its own, and so reaches us in one piece. What prints
# without end is given up before it takes the router's memory; or its time, where it
# prints zeros, which no variable holds. The commands themselves have no such limit.
_FOOT = """\
}}
answer() {{
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
printf '\\n{word} begun\\n'
limit() {{ ulimit -S "$1" "$2"; }} 2>/dev/null
limit -d {memory}; limit -t {time}
answer=$(
  for it in -d -t; do limit $it unlimited || limit $it "$(ulimit -H $it)"; done
  main
)
while :; do
  printf '\\n{word} answer\\n'
  printf '%s' "$answer" 2>/dev/null || cat <<{word}
$answer
{word}
  printf '\\n{word} done %s\\n' "${{#answer}}"
  if (read -r -t 1 _ </dev/null) 2>/dev/null; [ "$?" != 2 ]
  then read -r -t {wait} again
  elif command -v bash >/dev/null
  then again=$(bash --norc -c 'read -r -t {wait} again; echo "$again"')
  else read -r again
  fi
  [ "$again" = {again} ] || break
done
[ "$again" = {whole} ]
}}
answer
"""
HEARTBEAT_LIMIT = 60
"""Seconds after which the router's end gives us up.

For so long, a shell waits to hear whether its answer has come whole, and where the link
is cut, it hears nothing. `read -t` fails with 2 in a shell that does not know it, such
as dash.
"""
AGAIN: Final = "again\n"
"""What has a shell print its answer once more, if it is sent that."""
WHOLE: Final = "whole\n"
"""What has the script succeed, which does not where the link is cut."""
# Kilobytes, for an answer of a few megabytes that is copied while it is printed.
MEMORY = 128 * 1024
# Seconds of the processor. A slow router's takes one for a megabyte.
TIME = 5
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Result:
    """What one command printed, stdout and stderr together, and its status."""

    output: str
    status: int

    @property
    def ok(self) -> bool:
        """Return whether the command succeeded."""
        return self.status == 0

    @property
    def not_found(self) -> bool:
        """Return whether the router has no such command, or none for this account."""
        return self.status == _NOT_FOUND

    @property
    def lines(self) -> list[str]:
        """The lines of the output, without the empty ones."""
        return [line for line in self.output.split("\n") if line.strip()]

    @property
    def message(self) -> str:
        """The output as one line for the user."""
        return printable(self.output) or f"exit status {self.status}"


class Garbled(Exception):
    """Something else was printed amid the answer."""


class Script:
    """A script in the making: each command has a label, its section's name."""

    def __init__(self) -> None:
        """Start an empty script, with a word that no one can guess."""
        self._word = f"bypass-router-{secrets.token_hex(8)}"
        self._body: list[str] = []
        # Each label; and the one that it waits for, and whether for its success.
        self._labels: dict[str, tuple[str, bool] | None] = {}
        self._commands: dict[str, str] = {}

    def run(self, label: str, command: str) -> Self:
        """Add a command: shell words, the varying ones quoted by the caller."""
        self._body.append(f"run {self._checked(label)} {command}")
        self._labels[label] = None
        self._commands[label] = command
        return self

    def otherwise(self, label: str, command: str, *more: tuple[str, str]) -> Self:
        """Add a command, or several, that run only if the one before them failed."""
        commands = ((label, command), *more)
        before = self._last
        runs = "; ".join(f"run {self._checked(one)} {text}" for one, text in commands)
        self._body[-1] += f'\n[ "$status" = 0 ] || {{ {runs}; }}'
        for one, _ in commands:
            self._labels[one] = (before, False)
        return self

    def feed(
        self,
        label: str,
        command: str,
        lines: list[str],
        *,
        follows: bool = False,
        otherwise: bool = False,
    ) -> Self:
        """Add a command that reads these lines on its stdin.

        One that `follows` runs only if the one before it succeeded, and one that is
        for `otherwise` only if that failed.
        """
        if any("\n" in line or self._word in line for line in lines):
            raise ValueError("a line for a command's stdin has a line break in it")
        condition = '[ "$status" = 0 ]' if follows else "true"
        if otherwise:
            condition = '[ "$status" != 0 ]'
        self._body += [
            f"if {condition}; then",
            f"printf '\\n{self._word} begin {self._checked(label)}\\n'",
            f"{command} 2>&1 <<'{self._word}'",
            *lines,
            self._word,
            "status=$?",
            f"printf '\\n{self._word} end %s\\n' \"$status\"",
            "fi",
        ]
        conditional = follows or otherwise
        self._labels[label] = (self._last, follows) if conditional else None
        return self

    def __contains__(self, label: str) -> bool:
        """Return whether a command has this label already."""
        return label in self._labels

    @property
    def labels(self) -> frozenset[str]:
        """The labels of all commands so far."""
        return frozenset(self._labels)

    @property
    def commands(self) -> Mapping[str, str]:
        """The commands that are run in any case and read nothing, by label."""
        return self._commands

    @property
    def _last(self) -> str:
        """The label of the command before."""
        return next(reversed(self._labels))

    @property
    def text(self) -> str:
        """The whole script, as it goes to the router's shell."""
        words = {
            "word": self._word,
            "again": AGAIN.strip(),
            "whole": WHOLE.strip(),
            "memory": str(MEMORY),
            "time": str(TIME),
            "wait": str(HEARTBEAT_LIMIT),
        }
        head, foot = (part.format(**words) for part in (_HEAD, _FOOT))
        return head + "".join(f"{line}\n" for line in self._body) + foot

    def begun(self, output: str) -> bool:
        """Return whether the script was heard, going by what the router printed."""
        return f"\n{self._word} begun\n" in output

    def ended(self, output: str) -> bool:
        """Return whether the end of the answer is in what the router printed."""
        mark = f"\n{self._word} done "
        return mark in output and "\n" in output[output.rindex(mark) + len(mark) :]

    @property
    def longest_mark(self) -> int:
        """As many letters as the longest mark of a whole script has."""
        return len(f"\n{self._word} done \n") + _MOST_DIGITS

    def read(self, output: str) -> Mapping[str, Result]:
        """Return each section of what the router printed, by label.

        Bytes in no encoding are surrogates in `output`. Raises BadOutput when the
        script did not run to its end, or when one of its commands has left no section;
        and Garbled where the answer is longer or shorter than the shell says.
        """
        _, begins, rest = output.rpartition(f"\n{self._word} answer\n")
        answer, ends, rest = rest.partition(f"\n{self._word} done ")
        length = rest.partition("\n")[0]
        if not begins or not ends:
            raise BadOutput(output=printable(output))
        raw = answer.encode(errors="surrogateescape")
        if length != str(len(raw)):
            raise Garbled(printable(answer))
        return self._sections(raw.decode(errors="replace"))

    def _sections(self, answer: str) -> Mapping[str, Result]:
        """Return each section of the answer. Raises BadOutput if one lacks."""
        # Text and marks by turns. A pattern for whole sections would take the
        # square of the time for a router that prints many marks.
        _, *rest = re.split(
            rf"^{re.escape(self._word)} (begin \S+|end [0-9]{{1,3}})$",
            answer,
            flags=re.MULTILINE,
        )
        marks, texts = rest[::2], rest[1::2]
        sections = {
            mark.removeprefix("begin "): Result(
                text.strip("\n"), int(end.removeprefix("end "))
            )
            for mark, text, end in zip(marks, texts, marks[1:], strict=False)
            if mark.startswith("begin ") and end.startswith("end ")
        }
        if any(
            label not in sections and self._is_due(label, sections)
            for label in self._labels
        ):
            raise BadOutput(output=printable(answer))
        return sections

    def _is_due(self, label: str, sections: Mapping[str, Result]) -> bool:
        """Return whether the command was to run, going by the one before it."""
        if (waits := self._labels[label]) is None:
            return True
        first, for_success = waits
        if first in sections:
            return sections[first].ok == for_success
        return self._is_due(first, sections)

    @staticmethod
    def _checked(label: str) -> str:
        """Return the label if it needs no quotes."""
        if not _MARK.fullmatch(label):
            raise ValueError(f"no label: {label!r}")
        return label


type Run = Callable[[Script], Awaitable[Mapping[str, Result]]]
"""Runs a script on a router, and returns its sections; see `Session.run`."""
