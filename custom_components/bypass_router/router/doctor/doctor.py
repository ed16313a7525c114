"""Why a forward does not work: the walk along its path.

What is asked stands in `facts` and `port_probe`, what it means in `verdict`. Nothing
is changed on the router: it is looked at, the target is probed, and the kernel is
made to ask for a silent target by ARP again. To watch while someone tries from outside
is the matter of `visit`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
import time
from typing import Final

from ..errors import (
    ConnectionLost,
    FirewallFailed,
    FirewallMissing,
    FirewallNotThere,
    NotPrivileged,
    RouterError,
    printable,
)
from ..forward import Forward, Transport
from ..router import Router
from ..rules.base import Problem
from .evidence import has_service, is_there, is_worth_it, may_ask
from .facts import (
    Facts,
    look_again,
    looks,
    read_again,
    read_looks,
    read_recheck,
    recheck,
    with_neighbours,
)
from .other_backend import backends_script, read_backends
from .port_probe import PORT_PROBE_TIMEOUT, Answer, probe_port
from .report import Cause, Diagnosis, Reason, Step, failed, ok, skipped
from .verdict import evaluate

# Packets at the most by which one probe asks for a connection until it gives up.
_TRIES = 4
# Seconds after which a router that had too many sessions has fewer.
_PAUSES = (0.5, 2.0)

# Seconds until an answer is missed that may just be on its way.
_MISSED_AFTER = 1.0
PROOF_LASTS: Final = 24 * 60 * 60
"""Seconds for which one who was answered speaks for the way from outside."""
NO_ONE: Final[Mapping[Transport, float]] = {}


async def diagnose(
    router: Router,
    forward: Forward,
    *,
    remembered: str | None = None,
    visited: Mapping[Transport, float] = NO_ONE,
    missed: IPv4Address | None = None,
) -> Diagnosis:
    """Say why a forward does not work, if it does not. Takes a few seconds.

    `remembered` is the target's MAC address as an earlier diagnosis found it. `visited`
    is when a client from the internet was answered last, in Unix time, by transport.
    `missed` is one whose packets over TCP were just passed on, and not answered.
    Raises nothing of `RouterError`: what goes wrong is part of the answer.
    """
    async with router.visits:
        try:
            facts = await _find_out_patiently(router, forward, remembered)
        except RouterError as err:
            return unreachable(err)
    ages = {it: max(int(time.time() - when), 0) for it, when in visited.items()}
    lately = {it: age for it, age in ages.items() if age < PROOF_LASTS}
    facts = replace(facts, visited=lately)
    if missed and facts.clients.known:
        clients = replace(facts.clients, waiting=frozenset({(missed, 0)}))
        facts = replace(facts, clients=clients)
    return evaluate(facts, forward, router.probe, remembered)


async def _find_out_patiently(
    router: Router, forward: Forward, remembered: str | None
) -> Facts:
    """Ask all, and once more if a router under load has refused us a session.

    Raises RouterError.
    """
    for pause in _PAUSES:
        try:
            return await _find_out(router, forward, remembered)
        except ConnectionLost:
            if router.closed:
                raise
        await asyncio.sleep(pause)
    return await _find_out(router, forward, remembered)


async def _find_out(router: Router, forward: Forward, remembered: str | None) -> Facts:
    """Ask all that is to be judged. Raises RouterError."""
    probe = router.probe
    # One after the other: dropbear up to 2024.85 may end the whole connection when one
    # session ends while another begins.
    problems = await router.rules.problems(forward)
    sections = await router.run(looks(forward, probe), PORT_PROBE_TIMEOUT)
    facts = read_looks(sections, forward, probe)
    facts = replace(
        facts,
        problems=problems,
        obstacles=(*facts.obstacles, *router.rules.obstacles(forward)),
    )
    if forward.keep_client_address and facts.clients.unanswered:
        await asyncio.sleep(_MISSED_AFTER)
        again = await router.run(look_again(forward, probe))
        facts = read_again(again, facts, probe, forward)
    if not has_service(facts):
        facts = await _doubt(router, forward, facts)
        if remembered not in (None, facts.mac):
            others = await router.neighbours()
            facts = with_neighbours(facts, others, forward.target)
    # The router's own service may answer where nothing of ours stands.
    if (
        Problem.MISSING not in problems
        and may_ask(facts, forward, probe)
        and is_worth_it(facts)
    ):
        facts = await _try_it(router, forward, facts)
    return facts


async def _doubt(router: Router, forward: Forward, facts: Facts) -> Facts:
    """Ask again about a target that did not answer, also from Home Assistant.

    One after the other: some services take one connection at a time.
    """
    for forget in (True, False):
        script = recheck(forward, router.probe, forget=forget)
        facts = read_recheck(
            await router.run(script, PORT_PROBE_TIMEOUT), facts, forward
        )
        if is_there(facts):
            break
    if has_service(facts) or not is_there(facts):
        return facts
    direct = await _probe_at(
        forward, forward.target, forward.target_ports.first, facts.service
    )
    known = {
        transport: direct[transport] if answer is Answer.UNKNOWN else answer
        for transport, answer in facts.service.items()
    }
    return replace(facts, direct=direct, service=known)


async def _try_it(router: Router, forward: Forward, facts: Facts) -> Facts:
    """Knock at the forward itself, and see whether our rules were asked.

    Once more where it fails, since a packet may get lost: over that transport alone, so
    that what our rules have counted of it is known as well.
    """
    address, port = router.context.address.ip, forward.external.first
    through: dict[Transport, Answer] = {}
    missed: Mapping[Transport, Answer] = {}
    counted: bool | None = None
    own = 0
    with router.own_connections.testing(forward.id):
        for _ in range(2):
            before = (await router.rules.count()).get(forward.id)
            answers = await _probe_at(forward, address, port, missed or facts.service)
            after = (await router.rules.count()).get(forward.id)
            counted = None if before is None or after is None else after > before
            own += _own_among((after or 0) - (before or 0), answers, router)
            through |= answers
            missed = {
                transport: facts.service[transport]
                for transport, answer in through.items()
                if not answer.is_service
            }
            if (counted and not missed) or not has_service(facts):
                break
        router.own_connections.tried(forward.id, own)
    other = None
    if counted is False:
        other = read_backends(
            await router.run(backends_script()), router.rules.firewall
        )
    return replace(facts, through=through, counted=counted, other_backend=other)


def _own_among(gained: int, answers: Mapping[Transport, Answer], router: Router) -> int:
    """Return how many of what the rules have counted are no one's but ours.

    As far as the router does not tell of each itself. It tells of none that is dropped,
    whose every packet is a connection that is new.
    """
    answered = sum(answer.is_host for answer in answers.values())
    lost = min((len(answers) - answered) * _TRIES, max(0, gained - answered))
    return lost + (0 if router.hears_connections else min(answered, max(0, gained)))


async def _probe_at(
    forward: Forward,
    address: IPv4Address,
    port: int,
    service: Mapping[Transport, Answer],
) -> dict[Transport, Answer]:
    """Knock from Home Assistant, over each transport that may be answered.

    Of two, the one that the target does not serve tells nothing.
    """
    served = [transport for transport, it in service.items() if it.is_service]
    transports = served or forward.protocol.transports
    async with asyncio.TaskGroup() as group:
        asked = {
            transport: group.create_task(probe_port(transport, address, port))
            for transport in transports
        }
    return {transport: task.result() for transport, task in asked.items()}


def unreachable(error: RouterError) -> Diagnosis:
    """Return the diagnosis where the router can't be asked, and the error why."""
    placeholders = {name: printable(word) for name, word in error.details.items()}
    placeholders.setdefault(
        "message", placeholders.get("firewall", printable(str(error)))
    )
    # Whoever shows it has a sentence for each kind.
    placeholders["error"] = error.key
    failing, cause = Step.CONNECTION, Cause.UNREACHABLE
    if isinstance(error, NotPrivileged):
        failing, cause = Step.PRIVILEGES, Cause.NOT_PRIVILEGED
    elif isinstance(error, FirewallFailed | FirewallMissing | FirewallNotThere):
        failing, cause = Step.PRIVILEGES, Cause.FIREWALL_UNUSABLE
    checks = []
    for step in Step:
        if step is failing:
            checks.append(failed(step, cause, **placeholders))
        elif failing is Step.PRIVILEGES and step is Step.CONNECTION:
            checks.append(ok(step))
        elif step not in (Step.MAIN_ROUTER, Step.ARRIVAL, Step.VISIT):
            checks.append(skipped(step, Reason.EARLIER))
    return Diagnosis(tuple(checks))
