"""The commands that look at a variant of iptables, and labels of what they print."""

from dataclasses import dataclass, field
from typing import Literal

from ..ssh.sudo import as_root
from .legacy import NAMES, guarded
from .rules import Hook

type Variant = Literal["nf_tables", "legacy"]

WAIT = "--wait 5"


@dataclass(frozen=True, slots=True)
class Commands:
    """What a variant is looked at and changed by."""

    command: str
    variant: Variant
    sudo: bool
    absent: frozenset[str] = field(default=frozenset())
    """The tables of the legacy variant that may not be there."""

    @property
    def suffix(self) -> str:
        """The end of each label: nothing for the router's own `iptables`."""
        name, _, _ = self.variant.partition("_")
        return "" if self.command == "iptables" else f".{name}"

    def label(self, hook: Hook) -> str:
        """Return the end of the labels of a hook's sections."""
        return f"{hook.chain}{self.suffix}"

    @property
    def restore(self) -> str:
        """The command that changes rules."""
        return self.as_root(f"{self.command}-restore --noflush {WAIT}")

    def look(self, table: str, chain: str = "") -> str:
        """Return the command that prints a chain, or a whole table.

        To look at a table of the legacy variant would make it, with all its hooks.
        """
        command = f"{self.on(table)} -S {chain}".rstrip()
        if table == "mangle" and self.variant == "legacy":
            return f"sh -c 'grep -qsx mangle {NAMES} && exec {command}'"
        return guarded(table, command) if table in self.absent else command

    def on(self, table: str) -> str:
        """Return the start of a command on a table."""
        return self.as_root(f"{self.command} {WAIT} -t {table}")

    def as_root(self, command: str) -> str:
        """Return how the account runs a command."""
        return as_root(command, sudo=self.sudo)
