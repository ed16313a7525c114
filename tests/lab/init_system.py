"""What the router starts by itself at each boot, as its init system does.

Of systemd, the folder by which programs tell that it runs, and the units that
`multi-user.target` wants: no more than what is in `ExecStart`. Of OpenWrt's procd, the
scripts in `/etc/rc.d`, and as much of `/etc/rc.common` as runs one.
"""

from pathlib import PurePosixPath
import re
from typing import TYPE_CHECKING, Final

from .disk import REAL_COMMANDS

if TYPE_CHECKING:
    from .bypass import Bypass

_WANTED: Final = "/etc/systemd/system/multi-user.target.wants"
_RC_COMMON: Final = """\
initscript=$1
action=$2
boot() { start "$@"; }
. "$initscript"
"$action"
"""


def make_init_system(router: Bypass) -> None:
    """Put on the disk what the system has of it."""
    if router.options.system == "debian":
        router.disk.path("/etc/systemd/system").mkdir(parents=True)
        return
    router.disk.path("/etc/rc.d").mkdir()
    router.disk.path("/etc/init.d").mkdir()
    router.disk.write("/etc/sysupgrade.conf", "# Kept by an update.\n")
    router.disk.write("/etc/rc.common", _RC_COMMON)


def start_services(router: Bypass) -> None:
    """Start what is enabled, after the firewall."""
    if router.options.system == "debian":
        router.run(f"{REAL_COMMANDS}/bin/mkdir", "-p", "/run/systemd/system")
    for command in service_commands(router):
        router.run(*command)


def service_commands(router: Bypass) -> list[tuple[str, ...]]:
    """Return what is run at a boot."""
    scripts = router.disk.path("/etc/rc.d")
    if router.options.system != "debian":
        return [
            (f"/etc/rc.d/{path.name}", "boot") for path in sorted(scripts.iterdir())
        ]
    wanted = router.disk.path(_WANTED)
    if not wanted.exists():
        return []
    commands: list[tuple[str, ...]] = []
    for link in sorted(wanted.iterdir()):
        unit = PurePosixPath(_WANTED, link.readlink()).name
        text = router.disk.path(f"/etc/systemd/system/{unit}").read_text()
        commands += [
            ("/bin/sh", "-c", words.replace("$$", "$"))
            for words in re.findall(r"(?m)^ExecStart=/bin/sh -c '(.*)'$", text)
        ]
    return commands
