"""What the main router's answers mean: one check for each, with all of its words."""

from ipaddress import IPv4Address
import itertools
from string import Formatter
from typing import Final

import pytest

from custom_components.bypass_router.main_router.findings import (
    Port,
    PublicAddress,
    half_of,
    nobody,
)
from custom_components.bypass_router.main_router.half import MainState
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Reason,
    Status,
    Step,
)
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)

from .memory_main_router import CLIENT, MAIN, NAS, PUBLIC
from .sentences import translations

WEB: Final = PortMapping(PublicPort("tcp", 8443), 8443)
LOW: Final = PortMapping(PublicPort("tcp", 443), 8443)
OURS: Final = Entry(CLIENT, 8443, "bypass_router:0a1b2c3d:01WEB:0", 7200)
UNTOLD: Final = Refusal(Answer.UNSUPPORTED)
PRIVATE: Final = IPv4Address("100.69.3.4")
SILENCE: Final = Refusal(Answer.SILENT)

_REFUSALS: Final = (None, *(Refusal(kind, 501, "Action failed") for kind in Answer))
_LISTED: Final[tuple[Listed, ...]] = (
    None,
    Entry(NAS, 80, "nas"),
    Entry(NAS, 80, ""),
    Entry(None, 0, ""),
    *(Refusal(kind) for kind in Answer),
)
_ADDRESSES: Final[tuple[PublicAddress, ...]] = (PUBLIC, PRIVATE, None, UNTOLD, SILENCE)


def lacking(check: Check) -> set[str]:
    """Return the words that a check's sentences have places for, and it has not."""
    reason = check.seen.get("reason")
    keys = [f"cause_{check.cause}_{part}" for part in ("seen", "means", "do")]
    if not check.cause:
        keys = [f"reason_{reason}"] if reason else [f"check_{check.name}"]
    texts = [translations()[f"exceptions.{key}.message"] for key in keys]
    wanted = {name for text in texts for _, name, _, _ in Formatter().parse(text)}
    return {name for name in wanted if name} - check.seen.keys()


@pytest.mark.parametrize("refusal", _REFUSALS, ids=lambda it: it and it.kind)
def test_each_answer_has_a_sentence(refusal: Refusal | None) -> None:
    """Whatever it lists, at whatever port and address."""
    every = itertools.product(_LISTED, _ADDRESSES, (WEB, LOW))
    for listed, address, mapping in every:
        half = half_of([Port(mapping, Outcome(refusal, listed))], address, MAIN)
        check = half.check
        assert check.name is Step.MAIN_ROUTER
        assert half.state is not MainState.ON
        assert lacking(check) == set(), (listed, address)
        assert all(text.isprintable() for text in check.seen.values())
        # Nothing is known where nothing was refused, and nothing told.
        told = refusal or listed is None or isinstance(listed, Entry)
        if told:
            assert check.status is Status.FAILED


@pytest.mark.parametrize("refusal", _REFUSALS, ids=lambda it: it and it.kind)
def test_what_is_listed_is_on_whatever_was_answered(refusal: Refusal | None) -> None:
    """As where a renewal is refused."""
    port = Port(WEB, Outcome(refusal, OURS), leads=True)
    for address in (PUBLIC, None, UNTOLD, SILENCE):
        half = half_of([port], address, MAIN)
        assert (half.state, half.check.status) == (MainState.ON, Status.OK)
        assert lacking(half.check) == set()


def test_what_is_listed_at_a_private_address_is_of_no_use() -> None:
    """For no one on the internet gets there."""
    half = half_of([Port(WEB, Outcome(None, OURS), leads=True)], PRIVATE, MAIN)
    assert (half.state, half.check.cause) == (MainState.ON, Cause.NO_PUBLIC_ADDRESS)
    assert half.check.seen["address"] == str(PRIVATE)


