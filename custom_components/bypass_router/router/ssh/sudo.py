"""What sudo lets an account do, and what it says when it does not.

Before a command is tried, sudo is asked whether it may be: what sudo refuses stands in
the router's log, where someone may take it for an attack.

A command that sudo has run may fail in its own words, beside warnings of sudo's,
such as `sudo: unable to resolve host`, which change nothing. Only what sudo says
instead of running the command is a refusal. `LC_ALL=C` keeps its words in English.
"""

from collections.abc import Collection
import re
from shlex import quote
from typing import Final

from .script import Result

# In front of what it says.
_RS = "sudo(?:-rs)?: "
# A path, and what else may vary.
_ANY = r".{1,200}"
_REFUSALS = re.compile(
    "|".join(
        (
            # With -n, whether the password would help or not.
            r"sudo: (?:sorry, )?a password is required",
            rf"{_RS}interactive authentication is required",
            r"sudo: sorry, you must have a tty to run sudo",
            # To those who need no password. What has a name in front is sudo-rs.
            rf"(?:{_RS})?Sorry, user \S{{1,64}} (?:is not allowed to execute|may not) ",
            rf"(?:{_RS})?\S{{1,64}} is not (?:in the sudoers file|allowed to run sudo)",
            rf"{_RS}I'm sorry {_ANY}\. I'm afraid I can't do that",
            # To everyone: it has not become root, or knows no one who may.
            r'sudo: The "no new privileges" flag is set',
            r"sudo: effective uid is not 0",
            rf"sudo: {_ANY} must be owned by uid 0 and have the setuid bit set",
            r"sudo: no valid sudoers sources found",
        )
    )
)
SUDO: Final = "sudo -n "
"""What stands before a command that an ordinary account runs as root."""
_NO_SUDO = re.compile(rf"(?:{_ANY}: )?sudo: (?:command )?not found")


def as_root(command: str, *, sudo: bool) -> str:
    """Return how an account runs a command as root; root itself needs no `sudo`."""
    return f"{SUDO}{command}" if sudo else command


def without_sudo(command: str) -> str:
    """Return how a shell of root's runs a command that the account runs by sudo."""
    return command.replace(SUDO, "")


def refused_by_sudo(result: Result) -> bool:
    """Return whether a command has failed because the account may not run it."""
    match result.status:
        case 1:
            return any(map(_REFUSALS.match, result.lines))
        case 127:
            # The shell's, which has found no sudo.
            return any(map(_NO_SUDO.fullmatch, result.lines))
        case _:
            return False


def asking(*commands: str, run: str = "") -> str:
    """Return a command that fails if sudo does not allow all of these, and says which.

    If it does, the last one is `run`. As root, nothing is asked or run.
    """
    # Each by itself: how often sudo is called can be counted in the text.
    asks = "; ".join(
        f"{SUDO}-l {command} >/dev/null || {{ echo {command}; exit 1; }}"
        for command in commands
    )
    last = f"; exec {SUDO}{run}" if run else ""
    return f"""sh -c '[ "$(id -u)" = 0 ] && exit; {asks}{last}'"""


def if_allowed(command: str) -> str:
    """Return a command that runs another by sudo, if sudo says that it may."""
    asked = f"{SUDO}-l {command} >/dev/null && exec {SUDO}{command}"
    return f"sh -c {quote(asked)}"


def refused_of(result: Result, commands: Collection[str]) -> str:
    """Return which of these commands `asking` has said to be refused, or nothing."""
    last = result.output.rpartition("\n")[2]
    return last if result.status == 1 and last in commands else ""
