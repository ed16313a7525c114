"""The router tells when a device that is followed may have moved, and of no other."""

import asyncio
from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router import watch_script
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.monitor import Change, Met
from custom_components.bypass_router.router.network.whereabouts import Followed
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.node import Node
from tests.lab.waiting import soon, until

from .client import connect

MAC = "00:16:3e:32:00:0a"


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(system="openwrt")],
    ids=["nftables", "openwrt"],
)
async def test_only_what_is_news_of_a_followed_device_leaves_the_router(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither other devices, nor one that is where it was."""
    monkeypatch.setattr(watch_script, "NEIGHBOURS_EVERY", 1)
    lab = at_home
    target = lab.target
    target.ip(f"link set {target.interface} address {MAC}")
    router = await connect(lab, firewall=Backend.AUTO)
    router.follow(frozenset({Followed(MAC, IPv4Address("192.168.50.10"))}))
    met: list[Met] = []
    begun = asyncio.Event()

    async def listen() -> None:
        """Hear what is told."""
        async for event in router.watch():
            if isinstance(event, Met):
                met.append(event)
            elif isinstance(event, Change):
                begun.set()

    task = asyncio.create_task(listen())
    try:
        # Who listens anew may have missed something; then it is told once that the
        # device is there.
        await begun.wait()
        speak(target)
        await until(lambda: len(met) == 2)
        for _ in range(3):
            for node in (lab.other, lab.home, target):
                node.ip(f"neigh flush dev {node.interface}")
                speak(node)
            lab.bypass.run("ip", "-4", "neigh", "flush", "to", "192.168.50.20")
        await asyncio.sleep(soon(1.5))
        assert len(met) == 2
        target.ip(
            f"address flush dev {target.interface}",
            f"address add 192.168.50.77/24 dev {target.interface}",
        )
        speak(target)
        await until(lambda: len(met) > 2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await router.close()


def speak(node: Node) -> None:
    """Say something to the router."""
    node.exchange("udp", "192.168.50.2", 9, timeout=0.05)
