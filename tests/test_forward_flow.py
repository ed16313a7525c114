"""Adding a port forward to a router, and changing one."""

from collections.abc import Mapping
from typing import Any

from homeassistant.components.device_tracker.const import ATTR_IP, ATTR_MAC
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigSubentry,
    ConfigSubentryData,
    SubentryFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.flows.presets import SERVICES
from custom_components.bypass_router.router import router as router_module
from custom_components.bypass_router.router.forward import (
    Forward,
    InvalidForward,
    PortRange,
)
from custom_components.bypass_router.subentry import forward_in, public_ports_in

from .lab.network import Lab
from .sentences import said, translations, typed
from .setup import set_up

CAMERA: dict[str, Any] = {
    "name": "Camera",
    "protocol": "tcp",
    "external_port": "8443",
    "target": "192.168.50.10",
    "target_port": "443",
    "sources": ["198.51.100.0/24"],
    "keep_client_address": False,
}
GAME: dict[str, Any] = {
    "name": "Game",
    "protocol": "udp",
    "external_port": "6000-6010",
    "target": "192.168.50.20",
    "target_port": "",
    "sources": [],
    "keep_client_address": True,
}
SECTION = "config_subentries.forward"


def router(hass: HomeAssistant, *forwards: dict[str, Any]) -> MockConfigEntry:
    """Return a router that has these forwards."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        data={"host": "192.168.50.2", "port": 22, "username": "root"},
        subentries_data=[
            ConfigSubentryData(
                data=forward,
                subentry_type="forward",
                title=forward["name"],
                unique_id=None,
            )
            for forward in forwards
        ],
    )
    entry.add_to_hass(hass)
    return entry


async def add(
    hass: HomeAssistant, entry: MockConfigEntry, **fields: Any
) -> SubentryFlowResult:
    """Fill in the form for a new forward, as for the camera but for these fields."""
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    filled = {**CAMERA, "enabled": False, **fields}
    return await flows.async_configure(form["flow_id"], filled)


def shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given as the form shows it: networks in one text."""
    return {**fields, "sources": "\n".join(fields["sources"])}


def forwards(entry: MockConfigEntry) -> list[ConfigSubentry]:
    """Return what the router has."""
    return list(entry.subentries.values())


async def test_a_forward_is_added_with_what_was_typed(hass: HomeAssistant) -> None:
    """Each field is kept, and the forward is named as the user named it."""
    entry = router(hass)
    result = await add(hass, entry)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    [forward] = forwards(entry)
    assert forward.title == "Camera"
    assert forward.data == CAMERA
    assert forward_in(forward) == Forward.parse(
        forward.subentry_id,
        protocol="tcp",
        external_port="8443",
        target="192.168.50.10",
        target_port="443",
        sources=["198.51.100.0/24"],
    )


async def test_the_form_explains_itself_and_asks_only_for_what_is_needed(
    hass: HomeAssistant,
) -> None:
    """A name, a port and a device are enough for everyone's TCP."""
    entry = router(hass)
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    assert said(form, SECTION)["description"]
    await flows.async_configure(
        form["flow_id"],
        {"name": "Web", "external_port": "443", "target": "192.168.50.10"},
    )
    [forward] = forwards(entry)
    assert forward.data == {
        "name": "Web",
        "protocol": "tcp",
        "external_port": "443",
        "target": "192.168.50.10",
        "target_port": "",
        "sources": [],
        "keep_client_address": False,
        "enabled": True,
    }


