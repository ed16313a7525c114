"""The field for what stands for a forward's half on the main router.

That is a switch of another integration; or, where Home Assistant knows more routers of
ours, one of these, on which that half is then a forward of its own.
"""

from collections.abc import Mapping
from typing import Any, override

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant, split_entity_id, valid_entity_id
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.selector import (
    ChooseSelector,
    ChooseSelectorChoiceConfig,
    ChooseSelectorConfig,
    EntitySelector,
    EntitySelectorConfig,
    SelectOptionDict,
    Selector,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from ..const import CONF_EXTERNAL_PORT, CONF_MAIN_ROUTER_SWITCH, DOMAIN
from ..main_router.linux_router import half_forward, half_of
from ..router.forward import Forward, PortRange
from ..subentry import main_router_switch_of, named_entry, naming_entry
from ..sync.connection import router_of
from ..sync.identity import others
from .forward_checks import Found, check_ports

SWITCH_SELECTOR = EntitySelector(EntitySelectorConfig(domain=SWITCH_DOMAIN))
# The two kinds of what can be chosen, as the frontend sends them.
_SWITCH, _ROUTER, _CHOSEN = "switch", "router", "active_choice"
# What `check_ports` finds on the main router, where it is no error of this one's port.
_THERE = {
    "port_taken": "main_router_port_taken",
    "port_is_ssh": "main_router_port_is_ssh",
}


class _Chooser(ChooseSelector):
    """Takes a switch or a router of ours."""

    def __init__(self, routers: Mapping[str, str], named: str) -> None:
        """Take what the routers are called, by what names them, and what is named.

        The frontend takes whatever is suggested for one of the kind that comes first.
        """
        options = [SelectOptionDict(value=k, label=v) for k, v in routers.items()]
        chooser = SelectSelector(
            SelectSelectorConfig(options=options, mode=SelectSelectorMode.DROPDOWN)
        )
        kinds: list[tuple[str, Selector[Any]]] = [
            (_SWITCH, SWITCH_SELECTOR),
            (_ROUTER, chooser),
        ]
        if named_entry(named):
            kinds.reverse()
        # To validate by them, it wants them as the frontend gets them.
        choices: dict[str, ChooseSelectorChoiceConfig] = {
            kind: {"selector": selector.serialize()["selector"]}
            for kind, selector in kinds
        }
        super().__init__(
            ChooseSelectorConfig(
                choices=choices, translation_key=CONF_MAIN_ROUTER_SWITCH
            )
        )

    @override
    def __call__(self, data: Any) -> Any:
        """Validate what was sent: of a kind of which nothing is chosen, nothing."""
        if isinstance(data, dict) and not data.get(data.get(_CHOSEN)):
            return ""
        return super().__call__(data)


def main_router_selector(
    hass: HomeAssistant, entry: ConfigEntry[Any], named: str
) -> tuple[Selector[Any], str | None]:
    """Return the field for what there is to choose from, and what it shows.

    That is what is named, unless it is a router that is gone.
    """
    routers = {naming_entry(it.entry_id): it.title for it in others(hass, entry)}
    shown = None if named_entry(named) and named not in routers else named
    return (_Chooser(routers, named) if routers else SWITCH_SELECTOR), shown


def chosen(hass: HomeAssistant, fields: Mapping[str, Any]) -> str:
    """Return what the form's fields name, a switch by its entity id; empty: nothing."""
    named: str = fields.get(CONF_MAIN_ROUTER_SWITCH, "")
    # The selector takes the id of a registry entry as well.
    known = er.async_get(hass).async_get(named)
    return known.entity_id if known else named


def check_main_router(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    forward: Forward,
    public: PortRange,
    named: str,
) -> Found:
    """Return why this can't stand for the main router's half, and the words for it."""
    error, words = "", dict[str, str]()
    if main := hass.config_entries.async_get_entry(named_entry(named)):
        error, words = _check_router(entry, forward, public, main)
    elif named and not _exists(hass, named):
        error = "main_switch_unknown"
    elif named and _leads_back(hass, entry, named):
        error = "main_switch_circle"
    return ({CONF_MAIN_ROUTER_SWITCH: error} if error else {}), words


def _check_router(
    entry: ConfigEntry[Any],
    forward: Forward,
    public: PortRange,
    main: ConfigEntry[Any],
) -> tuple[str, dict[str, str]]:
    """Return why a router of ours can't have the half of this forward."""
    here, there = router_of(entry), router_of(main)
    if here and there and there.context.address.ip in here.context.address.network:
        address = str(there.context.address.ip)
        return "main_router_inside", {"main": main.title, "address": address}
    half = half_of(main, forward.id)
    # Its ports are what matters, wherever they lead.
    there_too = half_forward(
        forward, public, half.subentry_id if half else forward.id, forward.target
    )
    found, words = check_ports(main, there_too, ())
    error = _THERE[found[CONF_EXTERNAL_PORT]] if found else ""
    return error, {**words, "main": main.title} if error else {}


def _exists(hass: HomeAssistant, entity_id: str) -> bool:
    """Return whether there is such a switch, or may be again."""
    if not valid_entity_id(entity_id) or split_entity_id(entity_id)[0] != SWITCH_DOMAIN:
        return False
    known = er.async_get(hass).async_get(entity_id)
    return known is not None or hass.states.get(entity_id) is not None


def _leads_back(hass: HomeAssistant, entry: ConfigEntry[Any], named: str) -> bool:
    """Return whether a switch turns a forward of this very entry, itself or in the end.

    It may do so as a group of switches, or as a forward of another router of ours that
    names one on its part.
    """
    registry, seen, ahead = er.async_get(hass), set[str](), [named]
    while ahead:
        if (entity_id := ahead.pop()) in seen:
            continue
        seen.add(entity_id)
        if state := hass.states.get(entity_id):
            members = state.attributes.get(ATTR_ENTITY_ID)
            ahead += members if isinstance(members, list) else []
        known = registry.async_get(entity_id)
        if known is None or known.platform != DOMAIN:
            continue
        if known.config_entry_id == entry.entry_id:
            return True
        ahead += [
            main_router_switch_of(subentry)
            for other in others(hass, entry)
            for key, subentry in other.subentries.items()
            if key == known.unique_id
        ]
    return False
