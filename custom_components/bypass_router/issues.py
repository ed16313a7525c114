"""What a user is told in Home Assistant's repairs."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
import math
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from .const import CONF_HOST_KEY, DOMAIN
from .errors import sentence_of
from .router.clean_up import CLEAN_UP
from .router.errors import (
    BootFileLeft,
    BootFileRefused,
    ClosingRefused,
    HostKeyChanged,
    RouterError,
    printable,
)
from .router.forward import Forward
from .router.rules.base import Tag
from .router.ssh.rights import Rights

# Whoever may change a router's firewall can make up any number of Home Assistants.
_OWNERS = 5
# What a person may want to copy by hand.
_COMMANDS = 40
# What our own changes are made by, in fifteen letters, as a kernel calls a process.
_OUR_TOOLS = frozenset({"nft", "iptables-restor", "iptables-nft-re"})
# Reasons that fit on a screen.
_REFUSED = 10
# What is said of these is decided by what looks for them; of all others, by the time
# when a router was read for the first time.
_DECIDED_LATER = frozenset({"hand_made", "closing_refused", "at_boot"})
# Of an error's words, those of the router's programs.
_QUOTED = frozenset({"message", "output"})
NONE_KNOWN: Final[Mapping[Tag, Forward]] = {}
_ERROR = ir.IssueSeverity.ERROR
_WARNING = ir.IssueSeverity.WARNING


class Issues:
    """The repair issues of one entry."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        """Take whose issues they are."""
        self._hass = hass
        self._entry = entry
        self._raised: set[str] = set()
        self._settled = False

    def forwarding(self, *, enabled: bool) -> None:
        """A router that passes no packets on makes every forward useless."""
        if enabled:
            self._clear("ip_forward")
        else:
            self._raise("ip_forward", severity=_ERROR, fix_with={})

    def sudo_waits(self, rights: Rights) -> None:
        """Sudo waits for a name server, and would not if the router knew its name."""
        if rights.slow and rights.nameless:
            self._raise(
                "sudo_waits",
                key="sudo_waits" if rights.all else "sudo_waits_always",
                placeholders={"seconds": str(math.ceil(rights.delay))},
            )
        else:
            self._clear("sudo_waits")

    def host_key_changed(self, err: HostKeyChanged) -> None:
        """The router proved another key; only the user knows whether it may."""
        details = {"router": self._entry.title, **err.details}
        self._raise(
            "host_key",
            key="host_key_changed",
            severity=_ERROR,
            fix_with=details,
            placeholders=err.details,
        )

    def host_key_accepted(self) -> None:
        """The router proved the key that it should."""
        self._clear("host_key")

    def waiting(self, commands: Sequence[str]) -> None:
        """Forwards were removed here whose rules wait for the router to be back."""
        if commands:
            self._raise(
                "waiting",
                key="waiting" if len(commands) <= _COMMANDS else "waiting_many",
                persistent=True,
                placeholders={
                    "commands": "\n".join(commands[:_COMMANDS]),
                    "count": str(len(commands)),
                },
            )
        else:
            self._clear("waiting")

    def waiting_unattended(self, names: Sequence[str]) -> None:
        """Forwards were removed of a router that no one works on, and stay live."""
        issue = ir.async_get(self._hass).async_get_issue(
            DOMAIN, self._id("waiting", "")
        )
        words = (issue.translation_placeholders if issue else None) or {}
        # Others may have been removed before.
        lines = [*words.get("forwards", "").splitlines(), *map(_line, names)]
        self._raise(
            "waiting",
            key="waiting_unattended",
            persistent=True,
            placeholders={"forwards": "\n".join(dict.fromkeys(lines))},
        )

    def disabled(self, names: Sequence[str]) -> None:
        """The router is disabled here, and these forwards are live on it."""
        if names:
            lines = "\n".join(map(_line, names))
            self._raise("disabled", persistent=True, placeholders={"forwards": lines})
        else:
            self._clear("disabled")

    def without_switch(self, names: Sequence[str]) -> None:
        """These forwards are live, and the user has disabled their switch."""
        if names:
            lines = "\n".join(map(_line, names))
            self._raise("without_switch", fix_with={}, placeholders={"forwards": lines})
        else:
            self._clear("without_switch")

    def main_router_unknown(self, lost: Mapping[str, str]) -> None:
        """No one knows where the answers of these belong, and by what they leave."""
        if lost:
            self._raise(
                "main_router_unknown",
                severity=_ERROR,
                fix_with={},
                placeholders={
                    "forwards": "\n".join(map(_line, lost)),
                    "interface": printable(next(iter(lost.values()))),
                },
            )
        else:
            self._clear("main_router_unknown")

    def manual_forwards(self, count: int) -> None:
        """A person has made forwards on the router, which may be imported."""
        if count:
            self._raise("hand_made", fix_with={}, placeholders={"count": str(count)})
        else:
            self._clear("hand_made")

    def not_saved(self, err: RouterError | None) -> None:
        """Home Assistant's disk does not take what is to be live; None: it does."""
        if err:
            self._raise("not_saved", key=err.key, severity=_ERROR)
        else:
            self._clear("not_saved")

    def state_lost(self, *, lost: bool) -> None:
        """It is not known any more which forwards were to be on."""
        if lost:
            self._raise("state_lost", severity=_ERROR)
        else:
            self._clear("state_lost")

    def refused(self, errors: Sequence[tuple[str, RouterError]]) -> None:
        """The router refuses some forwards, by name; the others are as desired."""
        if not errors:
            self._clear("refused")
            return
        shown = [f"{_line(name)}: {self._reason(err)}" for name, err in errors]
        self._raise(
            "refused",
            key=_numbered("refused", len(errors)),
            severity=_ERROR,
            placeholders=_forwards([name for name, _ in errors], shown),
        )

    def kept_out(self, found: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Something stops some forwards' packets, by name, and is not ours."""
        if not found:
            self._clear("kept_out")
            return
        # Each of them is named, and as much of what stops it as there is room for.
        each = max(1, _REFUSED // len(found))
        shown = [
            f"{_line(name)}: {said}"
            for name, obstacles in found
            for said in obstacles[:each]
        ]
        self._raise(
            "kept_out",
            key=_numbered("kept_out", len(found)),
            placeholders=_forwards([name for name, _ in found], shown),
        )

    def main_router(self, found: Sequence[tuple[str, str]]) -> None:
        """The main router does not have its half of some forwards, by name, and why."""
        if not found:
            self._clear("main_router")
            return
        shown = [f"{_line(name)}: {said}" for name, said in found]
        self._raise(
            "main_router",
            key=_numbered("main_router", len(found)),
            placeholders=_forwards([name for name, _ in found], shown),
        )

    def unresolved(self, names: Mapping[str, Sequence[str]]) -> None:
        """Host names can't be resolved that forwards let in; and what is let in now."""
        if not names:
            self._clear("unresolved")
            return
        lines = [
            f"{_line(name)}: {', '.join(known) or '—'}" for name, known in names.items()
        ]
        more = ["- …"] if len(lines) > _REFUSED else []
        shown = "\n".join([*lines[:_REFUSED], *more])
        self._raise("unresolved", placeholders={"names": shown})

    def no_public_address(self, address: str | None) -> None:
        """No one on the internet reaches the main router; None: as far as is known."""
        if address:
            self._raise("no_public_address", placeholders={"address": address})
        else:
            self._clear("no_public_address")

    def main_router_left(self, ports: Sequence[str], until: str | None) -> None:
        """The main router may still have these; `until` then, or for good."""
        if ports:
            words = {"ports": "\n".join(f"- {line}" for line in ports)}
            self._raise(
                "main_router_left",
                key="main_router_left" if until else "main_router_left_for_good",
                persistent=True,
                placeholders=words | ({"until": until} if until else {}),
            )
        else:
            self._clear("main_router_left")

    def bridged(self, interface: str | None) -> None:
        """The LAN is a bridge that keeps forwards' packets; None: it does not."""
        if interface:
            words = {"interface": interface}
            self._raise("bridged", severity=_ERROR, fix_with={}, placeholders=words)
        else:
            self._clear("bridged")

    def conflict(self, cause: str | None) -> None:
        """Something on the router removes the rules again and again."""
        self._raise(
            "fight",
            key="fight"
            if cause is None
            else "fight_copy"
            if cause in _OUR_TOOLS
            else "fight_with",
            severity=_ERROR,
            placeholders={"cause": cause or ""},
        )

    def no_conflict(self) -> None:
        """The rules have been left alone for a while."""
        self._clear("fight")

    def closing_refused(self, err: ClosingRefused) -> None:
        """A forward was turned off, and its connections may not be ended."""
        self._raise("closing_refused", placeholders=err.details)

    def at_boot(self, fault: BootFileRefused | None, until: str = "") -> None:
        """What comes back at the router's start could not be written; None: it could.

        What is there, and could not be taken away, holds `until` then.
        """
        if fault is None:
            self._clear("at_boot")
            return
        left = isinstance(fault, BootFileLeft)
        self._raise(
            "at_boot",
            key=fault.key,
            severity=_ERROR if left else _WARNING,
            placeholders={**fault.details, **({"until": until} if left else {})},
        )

    def connections_end(self) -> None:
        """They may be, or no one wants them to."""
        self._clear("closing_refused")

    def both_variants(self, ours: str | None) -> None:
        """Both variants of iptables translate there; ours is where our rules are."""
        if ours is None:
            self._clear("both_variants")
        else:
            self._raise("both_variants", placeholders={"ours": ours})

    def settle(self) -> None:
        """The router was read: what was said before, and has no cause now, is over.

        It may have been said before the entry was reloaded, by one that is no more.
        What still has a cause stays, since who ignores it wants to do so for good.
        """
        if self._settled:
            return
        self._settled = True
        for issue_id, kind, _ in list(self._own()):
            if issue_id not in self._raised and kind not in _DECIDED_LATER:
                ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    def forget(self) -> None:
        """The router is removed here, and what was said of it is of no use."""
        for issue_id, _, _ in list(self._own()):
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    def foreign(
        self, tags: Collection[Tag], forwards: Mapping[Tag, Forward] = NONE_KNOWN
    ) -> None:
        """Other Home Assistants have rules on the router, which may be removed.

        Their forwards are named, as far as these are known.
        """
        counts = Counter(tag.owner for tag in tags)
        # Those that are shown stay, so that no repair vanishes under the user's hand.
        before = {part for _, kind, part in self._own() if kind == "foreign"}
        ranked = sorted(
            counts,
            key=lambda owner: (owner not in before, -counts[owner], owner),
        )
        shown = frozenset(ranked[:_OWNERS])
        for owner in shown:
            theirs = [fwd for tag, fwd in forwards.items() if tag.owner == owner]
            self._raise(
                "foreign",
                owner,
                fix_with={"owner": owner},
                placeholders={"owner": owner, "ports": _ports(theirs)},
            )
        for owner in before - shown:
            self._clear("foreign", owner)
        if others := len(counts) - len(shown):
            # More of them than anyone has, all in one.
            self._raise("foreign_others", placeholders={"count": str(others)})
        else:
            self._clear("foreign_others")

    def left_behind(self) -> None:
        """The entry is gone, and its rules may still be live on the router."""
        self._raise(
            "left_behind",
            persistent=True,
            placeholders={"commands": CLEAN_UP},
            about={
                "unique_id": self._entry.unique_id or "",
                "host_key": self._entry.data.get(CONF_HOST_KEY, ""),
            },
        )

    def left_behind_here(self) -> list[str]:
        """Return what was said of earlier entries for this router, which we have read.

        Of those alone that were removed before this one was added: a copy of the
        router's disk, which has the same host key, is no reason to take it back.
        """
        unique_id = self._entry.unique_id or "none"
        host_key = self._entry.data.get(CONF_HOST_KEY, "none")
        found = []
        for (domain, issue_id), issue in ir.async_get(self._hass).issues.items():
            if domain != DOMAIN or not issue_id.startswith("left_behind_"):
                continue
            about = issue.data or {}
            words = issue.translation_placeholders or {}
            same = (
                unique_id == about.get("unique_id")
                or host_key == about.get("host_key")
                # An earlier version has noted only its name.
                or (not about and words.get("router") == self._entry.title)
            )
            if same and issue.created <= self._entry.created_at:
                found.append(issue_id)
        return found

    def nothing_left_behind(self, issue_ids: Collection[str]) -> None:
        """What these were said of is gone."""
        for issue_id in issue_ids:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    def _raise(
        self,
        issue: str,
        part: str = "",
        *,
        key: str = "",
        severity: ir.IssueSeverity = _WARNING,
        fix_with: dict[str, str] | None = None,
        persistent: bool = False,
        placeholders: Mapping[str, str] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Show an issue; of several of one name, a part tells them apart.

        With data to fix it with, it is fixable, by what `repairs` has for it. What it
        is `about` is kept with one that is not.
        """
        entry_id = self._entry.entry_id
        data: dict[str, str | int | float | None] | None = None
        if fix_with is not None:
            data = {"entry_id": entry_id, **fix_with}
        elif about is not None:
            data = dict(about)
        self._raised.add(self._id(issue, part))
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            self._id(issue, part),
            data=data,
            is_fixable=fix_with is not None,
            is_persistent=persistent,
            severity=severity,
            translation_key=key or issue,
            translation_placeholders={
                "router": self._entry.title,
                **(placeholders or {}),
            },
        )

    def _reason(self, err: RouterError) -> str:
        """Return why a forward is refused; no word of the router's is a link."""
        quoted = {
            key: f"`{word.replace('`', "'")}`" if key in _QUOTED else word
            for key, word in err.details.items()
        }
        return sentence_of(self._hass, err, quoted)

    def _clear(self, issue: str, part: str = "") -> None:
        """Take an issue away, if it is shown."""
        ir.async_delete_issue(self._hass, DOMAIN, self._id(issue, part))

    def _own(self) -> Iterator[tuple[str, str, str]]:
        """Yield each issue of this entry: its id, what it is of, and of which part."""
        for domain, issue_id in ir.async_get(self._hass).issues:
            kind, mine, part = issue_id.partition(f"_{self._entry.entry_id}")
            if domain == DOMAIN and mine:
                yield issue_id, kind, part.removeprefix("_")

    def _id(self, issue: str, part: str) -> str:
        """Return an issue's id in Home Assistant's registry."""
        return "_".join(filter(None, (issue, self._entry.entry_id, part)))


def _line(name: str) -> str:
    """Return a forward's name as one of a list."""
    return f"- {printable(name)}"


def _numbered(key: str, count: int) -> str:
    """Return which sentence is right for so many.

    Home Assistant lets a placeholder of one language be in no other, and so has no
    plural of its own for the texts of integrations.
    """
    if count == 1:
        return f"{key}_one"
    return key if count <= _REFUSED else f"{key}_many"


def _forwards(names: Sequence[str], lines: Sequence[str]) -> dict[str, str]:
    """Return the words of a sentence about forwards, with what is said of each."""
    return {
        "forward": printable(names[0]),
        "forwards": "\n".join(lines[:_REFUSED]),
        "count": str(len(names)),
    }


def _ports(forwards: Collection[Forward]) -> str:
    """Return which external ports these have, as many as fit on a screen."""
    ranked = sorted(forwards, key=lambda it: (it.external.first, it.protocol.value))
    lines = [
        f"- {it.external} ({', '.join(it.protocol.transports).upper()})"
        for it in ranked
    ]
    more = ["- …"] if len(lines) > _REFUSED else []
    return "\n".join([*lines[:_REFUSED], *more]) or "- ?"
