"""A diagnosis as a notification: what is going on, and in the end what came of it."""

from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr

from ..const import DOMAIN
from ..subentry import forward_or_none, public_ports_in
from .run import SIGHT, async_diagnose, check
from .texts import Texts, async_texts, report

# Seconds in which a person tries from outside.
WATCHED = 60


def _link(
    hass: HomeAssistant, entry: ConfigEntry[Any], forward_id: str, texts: Texts
) -> str:
    """Return the way to the forward's page, where all of that is to be seen as well."""
    device = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, forward_id), entry.entry_id
    )
    if device is None:
        return ""
    return f"\n\n[{texts.get('diagnosis_page')}](/config/devices/device/{device.id})"


async def async_diagnose_visibly(
    hass: HomeAssistant, entry: ConfigEntry[Any], forward_id: str
) -> None:
    """Diagnose a forward, and ask to try from outside if nothing is wrong so far.

    Raises ServiceValidationError as `async_diagnose` does.
    """
    texts = await async_texts(hass)
    subentry = check(hass, entry, forward_id)
    ports = str(public_ports_in(subentry)) if forward_or_none(subentry) else ""
    title = texts.get("diagnosis_title", forward=subentry.title)
    link = _link(hass, entry, forward_id, texts)
    shown = -1

    def notify(message: str) -> None:
        """Show it in place of what was shown before."""
        persistent_notification.async_create(
            hass, f"{message}{link}", title, f"{DOMAIN}_diagnosis_{forward_id}"
        )

    def on_progress(left: int, packets: int) -> None:
        """Show how long it takes, and whether someone came."""
        nonlocal shown
        if packets == shown and left % SIGHT:
            return
        shown = packets
        parts = [
            texts.get("diagnosis_try", ports=ports, left=str(left)),
            texts.get("diagnosis_packets", packets=str(packets)),
        ]
        notify("\n\n".join(parts))

    notify(texts.get("diagnosis_running"))
    try:
        diagnosis = await async_diagnose(hass, entry, forward_id, WATCHED, on_progress)
    except BaseException:
        persistent_notification.async_dismiss(hass, f"{DOMAIN}_diagnosis_{forward_id}")
        raise
    notify(report(diagnosis, texts))
