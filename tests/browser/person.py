"""What a person does in Home Assistant with our integration, and expects to see."""

from typing import Final

from playwright.sync_api import Locator, Page, expect

from tests.live.instance import DOMAIN

from .browser import URL
from .camera import Camera, colours
from .window import Window
from .words import Words, paragraphs

TITLE: Final = "Bypass Router"
NAMES: Final = ("旁路由", "バイパスルーター", "バイパス", "bypass")
"""What people look for, in any language."""
DASHBOARD: Final = "port-forwards"
_FORWARD: Final = "config_subentries.forward.step.user"
_INTEGRATION: Final = f"a[href*='integration/{DOMAIN}']"
# Keeps what a row shows from now on: some of it is to be seen for a moment only.
_WATCH: Final = """
row => {
  const texts = node => node.nodeType === Node.TEXT_NODE
    ? [node.data.trim()]
    : [...node.childNodes, ...(node.shadowRoot?.childNodes ?? [])].flatMap(texts);
  window.shown = [];
  const look = () => {
    const now = texts(row).filter(Boolean);
    if (window.shown.at(-1)?.join() !== now.join()) window.shown.push(now);
    requestAnimationFrame(look);
  };
  look();
}
"""
# Whether these were shown one after the other, and the last of them still is.
_SHOWN_IN_TURN: Final = """
words => window.shown.at(-1).includes(words.at(-1)) && words.reduce((from, word) => {
  const at = window.shown.slice(from).findIndex(texts => texts.includes(word));
  return at < 0 ? NaN : from + at + 1;
}, 0) > 0
"""


