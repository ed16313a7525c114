"""A picture of each forward's path, drawn again whenever it changes."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from time import time
from typing import Final, override

from homeassistant.components.image import ImageEntity
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util import dt as dt_util

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .diagnosis.status import ForwardStatus, standing_of
from .diagnosis.status_texts import sentences
from .diagnosis.texts import Texts, async_texts
from .entity import BypassRouterForwardEntity, async_add_to_forwards
from .path_image.labels import labels_of
from .path_image.model import Situation, model_of
from .path_image.svg import PathModel, draw

# Nothing is asked of the router by an entity.
PARALLEL_UPDATES = 0

_MINUTE: Final = timedelta(minutes=1)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the picture of each forward."""
    texts = await async_texts(hass)

    def pictures(
        coordinator: BypassRouterCoordinator, forward_id: str
    ) -> Iterator[BypassRouterForwardEntity]:
        """Return the picture of a forward."""
        yield BypassRouterPathImage(hass, coordinator, forward_id, texts)

    async_add_to_forwards(entry, async_add_entities, pictures)


class BypassRouterPathImage(BypassRouterForwardEntity, ImageEntity):
    """Shows where on its way from the client to the target a forward stands."""

    _attr_content_type = "image/svg+xml"
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(
        self,
        hass: HomeAssistant,
        coordinator: BypassRouterCoordinator,
        forward_id: str,
        texts: Texts,
    ) -> None:
        """Draw it for the first time."""
        BypassRouterForwardEntity.__init__(self, coordinator, forward_id, "path")
        ImageEntity.__init__(self, hass)
        self._language = hass.config.language
        self._texts = texts
        self._labels = labels_of(texts.get)
        self._away = {"do": texts.get("cause_unreachable_do")}
        self._model: PathModel | None = None
        self._redraw()

    @property
    @override
    def available(self) -> bool:
        """A router that can't be reached is shown as that."""
        return self.forward is not None

    @override
    async def async_image(self) -> bytes | None:
        """Return the picture."""
        return draw(self._model).encode() if self._model else None

    @override
    async def async_added_to_hass(self) -> None:
        """Look each minute whether what was seen has become older."""
        await super().async_added_to_hass()
        self.async_on_remove(
            async_track_time_interval(self.hass, self._each_minute, _MINUTE)
        )

    @callback
    def _each_minute(self, _now: datetime) -> None:
        """Draw it again if anything is to be seen of the time, or of a visit."""
        self._handle_coordinator_update()

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Draw it again if anything is to be seen of the change."""
        if self._redraw():
            self.async_write_ha_state()

    def _redraw(self) -> bool:
        """Take note of what is to be drawn; tell whether it is something else."""
        model = self._path_model()
        if model == self._model:
            return False
        self._model = model
        self._attr_image_last_updated = dt_util.utcnow()
        return True

    def _path_model(self) -> PathModel | None:
        """Return what is to be drawn, if the forward is still there."""
        if (forward := self.forward) is None:
            return None
        coordinator, texts = self.coordinator, self._texts
        public = coordinator.public_ports_of(forward)
        known = coordinator.knowledge.of(forward)
        # One that is there and does not tell what is on is no better.
        connected = known.on is not None
        standing = standing_of(forward, known)
        # While a router is away, what it did last is shown, and that it is away.
        status = standing.status or ForwardStatus.OFF
        said: Mapping[str, str] = {}
        if status in (ForwardStatus.FAILS, ForwardStatus.REFUSED):
            said = sentences(standing, known, str(public), texts)
        elif not connected:
            said = self._away
        return model_of(
            Situation(
                title=coordinator.config_entry.subentries[forward.id].title,
                forward=forward,
                public=public,
                router=coordinator.router_address,
                connected=connected,
                status=status,
                labels=self._labels,
                diagnosis=standing.shown_of(known),
                now=time(),
                answered_at=standing.answered,
                seen=said.get("seen", ""),
                do=said.get("do", ""),
                language=self._language,
            )
        )
