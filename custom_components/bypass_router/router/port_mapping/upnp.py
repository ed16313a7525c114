"""UPnP: the bypass router asks the main router's Internet Gateway Device."""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Final

from ..ssh.script import Result, Script
from . import soap
from .base import (
    Answer,
    Entry,
    FreePort,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
    RunFor,
)
from .description import Description, Service
from .finding import choose, describe, search
from .http import Request, Url
from .transport import add_requests, read_answer, read_answers

# One of them is asked about to learn what is said where nothing is: nobody opens it.
_UNLIKELY: Final = (PublicPort("udp", 61413), PublicPort("udp", 61587))
# What some say where nothing is, and others where something is wrong.
_UNCLEAR: Final = (Answer.INVALID, Answer.FAILED)
# What some say of a mapping that is there and this client's: they replace none.
_STUCK: Final = (Answer.TAKEN, Answer.FAILED)


async def find_upnp(
    run: RunFor, client: IPv4Address, gateway: IPv4Address, locations: Collection[str]
) -> Upnp | Refusal:
    """Return the main router, ready to be asked; or why it can't be.

    `client` is the bypass router's address, and `locations` are URLs of descriptions,
    as they were announced. It is searched for where none of these is at the gateway, or
    none is right any more. Raises RouterError.
    """
    urls = [url for text in locations if (url := Url.at(gateway, text)) is not None]
    found = await describe(run, urls) if urls else Refusal(Answer.SILENT)
    if isinstance(found, Refusal):
        searched = await search(run, gateway)
        if isinstance(searched, Refusal):
            return found if urls else searched
        found = await describe(run, [searched])
    if not isinstance(found, Description):
        return found
    service = await choose(run, found.services)
    if isinstance(service, Refusal):
        return service
    return Upnp(run, client, gateway, found.model, service)


