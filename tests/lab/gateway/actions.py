"""What a gateway does when an action of WANIPConnection is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..exchange import Transport
from .options import GatewayOptions, Service
from .soap import Call, Malformed
from .table import Entry, Place, Table, Wanted

_INVALID, _VALUE, _NOT_AUTHORIZED = 402, 600, 606

type Values = Mapping[str, object]


class Fault(Exception):
    """Why an action was not done."""

    def __init__(self, code: int) -> None:
        """Take UPnP's code."""
        super().__init__(code)
        self.code: Final = code


@dataclass(frozen=True)
class Actions:
    """Those of one service, as somebody in the LAN asks for them."""

    options: GatewayOptions
    table: Table
    service: Service
    asker: str

    def do(self, call: Call) -> Values:
        """Do what is asked, and return the values of the answer. Raises Fault."""
        options = self.options
        if "type" in options.rules and call.service != self.service.type:
            raise Fault(options.unknown_code)
        actions: dict[str, Callable[[Mapping[str, str]], Values]] = {
            "AddPortMapping": self._add,
            "AddAnyPortMapping": self._add_any,
            "DeletePortMapping": self._delete,
            "GetSpecificPortMappingEntry": self._get,
            "GetGenericPortMappingEntry": self._list,
            "GetExternalIPAddress": self._address,
            "GetStatusInfo": self._status,
            "GetConnectionTypeInfo": self._type,
        }
        action = actions.get(call.action)
        version_2_alone = call.action == "AddAnyPortMapping"
        if (
            action is None
            or call.action in options.unknown
            or (version_2_alone and self._is_first)
        ):
            raise Fault(options.unknown_code)
        return action(call.arguments)

    @property
    def _is_first(self) -> bool:
        """Whether the service is one of version 1."""
        return self.service.type.endswith(":1")

    def _add(self, given: Mapping[str, str]) -> Values:
        """Open a mapping."""
        _check(self.table.add(self.asker, self._wanted(given)))
        return {}

    def _add_any(self, given: Mapping[str, str]) -> Values:
        """Open it, or one beside it."""
        code, port = self.table.add_any(self.asker, self._wanted(given))
        _check(code)
        return {"NewReservedPort": port}

    def _wanted(self, given: Mapping[str, str]) -> Wanted:
        """Read what is asked for; nobody as client is the asker."""
        try:
            return Wanted(
                self._place(given),
                given["NewInternalClient"] or self.asker,
                _number(given["NewInternalPort"]),
                given["NewPortMappingDescription"],
                _number(given["NewLeaseDuration"]),
                _flag(given["NewEnabled"]),
            )
        except KeyError:
            raise Fault(_INVALID) from None

    def _place(self, given: Mapping[str, str]) -> Place:
        """Read which port of the gateway is meant."""
        if "NewRemoteHost" not in given and "remote_host" in self.options.rules:
            raise Fault(_INVALID)
        protocol = given.get("NewProtocol", "")
        if not protocol.isupper() and "capitals" in self.options.rules:
            raise Malformed(500)
        transports: dict[str, Transport] = {"TCP": "tcp", "UDP": "udp"}
        try:
            return transports[protocol.upper()], _number(given["NewExternalPort"])
        except KeyError:
            raise Fault(_INVALID) from None

    def _delete(self, given: Mapping[str, str]) -> Values:
        """Close a mapping."""
        _check(self.table.delete(self.asker, self._place(given)))
        return {}

    def _get(self, given: Mapping[str, str]) -> Values:
        """Tell what is at a port."""
        entry = self.table.get(self._place(given))
        if entry is None:
            raise Fault(self.options.none_code)
        return self._told(entry)

    def _list(self, given: Mapping[str, str]) -> Values:
        """Tell what has a number in the list."""
        way, index = self.options.list_way, _number(given.get("NewPortMappingIndex"))
        entries = self.table.listed()
        if way == "refused":
            raise Fault(_NOT_AUTHORIZED)
        if way == "holes":
            # Each second one is a rule of the owner's, of which nothing is told.
            if not index % 2 and index // 2 < len(entries):
                raise Fault(self.options.none_code)
            index //= 2
        if way == "repeats":
            index = min(index, len(entries) - 1)
        if not 0 <= index < len(entries):
            raise Fault(self.options.list_end_code)
        transport, port = entries[index].wanted.place
        return {
            "NewRemoteHost": "",
            "NewExternalPort": port,
            "NewProtocol": transport.upper(),
            **self._told(entries[index]),
        }

    def _told(self, entry: Entry) -> Values:
        """Return what is told of a mapping."""
        wanted = entry.wanted
        return {
            "NewInternalPort": wanted.port,
            "NewInternalClient": wanted.client,
            "NewEnabled": int(wanted.enabled),
            "NewPortMappingDescription": wanted.description,
            "NewLeaseDuration": entry.left(self.table.now()),
        }

    def _address(self, _: Mapping[str, str]) -> Values:
        """Tell the address on the internet's side."""
        _check(self.options.address_code)
        own = self.service.address
        return {"NewExternalIPAddress": self.options.address if own is None else own}

    def _status(self, _: Mapping[str, str]) -> Values:
        """Tell whether there is an internet."""
        connected = self.service.connected
        return {
            "NewConnectionStatus": self.options.status if connected else "Disconnected",
            "NewLastConnectionError": "ERROR_NONE",
            "NewUptime": 1000,
        }

    def _type(self, _: Mapping[str, str]) -> Values:
        """Tell what kind of connection it is."""
        return {
            "NewConnectionType": "IP_Routed",
            "NewPossibleConnectionTypes": "IP_Routed",
        }


def _check(code: int) -> None:
    """Raise Fault where it was refused."""
    if code:
        raise Fault(code)


def _number(text: str | None) -> int:
    """Read a number. Raises Fault."""
    if text is None or not (text.isascii() and text.isdecimal()):
        raise Fault(_INVALID)
    return int(text)


def _flag(text: str) -> bool:
    """Read yes or no. Raises Fault."""
    if text not in {"0", "1", "true", "false"}:
        raise Fault(_VALUE)
    return text in {"1", "true"}
