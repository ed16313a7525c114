"""Repairs about what keeps forwards' packets out, and is not ours to take away."""

from collections.abc import Iterator, Mapping, Sequence

from ..issues import Issues
from ..router.rules.obstacles import Hindrance, Obstacle
from .texts import Texts

# These have a repair each that mends them, for all forwards at once.
_TOLD_APART = frozenset({Hindrance.NO_GATEWAY, Hindrance.BRIDGED})

type Found = Mapping[str, Sequence[Obstacle]]
"""What is in the way of forwards, by their names."""


def tell_obstacles(found: Found, issues: Issues, texts: Texts) -> None:
    """Say what is in the way of forwards that are on."""
    issues.bridged(
        next((one.seen["interface"] for _, one in _of(found, Hindrance.BRIDGED)), None)
    )
    issues.main_router_unknown(
        {name: one.seen["interface"] for name, one in _of(found, Hindrance.NO_GATEWAY)}
    )
    told = {
        name: [
            texts.obstacle(one, markdown=True)
            for one in obstacles
            if one.kind not in _TOLD_APART
        ]
        for name, obstacles in found.items()
    }
    issues.kept_out([(name, said) for name, said in told.items() if said])


def _of(found: Found, kind: Hindrance) -> Iterator[tuple[str, Obstacle]]:
    """Yield those of one kind, each with its forward's name."""
    for name, obstacles in found.items():
        for one in obstacles:
            if one.kind is kind:
                yield name, one
