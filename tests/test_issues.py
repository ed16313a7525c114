"""How much a user is told in Home Assistant's repairs, whatever a router says."""

from collections.abc import Callable

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.translation import async_get_translations
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.issues import Issues
from custom_components.bypass_router.router.errors import (
    ClosingRefused,
    FirewallFailed,
    NotApplied,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.rules.base import Tag

from .sentences import translations


@pytest.fixture
def issues(hass: HomeAssistant) -> Issues:
    """The repairs of a router."""
    entry = MockConfigEntry(domain=DOMAIN, entry_id="1", title="bypass")
    return Issues(hass, entry)


@pytest.fixture
def told(hass: HomeAssistant) -> Callable[[], dict[str, dict[str, str]]]:
    """Return what gives all that is told, with the words; each has its sentence."""

    def tell() -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for issue in ir.async_get(hass).issues.values():
            words = issue.translation_placeholders or {}
            key = f"issues.{issue.translation_key}"
            assert translations()[f"{key}.title"].format(**words)
            if not issue.is_fixable:
                assert translations()[f"{key}.description"].format(**words)
            found[issue.issue_id] = words
        return found

    return tell


type Told = Callable[[], dict[str, dict[str, str]]]


def tags(owner: str, forwards: int = 1) -> set[Tag]:
    """Return the tags of an owner's forwards."""
    return {Tag(owner, str(number)) for number in range(forwards)}


def test_thousands_of_made_up_owners_are_a_handful_of_repairs(
    issues: Issues, told: Told
) -> None:
    """Those with the most forwards have one each, and the others one together."""
    crowd = set().union(*(tags(f"x{number}") for number in range(5000)))
    issues.foreign(tags("cd34", 3) | crowd)
    found = told()
    assert len(found) == 6
    # Nothing is known of what they forward.
    assert found["foreign_1_cd34"]["ports"] == "- ?"
    assert found["foreign_others_1"] == {"router": "bypass", "count": "4996"}


def test_a_repair_stays_until_its_owner_is_gone_and_then_makes_room(
    issues: Issues, told: Told
) -> None:
    """None vanishes because someone makes up a greater one."""
    six = [tags(f"o{number}") for number in range(6)]
    issues.foreign(set().union(*six))
    shown = {f"foreign_1_o{number}" for number in range(5)}
    assert told().keys() == shown | {"foreign_others_1"}
    issues.foreign(set().union(*six) | tags("greater", 9))
    assert told().keys() == shown | {"foreign_others_1"}
    issues.foreign(set().union(*six[1:]))
    assert told().keys() == shown - {"foreign_1_o0"} | {"foreign_1_o5"}
    issues.foreign(set())
    assert told() == {}


def test_any_number_of_commands_is_told_in_part(issues: Issues, told: Told) -> None:
    """No one types thousands; how many there are is said."""
    issues.waiting([f"iptables {number}" for number in range(40)])
    assert told()["waiting_1"]["commands"].count("\n") == 39
    issues.waiting([f"iptables {number}" for number in range(41)])
    words = told()["waiting_1"]
    assert words["commands"].count("\n") == 39
    assert words["count"] == "41"
    issues.waiting([])
    assert told() == {}


def test_a_command_that_is_refused_is_told(issues: Issues, told: Told) -> None:
    """So that it can be allowed."""
    issues.closing_refused(ClosingRefused(command="conntrack -D"))
    assert told() == {
        "closing_refused_1": {"router": "bypass", "command": "conntrack -D"}
    }


@pytest.mark.parametrize(
    ("count", "key"), [(1, "_one"), (2, ""), (10, ""), (11, "_many"), (99, "_many")]
)
def test_one_forward_and_several_are_told_as_that(
    hass: HomeAssistant, issues: Issues, told: Told, count: int, key: str
) -> None:
    """One is named at once, several are counted; a screen's worth has its reason."""
    names = [f"Web {number}" for number in range(count)]
    issues.refused([(name, NotApplied()) for name in names])
    issues.kept_out([(name, ["A rule drops it."]) for name in names])
    for kind in ("refused", "kept_out"):
        issue = ir.async_get(hass).async_get_issue(DOMAIN, f"{kind}_1")
        assert issue
        assert issue.translation_key == f"{kind}{key}"
        words = told()[f"{kind}_1"]
        title = translations()[f"issues.{kind}{key}.title"].format(**words)
        assert title.startswith("Router bypass: ")
        assert ("“Web 0”" if count == 1 else f"{count} forwards") in title
        assert len(words["forwards"].splitlines()) == min(count, 10)


async def test_why_a_forward_is_refused_is_told_in_the_homes_language(
    hass: HomeAssistant, issues: Issues, told: Told
) -> None:
    """What the router says is quoted, and is no link."""
    hass.config.language = "ja"
    await async_get_translations(hass, "ja", "exceptions", {DOMAIN})
    said = "[here](https://x.example) `rm`"
    issues.refused([("Web", FirewallFailed(command="nft", message=said))])
    line = told()["refused_1"]["forwards"]
    assert line.startswith("- Web: ルーターのファイアウォールに拒否されました")
    assert "「`[here](https://x.example) 'rm'`」" in line


def test_the_ports_of_another_home_assistant_are_named(
    issues: Issues, told: Told
) -> None:
    """In order, with what they carry; of very many, as many as fit on a screen."""

    def forward(number: int, ports: str, protocol: str) -> tuple[Tag, Forward]:
        made = Forward.parse(
            str(number),
            protocol=protocol,
            external_port=ports,
            target="192.168.50.10",
        )
        return Tag("cd34", str(number)), made

    theirs = dict([forward(1, "9000", "tcp"), forward(2, "6000-6010", "both")])
    issues.foreign(theirs.keys(), theirs)
    ports = "- 6000-6010 (TCP, UDP)\n- 9000 (TCP)"
    assert told()["foreign_1_cd34"]["ports"] == ports
    many = dict(forward(number, str(number), "udp") for number in range(1, 99))
    issues.foreign(many.keys(), many)
    lines = told()["foreign_1_cd34"]["ports"].splitlines()
    assert lines[0] == "- 1 (UDP)"
    assert lines[10:] == ["- …"]
