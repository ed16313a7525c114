"""Two Home Assistants that want one port of one router: it is the first one's."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.router import live_rules
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import PortTaken
from custom_components.bypass_router.router.forward import Forward, PortRange
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until
from tests.router.client import connect

from .setup import GAME, WEB, issue, passes, set_up, switch_of, turn

OTHER: Final = "cd34"
# At another port of the device, which answers nobody.
THEIRS: Final = Forward.parse(
    "01THEIRS",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="81",
)
MORE: Final = replace(THEIRS, id="01MORE", external=PortRange(8500, 8500))
LEGACY: Final = RouterOptions(iptables="legacy")
# Ours and theirs; the kernel asks nftables' first.
EVERYWHERE = pytest.mark.parametrize(
    ("router_options", "firewall", "their_firewall"),
    [
        pytest.param(RouterOptions(), "nftables", Backend.NFTABLES, id="nft"),
        pytest.param(RouterOptions(), "iptables", Backend.IPTABLES, id="iptables-nft"),
        pytest.param(LEGACY, "iptables", Backend.IPTABLES, id="iptables-legacy"),
        pytest.param(RouterOptions(), "iptables", Backend.NFTABLES, id="behind nft"),
        pytest.param(RouterOptions(), "nftables", Backend.IPTABLES, id="before them"),
    ],
)


@pytest.fixture
async def theirs(at_home: Lab, their_firewall: Backend) -> AsyncIterator[Router]:
    """Another Home Assistant's connection to the router."""
    router = await connect(at_home, owner=OTHER, firewall=their_firewall)
    yield router
    await router.close()


def state(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the state of a forward's switch."""
    found = hass.states.get(switch_of(hass, entry, name))
    assert found
    return found.state


@EVERYWHERE
async def test_who_comes_later_is_refused_and_told_who_has_it(
    hass: HomeAssistant, at_home: Lab, theirs: Router, firewall: str
) -> None:
    """By the switch and by the form; all others go on, and it can come later."""
    at_home.target.serve("tcp", 443)
    at_home.target.serve("tcp", 7000)
    await theirs.rules.apply([THEIRS, MORE])
    entry = await set_up(hass, at_home, WEB, GAME, firewall=firewall)
    with pytest.raises(HomeAssistantError) as raised:
        await turn(
            hass, "on", *(switch_of(hass, entry, name) for name in ("Web", "Game"))
        )
    assert raised.value.translation_key == "port_taken_elsewhere"
    assert raised.value.translation_placeholders
    assert raised.value.translation_placeholders["owner"] == OTHER
    assert state(hass, entry, "Web") == STATE_OFF
    assert state(hass, entry, "Game") == STATE_ON
    assert await passes(at_home, 6000)
    assert not await passes(at_home)
    assert (await theirs.rules.read()).forwards.keys() == {THEIRS.id, MORE.id}
    assert await form_says(hass, entry) == {"external_port": "port_taken_elsewhere"}
    assert ports_told(hass) == "- 8443 (TCP)\n- 8500 (TCP)"
    # As it changes there.
    await theirs.rules.apply([THEIRS])
    await until(lambda: ports_told(hass) == "- 8443 (TCP)")
    await theirs.rules.apply([THEIRS, MORE])
    await until(lambda: ports_told(hass) == "- 8443 (TCP)\n- 8500 (TCP)")
    await theirs.rules.apply([])
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert await passes(at_home)
    # And the other way round, as the router has told them.
    await theirs.rules.read()
    with pytest.raises(PortTaken):
        await theirs.rules.apply([THEIRS])
    assert await passes(at_home)


def ports_told(hass: HomeAssistant) -> str:
    """Return what the repair says of the other one's ports."""
    told = issue(hass, "foreign")
    assert told
    assert told.translation_placeholders
    return str(told.translation_placeholders["ports"])


async def form_says(hass: HomeAssistant, entry: MockConfigEntry) -> Mapping[str, str]:
    """Return what the form complains of that is to add one more with their port."""
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": "user"}
    )
    answer = await flows.async_configure(
        form["flow_id"],
        {
            "name": "One more",
            "protocol": "both",
            "external_port": "8490-8510",
            "target": "192.168.50.10",
            "target_port": "443",
        },
    )
    errors: Mapping[str, str] = answer["errors"] or {}
    return errors


@EVERYWHERE
async def test_who_was_first_in_the_kernel_has_it_and_the_other_is_off(
    hass: HomeAssistant,
    at_home: Lab,
    theirs: Router,
    firewall: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However theirs came there: a switch is on only where packets go its way."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, GAME, firewall=firewall)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    with monkeypatch.context() as patch:
        patch.setattr(live_rules, "_taken", lambda *_: {})
        try:
            await theirs.rules.apply([THEIRS])
        except Exception:  # noqa: BLE001 - nft itself keeps them from it
            assert firewall == "nftables"
    await until(lambda: issue(hass, "foreign") or firewall == "nftables")
    there = await passes(at_home)
    await until(lambda: state(hass, entry, "Web") == (STATE_ON if there else STATE_OFF))
    if there:
        return
    await until(lambda: issue(hass, "refused"))
    await theirs.rules.apply([])
    await until(lambda: state(hass, entry, "Web") == STATE_ON)
    assert await passes(at_home)
    await until(lambda: not issue(hass, "refused"))
