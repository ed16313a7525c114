"""Takes out of a text what tells where and whose a home is."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network
import re
from typing import Any

_PAIR = "[0-9A-Fa-f]{2}"
# Some interfaces are named after their MAC address: enx0200c0a83202.
_MAC = rf"\b(?:{_PAIR}[:-]){{5}}{_PAIR}\b|(?<=\benx)[0-9a-f]{{12}}\b"
_IPV4 = re.compile(r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:.]{2,45}(?![\w:])")
_IPV6_AT_HOME = [
    IPv6Network(text) for text in ("fe80::/10", "fc00::/7", "2001:db8::/32")
]
_PUBLIC_NAME = re.compile(r"(?:[\w-]{1,63}\.){1,20}[^\W\d][\w-]{1,62}\.?")
# Names of a home's own, which tell no one where it is.
_HOME_NAME = re.compile(
    r".*\.(?:local|lan|home|home\.arpa|internal|localdomain)\.?", re.IGNORECASE
)


class Redactor:
    """Puts the same placeholder in the place of the same address, all over.

    What it takes for an address is public (no private network's, no example's),
    or a MAC address in any of its notations.
    """

    def __init__(self, *, names: Iterable[str], macs: Iterable[str]) -> None:
        """Take names that may be public ones, and MAC addresses.

        Names are looked for only if they are told here, since any word with a
        dot in it could be one; so are MAC addresses without separators.
        """
        self._given: dict[str, str] = {}
        public = [re.escape(name) for name in names if _is_public_name(name)]
        known = [re.sub("[^0-9a-f]", "", text.lower()) for text in macs]
        bare = [text for text in known if re.fullmatch("[0-9a-f]{12}", text)]
        # What can't be found stands in where there is no name.
        self._names = re.compile(
            rf"(?<![\w.-])(?:{'|'.join(public) or '(?!)'})(?![\w-])", re.IGNORECASE
        )
        self._mac = re.compile("|".join([_MAC, *bare]), re.IGNORECASE)

    def clean(self, value: Any) -> Any:
        """Return a value as JSON knows it, with placeholders in its texts."""
        if isinstance(value, Mapping):
            return {self.clean(key): self.clean(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self.clean(part) for part in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        text = self._names.sub(self._name, str(value))
        text = self._mac.sub(self._mac_address, text)
        return _IPV4.sub(self._ipv4, _IPV6.sub(self._ipv6, text))

    def _placeholder(self, kind: str, what: str) -> str:
        """Return what stands for this; the first of a kind is number 1."""
        number = 1 + sum(given.startswith(kind) for given in self._given.values())
        return self._given.setdefault(what, f"{kind}-{number}")

    def _name(self, found: re.Match[str]) -> str:
        """Return what stands for a name."""
        return self._placeholder("name", found[0].lower())

    def _mac_address(self, found: re.Match[str]) -> str:
        """Return what stands for a MAC address, however it is written."""
        return self._placeholder("hardware", re.sub("[:-]", "", found[0].lower()))

    def _ipv4(self, found: re.Match[str]) -> str:
        """Return what stands for an address, unless it is anyone's."""
        try:
            address = IPv4Address(bytes(map(int, found[0].split("."))))
        except ValueError:
            return found[0]
        if address.is_multicast or not address.is_global:
            return found[0]
        return self._placeholder("public", str(address))

    def _ipv6(self, found: re.Match[str]) -> str:
        """Return what stands for an address, unless it is anyone's."""
        # A full stop or a colon may follow it in a sentence.
        for text in (found[0], found[0].rstrip(".:")):
            try:
                address = IPv6Address(text)
            except ValueError:
                continue
            if _is_anybodys(address):
                break
            rest = found[0].removeprefix(text)
            return self._placeholder("public", str(address)) + rest
        return found[0]


def _is_public_name(text: str) -> bool:
    """Return whether a text is a name by which the internet knows someone."""
    return bool(_PUBLIC_NAME.fullmatch(text)) and not _HOME_NAME.fullmatch(text)


def _is_anybodys(address: IPv6Address) -> bool:
    """Return whether an address says nothing of whose it is."""
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return True
    # The lower half may be made of a MAC address.
    return address.packed[11:13] != b"\xff\xfe" and any(
        address in network for network in _IPV6_AT_HOME
    )
