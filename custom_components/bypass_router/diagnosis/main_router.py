"""Repairs about the main router's half of forwards that are on."""

from collections.abc import Mapping
from typing import Final

from ..issues import Issues
from ..router.doctor.report import Cause, Check
from .texts import Texts

# Of all forwards, and no one's fault at home.
_APART: Final = Cause.NO_PUBLIC_ADDRESS
# Someone may want it so; the forward's own status tells.
_BY_HAND: Final = (
    Cause.MAIN_SWITCH_OFF,
    Cause.MAIN_SWITCH_GONE,
    Cause.MAIN_SWITCH_FAILED,
)


def tell_main_router(
    faults: Mapping[str, Check | None], issues: Issues, texts: Texts
) -> None:
    """Say what the main router says against forwards, by their names."""
    found = [
        (name, check.cause, check.seen)
        for name, check in faults.items()
        if check and check.cause
    ]
    addresses = [seen["address"] for _, cause, seen in found if cause is _APART]
    issues.no_public_address(addresses[0] if addresses else None)
    issues.main_router(
        [
            (name, texts.fault(cause, seen, markdown=True))
            for name, cause, seen in found
            if cause is not _APART and cause not in _BY_HAND
        ]
    )
