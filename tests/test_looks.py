"""Of which ports the main router is asked, and how often of all."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.main_router.looks import Looks
from custom_components.bypass_router.main_router.plan import Owner
from custom_components.bypass_router.main_router.recording import after
from custom_components.bypass_router.main_router.records import Record
from custom_components.bypass_router.router.port_mapping.base import (
    Entry,
    Outcome,
    PortMapping,
    PublicPort,
)
from tests.lab.waiting import until

WEB = PublicPort("tcp", 8443)
DNS = PublicPort("udp", 5353)
DESIRED = {it: ("forward", PortMapping(it, it.port)) for it in (WEB, DNS)}
SAID = dict.fromkeys(DESIRED, Outcome(None, None))
LONG = 60.0


def looked(looks: Looks, *opened: PublicPort, again: float = LONG) -> None:
    """Have it asked of all ports."""
    looks.begin(DESIRED)
    looks.end(DESIRED, SAID, opened, ())
    looks.plan(again, LONG, partial=False)


async def test_a_switch_asks_of_what_is_new_alone(hass: HomeAssistant) -> None:
    """Of the others it is known what was said."""
    looks = Looks(hass, lambda: None)
    looked(looks)
    moved = {**DESIRED, WEB: ("forward", PortMapping(WEB, 443))}
    assert looks.begin(moved).keys() == {DNS}
    looks.async_cancel()


async def test_after_anything_that_went_wrong_it_is_asked_of_all(
    hass: HomeAssistant,
) -> None:
    """As is what is to be looked at anyway."""
    looks = Looks(hass, lambda: None)
    assert not looks.begin(DESIRED)
    looked(looks)
    assert looks.begin(DESIRED).keys() == DESIRED.keys()
    # It has not ended.
    assert looks.at_all
    assert not looks.begin(DESIRED)
    looked(looks)
    looks.at_all_soon()
    assert not looks.begin(DESIRED)


async def test_what_it_took_is_looked_at_again_and_no_more_than_that(
    hass: HomeAssistant,
) -> None:
    """For some agree, and keep nothing."""
    acts: list[bool] = []
    looks = Looks(hass, lambda: acts.append(looks.at_all))
    looked(looks, WEB, again=0.0)
    await until(lambda: acts == [False])
    assert looks.begin(DESIRED).keys() == {DNS}
    looks.async_cancel()


async def test_switching_again_and_again_puts_off_no_look_at_all(
    hass: HomeAssistant,
) -> None:
    """Else no lease would be renewed in time."""
    acts: list[bool] = []
    looks = Looks(hass, lambda: acts.append(looks.at_all))
    looked(looks)
    looks.plan(LONG, 0.2, partial=False)

    async def switch() -> None:
        while not acts:
            known = looks.begin(DESIRED)
            looks.end(DESIRED, SAID, (), known)
            looks.plan(LONG, LONG, partial=True)
            await asyncio.sleep(0.05)

    await switch()
    assert acts == [True]
    looks.async_cancel()


@pytest.mark.parametrize(
    ("told", "lease"),
    [(7200, 7200), (7195, 7200), (3600, 3600), (9, 120)],
)
def test_a_lease_is_recorded_anew_only_if_it_is_another(told: int, lease: int) -> None:
    """What has passed until it was read back is no news, and not worth the disk."""
    owner = Owner("owner", IPv4Address("192.168.50.2"))
    asked = Record("forward", DESIRED[WEB][1], 0, 7200, 1.0)
    entry = Entry(owner.client, WEB.port, lease=told)
    records = after(owner, {}, {WEB: asked}, (), {WEB: Outcome(None, entry)})
    assert records == {WEB: replace(asked, lease=lease, agreed=True)}
