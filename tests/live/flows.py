"""The forms of our integration, filled in as a browser does, and what they said."""

from dataclasses import dataclass, field
from typing import Any, Final

from tests.lab.waiting import tries

from .instance import DOMAIN, HomeAssistant, InstanceFailed

_ENTRIES: Final = "/api/config/config_entries"


class FlowRefused(Exception):
    """A form came back with errors, or a flow ended without what it was to make."""

    def __init__(self, answer: dict[str, Any]) -> None:
        """Keep what was said."""
        self.errors: dict[str, str] = answer.get("errors") or {}
        self.reason: str | None = answer.get("reason")
        self.answer = answer
        super().__init__(self.reason or str(self.errors or answer))


@dataclass(frozen=True)
class AddedRouter:
    """A router that was added, and what its forms said on the way."""

    entry_id: str
    title: str
    fingerprint: str
    forms: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class AddedForward:
    """A forward that was added, and its switch."""

    subentry_id: str
    entity_id: str


class Flows:
    """Adds, changes and removes routers and forwards."""

    def __init__(self, home_assistant: HomeAssistant) -> None:
        """Take the one to work on."""
        self._ha = home_assistant

    def add_router(
        self,
        host: str,
        username: str = "root",
        password: str | None = None,
        *,
        port: int = 22,
        **credentials: object,
    ) -> AddedRouter:
        """Add a router and wait until it is set up; raises FlowRefused.

        `credentials` are further fields of the second form.
        """
        flow = f"{_ENTRIES}/flow"
        forms = [self._ha.api("POST", flow, {"handler": DOMAIN})]
        forms.append(
            self._submit(
                flow, forms[-1], {"host": host, "port": port, "username": username}
            )
        )
        if forms[-1].get("step_id") != "credentials":
            self._give_up(flow, forms[-1])
        if password is not None:
            credentials["password"] = password
        credentials.setdefault("install_key", True)
        answer = self._submit(flow, forms[-1], credentials)
        if answer["type"] != "create_entry":
            self._give_up(flow, answer)
        entry_id = answer["result"]["entry_id"]
        self._wait_loaded(entry_id)
        return AddedRouter(
            entry_id,
            answer["title"],
            forms[-1]["description_placeholders"]["fingerprint"],
            forms,
        )

    def choose(self, entry_id: str, **options: object) -> str:
        """Choose options of a router, and leave the others; return what the form said.

        That is of its main router. Raises FlowRefused.
        """
        flow = f"{_ENTRIES}/options/flow"
        form = self._ha.api("POST", flow, {"handler": entry_id})
        answer = self._submit(flow, form, _suggested(form) | options)
        if answer["type"] != "create_entry":
            self._give_up(flow, answer)
        found: str = form["description_placeholders"]["found"]
        return found

    def remove_router(self, entry_id: str) -> None:
        """Remove a router with all of its forwards."""
        self._ha.api("DELETE", f"{_ENTRIES}/entry/{entry_id}")

    def entry(self, entry_id: str) -> dict[str, Any]:
        """Return what Home Assistant says of an entry, such as its `state`."""
        entries = self._ha.command("config_entries/get", domain=DOMAIN)
        found: list[dict[str, Any]] = [e for e in entries if e["entry_id"] == entry_id]
        return found[0]

    def add_forward(self, entry_id: str, **fields: object) -> AddedForward:
        """Add a forward and wait for its switch; raises FlowRefused."""
        flow = f"{_ENTRIES}/subentries/flow"
        before = self._forwards(entry_id)
        form = self._ha.api("POST", flow, {"handler": [entry_id, "forward"]})
        fields.setdefault("keep_client_address", False)
        # What is tried is switched by whoever tries it.
        fields.setdefault("enabled", False)
        answer = self._submit(flow, form, fields)
        if answer["type"] != "create_entry":
            self._give_up(flow, answer)
        # The answer does not tell the new one's id.
        (subentry_id,) = self._forwards(entry_id) - before
        return AddedForward(subentry_id, self.switch(subentry_id))

    def change_forward(self, entry_id: str, subentry_id: str, **fields: object) -> None:
        """Change fields of a forward, and leave the others; raises FlowRefused."""
        flow = f"{_ENTRIES}/subentries/flow"
        form = self._ha.api(
            "POST",
            flow,
            {"handler": [entry_id, "forward"], "subentry_id": subentry_id},
        )
        answer = self._submit(flow, form, _suggested(form) | fields)
        if answer.get("reason") != "reconfigure_successful":
            self._give_up(flow, answer)

    def remove_forward(self, entry_id: str, subentry_id: str) -> None:
        """Remove a forward."""
        self._ha.command(
            "config_entries/subentries/delete",
            entry_id=entry_id,
            subentry_id=subentry_id,
        )

    def switch(self, subentry_id: str) -> str:
        """Return a forward's switch, as soon as there is one with a state."""
        return self._entity(subentry_id, "switch")

    def main_half(self, subentry_id: str) -> str:
        """Return what shows the main router's half of a forward."""
        return self._entity(subentry_id, "binary_sensor")

    def _entity(self, subentry_id: str, domain: str) -> str:
        """Return a forward's only entity of a kind, once it has a state."""
        for _ in tries():
            for entity in self._ha.command("config/entity_registry/list"):
                entity_id: str = entity["entity_id"]
                if (
                    entity["config_subentry_id"] == subentry_id
                    and entity_id.startswith(f"{domain}.")
                    and self._ha.state(entity_id) is not None
                ):
                    return entity_id
        raise InstanceFailed(f"The forward has no {domain}.")

    def _submit(
        self, flow: str, form: dict[str, Any], fields: object
    ) -> dict[str, Any]:
        """Fill in a form and send it; return what comes next."""
        answer: dict[str, Any] = self._ha.api(
            "POST", f"{flow}/{form['flow_id']}", fields
        )
        return answer

    def _give_up(self, flow: str, answer: dict[str, Any]) -> None:
        """Close the window, and say what stood in it."""
        if answer["type"] == "form":
            self._ha.api("DELETE", f"{flow}/{answer['flow_id']}")
        raise FlowRefused(answer)

    def _forwards(self, entry_id: str) -> set[str]:
        """Return the ids of a router's forwards."""
        listed = self._ha.command("config_entries/subentries/list", entry_id=entry_id)
        return {subentry["subentry_id"] for subentry in listed}

    def _wait_loaded(self, entry_id: str) -> None:
        """Wait until the router is connected; adding it does not."""
        entry: dict[str, Any] = {}
        for _ in tries():
            if (entry := self.entry(entry_id))["state"] == "loaded":
                return
            if entry["state"] == "setup_error":
                break
        raise InstanceFailed(
            f"The router was added, but is {entry['state']}: {entry['reason']}."
        )


def _suggested(form: dict[str, Any]) -> dict[str, Any]:
    """Return what a form has in its fields."""
    return {
        item["name"]: item["description"]["suggested_value"]
        for item in form["data_schema"]
        if "suggested_value" in (item.get("description") or {})
    }