@pytest.mark.parametrize(
    ("field", "text", "stored"),
    [
        ("public_port", " 443 ", "443"),
        ("public_port", "08444", "8444"),
        ("name", "  Camera at the door ", "Camera at the door"),
        ("name", "玄関　カメラ", "玄関　カメラ"),
        ("name", "👩‍🚀 $(reboot) \"x\" 'y' --", "👩‍🚀 $(reboot) \"x\" 'y' --"),
        ("name", "n" * 100, "n" * 100),
        ("external_port", " 80 ", "80"),
        ("external_port", "6000 - 6000", "6000"),
        ("external_port", "65535", "65535"),
        ("external_port", "\t8443\n", "8443"),
        ("target", " 192.168.50.10 ", "192.168.50.10"),
        ("target_port", " 08443", ""),
        ("target_port", "  ", ""),
        ("sources", ["", " "], []),
        ("sources", ["198.51.100.7"], ["198.51.100.7/32"]),
        ("sources", ["0.0.0.0/0", "198.51.100.7"], []),
        (
            "sources",
            [" 203.0.113.0/25", "203.0.113.128/25 ", "198.51.100.0/255.255.255.0"],
            ["198.51.100.0/24", "203.0.113.0/24"],
        ),
    ],
)
async def test_what_people_type_is_understood(
    hass: HomeAssistant, field: str, text: Any, stored: Any
) -> None:
    """Spaces and other ways to write a thing do no harm; one way is stored."""
    entry = router(hass)
    result = await add(hass, entry, **{field: text})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    [forward] = forwards(entry)
    assert forward.data[field] == stored
    # What was stored is read as what was meant.
    assert forward_in(forward).id == forward.subentry_id


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.0/24 198.51.100.7",
        "203.0.113.0/24,198.51.100.7,",
        "\n203.0.113.0/24\n\n198.51.100.7\n",
        "203.0.113.0/24、 198.51.100.7；",
    ],
)
async def test_networks_are_typed_into_one_field(
    hass: HomeAssistant, text: str
) -> None:
    """Whatever people write between them."""
    entry = router(hass)
    await add(hass, entry, sources=text)
    [forward] = forwards(entry)
    assert forward.data["sources"] == ["198.51.100.7/32", "203.0.113.0/24"]
    wrong = await add(hass, entry, name="Other", sources="my phone")
    assert wrong["errors"]
    assert wrong["errors"]["sources"] == "invalid_source"
    with pytest.raises(InvalidData):
        await add(hass, entry, sources=7)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"service": "wireguard"}, ("udp", "51820", "")),
        ({"service": "home_assistant"}, ("tcp", "8123", "")),
        ({"service": "https", "external_port": "8443"}, ("tcp", "8443", "443")),
        ({"service": "ssh"}, ("tcp", "2222", "22")),
        ({"service": "http", "target_port": "8080"}, ("tcp", "80", "8080")),
        ({"service": "https", "protocol": "both"}, ("both", "443", "")),
    ],
)
async def test_a_service_is_chosen_instead_of_ports(
    hass: HomeAssistant, given: dict[str, str], stored: tuple[str, ...]
) -> None:
    """What is typed beside it goes first."""
    entry = router(hass)
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    fields = {"name": "Web", "target": "192.168.50.10", **given}
    await flows.async_configure(form["flow_id"], fields)
    [forward] = forwards(entry)
    ports = ("protocol", "external_port", "target_port")
    assert tuple(forward.data[field] for field in ports) == stored
    assert "service" not in forward.data


def test_each_service_has_a_line_that_tells_its_ports() -> None:
    """The same in all languages."""
    labels = [service.label for service in SERVICES.values()]
    assert "WireGuard · UDP 51820" in labels
    assert "SSH · TCP 2222 → 22" in labels
    assert len(set(labels)) == len(SERVICES)


async def test_neither_port_nor_service_is_no_port(hass: HomeAssistant) -> None:
    """The field is named."""
    entry = router(hass)
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    fields = {"name": "Web", "target": "192.168.50.10"}
    answer = await flows.async_configure(form["flow_id"], fields)
    assert answer["errors"] == {"external_port": "invalid_port"}


@pytest.mark.parametrize(
    ("target_port", "stored"),
    [("7000", "7000-7010"), ("7000 - 7010", "7000-7010"), ("6000-6010", ""), ("", "")],
)
async def test_a_range_may_be_shifted(
    hass: HomeAssistant, target_port: str, stored: str
) -> None:
    """The first port on the device is enough, and the same ports are none."""
    entry = router(hass)
    await add(hass, entry, external_port="6000 - 6010", target_port=target_port)
    [forward] = forwards(entry)
    assert forward.data["external_port"] == "6000-6010"
    assert forward.data["target_port"] == stored


