"""An OpenWrt's userland: busybox and little else, dropbear, and its own places.

Its busybox has only the applets that OpenWrt's build has by default, as far as
Debian's busybox has them too: those of package/utils/busybox/Config-defaults.in in
https://github.com/openwrt/openwrt whose default is `y`. Not among them, and found in
most other places: cksum, comm, diff, hostname, install, lsof, nohup, od, paste,
pkill, printenv, realpath, setsid, sha1sum, stat, su, timeout, tty, wget, whoami.
Debian's applets know some more options than OpenWrt's do (`sort -k`, `find -delete`,
`read -t 0.5`): a test can't find those.
"""

from functools import cache
from pathlib import Path
import subprocess
from typing import Final, override

from .commands import Commands
from .disk import Disk
from .options import SystemKind
from .requirements import LabUnavailable, find_command, require
from .users import Users

_DEFAULT_APPLETS: Final = (
    "[ [[ ash awk basename brctl cat chgrp chmod chown chroot clear cmp cp crond "
    "crontab cut date dd df dhcprelay dirname dmesg du echo egrep env expr false "
    "fgrep find flock free fsync grep gunzip gzip halt head hexdump hwclock id "
    "ifconfig ip kill killall less ln lock logger login ls md5sum mkdir mkfifo "
    "mknod mkswap mktemp mount mv nc netmsg netstat nice nslookup ntpd passwd pgrep "
    "pidof ping ping6 pivot_root poweroff printf ps pwd readlink reboot reset "
    "resize rm rmdir route sed seq sh sha256sum sleep sort start-stop-daemon "
    "strings swapoff swapon switch_root sync sysctl tail tar taskset tee test time "
    "top touch tr traceroute traceroute6 true udhcpc umount uname uniq uptime vi wc "
    "which xargs yes zcat"
)
"""All that OpenWrt has by default."""

_FIREWALL_COMMANDS: Final = {
    "openwrt": {"nft": "nft"},
    "openwrt-fw3": {
        f"iptables{suffix}": f"iptables-legacy{suffix}"
        for suffix in ("", "-save", "-restore")
    },
}
_VERSIONS: Final = {"openwrt": "24.10.4", "openwrt-fw3": "21.02.7"}
_RELEASES: Final = {
    "/etc/openwrt_release": (
        "DISTRIB_ID='OpenWrt'\n"
        "DISTRIB_RELEASE='{version}'\n"
        "DISTRIB_TARGET='x86/64'\n"
        "DISTRIB_ARCH='x86_64'\n"
        "DISTRIB_DESCRIPTION='OpenWrt {version}'\n"
    ),
    "/etc/os-release": (
        'NAME="OpenWrt"\n'
        'VERSION="{version}"\n'
        'ID="openwrt"\n'
        'ID_LIKE="lede openwrt"\n'
        'PRETTY_NAME="OpenWrt {version}"\n'
        'VERSION_ID="{version}"\n'
    ),
}
_KEYS: Final = "/etc/dropbear"


class OpenWrtCommands(Commands):
    """The commands in an OpenWrt's PATH; its /bin is /usr/bin as on Debian."""

    def __init__(self, disk: Disk, system: SystemKind) -> None:
        """Begin with all that this OpenWrt has."""
        require("busybox", "dropbear")
        self._system = system
        super().__init__(disk)

    @override
    def restore(self) -> None:
        """Make the PATH hold what OpenWrt has, and nothing else."""
        self.hide("*")
        for name in _debians_applets() & set(_DEFAULT_APPLETS.split()):
            self.link(name, "bin/busybox")
        self.link("dropbearkey", "bin/dropbearkey")
        for name, target in _FIREWALL_COMMANDS[self._system].items():
            self.link(name, target)
        self._disk.write("/usr/sbin/dropbear", _openwrts_dropbear(), 0o755)


def make_openwrt(system: SystemKind, disk: Disk, users: Users) -> None:
    """Give it OpenWrt's files and login shell."""
    for name, text in _RELEASES.items():
        disk.write(name, text.format(version=_VERSIONS[system]))
    users.set_shell("root", "/bin/ash")
    disk.path(_KEYS).mkdir()
    disk.path(_KEYS).chmod(0o700)
    disk.path("/root/.key").symlink_to(_KEYS)
    users.keep_keys_in(_KEYS)


@cache
def _debians_applets() -> frozenset[str]:
    """What the busybox that is installed can do."""
    argv = [find_command("busybox") or "", "--list"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return frozenset(listed.split())


@cache
def _openwrts_dropbear() -> bytes:
    """Debian's dropbear, but one that looks for keys where OpenWrt's does.

    There, root's are in /etc/dropbear, and those in ~/.ssh let no one in. This one
    looks in ~/.key, which leads there.
    """
    program = Path(find_command("dropbear") or "").read_bytes()
    # In Debian 12's it stands twice, in Debian 13's once.
    if program.count(b"/.ssh") not in {1, 2}:
        raise LabUnavailable("The lab can't make OpenWrt's dropbear of this version.")
    return program.replace(b"/.ssh", b"/.key")
