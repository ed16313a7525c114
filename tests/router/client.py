"""A connection of the client to the lab's bypass router, and what it is used for."""

from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router import watch_script
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh import script, shell
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

WEB = Forward.parse(
    "01WEB",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
BOTH_VARIANTS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(iptables="nft"), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)
WITHOUT_TABLES = "mount -t proc -o subset=pid proc /proc"
"""Hides the kernel's list of its tables, as if their module were yet to be loaded.

iptables-legacy then runs the program that a rule names to load it by.
"""


def give_up_after(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Let what waits on the router end after so many seconds of silence."""
    for module in (script, shell, watch_script):
        monkeypatch.setattr(module, "HEARTBEAT_LIMIT", seconds)


def credentials(lab: Lab) -> Credentials:
    """Return what root logs in with."""
    return Credentials("root", lab.bypass.root_password)


async def open_session(
    lab: Lab, account: Credentials | None = None, *, port: int = 22
) -> Session:
    """Log in to the bypass router, as root unless another account is named."""
    host = lab.bypass.address
    host_key = await fetch_host_key(host, port)
    return await Session.open(host, port, host_key, account or credentials(lab))


async def connect(
    lab: Lab,
    owner: str = "ab12",
    account: Credentials | None = None,
    firewall: Backend = Backend.IPTABLES,
    main_router: IPv4Address | None = None,
    *,
    closes: bool = False,
) -> Router:
    """Connect to the bypass router, as root unless another account is named.

    Connections go on when their forward goes: without `conntrack`, rules would stay.
    """
    host = lab.bypass.address
    host_key = await fetch_host_key(host, 22)
    return await Router.connect(
        host,
        22,
        host_key,
        account or credentials(lab),
        owner,
        firewall,
        main_router,
        closes=closes,
    )
