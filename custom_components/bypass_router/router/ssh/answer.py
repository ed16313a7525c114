"""A script that is fed to a shell, and its answer, as whole as the shell has it."""

from collections.abc import Callable, Mapping

from ..errors import BadOutput, printable
from .process import Shell
from .script import AGAIN, Garbled, Result, Script

# How often an answer is printed at the most, where a job of the account's profile
# prints amid it.
_MOST_PRINTS = 8
# Ten thousand rules are 2 MB; what is longer is no answer to our scripts.
OUTPUT_LIMIT = 8 * 1024 * 1024


class Unheard(Exception):
    """The shell was gone before it began with the script."""


async def run_script(
    shell: Shell, script: Script, text: str, let_go: Callable[[Shell], None]
) -> Mapping[str, Result]:
    """Feed a script to a shell on the router, and return its sections.

    The shell is let go of then. Raises BadOutput and Unheard, and closes it.
    """
    # Not awaited when it closes: a command that hangs on the router would hold us
    # as well.
    done = False
    try:
        shell.write(text)
        sections = await _whole_answer(shell, script)
        done = True
    finally:
        if not done:
            shell.close()
    let_go(shell)
    return sections


async def _whole_answer(shell: Shell, script: Script) -> Mapping[str, Result]:
    """Have the answer printed until nothing else is amid it."""
    garbled = ""
    for _ in range(_MOST_PRINTS):
        try:
            return await _answer(shell, script)
        except Garbled as err:
            garbled = str(err)
        shell.write(AGAIN)
    raise BadOutput(output=garbled)


async def _answer(shell: Shell, script: Script) -> Mapping[str, Result]:
    """Read until the script's answer ends, and return its sections."""
    parts: list[bytes] = []
    size, tail = 0, b""
    while part := await shell.stdout.read(65536):
        parts.append(part)
        size += len(part)
        if size > OUTPUT_LIMIT:
            raise BadOutput(output=printable(parts[0].decode(errors="replace")))
        if script.ended((tail + part).decode(errors="replace")):
            break
        tail = (tail + part)[-script.longest_mark :]
    output = b"".join(parts).decode(errors="surrogateescape")
    if not part:
        if not script.begun(output):
            raise Unheard
        raise BadOutput(output=shell.message)
    return script.read(output)
