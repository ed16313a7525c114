"""Finding a gateway by UPnP, and what in it opens ports."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Final

from ..ssh.script import Script
from . import soap
from .base import Answer, Refusal, RunFor
from .description import Description, Service, read_description
from .http import Request, Response, Url, read_response
from .transport import add_requests, add_searches, read_answer, read_answers

# By name: some answer nothing to a search for all there is.
_SEARCHED: Final = {
    "search.1": "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "search.2": "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "search.3": "urn:schemas-upnp-org:service:WANIPConnection:1",
    "search.4": "urn:schemas-upnp-org:service:WANPPPConnection:1",
}
_MOST_LOCATIONS: Final = 4


async def search(run: RunFor, gateway: IPv4Address) -> Url | Refusal:
    """Return where a gateway has its description, as it says itself."""
    script = Script()
    add_searches(script, gateway, _SEARCHED.items())
    sections = await run(script)
    refusal = Refusal(Answer.SILENT)
    for label in _SEARCHED:
        # Those after one that was answered are not there.
        response = read_answer(sections.get(label))
        if isinstance(response, Refusal) and refusal.kind is Answer.SILENT:
            refusal = response
        while isinstance(response, Response):
            if url := Url.at(gateway, response.headers.get("location", "")):
                return url
            refusal = Refusal(Answer.NONSENSE)
            # What is behind it is another answer.
            response = read_response(response.body)
    return refusal


async def describe(run: RunFor, urls: Sequence[Url]) -> Description | Refusal:
    """Return what descriptions say, taken together: of version 1, and of version 2."""
    script = Script()
    asked = list(dict.fromkeys(urls))[:_MOST_LOCATIONS]
    labels = {f"description.{number}": url for number, url in enumerate(asked)}
    add_requests(script, ((label, Request(url)) for label, url in labels.items()))
    answers = read_answers(await run(script))
    read: list[Description] = []
    refusals: list[Refusal] = []
    for label, url in labels.items():
        response = read_answer(answers.get(label))
        if isinstance(response, Refusal):
            refusals.append(response)
        elif not response.ok:
            refusals.append(response.refusal)
        else:
            read.append(read_description(response.text, url))
    services = {service: None for each in read for service in each.services}
    if not services:
        return refusals[0] if refusals else Refusal(Answer.UNSUPPORTED)
    model = next((each.model for each in read if each.model), "")
    ranked = sorted(services, key=lambda service: service.rank)
    return Description(model, tuple(ranked))


async def choose(run: RunFor, services: Sequence[Service]) -> Service | Refusal:
    """Return the service that leads to the internet.

    Some say that they are not connected, and open ports all the same.
    """
    requests = {}
    for number, service in enumerate(services):
        requests[f"status.{number}"] = soap.get_status(service)
        requests[f"address.{number}"] = soap.get_address(service)
    script = Script()
    add_requests(script, requests.items())
    answers = read_answers(await run(script))
    known = [
        (
            soap.read_address(read_answer(answers.get(f"address.{number}"))),
            soap.read_connected(read_answer(answers.get(f"status.{number}"))),
        )
        for number in range(len(services))
    ]
    silent = [_silence(*answers) for answers in known]
    if all(silent):
        return silent[0] or Refusal(Answer.SILENT)
    best = max(range(len(services)), key=lambda number: _rank(*known[number]))
    return services[best]


def _silence(*answers: object) -> Refusal | None:
    """Return that nothing was heard; None if anything was."""
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    if len(refusals) == len(answers) and refusals[0].kind is Answer.SILENT:
        return refusals[0]
    return None


def _rank(
    address: IPv4Address | Refusal | None, connected: bool | Refusal
) -> tuple[bool, bool, bool]:
    """Return how well a service leads to the internet; the first of equals does."""
    return (
        isinstance(address, IPv4Address) and address.is_global,
        connected is True,
        not isinstance(address, Refusal),
    )
