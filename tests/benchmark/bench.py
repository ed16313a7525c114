"""What all measurements use: the lab, Home Assistant, and ways to do it by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh
from homeassistant.core import HomeAssistant

from tests.lab.disk import REAL_COMMANDS
from tests.lab.main_router import FORWARDED
from tests.lab.miniupnpd import Miniupnpd
from tests.lab.network import Lab

from .console import Console
from .home import TARGET_PORT, Entry, home_assistant
from .traffic import Call, Traffic
from .variants import VARIANTS, Variant

_RULES: Final = "/root/rules"
_COUNT: Final = "/run/restores"


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
    variant: Variant = VARIANTS[0]
    """What the router has its rules by; `use` changes it."""

    async def use(self, variant: Variant) -> None:
        """Let the router have its rules this way from a new boot on."""
        self.lab.bypass.use_iptables(variant.iptables)
        program = variant.loader.split()[0]
        self._real = f"{REAL_COMMANDS}/replaced/{program}"
        self.lab.bypass.commands.replace(
            program,
            f'#!/bin/sh\ncase "$*" in {variant.counted}) echo >>{_COUNT} ;; esac\n'
            f'exec {self._real} "$@"\n',
        )
        self.variant = variant
        await self.reboot()

    async def reboot(self) -> None:
        """Restart the router."""
        await asyncio.to_thread(self.lab.bypass.reboot)

    @asynccontextmanager
    async def entry(self, number: int) -> AsyncIterator[Entry]:
        """Have the router in Home Assistant meanwhile, with forwards that are on."""
        key = self.key.export_private_key().decode()
        entry = Entry(self.hass, self.lab, key, number, self.variant.firewall)
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

    @contextmanager
    def upnp(self) -> Iterator[Miniupnpd]:
        """Have the main router take requests meanwhile, in place of its forwards."""
        main = self.lab.main
        daemon = Miniupnpd(main)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            for ports in FORWARDED:
                main.forward("tcp", ports, self.lab.bypass.address)
                main.forward("udp", ports, self.lab.bypass.address)

    def bare_restore(self, console: Console, change: Call) -> float:
        """Load the rules of a change at the router; return the seconds it took."""
        assert change.restored
        self.lab.bypass.disk.write(_RULES, change.restored)
        arguments = self.variant.loader.partition(" ")[2]
        return console.time(f"{self._real} {arguments} <{_RULES}")

    def clean(self, console: Console) -> None:
        """Take our chains away, as they are not there after a boot."""
        console.output(self.variant.clean)

    def restores(self, console: Console) -> int:
        """Return how often rules were loaded on the router since it booted."""
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
        f"{variant.firewall}_{state}": f"{ssh} '{command}'"
        for variant in VARIANTS
        for state, command in variant.by_hand(lab).items()
    }
    with traffic.noted():
        async with home_assistant(commands) as hass:
            yield Bench(lab, hass, traffic, size, key)
