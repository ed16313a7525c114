"""A router with the nft of Debian 11, which takes no counters in maps."""

from typing import Final

from .bypass import Bypass
from .disk import REAL_COMMANDS

VERSION: Final = "0.9.8"
_REAL: Final = f"{REAL_COMMANDS}/replaced/nft"
_SCRIPT: Final = f"""#!/bin/sh
case "$*" in
-v) echo 'nftables v{VERSION} (E.D.S.)' ;;
*-f*)
  set -f
  text=$(cat; echo .)
  text=${{text%.}}
  if printf '%s' "$text" | grep -q '^add map .* counter;'; then
    echo '/dev/stdin:2:94-100: Error: syntax error, unexpected counter' >&2
    exit 1
  fi
  printf '%s' "$text" | exec {_REAL} "$@" ;;
*) exec {_REAL} "$@" ;;
esac
"""


def install(router: Bypass) -> None:
    """Have the router's nft be that one: it takes all but tables such as ours."""
    router.commands.replace("nft", _SCRIPT)
