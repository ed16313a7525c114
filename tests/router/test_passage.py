"""Where forwarded packets are dropped, and where an accept of ours belongs."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
import re

from hypothesis import given, settings
import pytest

from custom_components.bypass_router.router.passage.chains import Chain, Chains
from custom_components.bypass_router.router.passage.packet import (
    Match,
    packets_of,
)
from custom_components.bypass_router.router.passage.spot import spots_of
from custom_components.bypass_router.router.passage.walk import passage
from custom_components.bypass_router.router.rules.base import RouterContext

from .client import WEB
from .programs_chains import PROGRAMS, chains_of
from .random_chains import (
    NOT_WHO,
    Fate,
    conditions_of,
    decided,
    fate,
    random_chains,
    truths,
)

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
REQUEST, ANSWER, LAN_REQUEST, LAN_ANSWER = packets_of(WEB, SITE, "lan")


# In the chains of programs


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_a_programs_chains_there_is_one_place(name: str) -> None:
    """Right before what drops all; none where nothing does, or it is a list's."""
    text, expected = PROGRAMS[name]
    chains = chains_of(text)
    base = next(iter(chains))
    found = passage(base, chains, REQUEST)
    place = found.spot and (found.spot.chain, found.spot.first, found.spot.last)
    refused = found.refused and found.refused.kind
    assert (place or refused) == expected
    assert not (place and refused)


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_place_does_for_answers_too(name: str) -> None:
    """Where they need any; most chains let all that is established pass."""
    text, expected = PROGRAMS[name]
    chains = chains_of(text)
    base = next(iter(chains))
    request, answer = (passage(base, chains, it) for it in (REQUEST, ANSWER))
    if not request.refused:
        assert not answer.refused
        assert len(spots_of([request, answer])) == isinstance(expected, tuple)


def test_who_is_on_no_list_stays_out_though_it_is_known() -> None:
    """Such as all of the LAN, or all whom a forward is for."""
    listed = chains_of({"FORWARD": "!from:203.0.113.10/32 drop"})
    assert passage("FORWARD", listed, LAN_REQUEST).refused
    friends = replace(WEB, sources=(IPv4Network("203.0.113.0/28"),))
    banned = chains_of({"FORWARD": "from:203.0.113.0/24 drop; drop"})
    request, *_ = packets_of(friends, SITE, "lan")
    assert passage("FORWARD", banned, request).refused


# Of any chains, against a model of what the kernel does


@settings(max_examples=300)
@given(random_chains())
def test_who_passes_anyway_needs_nothing(chains: dict[str, Chain]) -> None:
    """And whoever is dropped without a reason is let in, or told why not."""
    ways = [fate(chains, REQUEST, it) for it in truths(chains, REQUEST)]
    found = passage("base", chains, REQUEST)
    if all(way.verdict == "accept" for way in ways):
        assert found.spot is None
        assert found.refused is None
    # Of what is no address, no one knows who is meant by "all but".
    if ways[0].verdict != "accept" and NOT_WHO not in conditions_of(chains):
        assert found.spot or found.refused or found.listed


@settings(max_examples=300)
@given(random_chains())
def test_at_its_place_ours_lets_pass_whom_no_rule_names(
    chains: dict[str, Chain],
) -> None:
    """Of whom nothing is true that may be true."""
    found = passage("base", chains, REQUEST)
    spot = found.spot
    if not spot or found.refused or NOT_WHO in conditions_of(chains):
        return
    nobody = next(iter(truths(chains, REQUEST)))
    for at in (spot.first, spot.last):
        assert fate(chains, REQUEST, nobody, spot, at).verdict == "accept"
    assert not re.match("DOCKER", spot.chain)


@settings(max_examples=300)
@given(random_chains())
def test_ours_lets_in_no_one_who_is_kept_out_for_a_reason(
    chains: dict[str, Chain],
) -> None:
    """Neither by a ban, nor by a list, nor by a limit; nor skips what is done else."""
    spot = passage("base", chains, REQUEST).spot
    if not spot:
        return
    by_truth = {
        tuple(truth.items()): fate(chains, REQUEST, truth)
        for truth in truths(chains, REQUEST)
    }
    who = {id(it) for it in all_who(chains)}
    let_in = {
        without(truth, who) for truth, it in by_truth.items() if it.verdict == "accept"
    }
    for truth, before in by_truth.items():
        for at in (spot.first, spot.last):
            after = fate(chains, REQUEST, dict(truth), spot, at)
            assert after.verdict in (before.verdict, "accept")
            if before.verdict == "accept":
                assert after.verdict == "accept"
                continue
            if after.verdict == "accept":
                assert not decided(chains, REQUEST, before)
                # A list, or a limit: others are let in only for who they are.
                assert without(truth, who) not in let_in
                # What a chain does that is there to refuse is part of the refusal.
                assert work_of(after) == work_of(before)


def work_of(found: Fate) -> list[str]:
    """Return what the kernel's own chain did with a packet."""
    return [text for text in found.met if text.startswith("base")]


def all_who(chains: Chains) -> list[object]:
    """Return the conditions that ask who a client is."""
    return [
        it
        for chain in chains.values()
        for rule in chain.rules
        for branch in rule.branches
        for it in branch.conditions
        if it.match(REQUEST) is Match.MAYBE and it.asks_who(REQUEST)
    ]


def without(
    truth: tuple[tuple[int, bool], ...], who: set[int]
) -> frozenset[tuple[int, bool]]:
    """Return what is true of a packet, whoever sent it."""
    return frozenset(it for it in truth if it[0] not in who)
