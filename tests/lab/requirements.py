"""What has to be installed for the lab."""

from pathlib import Path
import shutil

NEEDED_COMMANDS = {
    "conntrack": "conntrack",
    "hostname": "hostname",
    "ip": "iproute2",
    "iptables-legacy": "iptables",
    "iptables-nft": "iptables",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""Commands without which no lab can be built, and Debian's packages for them."""

OTHER_COMMANDS = {
    "busybox": "busybox",
    "dbus-daemon": "dbus-daemon",
    "dropbear": "dropbear-bin",
    "fail2ban-client": "fail2ban",
    "firewalld": "firewalld",
    "fish": "fish",
    "miniupnpd": "miniupnpd-nftables",
    "sudo": "sudo",
    "sshd": "openssh-server",
    "ufw": "ufw",
    "zsh": "zsh",
}
"""Commands that only some tests need."""

COMMAND_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where commands are looked for; an ordinary user's own PATH leaves out sbin."""


class LabUnavailable(Exception):
    """The lab can't be built here; the message is one plain sentence why."""


def require_commands() -> None:
    """Raise LabUnavailable if something is not installed that any lab needs."""
    require(*NEEDED_COMMANDS)


def require(*commands: str) -> None:
    """Raise LabUnavailable if one of these is not installed, and say what."""
    packages = {**NEEDED_COMMANDS, **OTHER_COMMANDS}
    missing = {packages[name] for name in commands if find_command(name) is None}
    if missing:
        raise LabUnavailable(
            f"The lab needs these packages: {', '.join(sorted(missing))}."
        )


def require_root_mount() -> None:
    """Raise LabUnavailable in a plain chroot, where no mount can be made private."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists() or not any(
        line.split()[4] == "/" for line in mounts.read_text().splitlines()
    ):
        raise LabUnavailable(
            "This is a plain chroot, in which no network of namespaces can be built:"
            " its / is no mount. Enter it by pivot_root, as systemd-nspawn does."
        )


def find_command(name: str) -> str | None:
    """Where a command is installed, also for a user whose PATH leaves out sbin."""
    return shutil.which(name, path=COMMAND_PATH)
