"""A router whose nft is too old for our table."""

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.const import DOMAIN
from tests.lab import old_nft
from tests.lab.network import Lab
from tests.lab.waiting import until_told

from .sentences import said
from .setup import WEB, passes, set_up, switch_of, turn

# What another program has made, by nft itself.
NATIVE = """\
table inet own {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" ip daddr != 192.168.50.0/24 accept
  }
}
"""


async def test_beside_iptables_it_lets_pass_what_iptables_translates(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """In the tables of nftables that iptables does not reach; and takes it away."""
    old_nft.install(at_home.bypass)
    at_home.bypass.run("nft", "-f", "-", input=NATIVE)
    before = at_home.bypass.real("nft", "-s", "list", "table", "inet", "own").stdout
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    router = entry.runtime_data.connection.router
    assert router.rules.firewall.startswith("iptables")
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert await passes(at_home)
    at_home.bypass.run("nft", "flush table inet own")
    at_home.bypass.run("nft", "-f", "-", input=NATIVE)
    await until_told(lambda: passes(at_home))
    await turn(hass, "off", switch)
    at_home.bypass.run("nft", "flush table inet own")
    at_home.bypass.run("nft", "-f", "-", input=NATIVE)
    found = at_home.bypass.real("nft", "-s", "list", "table", "inet", "own").stdout
    assert found == before


@pytest.mark.parametrize("language", ["en"])
async def test_alone_it_is_named_with_the_version_that_will_do(
    hass: HomeAssistant, at_home: Lab, language: str
) -> None:
    """The form says it, and not what nft has said of a line of ours."""
    hass.config.language = language
    old_nft.install(at_home.bypass)
    at_home.bypass.commands.hide("iptables*")
    flow = hass.config_entries.flow
    form = await flow.async_init(DOMAIN, context={"source": "user"})
    form = await flow.async_configure(
        form["flow_id"],
        {"host": at_home.bypass.address, "port": 22, "username": "root"},
    )
    form = await flow.async_configure(
        form["flow_id"], {"password": at_home.bypass.root_password}
    )
    assert form["errors"] == {"base": "firewall_too_old"}
    sentence = said(form)["base"]
    assert "nftables 0.9.8 is too old" in sentence
    assert "1.0.2" in sentence
