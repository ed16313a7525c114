"""The router's errors as Home Assistant's, with a sentence for the user."""

from collections.abc import Mapping
from contextlib import suppress

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.translation import async_get_cached_translations

from .const import DOMAIN
from .router.errors import RouterError


def translated[E: HomeAssistantError](kind: type[E], err: RouterError) -> E:
    """Return Home Assistant's error of this kind, with the sentence for the user."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=err.key,
        translation_placeholders=err.details,
    )


def english_of(err: RouterError) -> str:
    """Return the sentence as Home Assistant's log has it."""
    said = str(translated(HomeAssistantError, err))
    # While no router is set up, there may be none.
    return str(err) if said == err.key else said


def sentence_of(
    hass: HomeAssistant, err: RouterError, words: Mapping[str, str] | None = None
) -> str:
    """Return the sentence in Home Assistant's language, with these words in it.

    For what is shown as it is; what Home Assistant raises is translated for whoever
    looks at it. Without `words` the sentence has the error's own.
    """
    sentences = async_get_cached_translations(
        hass, hass.config.language, "exceptions", DOMAIN
    )
    text = sentences.get(f"component.{DOMAIN}.exceptions.{err.key}.message", "")
    with suppress(KeyError):
        text = text.format(**(err.details if words is None else words))
    return text or english_of(err)
