"""Whose rules the kernel asks first, where several backends of the firewall translate.

nftables and both variants of iptables act on one kernel, and none of them shows the
rules of another. At one priority, as both variants have it, the kernel asks the chain
that was made last. Our own nft table stands before all of that.

Only root is asked: what an account may not look at, `sudo` would report.
"""

from collections.abc import Mapping
import re

from .legacy import NAMES
from .script import Result, Script
from .tools import incompatible

_TAKES = re.compile(r"^-A (?!HA-BYPASS).* -j (?:DNAT|REDIRECT)\b", re.MULTILINE)
_LABELS = {"legacy": "iptables-legacy", "nft": "iptables-nft"}


def backends_script() -> Script:
    """Return the script whose output `read_backends` understands."""
    script = Script()
    for variant, command in _LABELS.items():
        look = f"{command} --wait 5 -t nat -S"
        if variant == "legacy":
            look = f"grep -qsx nat {NAMES} && {look}"
        script.run(f"nat.{variant}", f"""sh -c '[ "$(id -u)" = 0 ] && {look}'""")
    return script


def read_backends(sections: Mapping[str, Result], ours: str) -> str | None:
    """Return the other backend that translates, if there is one.

    `ours` is the label of the one that has our rules.
    """
    mine = "legacy" if "legacy" in ours else "nft"
    for variant, label in _LABELS.items():
        result = sections[f"nat.{variant}"]
        if variant != mine and (
            incompatible(result) or (result.ok and _TAKES.search(result.output))
        ):
            return label
    return None