@pytest.mark.parametrize(
    ("public_port", "stored"),
    [("7000", "7000-7010"), ("7000 – 7010", "7000-7010"), ("6000", None), ("", None)],
)
async def test_the_main_router_may_have_other_ports(
    hass: HomeAssistant, public_port: str, stored: str | None
) -> None:
    """The first is enough; the same ports are not written down, as they never were."""
    entry = router(hass)
    ports = {"external_port": "6000-6010", "target_port": ""}
    await add(hass, entry, **ports, public_port=public_port)
    [forward] = forwards(entry)
    assert forward.data.get("public_port") == stored
    assert str(public_ports_in(forward)) == (stored or "6000-6010")
    assert forward_in(forward).external == PortRange(6000, 6010)


async def test_a_service_leaves_the_main_routers_port_to_be_typed(
    hass: HomeAssistant,
) -> None:
    """As where 443 outside is to be 8443 at the bypass router."""
    entry = router(hass)
    ports = {"service": "https", "external_port": "8443", "target_port": ""}
    await add(hass, entry, **ports, public_port="443")
    [forward] = forwards(entry)
    assert forward.data["target_port"] == "443"
    assert forward.data["public_port"] == "443"


@pytest.mark.parametrize("dash", ["-", "–", " — ", "~", "～", "〜", "－"])
async def test_a_range_is_written_as_people_write_it(
    hass: HomeAssistant, dash: str
) -> None:
    """Keyboards and languages have dashes of their own."""
    entry = router(hass)
    ports = {"external_port": f"6000{dash}6010", "target_port": f"7000{dash}7010"}
    await add(hass, entry, **ports, public_port=f"8000{dash}8010")
    [forward] = forwards(entry)
    assert forward.data["external_port"] == "6000-6010"
    assert forward.data["target_port"] == "7000-7010"
    assert forward.data["public_port"] == "8000-8010"


@pytest.mark.parametrize(
    ("field", "text", "error"),
    [
        ("name", "", "invalid_name"),
        ("name", " \n\t ", "invalid_name"),
        ("name", "n" * 101, "invalid_name"),
        ("name", "n" * 300, "invalid_name"),
        ("name", "two\nlines", "invalid_name"),
        ("name", "two\u2028lines", "invalid_name"),
        ("name", "nul\0byte", "invalid_name"),
        ("name", "escape\x1b[31m", "invalid_name"),
        ("name", "right\u202eto left", "invalid_name"),
        ("name", "isolate\u2066d", "invalid_name"),
        ("name", "\u200d", "invalid_name"),
        ("name", "half \ud800", "invalid_name"),
        ("external_port", "", "invalid_port"),
        ("external_port", "0", "port_out_of_range"),
        ("external_port", "65536", "port_out_of_range"),
        ("external_port", "99999-100000", "invalid_port"),
        ("external_port", "80-70", "port_range_reversed"),
        ("external_port", "8 0", "invalid_port"),
        ("external_port", "-80", "invalid_port"),
        ("external_port", "80-", "invalid_port"),
        ("external_port", "1-2-3", "invalid_port"),
        ("external_port", "８０", "invalid_port"),
        ("external_port", "٨٠", "invalid_port"),
        ("external_port", "http", "invalid_port"),
        # Two ends of a range for some; a port and the device's for others.
        ("external_port", "80:8080", "invalid_port"),
        ("external_port", "80,443", "invalid_port"),
        ("external_port", "–80", "invalid_port"),
        ("external_port", "80;reboot", "invalid_port"),
        ("external_port", "80\n-j ACCEPT", "invalid_port"),
        ("target_port", "0", "port_out_of_range"),
        ("target_port", "８０", "invalid_port"),
        ("target_port", "7000-7010", "port_count_differs"),
        ("public_port", "0", "port_out_of_range"),
        ("public_port", "443;reboot", "invalid_port"),
        ("public_port", "7010-7000", "port_range_reversed"),
        ("public_port", "7000-7010", "port_count_differs"),
        ("target", "", "invalid_target"),
        ("target", "router.local", "invalid_target"),
        ("target", "::1", "invalid_target"),
        ("target", "192.168.50.256", "invalid_target"),
        ("target", "192.168.050.10", "invalid_target"),
        ("target", "192.168.50.10/24", "invalid_target"),
        ("target", "192.168.50.10:80", "invalid_target"),
        ("target", "192.168.50.10 -j ACCEPT", "invalid_target"),
        ("target", "０.0.0.1", "invalid_target"),
        ("target", "0.0.0.0", "target_not_a_host"),
        ("target", "255.255.255.255", "target_not_a_host"),
        ("target", "224.0.0.1", "target_not_a_host"),
        ("target", "127.0.0.1", "target_not_a_host"),
        ("target", "192.168.50.2", "target_is_router"),
        ("sources", ["198.51.100.7/24"], "invalid_source"),
        ("sources", ["198.51.100.0/33"], "invalid_source"),
        ("sources", ["2001:db8::/32"], "invalid_source"),
        ("sources", ["198.51.100.0/24", "phone"], "invalid_source"),
        ("sources", ["198.51.100.0/24,203.0.113.0/24"], "invalid_source"),
        ("external_port", "22", "port_is_ssh"),
        ("external_port", "20-30", "port_is_ssh"),
    ],
)
async def test_nonsense_is_refused_at_its_field(
    hass: HomeAssistant, field: str, text: Any, error: str
) -> None:
    """The form says what is wrong, keeps what was typed, and nothing is stored."""
    entry = router(hass)
    filled = {**CAMERA, "target_port": "", field: text}
    result = await add(hass, entry, **filled)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {field: error}
    assert said(result, SECTION)[field]
    assert typed(result) == shown({**filled, "enabled": False})
    assert forwards(entry) == []


