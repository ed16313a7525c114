"""Who may come in, by the name of a host; and who from now on, as an action says."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
import socket
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
import pytest

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.sync import source_names
from tests.lab.network import Lab
from tests.lab.waiting import until, until_told

from .client import Connection
from .setup import WEB, issue, ours, passes, set_up, switch_of, turn
from .test_leases import open_for

NAME = "home.example.org"
ELSEWHERE = "192.0.2.77"

type Names = dict[str, Sequence[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What a name server says, which is asked all the time."""
    known: Names = {}
    real = socket.getaddrinfo

    def answer(host: Any, *more: Any, **options: Any) -> list[Any]:
        if not isinstance(host, str) or not host.endswith(".example.org"):
            return real(host, *more, **options)
        if host not in known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(source_names, "AGAIN", timedelta(seconds=0.2))
    return known


async def set_sources(hass: HomeAssistant, switch: str, *sources: str) -> None:
    """Have a forward let in these."""
    data = {"entity_id": switch, "sources": list(sources)}
    await hass.services.async_call(DOMAIN, "set_sources", data, blocking=True)


async def test_a_host_is_let_in_wherever_it_is(
    hass: HomeAssistant, at_home: Lab, names: Names
) -> None:
    """And as it was, while its name can't be resolved, which is told."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, {**WEB, "sources": [NAME]})
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    # It was never resolved: that lets nobody in, and not everybody.
    assert not await passes(at_home)
    await until(lambda: issue(hass, "unresolved"))
    names[NAME] = [ELSEWHERE, at_home.internet.address]
    await until_told(partial(passes, at_home))
    await until(lambda: not issue(hass, "unresolved"))
    user = Connection(at_home)
    del names[NAME]
    found = await until(lambda: issue(hass, "unresolved"))
    assert found.translation_placeholders
    assert at_home.internet.address in found.translation_placeholders["names"]
    assert user.lives()
    await hass.config_entries.async_reload(entry.entry_id)
    assert await passes(at_home)
    # It has moved: who is there now is another.
    names[NAME] = [ELSEWHERE]
    await until(lambda: not user.lives())
    assert not await passes(at_home)
    await set_sources(hass, web, at_home.internet.address)
    assert await passes(at_home)
    await until(lambda: not issue(hass, "unresolved"))


async def test_an_action_says_who_may_come_in_from_now_on(
    hass: HomeAssistant, at_home: Lab, names: Names
) -> None:
    """Where the forward is open for others for a while, after that."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    await set_sources(hass, web, ELSEWHERE)
    assert not ours(at_home)
    await turn(hass, "on", web)
    assert not await passes(at_home)
    names[NAME] = [at_home.internet.address]
    await set_sources(hass, web, ELSEWHERE, NAME)
    await until_told(partial(passes, at_home))
    await open_for(hass, web, 3600, sources=[ELSEWHERE])
    assert not await passes(at_home)
    await open_for(hass, web, 3600, sources=[NAME])
    assert await passes(at_home)
    await set_sources(hass, web, ELSEWHERE)
    assert await passes(at_home)
    await turn(hass, "on", web)
    assert not await passes(at_home)
    await set_sources(hass, web, "0.0.0.0/0")
    assert await passes(at_home)
    (subentry,) = entry.subentries.values()
    assert subentry.data["sources"] == []


@pytest.mark.parametrize(
    ("action", "sources", "key"),
    [
        ("set_sources", [], "invalid_sources"),
        ("set_sources", ["192.168.50"], "invalid_sources"),
        ("set_sources", ["a b.example.org"], "invalid_sources"),
        ("open_for", ["gone.example.org"], "unresolved_source"),
    ],
)
@pytest.mark.usefixtures("names")
async def test_what_names_nobody_changes_nothing(
    hass: HomeAssistant, at_home: Lab, action: str, sources: list[str], key: str
) -> None:
    """As of a template that has found no address."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    data: dict[str, Any] = {"entity_id": web, "sources": sources}
    if action == "open_for":
        data["duration"] = {"minutes": 1}
    with pytest.raises(ServiceValidationError) as raised:
        await hass.services.async_call(DOMAIN, action, data, blocking=True)
    assert raised.value.translation_key == key
    assert not ours(at_home)
