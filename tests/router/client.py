"""A connection of the client to the lab's bypass router."""

from custom_components.bypass_router.router.credentials import Credentials
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.session import Session, fetch_host_key
from tests.lab.network import Lab


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
    lab: Lab, owner: str = "ab12", account: Credentials | None = None
) -> Router:
    """Connect to the bypass router, as root unless another account is named."""
    host = lab.bypass.address
    host_key = await fetch_host_key(host, 22)
    return await Router.connect(host, 22, host_key, account or credentials(lab), owner)