async def test_a_shift_past_the_last_port_is_refused(hass: HomeAssistant) -> None:
    """Eleven ports from 65530 on are more than there are."""
    entry, external = router(hass), "6000-6010"
    result = await add(hass, entry, external_port=external, target_port="65530")
    assert result["errors"] == {"target_port": "port_out_of_range"}
    ports = {"external_port": external, "target_port": "", "public_port": "65530"}
    result = await add(hass, entry, **ports)
    assert result["errors"] == {"public_port": "port_out_of_range"}


async def test_a_protocol_that_is_none_is_refused(hass: HomeAssistant) -> None:
    """Not even a client that goes round the form gets one in."""
    with pytest.raises(InvalidData):
        await add(hass, router(hass), protocol="icmp")


async def test_all_that_is_wrong_is_said_at_once(hass: HomeAssistant) -> None:
    """No one has to send the form once for each mistake."""
    result = await add(
        hass,
        router(hass),
        name="",
        external_port="0",
        target="router.local",
        target_port="x",
        public_port="70000",
        sources=["everybody"],
    )
    assert result["errors"] == {
        "name": "invalid_name",
        "external_port": "port_out_of_range",
        "target": "invalid_target",
        "target_port": "invalid_port",
        "public_port": "port_out_of_range",
        "sources": "invalid_source",
    }


