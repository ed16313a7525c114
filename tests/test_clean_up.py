"""The commands by which a person removes all of ours, after the router was removed."""

from pathlib import Path
import re

from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.issues import Issues
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.router.client import WEB, connect

from .setup import ours, rules

GAME = Forward.parse(
    "01GAME", protocol="both", external_port="6000-6010", target="192.168.50.10"
)
ROUTERS = {
    "nft": RouterOptions(),
    "nft, drop": RouterOptions(firewall="drop"),
    "legacy, drop": RouterOptions(iptables="legacy", firewall="drop"),
    "both": RouterOptions(firewall="drop", rules_in=("nft", "legacy")),
    "no iptables": RouterOptions(iptables=None, firewall="drop"),
    "docker": RouterOptions(firewall="docker"),
    "firewalld": RouterOptions(firewall="firewalld-strict"),
    "fw4": RouterOptions(system="openwrt"),
    "fw3": RouterOptions(system="openwrt-fw3"),
}


@pytest.fixture
def commands(hass: HomeAssistant) -> str:
    """What the repair shows."""
    entry = MockConfigEntry(domain=DOMAIN, entry_id="1", title="bypass")
    Issues(hass, entry).left_behind()
    told = ir.async_get(hass).async_get_issue(DOMAIN, "left_behind_1")
    assert told is not None
    assert told.translation_placeholders is not None
    return told.translation_placeholders["commands"]


def everything(lab: Lab) -> list[str]:
    """Return all rules, without the empty tables that iptables makes by a look."""
    return [
        line
        for line in rules(lab).splitlines()
        if not re.match(r"(nft|legacy): [*:C]|table |\tchain |\t\ttype |\t?}?$", line)
    ]


async def set_rules(lab: Lab) -> None:
    """Have two Home Assistants set rules, wherever this router takes them."""
    for backend, forward in ((Backend.AUTO, WEB), (Backend.IPTABLES, GAME)):
        chosen = backend if lab.bypass.iptables else Backend.AUTO
        owner = "ab12" if forward is WEB else "cd34"
        router = await connect(lab, owner=owner, firewall=chosen)
        assert forward.id in (await router.rules.apply([forward])).forwards
        await router.close()


@pytest.mark.parametrize("router_options", ROUTERS.values(), ids=ROUTERS)
async def test_nothing_of_ours_is_left_and_all_else_is(
    at_home: Lab, commands: str
) -> None:
    """Pasted into the router's shell, as root; a second time does no harm."""
    before = everything(at_home)
    await set_rules(at_home)
    assert ours(at_home)
    for _ in range(2):
        done = at_home.bypass.run("sh", input=commands)
        assert (done.stdout, done.stderr) == ("", "")
        assert ours(at_home) == []
        assert everything(at_home) == before


@pytest.mark.parametrize("shell", ["dash", "bash", "bash --posix", "busybox sh"])
async def test_any_shell_takes_it(at_home: Lab, commands: str, shell: str) -> None:
    """Also one that ends at the first error."""
    await set_rules(at_home)
    at_home.bypass.run(*shell.split(), "-e", input=commands)
    assert ours(at_home) == []


@pytest.mark.parametrize("lacking", ["nft", "awk", "ip", "iptables"])
async def test_what_the_router_lacks_keeps_nothing_else(
    at_home: Lab, commands: str, lacking: str
) -> None:
    """Each other place is cleaned all the same."""
    await set_rules(at_home)
    add_proxys(at_home)
    if lacking == "iptables":
        at_home.bypass.use_iptables(None)
    else:
        at_home.bypass.commands.hide(lacking)
    at_home.bypass.run("sh", input=commands)
    at_home.bypass.commands.restore()
    left = "\n".join(ours(at_home))
    assert ("ha_bypass" in left) == (lacking == "nft")
    assert ("217" in left) == (lacking == "ip")
    assert ("HA-BYPASS" in left) == (lacking == "iptables")


def add_proxys(lab: Lab) -> None:
    """Add rules as they are beside a proxy, and some of others."""
    answers = "from 192.168.50.10 ipproto"
    for command in (
        "iptables -t mangle -N HA-BYPASS-MANGLE",
        "iptables -t mangle -A HA-BYPASS-MANGLE -j ACCEPT",
        "iptables -t mangle -I PREROUTING -j HA-BYPASS-MANGLE",
        "iptables -t mangle -I PREROUTING -j HA-BYPASS-MANGLE",
        f"ip rule add pref 300 {answers} tcp sport 443 lookup main protocol 217",
        f"ip rule add pref 301 {answers} udp lookup main protocol 217",
        "ip rule add pref 302 from 192.168.50.99 lookup main protocol 99",
        "ip rule add pref 303 from 192.168.50.98 lookup main",
    ):
        lab.bypass.run(*command.split())


async def test_what_stands_beside_a_proxy_goes_too(at_home: Lab, commands: str) -> None:
    """And no other rule of routing."""
    add_proxys(at_home)
    assert len(ours(at_home)) > 5
    done = at_home.bypass.run("sh", input=commands)
    assert done.stderr == ""
    assert ours(at_home) == []
    routing = at_home.bypass.run("ip", "rule").stdout
    assert "192.168.50.99" in routing
    assert "192.168.50.98" in routing
    assert "lookup local" in routing
    assert "lookup default" in routing


def test_the_readme_has_the_same_commands(commands: str) -> None:
    """For who has lost the repair that shows them."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"```sh\n{commands}\n```" in readme
