"""Scripts run on this machine, as a router's shell would run them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
import shutil

from custom_components.bypass_router.router.ssh.script import WHOLE, Result, Script

# What every router has, whatever else it lacks.
_ALWAYS = ("cat", "dd", "grep", "head", "sh", "sleep", "tr")


@dataclass
class LocalShell:
    """A shell, and the commands that it finds; it is called as the router's `run`."""

    path: Path | None = None
    """Where its commands are; where this machine has them, if nowhere else."""
    shell: Sequence[str] = ("sh",)
    scripts: list[Script] = field(default_factory=list)
    """All that were run."""

    def has(self, *commands: str) -> None:
        """Let it find these, and no others: `name`, or `name=what it really is`."""
        assert self.path is not None
        for entry in self.path.iterdir():
            entry.unlink()
        for command in (*_ALWAYS, *commands):
            name, _, real = command.partition("=")
            found = shutil.which(real or name)
            assert found is not None
            self.command(name).symlink_to(found)

    def command(self, name: str) -> Path:
        """Return where a command of its own is, or is to be."""
        assert self.path is not None
        return self.path / name

    async def __call__(
        self, script: Script, _seconds: float = 30, /
    ) -> Mapping[str, Result]:
        """Run a script."""
        self.scripts.append(script)
        # Of the PATH, the script knows more.
        text = script.text.replace(":/usr/local/sbin:/usr/sbin:/sbin", "")
        process = await asyncio.create_subprocess_exec(
            shutil.which(self.shell[0]) or self.shell[0],
            *self.shell[1:],
            "-s",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": str(self.path)} if self.path else None,
        )
        output, _ = await process.communicate(f"{text}{WHOLE}".encode())
        return script.read(output.decode(errors="surrogateescape"))
