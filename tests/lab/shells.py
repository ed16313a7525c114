"""Login shells that are not plain `sh`."""

from typing import Final

from .disk import REAL_COMMANDS, Disk
from .options import ShellKind
from .requirements import require
from .users import Users

BANNER: Final = "*** Welcome to bypass, load 0.42, 3 updates ***"
"""What the chatty shell prints before anything else, to stdout."""

_CHATTY: Final = f"""#!{REAL_COMMANDS}/bin/sh
# As a profile that is read for each command, and takes its time.
echo '{BANNER}'
echo 'tput: No value for $TERM and no -T specified' >&2
{REAL_COMMANDS}/bin/sleep 0.2
exec /bin/sh "$@"
"""


def install_shell(kind: ShellKind, disk: Disk, users: Users) -> None:
    """Make it root's login shell; may raise LabUnavailable."""
    if kind == "sh":
        return
    if kind == "chatty":
        disk.write("/usr/local/bin/chatty", _CHATTY, 0o755)
        users.set_shell("root", "/usr/local/bin/chatty")
    else:
        require(kind)
        users.set_shell("root", f"/usr/bin/{kind}")
