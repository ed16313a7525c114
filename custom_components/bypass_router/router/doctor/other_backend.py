"""Whose rules the kernel asks first, where several backends of the firewall translate.

nftables and both variants of iptables act on one kernel, and none of them shows the
rules of another. At one priority, as both variants have it, the kernel asks the chain
that was made last. Our own nft table stands before all of that.
"""

from collections.abc import Mapping
import re

from ..iptables.variants import VARIANTS, add_nat_looks
from ..rules.base import incompatible
from ..ssh.script import Result, Script

_TAKES = re.compile(r"^-A (?!HA-BYPASS).* -j (?:DNAT|REDIRECT)\b", re.MULTILINE)


def backends_script() -> Script:
    """Return the script whose output `read_backends` understands."""
    script = Script()
    add_nat_looks(script)
    return script


def read_backends(sections: Mapping[str, Result], ours: str) -> str | None:
    """Return the other backend that translates, if there is one.

    `ours` is the label of the one that has our rules.
    """
    mine = "legacy" if "legacy" in ours else "nft"
    for variant in VARIANTS:
        result = sections[f"nat.{variant}"]
        if variant != mine and (
            incompatible(result) or (result.ok and _TAKES.search(result.output))
        ):
            return f"iptables-{variant}"
    return None
