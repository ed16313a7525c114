"""A router that is connected: what it is, what it tells, and our rules on it."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from ipaddress import IPv4Address
import math
from shlex import quote
import time
from typing import Self

from .at_boot.files import (
    BootFile,
    check_written,
    digest_of,
    forget_script,
    note_script,
    read_note,
    write_script,
)
from .at_boot.text import header
from .backend import Backend
from .bridge import SETTING, calls_firewall, look
from .conntrack import close_connections, forget_untranslated
from .errors import BootFileLeft, BootNeedsRoot, FewSessions, NotPrivileged
from .forward import Forward, Transport
from .live_rules import LiveRules
from .monitor import Change, ConnectionEvent, Met
from .network.listeners import Listener, listeners_script, read_listeners
from .network.neighbours import Neighbour, neighbours_script, read_neighbours
from .network.whereabouts import (
    ASKING,
    Followed,
    Sights,
    asking_script,
    read_sights,
    sights_script,
)
from .own_connections import OwnConnections
from .probe.place import Place, place_script, read_place
from .probe.probe import Probe, probe_script, read_probe
from .rules.base import RouterContext
from .ssh.authorized_keys import forget_keys, install_key, remove_key
from .ssh.credentials import Credentials, HostKey
from .ssh.rights import Rights, read_rights, rights_script
from .ssh.script import Result, Script
from .ssh.session import PATIENCE, SCRIPT_TIMEOUT, Session
from .ssh.sudo import as_root
from .watch import Watch
from .watch_script import NEIGHBOURS_EVERY

# Of the ten sessions that a server allows at once, most are for what matters more.
_VISITS = 2
# Seconds between looks at a router that can't be watched all the time.
LOOK_INTERVAL = 3.0
# Seconds. A form waits for it, which can do without.
NEIGHBOURS_TIMEOUT = 5
# The same, and it is two files and a link.
PLACE_TIMEOUT = 10


class Router:
    """One router over one connection."""

    def __init__(
        self,
        session: Session,
        probe: Probe,
        owner: str,
        firewall: Backend = Backend.AUTO,
        main_router: IPv4Address | None = None,
        *,
        closes: bool = True,
    ) -> None:
        """Take an open session, what was probed on it, and whose rules are ours.

        And whether connections are to end with their forward. Raises FirewallNotThere
        where the router lacks the firewall.
        """
        self.probe = probe
        cuts = closes and not probe.tools.conntrack
        self.context = RouterContext(owner, probe.address, main_router, cuts)
        self._session = session
        self.rules = LiveRules(session.run, self.context, probe, firewall)
        """The rules of ours on it."""
        self.visits = asyncio.Semaphore(_VISITS)
        """Held by whoever runs scripts beside those of this class, for a while."""
        self.own_connections = OwnConnections()
        """What came from Home Assistant itself, by our forwards."""
        self._watch = Watch(session, self.rules, probe, self.context)

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        host_key: HostKey,
        credentials: Credentials,
        owner: str,
        firewall: Backend = Backend.AUTO,
        main_router: IPv4Address | None = None,
        *,
        closes: bool = True,
    ) -> Self:
        """Connect to a router and probe it.

        Raises what `Session.open`, `Session.run` and `read_probe` raise, and
        FirewallNotThere; no connection is left open then.
        """
        session = await Session.open(host, port, host_key, credentials)
        try:
            rights = Rights()
            if credentials.username != "root":
                rights = await _ask_rights(session)
            if rights.all and rights.slow:
                rights = replace(rights, all=await session.use_root())
            probe = replace(
                read_probe(await session.run(probe_script())), rights=rights
            )
            return cls(session, probe, owner, firewall, main_router, closes=closes)
        except BaseException:
            await session.close()
            raise

    async def run(
        self, script: Script, seconds: float = SCRIPT_TIMEOUT
    ) -> Mapping[str, Result]:
        """Run a script that changes no rules of ours; see `Session.run`."""
        return await self._session.run(script, seconds)

    def patience_with(self, text: str) -> float:
        """Return how many seconds `sudo` may add to a script."""
        return self._session.patience_with(text)

    def stream(self, text: str, heartbeat: float) -> AsyncGenerator[str]:
        """Run a script that stays; see `Session.stream`."""
        return self._session.stream(text, heartbeat)

    async def watch(self) -> AsyncGenerator[Change | ConnectionEvent | Met]:
        """Yield whenever the rules may have changed, for others or through us.

        And whenever a connection was translated or answered, where the router has
        `conntrack`, or may have been while no one listened. And whenever a device that
        is followed may have moved.

        The first change comes at once, as soon as no other can be missed:
        `read` then, and after each further one. Ends when the watcher on the router
        ends, or a part of it, and nothing of it is left there; the router may be
        watched again. Raises ConnectionLost.
        """
        try:
            async with aclosing(self._watch.events()) as all_told:
                async for told in all_told:
                    yield told
        except FewSessions:
            if not self._session.single:
                return
            async for hint in self._look():
                yield hint

    def follow(self, followed: frozenset[Followed]) -> None:
        """Have moves of these devices be told by `watch` from now on."""
        self._watch.follow(followed)

    @property
    def reports(self) -> bool:
        """Whether changes are reported with the program that made them."""
        return self._watch.reports

    @property
    def hears_connections(self) -> bool:
        """Whether the router tells of each connection, and whether it is answered."""
        return self._watch.hears_connections

    @property
    def watched_since(self) -> float | None:
        """When the watcher on the router began, in Unix time; None without one."""
        return self._watch.since

    async def _look(self) -> AsyncGenerator[Change | Met]:
        """Yield now and then, where a watcher would leave no room for anything else."""
        looked = -math.inf
        while not self.closed:
            if not self._session.staying:
                yield Change()
            if self._watch.followed and time.monotonic() - looked > NEIGHBOURS_EVERY:
                looked = time.monotonic()
                yield Met()
            await asyncio.sleep(LOOK_INTERVAL)

    async def close_connections(self, forwards: Collection[Forward]) -> int:
        """End what is still connected by these forwards, which are no longer live.

        Returns how many ports had connections. Raises ClosingRefused. Where the router
        has no `conntrack`, or we may not use it, rules of ours cut them.
        """
        if not self.probe.tools.conntrack:
            return 0
        address, sudo = self.context.address.ip, self.probe.sudo
        return await close_connections(self._session.run, forwards, address, sudo=sudo)

    async def forget_untranslated(self, forwards: Collection[Forward]) -> None:
        """Have flows that were there before these forwards go through them.

        Nothing where the router has no `conntrack`, or we may not use it.
        """
        if not self.probe.tools.conntrack:
            return
        sudo = self.probe.sudo
        # Of TCP, few are in the way, and not every account may choose among them.
        transports: list[Transport] = ["udp"]
        if not sudo or self.probe.rights.all:
            transports.append("tcp")
        await forget_untranslated(
            self._session.run,
            forwards,
            self.context.address.ip,
            sudo=sudo,
            transports=transports,
        )

    async def listeners(self) -> frozenset[Listener]:
        """Return the services of the router that listen at its LAN address."""
        sections = await self._session.run(listeners_script())
        return read_listeners(sections, self.context.address.ip)

    async def neighbours(self) -> list[Neighbour]:
        """Return the devices of the LAN that the router knows, by address."""
        sections = await self._session.run(neighbours_script(), NEIGHBOURS_TIMEOUT)
        return read_neighbours(sections, self.context.address)

    async def sights(self, ask_for: Collection[IPv4Address] = ()) -> Sights:
        """Return what the router knows of its neighbours, some asked for anew."""
        probe = self.probe
        script = sights_script()
        if ask_for:
            script = asking_script(ask_for, probe.interface, sudo=probe.sudo)
        async with self.visits:
            sections = await self._session.run(script, ASKING)
        main_router = self.context.main_router
        barred = {*probe.addresses, *([main_router] if main_router else ())}
        return read_sights(sections, probe.address, probe.interface, barred)

    async def place(self) -> Place:
        """Return what tells the router from all others, read now."""
        return read_place(await self._session.run(place_script(), PLACE_TIMEOUT))

    async def enable_forwarding(self) -> None:
        """Have the kernel pass packets on, until the router restarts.

        Raises NotPrivileged if it does not, in the words of the router.
        """
        command = "sysctl -w net.ipv4.ip_forward=1"
        script = Script().run("enable", as_root(command, sudo=self.probe.sudo))
        script.run("forward", "cat /proc/sys/net/ipv4/ip_forward")
        sections = await self._session.run(script)
        if sections["forward"].output != "1":
            raise NotPrivileged(command=command, message=sections["enable"].message)

    async def free_bridge(self) -> None:
        """Have bridges leave the firewall alone, until the router restarts.

        Raises NotPrivileged if they do not, in the words of the router.
        """
        command = f"sysctl -w {SETTING}=0"
        sudo, bridge = self.probe.sudo, self.probe.interface
        script = Script().run("all", as_root(command, sudo=sudo))
        script.run("look", look(bridge))
        sections = await self._session.run(script)
        everywhere, here = calls_firewall(sections["look"])
        if here and not everywhere:
            command = f"ip link set dev {quote(bridge)} type bridge nf_call_iptables 0"
            script = Script().run("all", as_root(command, sudo=sudo))
            script.run("look", look(bridge))
            sections = await self._session.run(script)
            everywhere, here = calls_firewall(sections["look"])
        if everywhere or here:
            raise NotPrivileged(command=command, message=sections["all"].message)

    @property
    def may_write_at_boot(self) -> bool:
        """Whether the account may write what brings forwards back at the start."""
        return not self.probe.uid or self.probe.rights.all

    @property
    def has_boot_file(self) -> bool:
        """Whether a file of ours was there that does so, when we connected."""
        return self.context.owner in self.probe.boot_files

    def boot_digest(self, forwards: Collection[Forward]) -> str:
        """Return what tells a file that brings these back from others."""
        where = self.context.address, self.context.main_router, self.rules.firewall
        return digest_of(where, sorted(map(repr, forwards)))

    async def boot_file(self) -> BootFile | None:
        """Return what our file there says of itself. None: nothing that we know."""
        if not self.may_write_at_boot:
            return None
        script = note_script(self.context.owner, sudo=self._by_sudo)
        return read_note(await self._session.run(script))

    async def write_boot_file(
        self, forwards: Collection[Forward], now: int, *, off: bool = False
    ) -> BootFile:
        """Have these come back when the router starts, for thirty days from now on.

        Where one is `off` that a file still holds, that file goes if it can't be
        written anew. Raises BootFileRefused, and what a script does.
        """
        self._check_may_write_at_boot()
        note = BootFile(self.boot_digest(forwards), now)
        lines = header(now)
        if forwards:
            lines += await self.rules.at_boot(forwards)
        text = "\n".join(lines).split("\n")
        owner = self.context.owner
        script = write_script(owner, note, text, sudo=self._by_sudo, off=off)
        check_written(await self._session.run(script))
        return note

    async def forget_boot_file(self, owner: str | None = None) -> None:
        """Have none come back, of ours or of another owner's. Idempotent.

        Raises BootFileRefused.
        """
        self._check_may_write_at_boot()
        script = forget_script(owner or self.context.owner, sudo=self._by_sudo)
        check_written(await self._session.run(script))

    def _check_may_write_at_boot(self) -> None:
        """Raise BootNeedsRoot, or BootFileLeft where a file is there all the same."""
        if not self.may_write_at_boot:
            raise BootFileLeft(message="root") if self.has_boot_file else BootNeedsRoot

    @property
    def _by_sudo(self) -> bool:
        """Whether root's commands that are none of the firewall's need sudo."""
        return self.probe.uid != 0

    async def install_key(self, private_key: str) -> None:
        """Let a key log in to this account, beside those that can already.

        Idempotent. Raises KeyNotInstalled.
        """
        await install_key(self._session, private_key)

    async def remove_key(self, private_key: str) -> None:
        """Take away what `install_key` added. Idempotent; raises KeyNotInstalled."""
        await remove_key(self._session, private_key)

    async def forget_keys(self, keep: str | None) -> None:
        """Take away all keys of ours but one, if that is ours; raises RouterError."""
        await forget_keys(self._session, self.context.owner, keep)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._session.closed

    async def close(self) -> None:
        """End the connection; the rules stay active."""
        await self._session.close()


async def _ask_rights(session: Session) -> Rights:
    """Ask sudo what the account may do, and be patient with it from then on."""
    session.by_sudo = True
    session.patience = PATIENCE
    rights = read_rights(await session.run(rights_script()))
    session.patience = rights.patience
    return rights
