"""What all measurements use: the lab, Home Assistant, and ways to do it by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh
from homeassistant.core import HomeAssistant

from tests.lab.bypass import IptablesKind
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab

from .console import Console
from .home import FIRST_PORT, TARGET_PORT, Entry, home_assistant
from .traffic import Call, Traffic

VARIANTS: Final[tuple[IptablesKind, ...]] = ("nft", "legacy")

_RULES: Final = "/root/rules"
_COUNT: Final = "/run/restores"
# One that no forward of ours has.
_SHELL_PORT: Final = FIRST_PORT - 1
_JUMPS: Final = (
    ("nat", "PREROUTING", "HA-BYPASS-PRE"),
    ("nat", "POSTROUTING", "HA-BYPASS-POST"),
    ("filter", "FORWARD", "HA-BYPASS-FWD"),
)
_CLEAN: Final = "\n".join(
    f"iptables -t {table} -D {builtin} -j {chain};"
    f" iptables -t {table} -F {chain}; iptables -t {table} -X {chain}"
    for table, builtin, chain in _JUMPS
)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 6
    seconds: float = 12.0
    """For one measurement of one variant; it ends after two rounds at the earliest."""
    toggles: int = 3
    """In a round, each on and off."""
    home: int = 10
    """How many forwards a home has."""
    many: int = 200
    most: int = 1000
    quiet: float = 10.0
    """Seconds for which the router is left alone."""


QUICK: Final = Size(rounds=1, seconds=0, toggles=1, home=3, many=5, most=20, quiet=0.5)


@dataclass
class Bench:
    """A lab with a Home Assistant, and all that is noted of it."""

    lab: Lab
    hass: HomeAssistant
    traffic: Traffic
    size: Size
    key: asyncssh.SSHKey

    async def use(self, variant: IptablesKind) -> None:
        """Let the router have this variant of iptables from a new boot on."""
        self.lab.bypass.use_iptables(variant)
        kept = f"{REAL_COMMANDS}/replaced/iptables-restore"
        self.lab.bypass.commands.replace(
            "iptables-restore", f'#!/bin/sh\necho >>{_COUNT}\nexec {kept} "$@"\n'
        )
        await self.reboot()

    async def reboot(self) -> None:
        """Restart the router."""
        await asyncio.to_thread(self.lab.bypass.reboot)

    @asynccontextmanager
    async def entry(self, number: int) -> AsyncIterator[Entry]:
        """Have the router in Home Assistant meanwhile, with forwards that are on."""
        key = self.key.export_private_key().decode()
        entry = Entry(self.hass, self.lab, key, number)
        await entry.create()
        try:
            yield entry
        finally:
            await entry.remove()

    @contextmanager
    def console(self) -> Iterator[Console]:
        """Sit at the router."""
        with Console(self.lab.bypass) as console:
            yield console

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Have a connection of one's own to the router, by asyncssh alone."""
        async with asyncssh.connect(
            self.lab.bypass.address,
            config=None,
            known_hosts=(
                [asyncssh.import_public_key(self.lab.bypass.host_key())],
                [],
                [],
            ),
            server_host_key_algs=["ssh-ed25519"],
            username="root",
            client_keys=[self.key],
            agent_path=None,
        ) as connection:
            yield connection

    def bare_restore(self, console: Console, change: Call) -> float:
        """Load the rules of a change at the router; return the seconds it took."""
        assert change.restored
        self.lab.bypass.disk.write(_RULES, change.restored)
        real = f"{REAL_COMMANDS}/replaced/iptables-restore"
        return console.time(f"{real} --noflush --wait 5 <{_RULES}")

    def clean(self, console: Console) -> None:
        """Take our chains away, as they are not there after a boot."""
        console.output(_CLEAN)

    def restores(self, console: Console) -> int:
        """Return how often iptables-restore has run on the router since it booted."""
        return int(console.output(f"cat {_COUNT} 2>/dev/null | wc -l"))


@asynccontextmanager
async def bench(lab: Lab, size: Size, folder: Path) -> AsyncIterator[Bench]:
    """Start Home Assistant in its place of the lab; the caller's thread is there."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key_file, hosts_file = folder / "key", folder / "known_hosts"
    key_file.touch(0o600)
    key_file.write_bytes(key.export_private_key())
    hosts_file.write_text(f"{lab.bypass.address} {lab.bypass.host_key()}\n")
    lab.bypass.users.authorize(key.export_public_key().decode())
    lab.target.serve("tcp", TARGET_PORT)
    lab.target.serve("udp", TARGET_PORT)
    ssh = (
        f"ssh -F /dev/null -i {key_file} -o UserKnownHostsFile={hosts_file}"
        f" root@{lab.bypass.address}"
    )
    traffic = Traffic()
    commands = {
        f"forward_{state}": f"{ssh} '{_by_hand(lab, change)}'"
        for state, change in (("on", "-I"), ("off", "-D"))
    }
    with traffic.noted():
        async with home_assistant(commands) as hass:
            yield Bench(lab, hass, traffic, size, key)


def _by_hand(lab: Lab, change: str) -> str:
    """Return the commands that people have in a `shell_command`."""
    router, target = lab.bypass.address, lab.target.address
    service = f"{target}:{TARGET_PORT}"
    asked = f"-d {router} -p tcp --dport {_SHELL_PORT}"
    forwarded = f"-d {target} -p tcp --dport {TARGET_PORT}"
    return " && ".join(
        f"iptables {command}"
        for command in (
            f"-t nat {change} PREROUTING {asked} -j DNAT --to-destination {service}",
            f"-t nat {change} POSTROUTING {forwarded} -j SNAT --to-source {router}",
            f"{change} FORWARD {forwarded} -j ACCEPT",
        )
    )
