"""What a user is told in Home Assistant's repairs."""

from collections.abc import Collection
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .router.errors import HostKeyChanged
from .router.firewall import Tag
from .router.iptables import HOOKS


class Issues:
    """The repair issues of one entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Take whose issues they are."""
        self._hass = hass
        self._entry = entry
        self._foreign: set[str] = set()

    def forwarding(self, *, enabled: bool) -> None:
        """A router that passes no packets on makes every forward useless."""
        issue_id = f"ip_forward_{self._entry.entry_id}"
        if enabled:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            data={"entry_id": self._entry.entry_id},
            is_fixable=True,
            severity=ir.IssueSeverity.ERROR,
            translation_key="ip_forward",
            translation_placeholders={"router": self._entry.title},
        )

    def host_key_changed(self, err: HostKeyChanged) -> None:
        """The router proved another key; only the user knows whether it may."""
        words = {"router": self._entry.title, **err.details}
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            f"host_key_{self._entry.entry_id}",
            data={"entry_id": self._entry.entry_id, **words},
            is_fixable=True,
            severity=ir.IssueSeverity.ERROR,
            translation_key="host_key_changed",
            translation_placeholders=words,
        )

    def host_key_accepted(self) -> None:
        """The router proved the key that it should."""
        ir.async_delete_issue(self._hass, DOMAIN, f"host_key_{self._entry.entry_id}")

    def waiting(self, commands: Collection[str]) -> None:
        """Forwards were removed here whose rules wait for the router to be back."""
        issue_id = f"waiting_{self._entry.entry_id}"
        if not commands:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="waiting",
            translation_placeholders={
                "router": self._entry.title,
                "commands": "\n".join(commands),
            },
        )

    def fight(self, cause: str | None) -> None:
        """Something on the router removes the rules again and again."""
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            f"fight_{self._entry.entry_id}",
            is_fixable=False,
            severity=ir.IssueSeverity.ERROR,
            translation_key="fight" if cause is None else "fight_with",
            translation_placeholders={
                "router": self._entry.title,
                "cause": cause or "",
            },
        )

    def no_fight(self) -> None:
        """The rules have been left alone for a while."""
        ir.async_delete_issue(self._hass, DOMAIN, f"fight_{self._entry.entry_id}")

    def foreign(self, tags: Collection[Tag]) -> None:
        """Another Home Assistant has rules on the router."""
        owners = {tag.owner for tag in tags}
        for owner in owners - self._foreign:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                f"foreign_{self._entry.entry_id}_{owner}",
                data={"entry_id": self._entry.entry_id, "owner": owner},
                is_fixable=True,
                severity=ir.IssueSeverity.WARNING,
                translation_key="foreign",
                translation_placeholders={
                    "router": self._entry.title,
                    "owner": owner,
                    "count": str(len([tag for tag in tags if tag.owner == owner])),
                },
            )
        for owner in self._foreign - owners:
            ir.async_delete_issue(
                self._hass, DOMAIN, f"foreign_{self._entry.entry_id}_{owner}"
            )
        self._foreign = owners


def left_behind(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """An entry is gone, and its rules may still be in force on the router."""
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"left_behind_{entry.entry_id}",
        is_fixable=False,
        is_persistent=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key="left_behind",
        translation_placeholders={
            "router": entry.title,
            "commands": _CLEAN_UP,
        },
    )


# What a person runs on the router to be rid of every rule of ours.
_CLEAN_UP = "\n".join(
    f"iptables -t {hook.table} -D {hook.builtin} {hook.jump}; "
    f"iptables -t {hook.table} -F {hook.chain}; "
    f"iptables -t {hook.table} -X {hook.chain}"
    for hook in HOOKS
)
