"""A person adds a router and a forward, uses it, and removes both: all in a browser."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
import re
from typing import override

from playwright.sync_api import Page
import pytest

from tests.lab.waiting import wait_until
from tests.live.fixtures import Live
from tests.live.instance import DOMAIN
from tests.readmes import read, yaml_blocks
from tests.test_translations import LANGUAGES

from .browser import Browser, View
from .camera import FOLDER, Camera
from .person import DASHBOARD, Person
from .words import Words

pytestmark = [pytest.mark.browser, pytest.mark.long]

EXTERNAL = "8443"
SERVICE = "443"
DEVICE = "front-door"
NAMES = ("bypass.lan", "router.lan")
# Said of all custom integrations when the home's language is changed.
NOT_OURS = re.compile(r"Failed to load integration for translation: Invalid domain")


@dataclass(frozen=True)
class Walk:
    """Who walks, what their forward is called, and by what they call the router.

    No two forwards have one name: what befell it would be shown of both. The router
    is called by its address, if by no name: after three wrong passwords in a row,
    nothing is tried there for ten minutes.
    """

    view: View
    forward: str
    host: str | None = None

    @override
    def __str__(self) -> str:
        """What to call the test."""
        return f"{self.view.language}-{'phone' if self.view.phone else 'desktop'}"


def desktop(language: str, forward: str, host: str | None = None) -> Walk:
    """Return a walk at a desk."""
    return Walk(View(language, 1280, 900), forward, host)


def phone(language: str, forward: str, host: str | None = None) -> Walk:
    """Return a walk on a phone."""
    return Walk(View(language, 390, 844, phone=True), forward, host)


WALKS = [desktop("en", "Camera"), phone("ja", "玄関", NAMES[0])]
if FOLDER:
    WALKS += [desktop("ja", "カメラ"), desktop("zh-Hans", "摄像头", NAMES[1])]
# What has to be done is done in each language, with either.
MAIN_JOBS = [
    each(language, f"Main job {number}")
    for number, language in enumerate(LANGUAGES)
    for each in (desktop, phone)
]
DASHBOARDS = [
    desktop("en", "Camera"),
    phone("ja", "カメラ"),
    phone("zh-Hans", "摄像头"),
]
if FOLDER:
    DASHBOARDS += [desktop("ja", "カメラ"), desktop("zh-Hans", "摄像头")]


@pytest.fixture(scope="module")
def browser(live_of_module: Live) -> Iterator[Browser]:
    """One browser for all walks, and a network with names in it."""
    lab, home_assistant = live_of_module.lab, live_of_module.home_assistant
    lab.target.serve("tcp", SERVICE)
    lease = f"9999999999 02:00:c0:a8:32:0a {lab.target.address} {DEVICE} *\n"
    lab.bypass.run("sh", "-c", "cat >/tmp/dhcp.leases", input=lease)
    hosts = f"127.0.0.1 localhost\n{lab.bypass.address} {' '.join(NAMES)}\n"
    (home_assistant.config / "hosts").write_text(hosts)
    lab.home.run("mount", "--bind", "/boot/hosts", "/etc/hosts")
    home_assistant.command(
        "lovelace/dashboards/create", url_path=DASHBOARD, title="Bypass Router"
    )
    with Browser(lab.home) as browser:
        yield browser
    lab.home.run("umount", "/etc/hosts")


@pytest.fixture(autouse=True)
def _nothing_left(live: Live) -> Iterator[None]:
    """Let no walk find the router of one that failed."""
    yield
    home_assistant = live.home_assistant
    for entry in home_assistant.command("config_entries/get", domain=DOMAIN):
        live.flows.remove_router(entry["entry_id"])
    home_assistant.call("persistent_notification", "dismiss_all")


def fingerprint(live: Live) -> str:
    """Return what the router itself says its host key is."""
    router = live.lab.bypass
    said = router.run("ssh-keygen", "-lf", "-", input=router.host_key())
    return said.stdout.split()[1]


def passes(live: Live) -> bool:
    """Return whether payload goes from the internet to the target and back."""
    lab = live.lab
    return lab.internet.exchange("tcp", lab.main.wan_address, int(EXTERNAL)).passed


def wait_for_packets(live: Live, *, on: bool) -> None:
    """Wait until payload passes, or none does: the page shows a press at once."""
    wait_until(lambda: passes(live) == on)


def turn(live: Live, person: Person, *, on: bool) -> None:
    """Have the switch pressed, and wait until all that comes of it is done."""
    person.toggle(on=on)
    wait_for_packets(live, on=on)
    # It asks for nothing new, and returns after what the page has asked for.
    live.home_assistant.call(
        "switch", f"turn_{'on' if on else 'off'}", entity_id=the_switch(live)
    )


def the_switch(live: Live) -> str:
    """Return the only switch there is."""
    states = live.home_assistant.api("GET", "/api/states")
    ids: list[str] = [state["entity_id"] for state in states]
    (found,) = [entity_id for entity_id in ids if entity_id.startswith("switch.")]
    return found


@pytest.mark.parametrize("walk", WALKS, ids=str)
def test_a_person_sets_up_a_forward_and_uses_it(
    live: Live, browser: Browser, walk: Walk, tmp_path: Path
) -> None:
    """Each text is there in their language, and packets pass when they are to."""
    view, home_assistant = walk.view, live.home_assistant
    # The names of entities and notifications are in the language of the whole home.
    home_assistant.command("config/core/update", language=view.language)
    said = len(home_assistant.log())
    complaints = browser.visit(
        view,
        home_assistant.token,
        lambda page: walk_through(live, page, walk),
        tmp_path / "failed.png",
    )
    assert complaints == []
    bad = home_assistant.bad_records(said)
    assert [record for record in bad if not NOT_OURS.search(record)] == []


@pytest.mark.parametrize("walk", MAIN_JOBS, ids=str)
def test_nine_clicks_and_four_fields_lead_to_the_first_forward(
    live: Live, browser: Browser, walk: Walk, tmp_path: Path
) -> None:
    """From nothing to packets that pass, and on its page it says so when asked."""
    view = walk.view
    live.home_assistant.command("config/core/update", language=view.language)
    complaints = browser.visit(
        view,
        live.home_assistant.token,
        lambda page: main_job(live, page, walk),
        tmp_path / "failed.png",
    )
    assert complaints == []


def main_job(live: Live, page: Page, walk: Walk) -> None:
    """Do what has to be done, and nothing else; then ask whether it works."""
    router, view = live.lab.bypass, walk.view
    live.lab.target.serve("tcp", EXTERNAL)
    camera = Camera(view, closed=True)
    person = Person(page, Words(view.language), camera, phone=view.phone)
    person.begin_to_add_router()
    person.say_where_it_is(router.address)
    person.sign_in(router.root_password, **shown_of(live, router.address))
    fields = {"name": walk.forward, "external_port": EXTERNAL}
    person.describe_forward(DEVICE, router.address, **fields)
    person.submit_forward()
    person.read_summary(
        protocol="TCP",
        external_port=EXTERNAL,
        public_port=EXTERNAL,
        target=live.lab.target.address,
        target_port=EXTERNAL,
        router=router.address,
    )
    wait_for_packets(live, on=True)
    clicks, typed = person.effort
    assert clicks <= 9
    assert typed <= 4

    person.open_forward(walk.forward)
    person.press_diagnose()
    person.see_status("checking", "try_now")
    assert passes(live)
    person.see_status("checking", "try_now", "works")
    live.lab.target.stop_serving()
    live.lab.target.serve("tcp", SERVICE)


@pytest.mark.parametrize("walk", DASHBOARDS, ids=str)
def test_the_readmes_dashboard_shows_each_forward(
    live: Live, browser: Browser, walk: Walk, tmp_path: Path
) -> None:
    """What goes where, whether it is on, and how it stands; also on a phone."""
    home_assistant, router = live.home_assistant, live.lab.bypass
    view, words = walk.view, Words(walk.view.language)
    home_assistant.command("config/core/update", language=view.language)
    entry = live.flows.add_router(router.address, password=router.root_password)
    address = live.lab.target.address
    switches = []
    for name, ports in (
        (walk.forward, {"external_port": EXTERNAL, "target_port": SERVICE}),
        ("SSH", {"external_port": "2222", "target_port": "22"}),
        ("WireGuard", {"external_port": "51820", "protocol": "udp"}),
    ):
        fields = {"protocol": "tcp", "target": address, **ports}
        added = live.flows.add_forward(entry.entry_id, name=name, **fields)
        switches.append(added.entity_id)
    home_assistant.call("switch", "turn_on", entity_id=switches[:2])
    wait_for_packets(live, on=True)
    home_assistant.api(
        "POST",
        "/api/services/bypass_router/diagnose?return_response",
        {"entity_id": switches[1]},
    )
    (card,) = (it for it in yaml_blocks(read("README.md")) if "cards" in it)
    card["cards"][1]["entities"] = switches
    shown = {"type": "masonry", "cards": [card]}
    home_assistant.command(
        "lovelace/config/save", url_path=DASHBOARD, config={"views": [shown]}
    )

    status = words.part("entity.sensor.status.state")
    texts = (
        *(walk.forward, f"TCP {EXTERNAL} → {address}:{SERVICE}", status["works"]),
        *("SSH", f"TCP 2222 → {address}:22", status["fails"]),
        *("WireGuard", f"UDP 51820 → {address}:51820", status["off"]),
    )
    complaints = browser.visit(
        view,
        home_assistant.token,
        lambda page: Person(page, words, Camera(view), phone=view.phone).see_dashboard(
            *texts
        ),
        tmp_path / "failed.png",
    )
    assert complaints == []


def shown_of(live: Live, host: str) -> dict[str, str]:
    """Return the words of the form for signing in."""
    return {
        "host": host,
        "username": "root",
        "fingerprint": fingerprint(live),
        "openssh_command": "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        "dropbear_command": (
            "dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key"
        ),
    }


def walk_through(live: Live, page: Page, walk: Walk) -> None:
    """Do all that the README tells, from the first form to the last."""
    router, words = live.lab.bypass, Words(walk.view.language)
    person = Person(page, words, Camera(walk.view), phone=walk.view.phone)
    host = walk.host or router.address

    person.begin_to_add_router()
    person.say_where_it_is(host)
    shown = shown_of(live, host)
    person.sign_in("wrong", "authentication_failed", **shown)
    person.sign_in(router.root_password, **shown)

    person.describe_forward(
        DEVICE,
        router.address,
        name=walk.forward,
        external_port=EXTERNAL,
        target_port=SERVICE,
    )
    person.submit_forward("port_out_of_range", external_port="70000")
    person.submit_forward(external_port=EXTERNAL)
    person.read_summary(
        protocol="TCP",
        external_port=EXTERNAL,
        public_port=EXTERNAL,
        target=live.lab.target.address,
        target_port=SERVICE,
        router=router.address,
    )

    person.see_router(router.name)
    person.open_forward(walk.forward)
    person.see_switch(on=True)
    wait_for_packets(live, on=True)
    turn(live, person, on=False)
    turn(live, person, on=True)
    router.run("nft", "flush", "ruleset")
    person.see_event("rules_removed", "rules_restored")
    person.see_switch(on=True)
    assert passes(live)

    diagnosed = words.message("diagnosis_title", forward=walk.forward)
    person.press_diagnose()
    person.see_notification(diagnosed, words.message("diagnosis_packets", packets="0"))
    assert passes(live)
    person.see_notification(diagnosed, words.message("diagnosis_healthy"))
    person.dismiss_notification()
    person.open_forward(walk.forward)
    person.see_connections()
    person.see_picture()

    person.remove_forward(walk.forward)
    wait_for_packets(live, on=False)
    person.remove_router()
    assert "ha_bypass" not in router.run("nft", "list", "tables").stdout
