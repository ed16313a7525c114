"""A fake gateway for what no real one in the lab does: see `options.py`.

`with Gateway(GATEWAYS["MikroTik"], lab.main) as gateway:` has the lab's main router
answer as that one does. It notes all that it is asked (`gateway.asked`), and what it
says that it opens really lets packets in, unless that is just what it does not do.
"""

from .options import GatewayOptions, Service
from .presets import GATEWAYS
from .server import Asked, Gateway

__all__ = ["GATEWAYS", "Asked", "Gateway", "GatewayOptions", "Service"]
