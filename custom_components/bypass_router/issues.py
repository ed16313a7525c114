"""What a user is told in Home Assistant's repairs."""

from collections import Counter
from collections.abc import Collection, Sequence
import math
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .router.clean_up import CLEAN_UP
from .router.errors import ClosingRefused, ConnectionsStay, HostKeyChanged
from .router.rules.base import Tag
from .router.ssh.rights import Rights

# Whoever may change a router's firewall can make up any number of Home Assistants.
_OWNERS = 5
# What a person may want to copy by hand.
_COMMANDS = 40


class Issues:
    """The repair issues of one entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Take whose issues they are."""
        self._hass = hass
        self._entry = entry
        self._foreign: frozenset[str] = frozenset()

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

    def sudo_waits(self, rights: Rights) -> None:
        """Sudo waits for a name server, and would not if the router knew its name."""
        issue_id = f"sudo_waits_{self._entry.entry_id}"
        if not (rights.slow and rights.nameless):
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="sudo_waits" if rights.all else "sudo_waits_always",
            translation_placeholders={
                "router": self._entry.title,
                "seconds": f"{math.ceil(rights.delay)}",
            },
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

    def waiting(self, commands: Sequence[str]) -> None:
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
            translation_key="waiting" if len(commands) <= _COMMANDS else "waiting_many",
            translation_placeholders={
                "router": self._entry.title,
                "commands": "\n".join(commands[:_COMMANDS]),
                "count": str(len(commands)),
            },
        )

    def hand_made(self, count: int) -> None:
        """Forwards stand on the router that a person has made, and may have adopted."""
        issue_id = f"hand_made_{self._entry.entry_id}"
        if not count:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            data={"entry_id": self._entry.entry_id},
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key="hand_made",
            translation_placeholders={
                "router": self._entry.title,
                "count": str(count),
            },
        )

    def conflict(self, cause: str | None) -> None:
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

    def no_conflict(self) -> None:
        """The rules have been left alone for a while."""
        ir.async_delete_issue(self._hass, DOMAIN, f"fight_{self._entry.entry_id}")

    def connections_stay(self, err: ConnectionsStay) -> None:
        """A forward was turned off, and its connections can't be ended."""
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            f"connections_stay_{self._entry.entry_id}",
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="closing_refused"
            if isinstance(err, ClosingRefused)
            else "connections_stay",
            translation_placeholders={"router": self._entry.title, **err.details},
        )

    def connections_end(self) -> None:
        """The router can end them, or nobody wants it to."""
        ir.async_delete_issue(
            self._hass, DOMAIN, f"connections_stay_{self._entry.entry_id}"
        )

    def both_variants(self, ours: str | None) -> None:
        """Both variants of iptables translate there; ours is where our rules are."""
        issue_id = f"both_variants_{self._entry.entry_id}"
        if ours is None:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="both_variants",
            translation_placeholders={"router": self._entry.title, "ours": ours},
        )

    def forget(self) -> None:
        """The router is removed here, and what was said of it is of no use."""
        for domain, issue_id in list(ir.async_get(self._hass).issues):
            if domain == DOMAIN and self._entry.entry_id in issue_id:
                ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    def foreign(self, tags: Collection[Tag]) -> None:
        """Other Home Assistants have rules on the router."""
        counts = Counter(tag.owner for tag in tags)
        # Those that are shown stay, so that no repair vanishes under the user's hand.
        ranked = sorted(
            counts,
            key=lambda owner: (owner not in self._foreign, -counts[owner], owner),
        )
        shown = frozenset(ranked[:_OWNERS])
        for owner in shown - self._foreign:
            self._foreign_owner(owner, counts[owner])
        for owner in self._foreign - shown:
            ir.async_delete_issue(
                self._hass, DOMAIN, f"foreign_{self._entry.entry_id}_{owner}"
            )
        self._foreign = shown
        self._foreign_others(len(counts) - len(shown))

    def _foreign_owner(self, owner: str, forwards: int) -> None:
        """One of them, whose rules the user may have removed."""
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
                "count": str(forwards),
            },
        )

    def _foreign_others(self, count: int) -> None:
        """More of them than anybody has, all in one."""
        issue_id = f"foreign_others_{self._entry.entry_id}"
        if not count:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            is_fixable=False,
            severity=ir.IssueSeverity.WARNING,
            translation_key="foreign_others",
            translation_placeholders={
                "router": self._entry.title,
                "count": str(count),
            },
        )


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
            "commands": CLEAN_UP,
        },
    )
