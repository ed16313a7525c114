"""What a fake gateway answers by HTTP."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from ..soap_by_hand import path
from .actions import Actions, Fault
from .description import described
from .http import HttpRequest
from .options import GatewayOptions, Service, Way
from .soap import Malformed, fault, read, reply

if TYPE_CHECKING:
    from .server import Gateway

_PAGE: Final = "<html><body>No.</body></html>"
_LOGIN: Final = 'Digest realm="gateway",nonce="0a1b2c3d",algorithm=MD5,qop="auth"'


@dataclass(frozen=True)
class HttpAnswer:
    """What is answered, and how it is sent."""

    status: int
    body: str = ""
    way: Way = "plain"
    headers: dict[str, str] = field(default_factory=dict)
    tells: tuple[str, ...] | None = None
    """Which subscribers are told afterwards, if any are; (): all."""


@dataclass(frozen=True)
class Web:
    """All of its pages."""

    gateway: Gateway

    def answer(self, request: HttpRequest, source: str) -> HttpAnswer:
        """Answer a request."""
        gateway, options = self.gateway, self.gateway.options
        limit = options.answers_only
        if limit is not None and gateway.requests() >= limit:
            gateway.note("refused", source)
            return HttpAnswer(200, way="silent")
        if options.redirect:
            gateway.note("redirected", source)
            return HttpAnswer(302, headers={"Location": options.redirect})
        if request.method == "POST":
            return self._control(request, source)
        if request.method == "GET":
            return self._description(request, source)
        return self._events(request, source)

    def _description(self, request: HttpRequest, source: str) -> HttpAnswer:
        """Give the description, and nothing else that it names."""
        gateway, options = self.gateway, self.gateway.options
        pages = {
            gateway.prefix + it.description_path: it for it in gateway.descriptions
        }
        page = pages.get(request.path)
        if page is None:
            gateway.note("refused", source)
            return HttpAnswer(404, _PAGE)
        gateway.note("description", source)
        text = described(self._prefixed(page), gateway.base)
        return HttpAnswer(options.description_status, text, options.description_way)

    def _events(self, request: HttpRequest, source: str) -> HttpAnswer:
        """Take a subscription."""
        gateway, options = self.gateway, self.gateway.options
        paths = {path(self.url(service.events)) for service in self._services}
        if request.path in paths and request.method == "SUBSCRIBE":
            gateway.note("subscribe", source)
            status, headers = gateway.events.subscribe(request.headers, source, options)
            new = status == 200 and "SID" not in request.headers
            tells = (headers["SID"],) if new else None
            return HttpAnswer(status, headers=headers, tells=tells)
        if request.path in paths and request.method == "UNSUBSCRIBE":
            gateway.note("unsubscribe", source)
            return HttpAnswer(gateway.events.unsubscribe(request.headers))
        gateway.note("refused", source)
        return HttpAnswer(404, _PAGE)

    def _control(self, request: HttpRequest, source: str) -> HttpAnswer:
        """Do an action that is asked for."""
        gateway, options = self.gateway, self.gateway.options
        services = [
            service
            for service in self._services
            if path(self.url(service.control)) == request.path
        ]
        if not services:
            gateway.note("refused", source)
            return HttpAnswer(404, _PAGE)
        if options.login:
            gateway.note("refused", source)
            return HttpAnswer(401, _PAGE, options.way, {"WWW-Authenticate": _LOGIN})
        table = gateway.table
        table.end()
        before = table.changes
        try:
            call = read(request.headers.get("SOAPACTION", ""), request.body, options)
            gateway.note(call.action, source, call.arguments)
            service = next((it for it in services if it.type == call.service), None)
            values = Actions(options, table, service or services[0], source).do(call)
        except Malformed as error:
            gateway.note("refused", source)
            return HttpAnswer(error.status, _PAGE, options.way)
        except Fault as error:
            texts = {"empty": "", "html": _PAGE}
            text = texts.get(options.fault_body, fault(error.code, options))
            way = options.fault_way or options.way
            return HttpAnswer(options.fault_status, text, way)
        tells = None if table.changes == before else ()
        text = reply(call, values, options)
        return HttpAnswer(200, text, options.way, tells=tells)

    @property
    def _services(self) -> list[Service]:
        """Return those of all its descriptions."""
        return [it for page in self.gateway.descriptions for it in page.services]

    def _prefixed(self, options: GatewayOptions) -> GatewayOptions:
        """Return a description's options, with this start's own path in URLs."""
        port = self.gateway.control_port

        def moved(url: str) -> str:
            url = f"{self.gateway.prefix}{url}" if url.startswith("/") else url
            return url if port is None else f"http://{self.gateway.address}:{port}{url}"

        services = tuple(
            replace(it, control=moved(it.control), events=moved(it.events))
            for it in options.services
        )
        return replace(options, services=services)

    def url(self, url: str) -> str:
        """Return where a URL of the description leads."""
        gateway = self.gateway
        url_base = (self.gateway.options.url_base or self.gateway.location).strip()
        if url.startswith("/"):
            url = f"{self.gateway.prefix}{url}"
        joined = urljoin(url_base, url.strip()).replace("{base}", self.gateway.base)
        port = self.gateway.control_port
        if port is None:
            return joined
        return urlsplit(joined)._replace(netloc=f"{gateway.address}:{port}").geturl()
