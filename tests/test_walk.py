"""A long walk through all that can happen, in an order that no one thought of.

After each step, what is live on the router is what is desired, each switch shows it,
and what others have put into the firewall is there to the letter.

`scripts/test tests/test_walk.py --seed 7 --steps 20000` walks elsewhere, and longer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
import random
import time
from types import MappingProxyType
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import FirewallFailed, PortTaken
from custom_components.bypass_router.router.forward import Forward, parse_networks
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Live
from custom_components.bypass_router.router.rules.ends import SLACK
from custom_components.bypass_router.storage import DiskFull
from custom_components.bypass_router.sync import (
    rate_limit,
    reconciler,
    refusals,
    retry,
)
from custom_components.bypass_router.sync.connection import async_owner
from custom_components.bypass_router.sync.lease import Lease
from tests.journey import Journey
from tests.lab.bypass import RouterOptions
from tests.lab.exchange import Transport
from tests.lab.network import Lab
from tests.lab.refusing import refuse, take_all
from tests.lab.waiting import NeverCame, soon, until, until_told
from tests.router.client import connect

from .setup import issue, set_up, subentry, switch_of, turn
from .small_disk import SmallDisk, small_disk
from .test_follow import ELSEWHERE, HERE, MAC, THERE, be_at

PAYLOAD_EVERY: Final = 20
MOST_FORWARDS: Final = 8
FIRST_PORT: Final = 8000
SHORTEST: Final = 10
PLACES: Final = (HERE, THERE, ELSEWHERE)
OTHER: Final = "192.168.50.20"
# Of the forwards to the target, so many follow it.
FOLLOWING: Final = 0.6

# What belongs to others: a proxy's, a container's, and a table of nft's own.
FOREIGN: Final = """\
*nat
:PROXY - [0:0]
-A PREROUTING -i lan -p tcp -m tcp --dport 9999 -j PROXY
-A PROXY -d 10.0.0.0/8 -j RETURN
-A PROXY -p tcp -m comment --comment "not ours: \\"8443\\"" -j RETURN
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
"""
FOREIGN_NFT: Final = """\
table inet others
delete table inet others
table inet others {
  set known { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
  chain forward { type filter hook forward priority 10; policy accept;
    ip saddr @known counter drop
  }
}
"""


@pytest.fixture
def disk(at_home: Lab, hass: HomeAssistant) -> Iterator[SmallDisk]:
    """Home Assistant's disk, which may be full."""
    with small_disk(at_home, hass) as disk:
        yield disk


class Walker:
    """Takes steps, and knows what has to be so after each of them."""

    def __init__(
        self,
        hass: HomeAssistant,
        lab: Lab,
        entry: MockConfigEntry,
        seed: int,
        disk: SmallDisk | None = None,
    ) -> None:
        """Begin with no forward."""
        self.hass, self.lab, self.entry, self.disk = hass, lab, entry, disk
        self.firewall = Backend(entry.options["firewall"])
        self.chance = random.Random(seed)
        self.forwards: dict[str, Mapping[str, Any]] = {}
        self.on: set[str] = set()
        self.leases: dict[str, Lease] = {}
        """Of those that are on, which are to close by themselves."""
        self.looker: Router | None = None
        self.place = PLACES[0]
        """Where the target is."""
        self.foreign = ""
        self._made = 0

    async def step(self) -> str:
        """Take one step, and return what it was."""
        steps: dict[Callable[[], Awaitable[str]], int] = {
            self.toggle: 40,
            self.toggle_many: 8,
            self.open_for: 12 if self.forwards else 0,
            self.see_end: 1 if self.forwards else 0,
            self.add: 10 if len(self.forwards) < MOST_FORWARDS else 0,
            self.remove: 6 if self.forwards else 0,
            self.edit: 8 if self.forwards else 0,
            self.harm: 22,
            self.cut: 1,
            self.reboot: 1,
            self.restart: 3,
            self.refuse: 3 if self.forwards else 0,
            self.rival: 3 if self.forwards else 0,
            self.fill_disk: 3 if self.forwards and self.disk else 0,
            self.undo: 4 if self.forwards else 0,
            self.kill_watcher: 4,
            self.move: 1 if any("mac" in it for it in self.forwards.values()) else 0,
        }
        (step,) = self.chance.choices(list(steps), list(steps.values()))
        return await step()

    async def toggle(self) -> str:
        """Wish one forward on or off."""
        if not self.forwards:
            return await self.add()
        name = self.chance.choice(sorted(self.forwards))
        return await self.turn(self.chance.choice(("on", "off")), name)

    async def toggle_many(self) -> str:
        """Wish several at once."""
        names = [name for name in sorted(self.forwards) if self.chance.random() < 0.6]
        return await self.turn(self.chance.choice(("on", "off")), *names)

    async def turn(self, state: str, *names: str) -> str:
        """Turn these on or off."""
        if names:
            switches = [switch_of(self.hass, self.entry, name) for name in names]
            await turn(self.hass, state, *switches)
        self._turned(names, on=state == "on")
        return f"turn {state} {', '.join(names)}"

    def _turned(self, names: Iterable[str], *, on: bool) -> None:
        """Know that these are on for good, or off."""
        self.on = self.on | set(names) if on else self.on - set(names)
        self.leases = {key: it for key, it in self.leases.items() if key not in names}

    async def open_for(self) -> str:
        """Open one for a while, which may be on, perhaps for others than always."""
        name = self.chance.choice(sorted(self.forwards))
        return await self._open(name, self.chance.choice((600, 7200, 86400)))

    async def _open(self, name: str, seconds: int) -> str:
        """Open a forward for so many seconds."""
        sources = self.chance.choice(([], ["192.168.50.0/24"], ["203.0.113.0/25"]))
        data: dict[str, Any] = {"duration": {"seconds": seconds}}
        if sources:
            data["sources"] = sources
        await self.hass.services.async_call(
            DOMAIN,
            "open_for",
            {"entity_id": switch_of(self.hass, self.entry, name), **data},
            blocking=True,
        )
        networks = parse_networks(sources) if sources else None
        self.on.add(name)
        self.leases[name] = Lease.of(seconds, time.time(), networks)
        return f"open {name} for {seconds} s"

    async def see_end(self) -> str:
        """Wait for the end of a lease, whatever happens until then."""
        name = self.chance.choice(sorted(self.forwards))
        done = f"{await self._open(name, SHORTEST)}, {await self.harm()}"
        # Whoever asked for it had to wait a moment.
        await asyncio.sleep(self.leases[name].until + 1 - time.time())
        self._turned([name], on=False)
        return f"{done}, let it end"

    def _drawn(self, name: str) -> dict[str, Any]:
        """Draw what a forward may be; ports of its own, so that none is refused."""
        first = FIRST_PORT + 20 * int(name.removeprefix("F"))
        length = self.chance.choice((1, 1, 1, 5))
        external = str(first) if length == 1 else f"{first}-{first + length - 1}"
        target = self.chance.choice((self.place, OTHER))
        follows = target == self.place and self.chance.random() < FOLLOWING
        return {
            "name": name,
            "protocol": self.chance.choice(("tcp", "udp", "both")),
            "external_port": external,
            "target": target,
            **({"follow": True, "mac": MAC} if follows else {}),
            "target_port": self.chance.choice(("", "7000")),
            "sources": self.chance.choice(([], ["203.0.113.0/24", "192.168.50.0/24"])),
            "keep_client_address": self.chance.random() < 0.2,
        }

    async def add(self) -> str:
        """Add a forward, which is off at first."""
        name = self.begin_to_add()
        await self.hass.async_block_till_done()
        return f"add {name}"

    def begin_to_add(self) -> str:
        """Add a forward, and return its name."""
        name = f"F{self._made}"
        self._made += 1
        self.forwards[name] = self._drawn(name)
        self.hass.config_entries.async_add_subentry(
            self.entry, subentry(self.forwards[name])
        )
        return name

    async def remove(self) -> str:
        """Remove a forward."""
        name = self.chance.choice(sorted(self.forwards))
        self.begin_to_remove(name)
        await self.hass.async_block_till_done()
        return f"remove {name}"

    def begin_to_remove(self, name: str) -> None:
        """Remove a forward."""
        del self.forwards[name]
        self._turned([name], on=False)
        self.hass.config_entries.async_remove_subentry(self.entry, self._id(name))

    async def edit(self) -> str:
        """Change a forward."""
        name = self.chance.choice(sorted(self.forwards))
        self.begin_to_edit(name)
        await self.hass.async_block_till_done()
        return f"edit {name}"

    def begin_to_edit(self, name: str) -> None:
        """Change a forward."""
        self.forwards[name] = self._drawn(name)
        self.hass.config_entries.async_update_subentry(
            self.entry,
            self.entry.subentries[self._id(name)],
            data=MappingProxyType(dict(self.forwards[name])),
        )

    async def harm(self) -> str:
        """Do what someone on the router might."""
        iptables = [
            "iptables -t nat -F HA-BYPASS-PRE",
            "iptables -t nat -D HA-BYPASS-PRE 1",
            "iptables -t nat -D HA-BYPASS-POST 1",
            "iptables -D HA-BYPASS-FWD 1",
            "iptables -F HA-BYPASS-CUT",
            "iptables -D FORWARD -j HA-BYPASS-CUT",
            "iptables -t nat -D PREROUTING -j HA-BYPASS-PRE",
            (
                "iptables -t nat -I HA-BYPASS-PRE -p tcp -j RETURN;"
                " sleep 0.02; iptables -t nat -D HA-BYPASS-PRE -p tcp -j RETURN"
            ),
            "iptables -t nat -F; iptables -t nat -X",
            "iptables -F; iptables -X",
        ]
        nft = [
            "nft flush chain ip ha_bypass pre",
            "nft flush map ip ha_bypass same_tcp",
            "nft flush map ip ha_bypass translated",
            "nft flush set ip ha_bypass rewritten_tcp",
            "nft flush set ip ha_bypass open_tcp",
            "nft flush set ip ha_bypass leased_udp",
            "nft flush chain ip ha_bypass gate",
            "nft delete table ip ha_bypass",
            (
                "nft delete rule inet others forward handle"
                " $(nft -a list chain inet others forward"
                " | sed -n 's/.*bypass_router.* handle //p' | head -1)"
            ),
            "nft flush ruleset",
        ]
        command = self.chance.choice(iptables + nft)
        # Some are about nothing that is there now.
        await self._on_router(f"{command} 2>/dev/null; true")
        await self.put_foreign()
        return command

    async def cut(self) -> str:
        """Pull the router's cable for a moment."""
        self.lab.bypass.cut_link()
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        self.lab.bypass.restore_link()
        return "cut"

    async def reboot(self) -> str:
        """Restart the router, which loses all rules, and wait until that was noticed.

        A switch that is about to be unavailable can't be turned.
        """
        connection = self.entry.runtime_data.connection
        before = connection.router
        await asyncio.to_thread(self.lab.bypass.reboot)
        await until(lambda: connection.router not in {None, before})
        await self.put_foreign()
        self.looker = None
        return "reboot"

    async def restart(self) -> str:
        """Unload the entry and set it up, as a restart of Home Assistant does."""
        assert await self.hass.config_entries.async_reload(self.entry.entry_id)
        await self.hass.async_block_till_done()
        return "restart"

    async def refuse(self) -> str:
        """Let the router refuse one forward for a while, in which all are lost."""
        name = self.chance.choice(sorted(self.forwards))
        port = str(self.forwards[name]["external_port"]).partition("-")[0]
        others = [other for other in sorted(self.forwards) if other != name]
        refuse(self.lab.bypass, port)
        try:
            if name not in self.on:
                await self._turn_in_vain("on", FirewallFailed.key, name, *others)
                self._turned(others, on=True)
            await self.check(f"refuse {name}", payload=False)
            await self._on_router("nft flush ruleset; iptables -t nat -F; iptables -F")
            await self.put_foreign()
            wished = name in self.on
            self.on.discard(name)
            await self.check(f"lose all, refusing {name}", payload=False)
            if wished:
                await until(lambda: issue(self.hass, "refused"))
                self.on.add(name)
        finally:
            take_all(self.lab.bypass)
        return f"take {name} again"

    async def _turn_in_vain(self, state: str, why: str, *names: str) -> None:
        """Turn these on or off, and hear that one of them can't be."""
        with pytest.raises(HomeAssistantError) as raised:
            await self.turn(state, *names)
        assert raised.value.translation_key == why

    async def rival(self) -> str:
        """Let another Home Assistant want the port of one."""
        name = self.chance.choice(sorted(self.forwards))
        theirs = replace(self._forward(name), id="01THEIRS")
        rival = await connect(self.lab, "cd34", firewall=self.firewall)
        try:
            if name in self.on:
                with pytest.raises(PortTaken):
                    await rival.rules.apply([theirs])
                return f"keep {name}"
            await rival.rules.apply([theirs])
            await self._turn_in_vain("on", PortTaken.key, name)
            await self.check(f"leave {name} to another", payload=False)
            await rival.rules.apply([])
        finally:
            await rival.close()
        return await self.turn("on", name)

    async def fill_disk(self) -> str:
        """Let Home Assistant's disk be full while someone turns a switch."""
        name = self.chance.choice(sorted(self.forwards))
        state = "off" if name in self.on else "on"
        assert self.disk
        self.disk.fill()
        try:
            await self._turn_in_vain(state, DiskFull.key, name)
            await self.check(f"turn {name} {state}, with a full disk", payload=False)
        finally:
            self.disk.empty()
        self._turned([name], on=state == "on")
        return f"save {name} {state} at last"

    async def undo(self) -> str:
        """Let someone put back the rules of just before, at once."""
        name = self.chance.choice(sorted(self.forwards))
        await self._on_router(
            "iptables-save >/root/saved; nft list table ip ha_bypass >/root/saved.nft"
        )
        done = await self.turn("off" if name in self.on else "on", name)
        await self._on_router(
            "iptables-restore </root/saved; if [ -s /root/saved.nft ]; then"
            " nft delete table ip ha_bypass; nft -f /root/saved.nft; fi"
        )
        return f"{done}, undone"

    async def kill_watcher(self) -> str:
        """Let a part of what watches the router die."""
        command = self.chance.choice(
            ("nft monitor", "conntrack -E", "ip -4 monitor rule", "sleep 1")
        )
        await self._on_router(f"pkill -f '^{command}'; true")
        return f"kill {command}, {await self.harm()}"

    async def move(self) -> str:
        """Have the target get another address; what follows it goes with it."""
        before = self.place
        self.place = self.chance.choice([it for it in PLACES if it != before])
        await asyncio.to_thread(be_at, self.lab.target, self.place)
        self.forwards = {
            name: {**fields, "target": self.place} if "mac" in fields else fields
            for name, fields in self.forwards.items()
        }
        return f"move from {before} to {self.place}"

    async def put_foreign(self) -> None:
        """Have others' rules there, and only once."""

        async def are_there_once() -> bool:
            if self.foreign and await self._foreign_rules() == self.foreign:
                return True
            # What is listed twice by mistake is not removed at all.
            await self._on_router(
                "for table in nat filter; do { echo *$table;"
                " iptables-save -t $table | grep -E '^-A' | grep -v HA-BYPASS"
                " | sed 's/^-A/-D/'; echo COMMIT; } | iptables-restore --noflush; done;"
                " iptables -t nat -X PROXY; iptables -X DOCKER-USER; true"
            )
            for command, rules in (
                ("iptables-restore --noflush", FOREIGN),
                ("nft -f -", FOREIGN_NFT),
            ):
                await asyncio.to_thread(
                    self.lab.bypass.run, *command.split(), input=rules
                )
            self.foreign = self.foreign or await self._foreign_rules()
            return False

        await until_told(are_there_once)

    async def _check_foreign(self, done: str) -> None:
        """See that what is not ours is as it was, to the letter.

        Both `iptables-save` and `nft list` show a rule twice now and then while
        someone changes the same rules, as we may at this moment.
        """

        async def as_they_were() -> bool:
            return await self._foreign_rules() == self.foreign

        try:
            await until_told(as_they_were, soon(2))
        except NeverCame:
            assert await self._foreign_rules() == self.foreign, done

    async def _foreign_rules(self) -> str:
        """Return what is not ours."""
        listed = await self._on_router(
            "iptables-save; nft -s list table inet others 2>/dev/null"
        )
        return "\n".join(
            line
            for line in listed.splitlines()
            if not line.startswith(("#", ":", "*", "COMMIT"))
            and "HA-BYPASS" not in line
            and "bypass_router" not in line
        )

    async def _on_router(self, command: str) -> str:
        """Run something as root there."""
        done = await asyncio.to_thread(
            self.lab.bypass.run, "sh", "-c", command, check=False
        )
        return done.stdout

    def _id(self, name: str) -> str:
        """Return a forward's id."""
        (found,) = (
            key
            for key, subentry in self.entry.subentries.items()
            if subentry.data["name"] == name
        )
        return found

    def _forward(self, name: str) -> Forward:
        """Return a forward as it is set up."""
        no_part = {"name", "follow", "mac"}
        fields = {k: v for k, v in self.forwards[name].items() if k not in no_part}
        forward = Forward.parse(self._id(name), **fields)
        lease = self.leases.get(name)
        return lease.applied_to(forward) if lease else forward

    async def check(self, done: str, *, payload: bool) -> None:
        """See that all is as desired, within the time that the network needs."""
        desired = {}
        for name in self.on:
            forward = self._forward(name)
            desired[forward.id] = forward
        expected = {
            switch_of(self.hass, self.entry, name): "on" if name in self.on else "off"
            for name in self.forwards
        }
        found: dict[str, Any] = {}

        async def all_is_so() -> bool:
            # To look at the router costs it something, at the switches nothing.
            if not self._shows(expected):
                return False
            live = await self._live()
            found.clear()
            # A part of a forward that is off would lie in wait for the rest.
            found.update(dict.fromkeys(live.damaged), **live.forwards)
            return (
                found == desired
                and self._end_in_time(live, desired)
                and self._shows(expected)
            )

        try:
            await until_told(all_is_so)
        except NeverCame:
            shown = {s: str(self.hass.states.get(s)) for s in expected}
            pytest.fail(f"after {done!r}: {found} and not {desired}; {shown}")
        await self._check_foreign(done)
        if payload and self.on:
            await self._check_payload(self.chance.choice(sorted(self.on)))

    def _end_in_time(self, live: Live, desired: Mapping[str, Forward]) -> bool:
        """Return whether the kernel ends them when they are to end, and no others."""
        ends = {key: it.until for key, it in desired.items() if it.until is not None}
        return live.closes_at.keys() == ends.keys() and all(
            abs(live.closes_at[key] - end) < SLACK for key, end in ends.items()
        )

    def _shows(self, expected: Mapping[str, str]) -> bool:
        """Return whether each switch has this state."""
        states = self.hass.states
        return all(states.is_state(key, state) for key, state in expected.items())

    async def _live(self) -> Live:
        """Return what the kernel does, as seen by a client that knows no wish."""
        looked = await until_told(self._read_once)
        assert looked
        return looked

    async def _read_once(self) -> Live | None:
        """Look once; None where the router is away."""
        try:
            if self.looker is None or self.looker.closed:
                owner = await async_owner(self.hass)
                self.looker = await connect(self.lab, owner, firewall=self.firewall)
            return await self.looker.rules.read()
        except Exception:  # noqa: BLE001 - a router that is away is asked again
            self.looker = None
            return None

    async def _check_payload(self, name: str) -> None:
        """See packets pass, to the target that echoes."""
        if name in self.leases and self.leases[name].sources is not None:
            # The internet is kept out.
            return
        forward = self.forwards[name]
        protocol: Transport = "udp" if forward["protocol"] == "udp" else "tcp"
        port = int(str(forward["external_port"]).partition("-")[0])
        if forward["target"] != self.place or forward["keep_client_address"]:
            # Whose gateway is not the router, or that serves nothing.
            return
        served = int(forward["target_port"] or port)
        self.lab.target.serve(protocol, served)
        try:
            exchange = await asyncio.to_thread(
                self.lab.internet.exchange, protocol, self.lab.main.wan_address, port
            )
        finally:
            self.lab.target.stop_serving()
        assert exchange.passed, (name, forward, exchange)


async def test_who_turns_a_switch_after_a_restart_of_the_router_has_waited_for_it(
    at_home: Lab, hass: HomeAssistant, disk: SmallDisk
) -> None:
    """However early on a walk: what it asks for would be dropped in silence.

    While nothing is on, nothing but the lost connection tells of a restart.
    """
    entry = await set_up(hass, at_home, firewall="nftables")
    walker = Walker(hass, at_home, entry, 0, disk)
    await walker.put_foreign()
    for _ in range(3):
        await walker.add()
        await walker.check(await walker.reboot(), payload=False)
        for state in ("on", "off"):
            await walker.check(await walker.turn(state, "F0"), payload=False)
    if walker.looker:
        await walker.looker.close()


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("router_options", "firewall", "seed"),
    [
        (RouterOptions(iptables="nft"), "nftables", 1),
        (RouterOptions(iptables="nft"), "iptables", 2),
        (RouterOptions(iptables="legacy"), "iptables", 3),
    ],
    ids=["nftables", "iptables-nft", "iptables-legacy"],
)
async def test_whatever_happens_what_is_desired_is_live(
    at_home: Lab,
    hass: HomeAssistant,
    monkeypatch: pytest.MonkeyPatch,
    journey: Journey,
    disk: SmallDisk,
    firewall: str,
    seed: int,
) -> None:
    """After each of some nine hundred steps in all."""
    # A walk meets more harm in a minute than patience is made for.
    monkeypatch.setattr(rate_limit, "SECONDS", 0.0)
    for module in (reconciler, refusals, retry):
        monkeypatch.setattr(module, "FIRST_DELAY", 0.1)
    at_home.target.ip(f"link set {at_home.target.interface} address {MAC}")
    be_at(at_home.target, PLACES[0])
    entry = await set_up(hass, at_home, firewall=firewall)
    walker = Walker(hass, at_home, entry, journey.seed + seed, disk)
    await walker.put_foreign()
    for number in journey.steps():
        done = await walker.step()
        await walker.check(done, payload=number % PAYLOAD_EVERY == 0)
    if walker.looker:
        await walker.looker.close()
