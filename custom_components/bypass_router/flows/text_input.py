"""What people type for a router: read as what it means, or refused in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
import logging
import re
import unicodedata

from homeassistant.data_entry_flow import AbortFlow

from ..router.errors import RouterError

_LOGGER = logging.getLogger(__name__)

_MAX_HOST_NAME = 253
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label has a letter, or it would be an address gone wrong.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[^.]*[A-Za-z]){_LABEL}\.?")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")


@dataclass(slots=True)
class Form:
    """What a form tells beside its fields."""

    errors: dict[str, str] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn what goes wrong into the form's sentence about it."""
        try:
            yield
        except AbortFlow:
            raise
        except RouterError as err:
            self.errors["base"] = err.key
            self.placeholders |= err.details
        except Exception:
            _LOGGER.exception("Unexpected error while adding a router")
            self.errors["base"] = "unknown"


def parse_host(text: str) -> str | None:
    """Return a host's name or address as the network takes it, or None."""
    host = text.strip()
    if len(host) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(host):
        return host
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast:
        return None
    if isinstance(address, IPv6Address) and not _SCOPE.fullmatch(
        address.scope_id or "0"
    ):
        return None
    return str(address)


def is_username(text: str) -> bool:
    """Return whether an account on a router can have this name."""
    return bool(_USERNAME.fullmatch(text))


def is_password(text: str) -> bool:
    """Return whether an account on a router can have this password."""
    # No controls, and no halves of characters that can't be sent.
    return not any(unicodedata.category(char) in ("Cc", "Cs") for char in text)
