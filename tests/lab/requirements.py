"""What has to be installed for the lab."""

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

COMMAND_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where commands are looked for; an ordinary user's own PATH leaves out sbin."""


class LabUnavailable(Exception):
    """The lab can't be built here; the message is one plain sentence why."""


def require_commands() -> None:
    """Raise LabUnavailable if something is not installed, and say what."""
    missing = {
        package
        for command, package in NEEDED_COMMANDS.items()
        if find_command(command) is None
    }
    if missing:
        raise LabUnavailable(
            f"The lab needs these packages: {', '.join(sorted(missing))}."
        )


def find_command(name: str) -> str | None:
    """Where a command is installed, also for a user whose PATH leaves out sbin."""
    return shutil.which(name, path=COMMAND_PATH)