class Upnp:
    """A main router that is asked by UPnP; see `PortMapper`."""

    name: Final = "upnp"
    lists: Final = True

    def __init__(
        self,
        run: RunFor,
        client: IPv4Address,
        gateway: IPv4Address,
        model: str,
        service: Service,
    ) -> None:
        """Take what asks, who asks whom, and what the description said."""
        self.gateway: Final = gateway
        self.model: Final = model
        self.event_url: Final = str(service.events or "")
        """Where it takes subscriptions; empty where it has no events."""
        self._run = run
        self._client = client
        self._service = service
        # Whether it has listed anything yet, and by what it says that nothing is there.
        self._has_listed = False
        self._code_of_nothing: int | None = None

    async def public_address(self) -> IPv4Address | Refusal | None:
        """Return its address on the internet's side; None where it has none."""
        answers = await self._ask({"address": soap.get_address(self._service)})
        return soap.read_address(read_answer(answers.get("address")))

    async def look(self, ports: Collection[PublicPort]) -> Mapping[PublicPort, Listed]:
        """Return what is at each of these ports."""
        if not ports:
            return {}
        requests = {_label("get", port): self._get(port) for port in ports}
        answers = await self._ask(requests | self._unlikely(ports))
        return self._listed(answers, ports)

    async def open_free(
        self, opens: Collection[Opening]
    ) -> Mapping[PublicPort, FreePort]:
        """Look at these ports, and open those that surely have nothing, in one script.

        Surely is what is said by the standard's code, and understood by a shell.
        """
        if not opens:
            return {}
        ports = [opening.mapping.public for opening in opens]
        requests, needs = {}, {}
        for opening in opens:
            port = opening.mapping.public
            requests[_label("get", port)] = self._get(port)
            add, again = _label("add", port), _label("again", port)
            requests[add] = soap.add(self._service, opening, self._client)
            requests[again] = self._get(port)
            needs[add] = needs[again] = soap.NOTHING
        answers = await self._ask(requests | self._unlikely(ports), needs)
        listed = self._listed(answers, ports)
        after = self._listed(answers, ports, "again")
        return {
            port: FreePort(
                listed[port],
                Outcome(_refusal(answers, port, opens=True), after[port])
                if _label("add", port) in answers
                else None,
            )
            for port in ports
        }

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open mappings, in this order, and read each of them back.

        Some replace no mapping, not even this client's own, as their refusal or the
        description tells. There it is closed, and opened once more: by a second script.
        """
        outcomes = await self._apply(opens, [mapping.public for mapping in closes])
        stuck = [
            opening
            for opening in opens
            if self._is_stuck(opening, outcomes[opening.mapping.public])
        ]
        again = await self._apply(stuck, [opening.mapping.public for opening in stuck])
        return {**outcomes, **again}

    async def _apply(
        self, opens: Collection[Opening], closes: Collection[PublicPort]
    ) -> dict[PublicPort, Outcome]:
        """Close and open mappings, each of which is read back, by one script."""
        opened = {opening.mapping.public: opening for opening in opens}
        ports = dict.fromkeys((*closes, *opened))
        if not ports:
            return {}
        requests = {
            _label("delete", port): soap.delete(self._service, port) for port in closes
        }
        for port in ports:
            # Each with its proof: a slow gateway may leave no time for the last ones.
            if port in opened:
                add = soap.add(self._service, opened[port], self._client)
                requests[_label("add", port)] = add
            requests[_label("get", port)] = self._get(port)
        answers = await self._ask(requests | self._unlikely(ports))
        return {
            port: Outcome(_refusal(answers, port, opens=port in opened), listed)
            for port, listed in self._listed(answers, ports).items()
        }

    def _is_stuck(self, opening: Opening, outcome: Outcome) -> bool:
        """Return whether a mapping of this client's own is in the way of another."""
        listed, refusal = outcome.listed, outcome.refusal
        if not isinstance(listed, Entry) or listed.client != self._client:
            return False
        if refusal is None:
            kept = listed.port != opening.mapping.port
            return kept or _is_older(listed.description, opening.description)
        return refusal.kind in _STUCK

    async def _ask(
        self, requests: Mapping[str, Request], needs: Mapping[str, str] | None = None
    ) -> Mapping[str, Result]:
        """Ask all of this by one script, and return what is answered."""
        script = Script()
        add_requests(script, requests.items(), needs)
        return read_answers(await self._run(script))

    def _get(self, port: PublicPort) -> Request:
        """Return what asks for what is at a port."""
        return soap.get(self._service, port)

    def _unlikely(self, ports: Collection[PublicPort]) -> dict[str, Request]:
        """Return what asks for what nobody has, unless what is said then is known."""
        if self._code_of_nothing is not None:
            return {}
        port = next(port for port in _UNLIKELY if port not in ports)
        return {"unlikely": self._get(port)}

    def _listed(
        self,
        answers: Mapping[str, Result],
        ports: Iterable[PublicPort],
        word: str = "get",
    ) -> dict[PublicPort, Listed]:
        """Return what is at each of these ports, as a script has read it.

        Not all say by the standard's code that nothing is there, and what they say
        instead may mean that they tell nothing. So it counts if they say the same of a
        port that nobody has, and have listed an entry.
        """
        found = {
            port: soap.read_listed(read_answer(answers.get(_label(word, port))))
            for port in ports
        }
        if any(isinstance(listed, Entry) for listed in found.values()):
            self._has_listed = True
        if "unlikely" in answers:
            response = read_answer(answers["unlikely"])
            self._code_of_nothing = soap.read_code(response)
        return {
            port: None if self._means_nothing(listed) else listed
            for port, listed in found.items()
        }

    def _means_nothing(self, listed: Listed) -> bool:
        """Return whether a refusal is what this gateway says where nothing is."""
        return (
            isinstance(listed, Refusal)
            and self._has_listed
            and listed.kind in _UNCLEAR
            and listed.code is not None
            and listed.code == self._code_of_nothing
        )


def _refusal(
    answers: Mapping[str, Result], port: PublicPort, *, opens: bool
) -> Refusal | None:
    """Return why a mapping was not opened, or not closed."""
    label = _label("add" if opens else "delete", port)
    response = read_answer(answers.get(label))
    return soap.read_added(response) if opens else soap.read_deleted(response)


def _is_older(listed: str, asked: str) -> bool:
    """Return whether a description is that of another time.

    A gateway that has lost its rules, and lists them still, may agree without setting
    anything: miniupnpd does. What has replaced the mapping has the new description.
    """
    return listed != asked and listed.rpartition(":")[0] == asked.rpartition(":")[0]


def _label(word: str, port: PublicPort) -> str:
    """Return the name of a section."""
    return f"{word}.{port.transport}.{port.port}"
