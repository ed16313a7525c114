"""What all forwards' answers share: a rule of routing for our mark, and its table.

    ip rule add pref 8999 fwmark 0x10d9 lookup 7077 protocol 217
    ip route replace 192.168.50.0/24 dev lan table 7077 protocol 217
    ip route replace default via 192.168.50.1 dev lan table 7077 protocol 217

The rule stands before all others'. It is there as long as any Home Assistant has an
answer marked. Where main keeps some out by routes that lead nowhere, as fail2ban can,
those count before ours:

    ip rule add pref 8998 fwmark 0x10d9 lookup main suppress_prefixlength 32 …
"""

from collections.abc import Iterator
from ipaddress import IPv4Network
from shlex import quote

from ..rules.base import Phase, PlanStep, RouterContext
from ..ssh.sudo import as_root
from .questions import MARK, TABLE
from .ways import TAG, OurRoute, OurRule, Ways

_LOOKUPS = {"mark": str(TABLE), "bans": "main suppress_prefixlength 32"}
_ANYWHERE = IPv4Network("0.0.0.0/0")


class Shared:
    """The rule and the routes of ours."""

    def __init__(self, context: RouterContext, interface: str, *, sudo: bool) -> None:
        """Take the context, and the interface that its address stands on."""
        self._lan = context.address.network
        self._interface = interface
        self._ip = as_root("ip", sudo=sudo)

    def stands(self, ways: Ways) -> bool:
        """Return whether all of it is there, and no more."""
        return not [*self.additions(ways), *self.losses(ways, needed=True)]

    def is_there(self, ways: Ways) -> bool:
        """Return whether any of it is."""
        return bool(ways.rules or ways.routes)

    def additions(self, ways: Ways) -> Iterator[PlanStep]:
        """Yield what puts in place what lacks."""
        routes = self._routes(ways)
        for route in sorted(routes - ways.routes, key=str):
            yield PlanStep(Phase.ALLOW, self._route_command("replace", route), ())
        for rule in sorted(_rules(ways) - ways.rules, key=str):
            text = _text(rule)
            yield PlanStep(Phase.ALLOW, f"{self._ip} rule add {text}", ())

    def losses(self, ways: Ways, *, needed: bool) -> Iterator[PlanStep]:
        """Yield what takes away what is there and not needed."""
        rules = _rules(ways) if needed else frozenset[OurRule]()
        for rule in sorted(ways.rules - rules, key=str):
            text = _text(rule)
            yield PlanStep(Phase.REVOKE, f"{self._ip} rule del {text}", ())
        if not needed and ways.routes:
            flush = f"{self._ip} route flush table {TABLE} protocol {TAG}"
            yield PlanStep(Phase.REVOKE, flush, ())
        # A route by another gateway has been replaced.
        for route in sorted(ways.routes if needed else (), key=str):
            if route.network not in (self._lan, _ANYWHERE):
                yield PlanStep(Phase.REVOKE, self._route_command("del", route), ())

    def commands(self, ways: Ways) -> list[str]:
        """Return the commands that set it up, for people to read."""
        return [f"ip rule add {_text(rule)}" for rule in _rules(ways)]

    def _routes(self, ways: Ways) -> frozenset[OurRoute]:
        """Return the routes that are to be in our table."""
        return frozenset(
            {OurRoute(self._lan, None), OurRoute(_ANYWHERE, ways.gateway)}
            if ways.gateway
            else ()
        )

    def _route_command(self, verb: str, route: OurRoute) -> str:
        """Return the command that changes a route."""
        network = "default" if route.network == _ANYWHERE else str(route.network)
        via = f"via {route.gateway} " if route.gateway else ""
        return (
            f"{self._ip} route {verb} {network} {via}dev {quote(self._interface)}"
            f" table {TABLE} protocol {TAG}"
        )


def _rules(ways: Ways) -> frozenset[OurRule]:
    """Return the rules that are to be there."""
    mark = OurRule(ways.preference, "mark")
    return frozenset(
        {mark, OurRule(ways.preference - 1, "bans")} if ways.bans else {mark}
    )


def _text(rule: OurRule) -> str:
    """Return what follows `ip rule add` or `ip rule del`."""
    what = f"fwmark {MARK} lookup {_LOOKUPS[rule.kind]}"
    return f"pref {rule.preference} {what} protocol {TAG}"


def commands(context: RouterContext, interface: str) -> list[str]:
    """Return one command of each kind that is ever used, as root runs them."""
    ways = Ways(gateway=context.address.network.network_address)
    shared = Shared(context, interface, sudo=False)
    there = Ways(rules=_rules(ways), routes=frozenset({OurRoute(_ANYWHERE, None)}))
    steps = [*shared.additions(ways), *shared.losses(there, needed=False)]
    return [step.command for step in steps]
