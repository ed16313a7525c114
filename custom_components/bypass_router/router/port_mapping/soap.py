"""UPnP's actions as texts, and the answers and faults as values.

The arguments stand in the order of the standard, which some demand, and each of them is
there, be it empty. Answers are matched by local names, whatever their prefix and case,
and a fault is a fault also where HTTP says that all is well.
"""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
import re
from typing import Final
from xml.sax.saxutils import escape

from ..errors import printable
from ..forward import MAX_PORT
from .base import Answer, Entry, Listed, Opening, PublicPort, Refusal, named
from .description import Service
from .elements import texts
from .http import SAID, Request, Response

# Nothing stands before the declaration, or some refuse it.
_ENVELOPE: Final = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
    '<s:Body><u:{action} xmlns:u="{urn}">{arguments}</u:{action}></s:Body>'
    "</s:Envelope>\r\n"
)
NOTHING: Final = "<errorCode>714</errorCode>"
"""What a fault has in it, by the standard, where nothing is at a port."""
_NOTHING_THERE: Final = (713, 714)
_KINDS: Final[Mapping[int, Answer]] = {
    401: Answer.UNSUPPORTED,
    402: Answer.INVALID,
    501: Answer.FAILED,
    600: Answer.INVALID,
    601: Answer.INVALID,
    602: Answer.UNSUPPORTED,
    603: Answer.FULL,
    605: Answer.INVALID,
    606: Answer.NOT_ALLOWED,
    715: Answer.INVALID,
    716: Answer.PORT_REFUSED,
    718: Answer.TAKEN,
    724: Answer.PORT_REFUSED,
    725: Answer.ONLY_FOR_GOOD,
    726: Answer.INVALID,
    727: Answer.PORT_REFUSED,
    728: Answer.FULL,
    729: Answer.TAKEN,
    732: Answer.PORT_REFUSED,
    733: Answer.INVALID,
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,10}")
_NO = ("0", "false", "no")
_LONGEST_LEASE = 2**32


def add(service: Service, opening: Opening, client: IPv4Address) -> Request:
    """Return what opens a port."""
    return _action(
        service,
        "AddPortMapping",
        **_at(opening.mapping.public),
        NewInternalPort=opening.mapping.port,
        NewInternalClient=client,
        NewEnabled=1,
        NewPortMappingDescription=opening.description,
        NewLeaseDuration=opening.lease,
    )


def delete(service: Service, public: PublicPort) -> Request:
    """Return what closes one."""
    return _action(service, "DeletePortMapping", **_at(public))


def get(service: Service, public: PublicPort) -> Request:
    """Return what asks for what is there."""
    return _action(service, "GetSpecificPortMappingEntry", **_at(public))


def get_address(service: Service) -> Request:
    """Return what asks for the address on the internet's side."""
    return _action(service, "GetExternalIPAddress")


def get_status(service: Service) -> Request:
    """Return what asks whether there is a connection to the internet."""
    return _action(service, "GetStatusInfo")


def _at(public: PublicPort) -> dict[str, object]:
    """Return the arguments that name a mapping. From anyone: that is an empty host."""
    return {
        "NewRemoteHost": "",
        "NewExternalPort": public.port,
        "NewProtocol": public.transport.upper(),
    }


def _action(service: Service, action: str, **arguments: object) -> Request:
    """Return the request of an action."""
    words = "".join(
        f"<{name}>{escape(str(value))}</{name}>" for name, value in arguments.items()
    )
    body = _ENVELOPE.format(action=action, urn=service.urn, arguments=words)
    return Request(service.control, f"{service.urn}#{action}", body)


def read_added(response: Response | Refusal) -> Refusal | None:
    """Return why a port was not opened, as the gateway has it; None if it was."""
    answer = _answer(response, "AddPortMapping")
    return answer if isinstance(answer, Refusal) else None


def read_deleted(response: Response | Refusal) -> Refusal | None:
    """Return why a mapping was not deleted; None also where none was there."""
    answer = _answer(response, "DeletePortMapping")
    if not isinstance(answer, Refusal) or answer.code in _NOTHING_THERE:
        return None
    return answer


def read_listed(response: Response | Refusal) -> Listed:
    """Return what a gateway says that it has at a port.

    Not all say by the standard's code that nothing is there: see `Upnp` for those.
    """
    answer = _answer(response, "GetSpecificPortMappingEntry")
    if isinstance(answer, Refusal):
        return None if answer.code in _NOTHING_THERE else answer
    client, port = answer.get("newinternalclient", ""), answer.get("newinternalport")
    if not client:
        return Refusal(Answer.NONSENSE)
    return Entry(
        _address(client),
        _number(port, MAX_PORT) or 0,
        printable(answer.get("newportmappingdescription", ""), SAID),
        _number(answer.get("newleaseduration"), _LONGEST_LEASE),
        answer.get("newenabled", "").lower() not in _NO,
    )


def read_code(response: Response | Refusal) -> int | None:
    """Return the code by which a gateway does not say what it has at a port."""
    answer = _answer(response, "GetSpecificPortMappingEntry")
    return answer.code if isinstance(answer, Refusal) else None


def read_address(response: Response | Refusal) -> IPv4Address | Refusal | None:
    """Return the address on the internet's side; None where it has none."""
    answer = _answer(response, "GetExternalIPAddress")
    if isinstance(answer, Refusal):
        return answer
    text = answer.get("newexternalipaddress")
    if text is None:
        return Refusal(Answer.NONSENSE)
    address = _address(text)
    if address is None:
        return Refusal(Answer.NONSENSE, said=printable(text, SAID)) if text else None
    return named(address)


def read_connected(response: Response | Refusal) -> bool | Refusal:
    """Return whether it says that it is connected."""
    answer = _answer(response, "GetStatusInfo")
    if isinstance(answer, Refusal):
        return answer
    return answer.get("newconnectionstatus", "").lower() == "connected"


def _answer(response: Response | Refusal, action: str) -> dict[str, str] | Refusal:
    """Return what an action's answer has, by local names in lower case."""
    if isinstance(response, Refusal):
        return response
    found = texts(response.text)
    done = f"{action.lower()}response"
    # Whichever is first: a description that is listed may hold the tags of a fault.
    first = next((name for name in found if name in (done, "fault", "errorcode")), "")
    if first and first != done:
        return _fault(found)
    if not response.ok:
        return response.refusal
    if not first:
        return Refusal(Answer.NONSENSE, said=printable(response.text, SAID))
    return found


def _fault(found: Mapping[str, str]) -> Refusal:
    """Return what a fault means."""
    text = found.get("errorcode", "")
    code = int(text) if _NUMBER.fullmatch(text) else None
    said = found.get("errordescription", "")
    kind = Answer.FAILED if code is None else _KINDS.get(code, Answer.FAILED)
    return Refusal(kind, code, printable(said, SAID))


def _address(text: str) -> IPv4Address | None:
    """Return an address, if it is one."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None


def _number(text: str | None, most: int) -> int | None:
    """Return a number from 0 to `most`, if it is one."""
    if text is None or not _NUMBER.fullmatch(text):
        return None
    return number if 0 <= (number := int(text)) <= most else None