class Person:
    """Someone in front of a page, who reads one language.

    Our own texts must be there, word by word. Those of Home Assistant are its own
    affair: its buttons are found by where they are.
    """

    def __init__(
        self, page: Page, words: Words, camera: Camera, *, phone: bool
    ) -> None:
        """Sit down."""
        self._page = page
        self._words = words
        self._camera = camera
        self._phone = phone
        self._window = Window(page, words, camera)

    # The router.

    def begin_to_add_router(self) -> None:
        """Choose our integration from all there are."""
        page = self._page
        page.goto(f"{URL}/config/integrations/dashboard")
        self._window.click(page.locator("ha-config-integrations-dashboard [slot=fab]"))
        found = page.locator("ha-integration-list-item", has_text=TITLE)
        for name in NAMES:
            page.locator("dialog-add-integration input").first.fill(name)
            expect(found).to_be_visible()
        self._window.click(found)

    def say_where_it_is(self, host: str) -> None:
        """Fill in the first form."""
        self._window.read_form("config.step.user")
        self._window.fill_in("config.step.user", host=host)
        self._window.shoot("setup-router")
        self._window.submit()

    def sign_in(self, password: str, fault: str | None = None, **words: str) -> None:
        """Fill in the second form, which says this; then be told what is wrong."""
        self._window.read_form("config.step.credentials", **words)
        if fault is not None:
            self._window.shoot("setup-sign-in")
        self._window.fill_in("config.step.credentials", password=password)
        self._window.submit()
        if fault is not None:
            refused = self._words(f"config.error.{fault}", **words)
            self._window.see_refusal(refused)

    @property
    def effort(self) -> tuple[int, int]:
        """How many clicks it took until now, and how many fields were filled in."""
        return self._window.clicks, self._window.typed

    def see_router(self, name: str) -> None:
        """Go from the integration's page to the router's own."""
        self._go(f"/config/integrations/integration/{DOMAIN}")
        row = self._page.locator("ha-config-entry-row ha-config-entry-device-row")
        row.filter(has_text=name).first.click()
        self._see_entities(name, "binary_sensor.connectivity", "event.rules")
        self._see_entities(name, "sensor.forwards_active", "button.reapply")

    def remove_router(self) -> None:
        """Remove it, by its menu and one more question."""
        self._remove(self._page.locator("ha-config-entry-row"))

    # The forward.

    def begin_to_add_forward(self) -> None:
        """Go from a device to the integration's page, and press the button there."""
        self._page.locator("ha-config-device-page").locator(_INTEGRATION).first.click()
        text = self._words("config_subentries.forward.initiate_flow.user")
        self._page.get_by_role("button", name=text).click()

    def describe_forward(self, device: str, router: str, **fields: str) -> None:
        """Fill in the form, which names the router's address."""
        # A router that ends forwards by itself has nothing to be told of.
        self._window.read_form(_FORWARD, router=router, note="")
        self._window.fill_in(_FORWARD, **fields)
        self._window.choose_device(_FORWARD, device)
        self._window.shoot("forward-form")

    def submit_forward(self, fault: str | None = None, **fields: str) -> None:
        """Type these fields again and send the form; be told what is wrong."""
        self._window.fill_in(_FORWARD, **fields)
        self._window.submit()
        if fault is not None:
            refused = self._words(f"config_subentries.forward.error.{fault}")
            self._window.see_refusal(refused)

    def read_summary(self, **words: str) -> None:
        """Read what was set up and what is left to do, and finish."""
        main = self._words("exceptions.main_half_by_hand.message", **words)
        text = self._words(
            "config_subentries.forward.create_entry.default", main_router=main, **words
        )
        self._window.read(text)
        self._window.shoot("forward-added")
        self._window.finish()

    def open_forward(self, name: str) -> None:
        """Go to the forward's page, and see its entities."""
        if self._page.locator("ha-config-integration-page").count() == 0:
            self._go(f"/config/integrations/integration/{DOMAIN}")
        kind = self._words("config_subentries.forward.entry_type")
        row = self._page.locator("ha-config-sub-entry-row", has_text=name)
        expect(row).to_contain_text(kind)
        row.locator("ha-config-entry-device-row").click()
        self._see_entities(name, "sensor.connections", "sensor.last_connection")
        self._see_entities(name, "image.path", "button.diagnose")
        self._see_entities(name, "sensor.status")

    def toggle(self, *, on: bool) -> None:
        """Press the switch, and see it turned."""
        self._switch.click()
        self.see_switch(on=on)

    def see_switch(self, *, on: bool) -> None:
        """See what the switch shows; nothing is touched."""
        expect(self._switch.locator("input")).to_be_checked(checked=on)

    def see_event(self, *kinds: str) -> None:
        """See among the forward's activity what befell it; nothing is touched."""
        activity = self._page.locator("ha-logbook")
        # What can't be seen is not drawn.
        activity.scroll_into_view_if_needed()
        for kind in kinds:
            key = f"entity.event.rules.state_attributes.event_type.state.{kind}"
            expect(activity).to_contain_text(self._words(key))

    def press_diagnose(self) -> None:
        """Press the button, and keep an eye on what the same page says from then on."""
        self._status.evaluate(_WATCH)
        row = self._row("hui-button-entity-row", "button.diagnose")
        row.locator("ha-button").click()
        self._status.scroll_into_view_if_needed()
        expect(row).to_be_in_viewport()

    def see_status(self, *statuses: str) -> None:
        """See each of these where it was pressed, one after the other."""
        said = [self._words(f"entity.sensor.status.state.{it}") for it in statuses]
        self._page.wait_for_function(_SHOWN_IN_TURN, arg=said)
        expect(self._status).to_be_in_viewport()

    def see_notification(self, *texts: str) -> None:
        """Look at the notifications, and see one that says this."""
        drawer = self._page.locator("notification-drawer")
        if not drawer.count():
            if self._phone:
                self._go("/config")
                self._page.locator("ha-menu-button").click()
            self._page.locator("ha-sidebar #sidebar-notifications").click()
        item = drawer.locator("persistent-notification-item")
        for text in texts:
            for paragraph in paragraphs(text):
                expect(item).to_contain_text(paragraph)

    def dismiss_notification(self) -> None:
        """Have done with it; without another one, the page is there again."""
        item = self._page.locator("persistent-notification-item")
        self._camera.shoot("diagnosis", item)
        item.locator("[slot=actions]").click()
        expect(item).to_have_count(0)

    def see_connections(self) -> None:
        """See that some were counted by now."""
        row = self._row("hui-sensor-entity-row", "sensor.connections")
        expect(row.get_by_text("0", exact=True)).to_have_count(0)

    def see_picture(self) -> None:
        """Open the picture of the path: it is one, and shows something."""
        self._row("hui-simple-entity-row", "image.path").click()
        picture = self._page.locator("ha-more-info-dialog more-info-content img")
        expect(picture).to_have_js_property("complete", value=True)
        expect(picture).not_to_have_js_property("naturalWidth", value=0)
        assert colours(picture.screenshot()) > 100
        self._page.keyboard.press("Escape")
        expect(picture).to_have_count(0)
        self._camera.shoot_page(
            "forward-page", self._page.locator("ha-config-device-page")
        )

    def see_dashboard(self, *texts: str) -> None:
        """See these texts on a dashboard, in what lists all forwards."""
        self._page.goto(f"{URL}/{DASHBOARD}/0")
        listing = self._page.locator("hui-markdown-card")
        for text in texts:
            expect(listing).to_contain_text(text)
        assert self._page.evaluate("innerWidth >= document.body.scrollWidth")
        self._camera.shoot("dashboard", self._page.locator("hui-vertical-stack-card"))

    def remove_forward(self, name: str) -> None:
        """Go to the integration's page, and remove it there."""
        self._go(f"/config/integrations/integration/{DOMAIN}")
        self._remove(self._page.locator("ha-config-sub-entry-row", has_text=name))

    # What all of this is made of.

    def _go(self, path: str) -> None:
        """Go where several presses would lead, as the frontend itself does it."""
        self._page.evaluate(
            """path => {
                history.pushState(null, "", path);
                dispatchEvent(new CustomEvent("location-changed"));
            }""",
            path,
        )

    @property
    def _switch(self) -> Locator:
        return self._page.locator("hui-toggle-entity-row ha-switch")

    @property
    def _status(self) -> Locator:
        return self._row("hui-sensor-entity-row", "sensor.status")

    def _row(self, kind: str, entity: str) -> Locator:
        """Return an entity's row on its device's page, by its name."""
        name = self._words(f"entity.{entity}.name")
        return self._page.locator(kind, has_text=name)

    def _see_entities(self, device: str, *entities: str) -> None:
        """See these on the page of a device."""
        page = self._page.locator("ha-config-device-page")
        expect(page).to_contain_text(device)
        cards = page.locator("ha-device-entities-card")
        for entity in entities:
            name = self._words(f"entity.{entity}.name")
            expect(cards.filter(has_text=name).first).to_be_visible()

    def _remove(self, row: Locator) -> None:
        """Choose the last and most dangerous item of its menu, and confirm that."""
        menu = row.locator("ha-dropdown").first
        menu.click()
        menu.locator("ha-dropdown-item[variant=danger]").last.click()
        self._page.locator("dialog-box [slot=primaryAction]").click()
        expect(row).to_have_count(0)
