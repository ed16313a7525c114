"""What a service of the router says first, where no one else tells which it is.

An account that is not root does not see which program listens.
"""

import asyncio
from collections.abc import Collection
from ipaddress import IPv4Address

from .listeners import Listener

# Seconds. An SSH server speaks first, and at once.
_PATIENCE = 2
_GREETING = b"SSH-2.0-"
# Those that are asked; so many are no home's.
_MOST = 32


async def ssh_servers(
    address: IPv4Address, listeners: Collection[Listener]
) -> frozenset[Listener]:
    """Return which of the services greet as SSH servers do."""
    asked = sorted(
        (listener for listener in listeners if listener.is_unknown),
        key=lambda listener: listener.port,
    )[:_MOST]
    async with asyncio.TaskGroup() as group:
        answers = {
            listener: group.create_task(_is_ssh(address, listener.port))
            for listener in asked
        }
    return frozenset(listener for listener, task in answers.items() if task.result())


async def _is_ssh(address: IPv4Address, port: int) -> bool:
    """Return whether an SSH server answers at a port."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(str(address), port)
            try:
                return await reader.readexactly(len(_GREETING)) == _GREETING
            finally:
                writer.transport.abort()
    except OSError, EOFError:
        # TimeoutError is an OSError.
        return False
