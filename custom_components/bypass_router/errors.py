"""The router's errors as Home Assistant's, with a sentence for the user."""

from homeassistant.exceptions import HomeAssistantError

from .const import DOMAIN
from .router.errors import RouterError


def translated[E: HomeAssistantError](kind: type[E], err: RouterError) -> E:
    """Return Home Assistant's error of this kind, with the sentence for the user."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=err.key,
        translation_placeholders=err.details,
    )


def reason_of(error: RouterError) -> str:
    """Return why something failed, in the router's own words where it has any."""
    return error.details.get("message") or str(translated(HomeAssistantError, error))
