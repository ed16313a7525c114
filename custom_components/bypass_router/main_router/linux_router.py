"""A main router that is one of ours: its half is a forward of its own entry.

It leads the public ports to those of the bypass router, and shows it the clients. It is
made with the forward that it is of, changes with it, and goes with it; whatever is cut
short is done the next time.
"""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any, Final, override

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
    ConfigSubentry,
)
from homeassistant.const import CONF_NAME
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from ..const import DOMAIN, SUBENTRY_FORWARD
from ..router.forward import Forward, PortRange
from ..subentry import (
    fields_of,
    forward_or_none,
    main_router_switch_of,
    named_entry,
    public_ports_in,
)
from ..sync.connection import router_of
from .other_switch import OtherSwitch

# A half's unique id: this, and the id of the forward that it is of.
_HALF: Final = "main_half_"


class LinuxRouter(OtherSwitch):
    """The switch of a forward's half on a main router of ours."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        forward_id: str,
        named: str,
        on_change: Callable[[], None],
    ) -> None:
        """Follow the main router's entry as well, which comes and goes by itself."""
        super().__init__(hass, entry, forward_id, named, on_change)
        self._unsubscribe.append(
            async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._look)
        )

    @property
    @override
    def _entity_id(self) -> str:
        """Of the half's switch, which comes some time after the half."""
        if (half := self._own_half) is None:
            return ""
        registry = er.async_get(self._hass)
        found = registry.async_get_entity_id(SWITCH_DOMAIN, DOMAIN, half.subentry_id)
        return found or ""

    @property
    @override
    def _name(self) -> str:
        """The half's, or the router's before there is one."""
        if half := self._own_half:
            return half.title
        return self._main.title if self._main else ""

    @property
    @override
    def _gone(self) -> bool:
        """Whether the router was removed, or the half's switch can't tell."""
        entity = er.async_get(self._hass).async_get(self._entity_id)
        return self._main is None or (entity is not None and entity.disabled)

    @property
    @override
    def _ready(self) -> bool:
        """Whether its entry takes requests; it keeps those that have to wait."""
        main = self._main
        loaded = main is not None and main.state is ConfigEntryState.LOADED
        return loaded and bool(self._entity_id)

    @override
    async def _ask(self, *, on: bool) -> None:
        """Desire it of its entry, which reads it back from the router's kernel."""
        if (main := self._main) and (half := self._own_half):
            loaded = self._entry.state is ConfigEntryState.LOADED
            lease = (
                self._entry.runtime_data.lease_of(self._forward_id)
                if on and loaded
                else None
            )
            await main.runtime_data.async_set_desired(
                half.subentry_id, on=on, lease=lease and replace(lease, sources=None)
            )

    @property
    def _main(self) -> ConfigEntry[Any] | None:
        """The main router's entry."""
        return self._hass.config_entries.async_get_entry(named_entry(self.named))

    @property
    def _own_half(self) -> ConfigSubentry | None:
        """The forward on the main router."""
        return half_of(self._main, self._forward_id) if self._main else None


def other_switch(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    forward_id: str,
    named: str,
    on_change: Callable[[], None],
) -> OtherSwitch:
    """Return what holds the half that a forward names, of either kind."""
    kind = LinuxRouter if named_entry(named) else OtherSwitch
    return kind(hass, entry, forward_id, named, on_change)


def whose_half(
    hass: HomeAssistant, subentry: ConfigSubentry
) -> tuple[ConfigEntry[Any], ConfigSubentry] | None:
    """Return the router and the forward that this is the main router's half of."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        if forward := entry.subentries.get(_forward_of(subentry)):
            return entry, forward
    return None


def half_of(main: ConfigEntry[Any], forward_id: str) -> ConfigSubentry | None:
    """Return the half of a forward on a main router, if it is there."""
    halves = (it for it in main.subentries.values() if _forward_of(it) == forward_id)
    return next(halves, None)


def half_forward(
    forward: Forward, public: PortRange, half_id: str, address: IPv4Address
) -> Forward:
    """Return what the main router is to do for a forward of a router at an address."""
    return Forward(
        half_id,
        forward.protocol,
        public,
        address,
        forward.external,
        # Who may come in is for the bypass router to say, which has to see them.
        keep_client_address=True,
    )


@callback
def async_watch_halves(hass: HomeAssistant) -> None:
    """Have halves follow their forwards, also of entries that are not set up."""

    @callback
    def changed(change: ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        """Take note of forwards that came, went or were changed."""
        if entry.domain == DOMAIN and change is ConfigEntryChange.UPDATED:
            async_arrange_halves(hass, entry)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, changed)


@callback
def async_arrange_halves(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Bring the halves of an entry's forwards in line, and remove those of none.

    A half that the user has removed is made again with the next change alone.
    """
    entries = hass.config_entries.async_entries(DOMAIN)
    named = {
        key: named_entry(main_router_switch_of(subentry))
        for other in entries
        for key, subentry in other.subentries.items()
    }
    for main in entries:
        for half in tuple(main.subentries.values()):
            forward_id = _forward_of(half)
            if forward_id and named.get(forward_id) != main.entry_id:
                hass.config_entries.async_remove_subentry(main, half.subentry_id)
    for key, subentry in tuple(entry.subentries.items()):
        there = hass.config_entries.async_get_entry(named.get(key, ""))
        if there is not None and there.domain == DOMAIN and there is not entry:
            _arrange(hass, entry, subentry, there)


def _arrange(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    subentry: ConfigSubentry,
    main: ConfigEntry[Any],
) -> None:
    """Make the half of one forward, or change it."""
    forward, router = forward_or_none(subentry), router_of(entry)
    if forward is None or router is None:
        # It is left as it is until the forward, or the router's address, is known.
        return
    name = f"{subentry.title} ({entry.title})"
    public = public_ports_in(subentry)
    address = router.context.address.ip
    translated = half_forward(forward, public, forward.id, address)
    data = fields_of(name, translated)
    if (half := half_of(main, forward.id)) is None:
        half = ConfigSubentry(
            data=MappingProxyType(data),
            subentry_type=SUBENTRY_FORWARD,
            title=name,
            unique_id=f"{_HALF}{forward.id}",
        )
        hass.config_entries.async_add_subentry(main, half)
        return
    # One that the user has called otherwise keeps that name.
    title = name if half.title == half.data.get(CONF_NAME) else half.title
    hass.config_entries.async_update_subentry(main, half, title=title, data=data)


def _forward_of(half: ConfigSubentry) -> str:
    """Return the id of the forward that this is the half of; empty if it is none."""
    unique_id = half.unique_id or ""
    return unique_id.removeprefix(_HALF) if unique_id.startswith(_HALF) else ""
