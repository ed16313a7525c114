"""The window in which Home Assistant shows forms, one after the other."""

from playwright.sync_api import Locator, Page, expect

from .camera import Camera
from .words import Words, paragraphs


class Window:
    """What a person reads and does in it."""

    def __init__(self, page: Page, words: Words, camera: Camera) -> None:
        """Take the one that opens on this page, sooner or later."""
        self._page = page
        self._words = words
        self._camera = camera
        self._window = page.locator("dialog-data-entry-flow")
        self.clicks = 0
        self.typed = 0
        """How many fields were filled in."""

    def read(self, text: str) -> None:
        """See this text."""
        for paragraph in paragraphs(text):
            expect(self._window).to_contain_text(paragraph)

    def read_form(self, step: str, **words: str) -> None:
        """See all texts of a form: its title, what it says, and each field's."""
        texts = self._words.part(step)
        expect(self._window).to_contain_text(texts["title"])
        self.read(self._words(f"{step}.description", **words))
        for name, label in texts["data"].items():
            field = self._field(step, name)
            expect(field).to_contain_text(label)
            expect(field).to_contain_text(texts["data_description"][name])
        for part in texts.get("sections", {}).values():
            # What is in it is not to be seen until someone opens it.
            expect(self._window.locator("ha-form-expandable")).to_contain_text(
                part["name"]
            )

    def fill_in(self, step: str, **fields: str) -> None:
        """Type into fields of a form."""
        for name, text in fields.items():
            self._field(step, name).locator("input").fill(text)
            self.typed += 1

    def choose_device(self, step: str, device: str) -> None:
        """Choose one by its name; no one is to have one who has not chosen."""
        field = self._field(step, "target")
        expect(field.locator(".placeholder")).to_be_visible()
        self.click(field.locator("ha-picker-field"))
        item = self._page.locator("ha-picker-combo-box ha-combo-box-item")
        self.click(item.filter(has_text=device))
        expect(item).to_have_count(0)

    def click(self, what: Locator) -> None:
        """Click, and count that."""
        what.click()
        self.clicks += 1

    def submit(self) -> None:
        """Press the button."""
        self.click(self._window.locator("ha-dialog-footer [slot=primaryAction]"))

    def see_refusal(self, text: str) -> None:
        """Be told what is wrong, and nothing else."""
        expect(self._window.locator("ha-alert")).to_have_text(text)

    def finish(self) -> None:
        """See the last page, and close it."""
        last = self._window.locator("step-flow-create-entry")
        expect(last).to_be_visible()
        self.submit()
        expect(last).to_have_count(0)

    def shoot(self, name: str) -> None:
        """Take a picture of it."""
        self._camera.shoot(name, self._window.locator("dialog"))

    def _field(self, step: str, name: str) -> Locator:
        """Return a form's field; they stand there as their labels do in the texts."""
        place = list(self._words.part(f"{step}.data")).index(name)
        return self._window.locator("ha-form ha-selector").nth(place)
