"""The router tells which device has an address, of those that are there."""

from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.network.target_macs import (
    read_target_macs,
    target_macs_script,
)
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect

HERE, NOBODY = IPv4Address("192.168.50.10"), IPv4Address("192.168.50.99")


@pytest.mark.parametrize(
    ("router_options", "without"),
    [
        (RouterOptions("nft"), "ping"),
        (RouterOptions(system="openwrt"), "bash"),
    ],
    ids=["without ping", "busybox"],
)
async def test_a_device_that_nobody_has_talked_to_is_found(
    at_home: Lab, without: str
) -> None:
    """By ARP; and one that is off is not, and delays no one for long."""
    at_home.bypass.commands.hide(without)
    router = await connect(at_home, firewall=Backend.AUTO)
    try:
        sections = await router.run(target_macs_script([HERE, NOBODY]), 5)
    finally:
        await router.close()
    found = read_target_macs(sections, [HERE, NOBODY])
    assert found == {HERE: "02:00:c0:a8:32:0a"}
