"""Repairs about the main router's half of forwards that are on."""

from collections.abc import Mapping

from ..issues import Issues
from ..main_router.half import MainHalf
from ..router.doctor.report import Cause
from .texts import Texts


def tell_main_router(
    halves: Mapping[str, MainHalf], issues: Issues, texts: Texts
) -> None:
    """Say what the main router says against forwards, by their names."""
    faults = {
        name: (half.check.cause, half.check.seen)
        for name, half in halves.items()
        if half.check.cause
    }
    # That is of all forwards, and no one's fault at home.
    addresses = [
        seen["address"]
        for cause, seen in faults.values()
        if cause is Cause.NO_PUBLIC_ADDRESS
    ]
    issues.no_public_address(addresses[0] if addresses else None)
    issues.main_router(
        [
            (name, texts.fault(cause, seen, markdown=True))
            for name, (cause, seen) in faults.items()
            if cause is not Cause.NO_PUBLIC_ADDRESS
        ]
    )
