"""What differs between the forwards that are desired and those that are live."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..router.forward import Forward


@dataclass(frozen=True, slots=True)
class Comparison:
    """Sets of forwards' ids, after the router's rules were read."""

    desired: frozenset[str]
    """To be live from now on."""
    lost: frozenset[str]
    """Desired and live before, and gone without a request."""
    given_up: frozenset[str]
    """Of the lost ones, those that are not to be put back."""


def compare(
    forwards: Mapping[str, Forward],
    desired: Collection[str],
    live: Mapping[str, Forward],
    active: Mapping[str, Forward],
    *,
    restores: bool,
) -> Comparison:
    """Compare the forwards as they are set up with those that were read.

    `active` are those that were live when the router was read before. One that was
    changed here since then is not lost, but yet to be applied.
    """
    lost = frozenset(
        key
        for key in missing(forwards, desired, live)
        if active.get(key) == forwards[key]
    )
    given_up = frozenset() if restores else lost
    return Comparison(frozenset(desired) - given_up, lost, given_up)


def missing(
    forwards: Mapping[str, Forward],
    desired: Collection[str],
    live: Mapping[str, Forward],
) -> frozenset[str]:
    """Return which desired forwards are not live as they are set up."""
    return frozenset(key for key in desired if live.get(key) != forwards[key])