@pytest.mark.parametrize(
    ("kind", "mapping", "address", "cause"),
    [
        (Answer.NOT_ALLOWED, WEB, PUBLIC, Cause.MAIN_NOT_ALLOWED),
        (Answer.NOT_ALLOWED, LOW, PUBLIC, Cause.MAIN_PORT_REFUSED),
        (Answer.TAKEN, WEB, PUBLIC, Cause.MAIN_PORT_HELD),
        (Answer.TAKEN, LOW, PUBLIC, Cause.MAIN_PORT_REFUSED),
        (Answer.PORT_REFUSED, WEB, PUBLIC, Cause.MAIN_PORT_REFUSED),
        (Answer.FULL, WEB, PUBLIC, Cause.MAIN_FULL),
        (Answer.FAILED, WEB, PUBLIC, Cause.MAIN_FAILED),
        (Answer.FAILED, WEB, UNTOLD, Cause.MAIN_FAILED),
        (Answer.FAILED, WEB, PRIVATE, Cause.NO_PUBLIC_ADDRESS),
        (Answer.FAILED, WEB, None, Cause.NO_PUBLIC_ADDRESS),
        (Answer.NO_PUBLIC_ADDRESS, WEB, PUBLIC, Cause.NO_PUBLIC_ADDRESS),
        (Answer.UNSUPPORTED, WEB, PUBLIC, Cause.MAIN_SILENT),
    ],
)
def test_why_it_is_refused(
    kind: Answer, mapping: PortMapping, address: PublicAddress, cause: Cause
) -> None:
    """By the answer, the port, and the main router's own address."""
    half = half_of([Port(mapping, Outcome(Refusal(kind), None))], address, MAIN)
    assert (half.state, half.check.cause) == (MainState.OFF, cause)


@pytest.mark.parametrize(
    ("listed", "holder"),
    [
        (Entry(NAS, 80, "nas"), f"{NAS}:80 (nas)"),
        (Entry(NAS, 80, "  "), f"{NAS}:80"),
        (Entry(None, 80, "nas"), "?:80 (nas)"),
        (Entry(NAS, 0), f"{NAS}:?"),
        (Entry(CLIENT, 80, "by hand"), f"{CLIENT}:80 (by hand)"),
    ],
)
def test_who_has_the_port_is_named(listed: Entry, holder: str) -> None:
    """As far as it is told; also where that is all that was looked for."""
    for refusal in (None, Refusal(Answer.TAKEN)):
        half = half_of([Port(WEB, Outcome(refusal, listed))], PUBLIC, MAIN)
        assert half.check.cause is Cause.MAIN_PORT_TAKEN
        assert half.check.seen["holder"] == holder


@pytest.mark.parametrize("name", ["by hand", "bypass_router:0a1b2c3d:WEB:3"])
def test_what_is_disabled_there_is_told_so(name: str) -> None:
    """Whoever has set it: it leads nowhere, and is in the way."""
    listed = Entry(CLIENT, WEB.port, name, enabled=False)
    half = half_of([Port(WEB, Outcome(None, listed))], PUBLIC, MAIN)
    assert (half.state, half.check.cause) == (MainState.OFF, Cause.MAIN_DISABLED)
    assert half.check.seen["holder"] == f"{CLIENT}:{WEB.port} ({name})"


@pytest.mark.parametrize("kind", [Answer.SILENT, Answer.NONSENSE])
def test_of_what_is_not_heard_it_is_not_known_whether_it_is_closed(
    kind: Answer,
) -> None:
    """Though the sentence is that of a fault."""
    refusal = Refusal(kind)
    half = half_of([Port(WEB, Outcome(refusal, refusal))], PUBLIC, MAIN)
    assert (half.state, half.check.status) == (MainState.UNKNOWN, Status.FAILED)
    half = half_of([Port(WEB, Outcome(refusal, None))], PUBLIC, MAIN)
    assert half.state is MainState.OFF


def test_of_several_ports_the_first_fault_is_told() -> None:
    """And what is not told of one is not known of all."""
    leads = Port(WEB, Outcome(None, OURS), leads=True)
    refused = Port(LOW, Outcome(Refusal(Answer.FULL), None))
    untold = Port(LOW, Outcome(None, UNTOLD))
    half = half_of([leads, untold, refused], PUBLIC, MAIN)
    assert half.check.cause is Cause.MAIN_FULL
    assert half.check.seen["port"] == "443"
    half = half_of([leads, untold], PUBLIC, MAIN)
    assert (half.state, half.check.seen["reason"]) == (
        MainState.UNKNOWN,
        Reason.MAIN_UNTOLD,
    )


@pytest.mark.parametrize("gateway", [MAIN, None])
def test_where_no_one_can_be_asked_that_is_said(gateway: IPv4Address | None) -> None:
    """Whether anyone knows its address or not."""
    half = nobody(gateway)
    assert (half.state, half.check.cause) == (MainState.UNKNOWN, Cause.MAIN_SILENT)
    assert lacking(half.check) == set()
