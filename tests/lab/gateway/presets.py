"""Gateways that people have at home, as they were seen to answer."""

from collections.abc import Mapping
from typing import Final

from .options import WAN_IP_2, WAN_PPP, GatewayOptions, Service

_PPP: Final = Service(
    WAN_PPP, "/ctl/PPPConn", "/evt/PPPConn", service_id="urn:upnp-org:serviceId:WANPPP1"
)

GATEWAYS: Final[Mapping[str, GatewayOptions]] = {
    "miniupnpd": GatewayOptions(
        version=2,
        services=(Service(WAN_IP_2),),
        rules=frozenset({"quotes", "numeric_host", "remote_host"}),
        lease="capped",
        lowest=1024,
        description="first",
        notices=False,
        nat_pmp=True,
        pcp=True,
        model="MiniUPnPd",
    ),
}
