"""Gateways that people have at home, as they were seen to answer.

Each has what is its own; in all else it is strict, and does what it should.
"""

from collections.abc import Mapping
from typing import Final

from ..exchange import Transport
from .options import ALL_RULES, WAN_IP_2, WAN_PPP, GatewayOptions, Service

_DSL_FORUM: Final = "urn:dslforum-org:service:WANPPPConnection:1"
_ANY: Final = "urn:schemas-any-com:service:Any:1"
_TR_064: Final = Service(
    "urn:dslforum-org:service:WANIPConnection:1", "/upnp/control/wanipconnection1"
)
_PPP_ID: Final = "urn:upnp-org:serviceId:WANPPPConn1"
_ALL: Final = frozenset(
    (
        "AddPortMapping",
        "DeletePortMapping",
        "GetExternalIPAddress",
        "GetGenericPortMappingEntry",
        "GetSpecificPortMappingEntry",
        "GetStatusInfo",
    )
)
_TAKEN: Final[frozenset[tuple[Transport, int]]] = frozenset(
    (("tcp", 8443), ("udp", 8443))
)

_FOUND: Final = {
    "TP-Link ER605": GatewayOptions(ssdp_port=0),
    "eero": GatewayOptions(ssdp_multicast_only=True),
    "Sagemcom FAST3890V3": GatewayOptions(ssdp_all=False),
    # The lab's main router needs that address too.
    "OPNsense, one of a pair": GatewayOptions(
        ssdp_host="192.168.50.3", location_host="192.168.50.3"
    ),
    "SFR Neufbox": GatewayOptions(answers_only=2),
    "SFR Neufbox, started again": GatewayOptions(
        others=(GatewayOptions(location_host="[fe80::1]"),)
    ),
    "Orange": GatewayOptions(
        others=(GatewayOptions(description_path="/IGDV1/rootDesc.xml"),)
    ),
    "Livebox": GatewayOptions(
        services=(
            Service(
                "urn:schemas-upnp-org:service:WANPPPConnection:2",
                "/87895a19/upnp/control/WANIPConn1",
                "/87895a19/upnp/event/WANIPConn1",
            ),
        )
    ),
    "Huawei HG531": GatewayOptions(
        domain="dslforum-org",
        services=(Service(_DSL_FORUM, "/upnp/control/WANPPPConn1"),),
        none_code=402,
    ),
    "Huawei HG531 behind CGNAT": GatewayOptions(
        domain="dslforum-org",
        services=(Service(_DSL_FORUM, "/upnp/control/WANPPPConn1"),),
        none_code=402,
        always=501,
        address="100.69.3.4",
    ),
    "MikroTik": GatewayOptions(
        services=(
            Service(control="/upnp/wan0", events="/upnp/wan0/ev", connected=False),
            Service(control="/upnp/wan1", events="/upnp/wan1/ev", device=1),
        ),
        random_path=True,
        url_base="{base}",
        udn="uuid:UUID-MIKROTIK-INTERNET-GATEWAY-DEVICE-",
        server="MikrotikUPnP/1.0 MikroTik UPnP/1.0",
        fault_capitals=True,
        lease="only_for_good",
        third_party=True,
        model="Router OS",
    ),
    "ARRIS NVG578LX": GatewayOptions(
        services=(
            Service(control="/ctl/ip"),
            Service(
                WAN_PPP, "/ctl/ppp", "/evt/ppp", service_id=_PPP_ID, connected=False
            ),
        ),
        prefix="SOAP",
        lease="only_for_good",
        lease_code=402,
    ),
    "FRITZ!Box": GatewayOptions(
        version=2,
        description_path="/igd2desc.xml",
        services=(Service(WAN_IP_2, "/igd2upnp/control/WANIPConn1"),),
        other_services=(_ANY,),
        others=(
            GatewayOptions(
                description_path="/igddesc.xml",
                services=(Service(control="/igdupnp/control/WANIPConn1"),),
                other_services=(_ANY,),
                model="FRITZ!Box",
            ),
        ),
        third_party_code=606,
        one_port_inside=True,
        model="FRITZ!Box",
    ),
    "FRITZ!Box, without the tick": GatewayOptions(
        description_path="/igddesc.xml",
        services=(Service(control="/igdupnp/control/WANIPConn1"),),
        other_services=(_ANY,),
        always=606,
    ),
    "FRITZ!Box, by TR-064": GatewayOptions(
        domain="dslforum-org",
        description_path="/tr64desc.xml",
        services=(_TR_064,),
        fault_domain="dslforum-org",
        login=True,
    ),
    "FRITZ!Box, by TR-064, internal error": GatewayOptions(
        domain="dslforum-org",
        description_path="/tr64desc.xml",
        services=(_TR_064,),
        fault_domain="dslforum-org",
        always=820,
    ),
    "repeater": GatewayOptions(address="", always=501),
    "D-Link DSL-X1852E": GatewayOptions(
        services=(Service(control="{base}/ctrl?1", events="{base}/event?1"),),
        url_base="{base}",
    ),
    "TP-Link TL-WR743ND": GatewayOptions(
        services=(Service(control="/ipc ", events="/ipc/ev "),), control_port=1900
    ),
    "o2 HomeBox": GatewayOptions(
        services=(
            Service(
                WAN_PPP,
                "/uuid:00112233-4455-6677-8899-aabbccddeeff/WANPPPConnection:1",
                service_id=_PPP_ID,
            ),
        )
    ),
    "DD-WRT": GatewayOptions(
        services=(Service(control="/control?WANIPConnection"),),
        friendly_name=None,
        leased_last=2.0,
    ),
    "TP-Link Archer C9": GatewayOptions(broken="mismatched"),
    "NULs at the end": GatewayOptions(broken="control", url_base="", way="nuls"),
    "URLBase in another network": GatewayOptions(url_base="http://10.0.0.1:5000/"),
    "says that it is connected": GatewayOptions(address="", always=501),
    "AX1500": GatewayOptions(status="Disconnected", address="0.0.0.0"),
    "not there": GatewayOptions(upnp=False),
}
_TALKING: Final = {
    "Netgear": GatewayOptions(
        services=(Service(control="/Public_UPNP_C3"),),
        http_version="1.0",
        lease="only_for_good",
    ),
    "TP-Link ipos": GatewayOptions(prefix="SOAP-ENV"),
    "faults that are 200": GatewayOptions(fault_status=200),
    "RomPager": GatewayOptions(
        services=(Service(control="/UD/?10"),),
        http_version="1.0",
        fault_status=400,
        fault_body="empty",
        fault_way="stray",
        always=402,
    ),
    "-911": GatewayOptions(always=-911),
    "chunked": GatewayOptions(way="chunked", description_way="chunked"),
}
_OPENING: Final = {
    "never for good": GatewayOptions(lease="never_for_good", lease_code=402),
    "Technicolor": GatewayOptions(
        lease="fixed", longest=86_400, keeps_expired=True, subscribe=412
    ),
    "miniupnpd": GatewayOptions(
        version=2,
        services=(Service(WAN_IP_2),),
        rules=ALL_RULES - {"type", "capitals"},
        lease="capped",
        lowest=1024,
        description="first",
        notices=False,
        nat_pmp=True,
        pcp=True,
        lifts_ports=True,
        model="MiniUPnPd",
    ),
    "miniupnpd behind CGNAT": GatewayOptions(
        address="", always=501, nat_pmp=True, nat_pmp_code=3, pcp=True
    ),
    "prplOS": GatewayOptions(lowest=1024, lowest_inside=1024, list_way="holes"),
    "ASUS RT-AC87U": GatewayOptions(lists=False),
    "ASUS": GatewayOptions(unused_last=900.0),
    "Huawei, yes to all": GatewayOptions(lists=False, effect=False),
    "Huawei ONT": GatewayOptions(always=402),
    "ZTE F670L": GatewayOptions(taken=_TAKEN, description="blank"),
    "729": GatewayOptions(always=729),
    "WRT54G": GatewayOptions(most=32, full_code=0, remembers=True, one_transport=True),
    "Freebox": GatewayOptions(lease="only_for_good", most=32, full_code=402),
    "delete first": GatewayOptions(replaces=False),
    "conflicts are 501": GatewayOptions(conflict_code=501),
    "listed, and not open": GatewayOptions(effect=False),
    "OpenWrt, whose rules vanish": GatewayOptions(
        effect_lasts=300.0, description="first", notices=False
    ),
    "plain descriptions alone": GatewayOptions(plain_descriptions=True),
}
_TELLING: Final = {
    "Linksys WRT1900AC": GatewayOptions(
        none_code=501, none_text="PAL_UPNP_SOAP_E_ACTION_FAILED", list_end_code=501
    ),
    "never ends": GatewayOptions(list_way="repeats"),
    "TP-Link Archer C8": GatewayOptions(
        services=(Service(control="/ipc"),),
        unknown=frozenset(("GetExternalIPAddress", "GetGenericPortMappingEntry")),
    ),
    "knows no action": GatewayOptions(always=401, unknown=_ALL),
    "Sagemcom Home Hub 2000": GatewayOptions(list_way="refused"),
    "no events": GatewayOptions(subscribe=501),
    "events for oneself": GatewayOptions(subscribe_own_only=True),
}
_BY_UDP: Final = {
    "NAT-PMP, low byte": GatewayOptions(upnp=False, nat_pmp=True, udp="low_byte"),
    "NAT-PMP, another port": GatewayOptions(upnp=False, nat_pmp=True, other_port=True),
    "NAT-PMP, runs on": GatewayOptions(upnp=False, nat_pmp=True, epoch="on"),
    "Verizon CR1000A": GatewayOptions(upnp=False, nat_pmp=True),
    "PCP": GatewayOptions(upnp=False, pcp=True),
    "PCP, full every time": GatewayOptions(upnp=False, pcp=True, pcp_code=8),
}

GATEWAYS: Final[Mapping[str, GatewayOptions]] = {
    **_FOUND,
    **_TALKING,
    **_OPENING,
    **_TELLING,
    **_BY_UDP,
}
