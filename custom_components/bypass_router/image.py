"""A picture of each forward's path, drawn again whenever it changes."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.image import ImageEntity
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.util import dt as dt_util

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .diagnosis.texts import Texts, async_texts
from .entity import BypassRouterForwardEntity, async_add_to_forwards
from .path_image.labels import labels_of
from .path_image.model import Situation, model_of
from .path_image.svg import PathModel, draw

# Nothing is asked of the router by an entity.
PARALLEL_UPDATES = 0


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
        coordinator = self.coordinator
        on = coordinator.is_on(forward.id)
        finding = coordinator.findings.get(forward.id)
        diagnosis = (
            finding.diagnosis if finding and finding.holds(forward, on=on) else None
        )
        failed = (
            [check for check in diagnosis.checks if check.cause] if diagnosis else []
        )
        return model_of(
            Situation(
                title=coordinator.config_entry.subentries[forward.id].title,
                forward=forward,
                router=coordinator.router_address,
                connected=coordinator.connection.router is not None,
                on=on,
                labels=self._labels,
                diagnosis=diagnosis,
                remark=self._texts.sentences(failed[0])["seen"] if failed else "",
                language=self._language,
            )
        )