async def test_a_mistake_can_be_mended_in_the_same_form(hass: HomeAssistant) -> None:
    """After a refusal the form goes on."""
    entry = router(hass)
    result = await add(hass, entry, external_port="0")
    result = await hass.config_entries.subentries.async_configure(
        result["flow_id"], CAMERA
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert len(forwards(entry)) == 1


@pytest.mark.parametrize("name", ["Camera", "CAMERA", " camera "])
async def test_two_forwards_of_a_router_have_two_names(
    hass: HomeAssistant, name: str
) -> None:
    """Capitals don't tell them apart."""
    entry = router(hass, CAMERA)
    result = await add(hass, entry, name=name, external_port="9443")
    assert result["errors"] == {"name": "name_taken"}
    assert said(result, SECTION)["name"]
    assert len(forwards(entry)) == 1


@pytest.mark.parametrize(
    ("protocol", "ports"),
    [
        ("udp", "6005"),
        ("udp", "6000-6010"),
        ("udp", "5990-6000"),
        ("udp", "6010-6020"),
        ("both", "1000-7000"),
    ],
)
async def test_a_port_belongs_to_one_forward(
    hass: HomeAssistant, protocol: str, ports: str
) -> None:
    """The form names the forward that has it."""
    entry = router(hass, CAMERA, GAME)
    result = await add(
        hass,
        entry,
        name="Other",
        protocol=protocol,
        external_port=ports,
        target_port="",
    )
    assert result["errors"] == {"external_port": "port_taken"}
    assert "Game" in said(result, SECTION)["external_port"]
    assert len(forwards(entry)) == 2


# At 443 of the main router, and of the bypass router at 8443.
BEHIND_443 = {**CAMERA, "public_port": "443"}


@pytest.mark.parametrize(
    ("first", "second", "port"),
    [
        (BEHIND_443, {"external_port": "9443", "public_port": "443"}, "443"),
        # Of one that has the same port everywhere.
        (BEHIND_443, {"external_port": "443"}, "443"),
        (CAMERA, {"external_port": "9443", "public_port": "8443"}, "8443"),
        (
            {**GAME, "public_port": "7000-7010"},
            {"external_port": "7005-7006", "target_port": "", "protocol": "both"},
            "7005-7006",
        ),
    ],
)
async def test_a_port_of_the_main_router_leads_to_one_forward(
    hass: HomeAssistant, first: dict[str, Any], second: dict[str, Any], port: str
) -> None:
    """The form says at the field which one has it."""
    entry = router(hass, first)
    result = await add(hass, entry, name="Other", **second)
    assert result["errors"] == {"public_port": "public_port_taken"}
    told = said(result, SECTION)["public_port"]
    assert told.startswith(f"Port {port} of the main router already leads to: ")
    assert first["name"] in told
    assert len(forwards(entry)) == 1


async def test_the_same_port_of_the_main_router_is_free_where_nothing_else_is_shared(
    hass: HomeAssistant,
) -> None:
    """Over the other transport; and a port that is another one outside."""
    entry = router(hass, BEHIND_443)
    others: tuple[dict[str, Any], ...] = (
        {"name": "Game", "protocol": "udp", "external_port": "443"},
        {"name": "Door", "external_port": "9443", "public_port": "8443"},
    )
    for fields in others:
        result = await add(hass, entry, **fields)
        assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_the_same_ports_everywhere_are_complained_of_once(
    hass: HomeAssistant,
) -> None:
    """At the field that was filled in."""
    result = await add(hass, router(hass, CAMERA), name="Other")
    assert result["errors"] == {"external_port": "port_taken"}


@pytest.mark.parametrize(
    ("ports", "protocol", "sources", "refused"),
    [
        ("10000-14095", "tcp", [], False),
        ("10000-14096", "tcp", [], True),
        ("10000-12048", "both", [], True),
        ("10000-12048", "tcp", ["203.0.113.0/24", "198.51.100.0/24"], True),
    ],
)
async def test_no_more_ports_are_shifted_than_a_router_reads_in_a_moment(
    hass: HomeAssistant, ports: str, protocol: str, sources: list[str], refused: bool
) -> None:
    """Ports that keep their number are as many as people like."""
    entry = router(hass)
    fields: dict[str, Any] = {"name": "Many", "external_port": ports}
    fields |= {"protocol": protocol, "sources": sources}
    result = await add(hass, entry, **fields, target_port="20000")
    if refused:
        assert result["errors"] == {"target_port": "too_many_shifted"}
        assert "4096" in said(result, SECTION)["target_port"]
    else:
        assert len(forwards(entry)) == 1
    await add(hass, entry, **fields | {"name": "Same"}, target_port="")
    assert len(forwards(entry)) == 1


async def test_all_forwards_that_have_a_port_are_named(hass: HomeAssistant) -> None:
    """A range may take the ports of several."""
    entry = router(hass, CAMERA, GAME)
    result = await add(
        hass,
        entry,
        name="Other",
        protocol="both",
        external_port="6000-9000",
        target_port="",
    )
    assert "Camera, Game" in said(result, SECTION)["external_port"]


@pytest.mark.parametrize(
    ("protocol", "ports"),
    [
        ("tcp", "6000-6010"),
        ("udp", "8443"),
        ("udp", "5999"),
        ("udp", "6011"),
        ("udp", "22"),
    ],
)
async def test_the_same_port_of_the_other_protocol_is_free(
    hass: HomeAssistant, protocol: str, ports: str
) -> None:
    """So are the ports beside a range, and SSH's own for UDP."""
    entry = router(hass, CAMERA, GAME)
    result = await add(
        hass,
        entry,
        name="Other",
        protocol=protocol,
        external_port=ports,
        target_port="",
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_the_ssh_port_is_the_one_that_is_used(hass: HomeAssistant) -> None:
    """Where SSH listens elsewhere, its port is kept free and 22 is not."""
    entry = router(hass)
    hass.config_entries.async_update_entry(entry, data={**entry.data, "port": 2222})
    refused = await add(hass, entry, external_port="2000-3000", target_port="")
    assert refused["errors"] == {"external_port": "port_is_ssh"}
    assert "2222" in said(refused, SECTION)["external_port"]
    accepted = await add(hass, entry, external_port="22")
    assert accepted["type"] is FlowResultType.CREATE_ENTRY


async def test_routers_do_not_concern_each_other(hass: HomeAssistant) -> None:
    """Another router may have a forward of the same name at the same port."""
    router(hass, CAMERA)
    result = await add(hass, router(hass))
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_forward_is_changed_and_stays_the_same_one(hass: HomeAssistant) -> None:
    """The form begins with what is so; the id and the other forwards stay."""
    entry = router(hass, CAMERA, GAME)
    camera, game = forwards(entry)
    form = await entry.start_subentry_reconfigure_flow(hass, camera.subentry_id)
    assert form["type"] is FlowResultType.FORM
    assert said(form, SECTION)["description"]
    assert typed(form) == shown(CAMERA)
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {**CAMERA, "name": "Door", "protocol": "both", "sources": []}
    )
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "reconfigure_successful"
    changed, untouched = forwards(entry)
    assert changed.subentry_id == camera.subentry_id
    assert changed.title == "Door"
    assert changed.data == {
        **CAMERA,
        "name": "Door",
        "protocol": "both",
        "sources": [],
    }
    assert untouched is game


async def test_the_main_routers_port_stays_until_it_is_emptied(
    hass: HomeAssistant,
) -> None:
    """A change of something else keeps it, also of the external port."""
    entry = router(hass, BEHIND_443)
    flows = hass.config_entries.subentries
    for change, stored in (
        ({"external_port": "9443"}, "443"),
        ({"public_port": " "}, None),
    ):
        [camera] = forwards(entry)
        form = await entry.start_subentry_reconfigure_flow(hass, camera.subentry_id)
        begun = typed(form)
        assert begun["public_port"] == "443"
        await flows.async_configure(form["flow_id"], {**begun, **change})
        [camera] = forwards(entry)
        assert camera.data.get("public_port") == stored
        assert camera.data["external_port"] == "9443"


async def test_the_last_page_says_what_happens_and_what_the_main_router_needs(
    hass: HomeAssistant,
) -> None:
    """In one sentence each, with the ports as they were understood."""
    entry = router(hass)
    added = await add(
        hass, entry, protocol="both", external_port=" 6000 – 6010", target_port="7000"
    )
    words = added["description_placeholders"] or {}
    said_after = translations()[f"{SECTION}.create_entry.off"].format(**words)
    assert "TCP/UDP 6000-6010 goes to 192.168.50.10, port 7000-7010" in said_after
    main = "forward TCP/UDP {0} to 192.168.50.2, port {0}"
    assert main.format("6000-6010") in said_after
    [forward] = forwards(entry)
    form = await entry.start_subentry_reconfigure_flow(hass, forward.subentry_id)
    changed = await hass.config_entries.subentries.async_configure(
        form["flow_id"], BEHIND_443
    )
    # The frontend would take another domain's sentence, which has no words.
    assert "translation_domain" not in changed
    said_after = translations()[f"{SECTION}.abort.reconfigure_successful"].format(
        **(changed["description_placeholders"] or {})
    )
    assert "TCP 8443 goes to 192.168.50.10, port 443" in said_after
    assert "forward TCP 443 to 192.168.50.2, port 8443" in said_after


@pytest.mark.parametrize(
    ("options", "fields", "said_then"),
    [
        ({"main_router": "upnp"}, {}, "has your main router forward TCP 8443"),
        (
            {"main_router": "upnp"},
            {"external_port": "6000-6016", "target_port": ""},
            "On your main router, forward TCP 6000-6016",
        ),
        (
            {},
            {"main_router_switch": "switch.unifi"},
            "TCP 8443 to it on your main router goes on and off with it",
        ),
    ],
)
async def test_the_last_page_says_who_sets_the_main_routers_half(
    hass: HomeAssistant,
    options: Mapping[str, Any],
    fields: Mapping[str, Any],
    said_then: str,
) -> None:
    """By hand it is only where no one else does."""
    hass.states.async_set("switch.unifi", "off")
    entry = router(hass)
    hass.config_entries.async_update_entry(entry, options=options)
    added = await add(hass, entry, **fields)
    words = added["description_placeholders"] or {}
    said_after = translations()[f"{SECTION}.create_entry.off"].format(**words)
    assert said_then in said_after


def choices(form: Mapping[str, Any]) -> dict[str, str]:
    """Return the devices that a form offers, by address; none for a plain field."""
    (target,) = (
        selector.config
        for field, selector in form["data_schema"].schema.items()
        if field == "target"
    )
    if "options" not in target:
        return {}
    assert target["custom_value"] is True
    return {option["value"]: option["label"] for option in target["options"]}


async def test_the_device_is_chosen_by_its_name_or_typed(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """By what the user calls it, or else what it calls itself."""
    leases = (
        "1 02:00:c0:a8:32:0a 192.168.50.10 nas 01:02\n"
        "1 02:00:c0:a8:32:1e 192.168.50.30 printer *\n"
        "1 02:00:c0:a8:32:1f 192.168.50.31 * *\n"
        "1 02:00:c0:a8:32:20 192.168.50.32 * *\n"
    )
    at_home.bypass.run("sh", "-c", "cat >/tmp/dhcp.leases", input=leases)
    other = MockConfigEntry()
    other.add_to_hass(hass)
    dr.async_get(hass).async_get_or_create(
        config_entry_id=other.entry_id,
        connections={(dr.CONNECTION_NETWORK_MAC, "02:00:C0:A8:32:1E")},
        name="Printer in the hall",
    )
    er.async_get(hass).async_get_or_create(
        "device_tracker", "test", "tv", suggested_object_id="tv"
    )
    er.async_get(hass).async_update_entity("device_tracker.tv", name="Bedroom TV")
    trackers: dict[str, dict[str, Any]] = {
        "tv": {ATTR_MAC: "02-00-C0-A8-32-1F", ATTR_IP: "192.168.50.40"},
        "tablet": {ATTR_IP: "192.168.50.41", "friendly_name": "Zoe's tablet\n\x1b[0m"},
        "away": {ATTR_IP: "10.0.0.1"},
        "odd": {ATTR_IP: "none", ATTR_MAC: 7},
    }
    for name, attributes in trackers.items():
        hass.states.async_set(f"device_tracker.{name}", "home", attributes)
    entry = await set_up(hass, at_home)
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    found = choices(form)
    home = at_home.home.address
    assert next(iter(found.items())) == (home, f"Home Assistant ({home})")
    assert found["192.168.50.40"] == "Bedroom TV (192.168.50.40)"
    assert found["192.168.50.41"] == "Zoe's tablet [0m (192.168.50.41)"
    assert "10.0.0.1" not in found
    names = list(found)
    assert names.index("192.168.50.40") < names.index("192.168.50.10")
    assert found["192.168.50.10"] == "nas (192.168.50.10)"
    assert found["192.168.50.30"] == "Printer in the hall (192.168.50.30)"
    assert found["192.168.50.31"] == "Bedroom TV (192.168.50.31)"
    assert found["192.168.50.32"] == "02:00:c0:a8:32:20 (192.168.50.32)"
    assert at_home.bypass.address not in found
    # The frontend would fill in the first of them.
    assert typed(form)["target"] == ""
    wrong = await flows.async_configure(form["flow_id"], {**CAMERA, "target": "nas"})
    assert wrong["errors"] == {"target": "invalid_target"}
    assert choices(wrong) == found
    typed_in = {**CAMERA, "target": " 192.168.50.77 "}
    done = await flows.async_configure(form["flow_id"], typed_in)
    assert done["type"] is FlowResultType.CREATE_ENTRY
    [forward] = forwards(entry)
    assert forward.data["target"] == "192.168.50.77"
    again = await entry.start_subentry_reconfigure_flow(hass, forward.subentry_id)
    assert choices(again) == found
    assert typed(again)["target"] == "192.168.50.77"


async def test_a_router_that_does_not_tell_is_not_waited_for(
    at_home: Lab, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form comes all the same, and its device is typed."""
    monkeypatch.setattr(router_module, "NEIGHBOURS_TIMEOUT", 0.2)
    entry = await set_up(hass, at_home)
    at_home.bypass.commands.replace("tail", "#!/bin/sh\nexec sleep 9\n")
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    assert choices(form) == {}


async def test_without_the_router_the_device_is_typed(hass: HomeAssistant) -> None:
    """The form is there all the same."""
    entry = router(hass)
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    assert choices(form) == {}


async def test_a_forward_does_not_stand_in_its_own_way(hass: HomeAssistant) -> None:
    """Its own name in other letters and its own ports are free for it."""
    entry = router(hass, GAME)
    [game] = forwards(entry)
    form = await entry.start_subentry_reconfigure_flow(hass, game.subentry_id)
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {**GAME, "name": "GAME", "external_port": "6005-6015"}
    )
    assert result["type"] is FlowResultType.ABORT
    assert forwards(entry)[0].title == "GAME"


async def test_a_change_may_not_take_what_another_has(hass: HomeAssistant) -> None:
    """A refused change leaves the forward as it was, and keeps what was typed."""
    entry = router(hass, CAMERA, GAME)
    camera, _ = forwards(entry)
    form = await entry.start_subentry_reconfigure_flow(hass, camera.subentry_id)
    change = {**GAME, "name": "game"}
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], change
    )
    assert result["errors"] == {"name": "name_taken", "external_port": "port_taken"}
    assert "Game" in said(result, SECTION)["external_port"]
    assert typed(result) == shown(change)
    assert forwards(entry)[0] is camera


async def test_a_forward_renamed_elsewhere_keeps_that_name(hass: HomeAssistant) -> None:
    """The form shows the name that the user sees, not the one it once wrote."""
    entry = router(hass, CAMERA)
    [camera] = forwards(entry)
    hass.config_entries.async_update_subentry(entry, camera, title="Door")
    form = await entry.start_subentry_reconfigure_flow(hass, camera.subentry_id)
    assert typed(form)["name"] == "Door"


@pytest.mark.parametrize(
    "damage",
    [
        {"external_port": 8443},
        {"external_port": "0"},
        {"public_port": 443},
        {"public_port": "70000"},
        {"target": None},
        {"protocol": ["tcp"]},
        {"sources": "198.51.100.0/24"},
        {"sources": [7]},
        {"keep_client_address": "no"},
    ],
)
async def test_damaged_data_is_no_forward(
    hass: HomeAssistant, damage: dict[str, Any]
) -> None:
    """It is refused as a whole, and takes no port from a sound one."""
    entry = router(hass, {**CAMERA, **damage})
    [damaged] = forwards(entry)
    with pytest.raises(InvalidForward) as refusal:
        forward_in(damaged)
    assert set(refusal.value.errors) == set(damage)
    result = await add(hass, entry, name="Other")
    assert result["type"] is FlowResultType.CREATE_ENTRY
