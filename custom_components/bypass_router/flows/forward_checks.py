"""Why a router can't have a forward, although it is one."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
import logging
import unicodedata

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_HOST, CONF_NAME, CONF_PORT, CONF_TARGET

from ..const import (
    CONF_EXTERNAL_PORT,
    CONF_PUBLIC_PORT,
    CONF_TARGET_PORT,
    SUBENTRY_FORWARD,
)
from ..diagnosis.texts import Texts
from ..router.errors import RouterError
from ..router.forward import Forward, PortRange
from ..router.network.listeners import Listener
from ..router.network.ssh_banner import ssh_servers
from ..router.router import Router
from ..subentry import forward_or_none, public_ports_in

_LOGGER = logging.getLogger(__name__)

MAX_NAME = 100
# Emoji and some scripts join their letters with these; other marks that can't
# be seen, such as those that turn the direction of writing, only deceive.
_JOINERS = "\u200c\u200d"
# A sentence names no more than these; a router can have thousands.
_NAMED = 10
# With nftables, a shifted port takes an element of its own, which is about 0.1 ms
# whenever it is set, and 130 bytes whenever the rules are read.
_MOST_SHIFTED = 4096
# The prefix of a network for two.
_PAIR = 31

type Found = tuple[dict[str, str], dict[str, str]]
"""What is wrong, by field, and the words for it."""


def check_name(entry: ConfigEntry, name: str, forward_id: str) -> dict[str, str]:
    """Return what is wrong with a forward's name."""
    if not is_name(name):
        return {CONF_NAME: "invalid_name"}
    if any(
        other.title.casefold() == name.casefold() for other in others(entry, forward_id)
    ):
        return {CONF_NAME: "name_taken"}
    return {}


def check_ports(
    entry: ConfigEntry, forward: Forward, conflicts: Collection[Listener]
) -> Found:
    """Return who has the ports already, and the words for it."""
    taken = [
        other.title
        for other in others(entry, forward.id)
        if (parsed := forward_or_none(other)) and forward.conflicts(parsed)
    ]
    ssh = Listener("tcp", entry.data[CONF_PORT], "sshd")
    servers = [
        listener
        for listener in (ssh, *conflicts)
        if listener.is_ssh and listener.conflicts_with(forward)
    ]
    if servers:
        # No one would get at the router any more to take it back.
        port = str(servers[0].port)
        return {CONF_EXTERNAL_PORT: "port_is_ssh"}, {"port": port}
    if taken:
        return {CONF_EXTERNAL_PORT: "port_taken"}, {"other": named(taken)}
    return {}, {}


def check_public_ports(
    entry: ConfigEntry, forward: Forward, public: PortRange
) -> Found:
    """Return who has the ports at the main router already, and the words for it.

    Of a forward that has the external ports as well, `check_ports` tells.
    """
    taken = [
        other.title
        for other in others(entry, forward.id)
        if (parsed := forward_or_none(other))
        and forward.shares_transport(parsed)
        and not forward.external.overlaps(parsed.external)
        and public.overlaps(public_ports_in(other))
    ]
    if taken:
        words = {"public_port": str(public), "holder": named(taken)}
        return {CONF_PUBLIC_PORT: "public_port_taken"}, words
    return {}, {}


def check_rivals(forward: Forward, router: Router | None) -> Found:
    """Return whether another Home Assistant has the ports on the router."""
    if router and (rival := router.rules.rival(forward)):
        return {CONF_EXTERNAL_PORT: "port_taken_elsewhere"}, {"owner": rival.owner}
    return {}, {}


def check_size(forward: Forward) -> Found:
    """Return whether it is more than a router reads in a moment."""
    transports, sources = forward.protocol.transports, forward.sources or (None,)
    size = len(forward.external) * len(transports) * len(sources)
    if forward.shifted and size > _MOST_SHIFTED:
        return {CONF_TARGET_PORT: "too_many_shifted"}, {"most": str(_MOST_SHIFTED)}
    return {}, {}


def check_target(
    entry: ConfigEntry, target: IPv4Address, router: Router | None
) -> Found:
    """Return why no device can have this address, and the words for it."""
    if str(target) == entry.data[CONF_HOST]:
        return {CONF_TARGET: "target_is_router"}, {}
    if router is None:
        return {}, {}
    lan = router.context.address.network
    if target in router.probe.addresses:
        return {CONF_TARGET: "target_is_router"}, {}
    # A network of two has no address that is not a host's (RFC 3021).
    if lan.prefixlen < _PAIR and target in (
        lan.network_address,
        lan.broadcast_address,
    ):
        return {CONF_TARGET: "target_is_network"}, {"network": str(lan)}
    return {}, {}


async def conflicting_services(
    router: Router, forward: Forward, before: Forward | None
) -> list[Listener]:
    """Return the router's own services that the forward takes a port from.

    A service that greets as an SSH server does is named as one. `before` is the
    forward as it was.
    """
    try:
        listeners = await router.listeners()
    except RouterError as err:
        _LOGGER.debug("The services of the router are not known: %s", err)
        return []
    conflicts = [listener for listener in listeners if listener.conflicts_with(forward)]
    ssh = await ssh_servers(
        router.context.address.ip,
        # What has been taken from it already greets as the target does.
        [
            listener
            for listener in conflicts
            if not (before and listener.conflicts_with(before))
        ],
    )
    return [
        replace(conflict, program="sshd") if conflict in ssh else conflict
        for conflict in conflicts
    ]


def told_obstacles(
    forward: Forward | None, router: Router | None, texts: Texts
) -> list[str]:
    """Return what on the router would keep clients out, as sentences in markdown."""
    found = router.rules.obstacles(forward) if router and forward else ()
    return [texts.obstacle(one, markdown=True) for one in found][:_NAMED]


def others(entry: ConfigEntry, forward_id: str) -> Iterator[ConfigSubentry]:
    """Return the router's forwards beside this one."""
    return (
        subentry
        for subentry in entry.subentries.values()
        if subentry.subentry_type == SUBENTRY_FORWARD
        and subentry.subentry_id != forward_id
    )


def named(texts: Sequence[str]) -> str:
    """Return texts as a list for a sentence, and how many are left out."""
    listed = ", ".join(texts[:_NAMED])
    left_out = len(texts) - _NAMED
    return f"{listed}, … (+{left_out})" if left_out > 0 else listed


def is_name(text: str) -> bool:
    """Return whether people can read the text, and read it as what it is."""
    return (
        len(text) <= MAX_NAME
        and any(char.isprintable() and not char.isspace() for char in text)
        and all(map(_is_readable, text))
    )


def _is_readable(char: str) -> bool:
    """Return whether a character is neither a control nor a format nor a line's end."""
    kind = unicodedata.category(char)
    return char in _JOINERS or not (kind.startswith("C") or kind in ("Zl", "Zp"))
