"""A router whose firewall refuses single forwards."""

from typing import Final

from .bypass import Bypass
from .disk import REAL_COMMANDS

MESSAGE: Final = "this port is not for you"

# Reads what it is told to set, and passes on what does not add the port.
_REFUSING: Final = """\
set -f
text=$(cat; echo .)
text=${{text%.}}
if printf '%s' "$text" | grep -Eq '{added}'; then
  echo '{message}' >&2
  exit 1
fi
printf '%s' "$text" | exec {real} "$@"
"""
# Without a file to read, there is nothing to refuse.
_NFT: Final = """\
case "$*" in *-f*) ;; *) exec {real} "$@" ;; esac
"""


def refuse(router: Bypass, port: int | str) -> None:
    """Have every firewall of the router refuse to add what names an external port.

    Or one that a regular expression of `grep -E` matches.

    To take it away is not refused.
    """
    for command in (
        "iptables-restore",
        "iptables-nft-restore",
        "iptables-legacy-restore",
    ):
        added = rf"^-[AI] .*\b{port}\b"
        _replace(router, command, _REFUSING, added)
    _replace(router, "nft", _NFT + _REFUSING, rf"^add .*\b{port}\b")


def take_all(router: Bypass) -> None:
    """Have them refuse nothing."""
    for command in (
        "iptables-restore",
        "iptables-nft-restore",
        "iptables-legacy-restore",
        "nft",
    ):
        router.commands.replace(
            command, f'#!/bin/sh\nexec {REAL_COMMANDS}/replaced/{command} "$@"\n'
        )


def _replace(router: Bypass, command: str, script: str, added: str) -> None:
    """Put a script in a command's place."""
    real = f"{REAL_COMMANDS}/replaced/{command}"
    text = script.format(added=added, message=MESSAGE, real=real)
    router.commands.replace(command, f"#!/bin/sh\n{text}")
