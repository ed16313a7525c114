"""The bypass router: a Linux box with an SSH server and a firewall."""

from contextlib import suppress
from subprocess import CalledProcessError, CompletedProcess
from typing import Final, override
import uuid

from .commands import Commands
from .disk import REAL_COMMANDS, REAL_PATH, Disk
from .firewalls import install_firewall
from .init_system import make_init_system, start_services
from .namespaces import Namespaces
from .node import Node
from .openwrt import OpenWrtCommands, make_openwrt
from .options import IptablesKind, RouterOptions
from .requirements import COMMAND_PATH
from .shells import install_shell
from .ssh import SshKind, SshServer, logins_of
from .users import Users

__all__ = ["Bypass", "IptablesKind", "RouterOptions"]

_BOOT: Final = """
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
mount -t proc proc /proc
mount -t sysfs -o ro sysfs /sys
mount --bind /etc/boot_id /proc/sys/kernel/random/boot_id
"""
"""What is new after each boot, and gone with it."""


class Bypass(Node):
    """The bypass router, from its first boot on."""

    root_password: Final = "the lab's password"

    def __init__(
        self,
        switch: Namespaces,
        disk: Disk,
        address: str,
        gateway: str | None,
        options: RouterOptions,
        name: str = "bypass",
    ) -> None:
        """Install the system on a disk and boot; `connect` puts the cable in."""
        self.options: Final = options
        self.disk: Final = disk
        openwrt = options.system != "debian"
        self.commands: Final = (
            OpenWrtCommands(self.disk, options.system)
            if openwrt
            else Commands(self.disk)
        )
        self.users: Final = Users(self.disk)
        self.users.set_password("root", self.root_password)
        self.use_iptables(options.iptables)
        if openwrt:
            make_openwrt(options.system, self.disk, self.users)
        else:
            install_shell(options.shell, self.disk, self.users)
        make_init_system(self)
        self.firewall: Final = install_firewall(self)
        self._ssh: SshServer | None = None
        super().__init__(switch, name, address, gateway)

    @override
    def _start(self) -> Namespaces:
        """Boot."""
        self.disk.write("/etc/boot_id", f"{uuid.uuid4()}\n")
        return Namespaces(
            "net",
            "mount",
            "uts",
            within=self._switch,
            mounts=self.disk.namespaces.pid,
            path=f"{REAL_PATH}:{COMMAND_PATH}",
            prepare=f"{_BOOT}hostname {self.name}\n",
        )

    @override
    def connect(self) -> None:
        """Do what the router does at each boot, SSH aside."""
        super().connect()
        self.sysctl("net.ipv4.ip_forward", "1")
        if self.options.strict_rp_filter:
            self.sysctl("net.ipv4.conf.all.rp_filter", "1")
        self.firewall.start()
        start_services(self)

    def reboot(self) -> None:
        """Lose all but the disk: processes, rules, connections; then start again.

        Whoever is connected sees the connection end. To have it as after a power
        failure, `cut_link` first; the cable is in again after the boot.
        """
        self.turn_off()
        with suppress(CalledProcessError):
            # The kernel takes the cable's other end away as well, sooner or later.
            self._switch_ip(f"link delete {self.name}")
        self._namespaces = self._start()
        self.connect()
        if self._ssh is not None:
            self._ssh.start()

    @property
    def boot_id(self) -> str:
        """What the kernel says of this boot."""
        return self.disk.path("/etc/boot_id").read_text().strip()

    def start_ssh(
        self,
        kind: SshKind = "openssh",
        host_keys: tuple[str, ...] = ("ed25519", "ecdsa", "rsa"),
        port: int = 22,
    ) -> None:
        """Start an SSH server, now and at each boot; in place of the present one."""
        self.stop_ssh()
        self._ssh = SshServer(self, self.disk, kind, host_keys, port)
        self._ssh.start()

    def stop_ssh(self) -> None:
        """Kill the SSH server and all its sessions, and don't start it any more."""
        if self._ssh is not None:
            self._ssh.stop()
            self._ssh = None

    def logins(self, account: str = "root") -> list[int]:
        """The processes by which OpenSSH serves those who are logged in."""
        found = self.run("pgrep", "-f", logins_of(account), check=False)
        return [int(process) for process in found.stdout.split()]

    def drop_logins(self, account: str = "root") -> None:
        """Kill them."""
        self.run("pkill", "-9", "-f", logins_of(account))

    @property
    def ssh(self) -> SshServer:
        """The SSH server that runs."""
        assert self._ssh is not None
        return self._ssh

    def host_key(self, kind: str = "ed25519") -> str:
        """The public half of a host key, as `ssh-ed25519 AAAA…`."""
        return self.ssh.host_key(kind)

    def renew_host_keys(self) -> None:
        """Make new host keys and restart the SSH server with them."""
        self.ssh.stop()
        self.ssh.renew_keys()
        self.ssh.start()

    @property
    def iptables(self) -> IptablesKind | None:
        """What `iptables` is."""
        return self._iptables

    def use_iptables(self, kind: IptablesKind | None) -> None:
        """Choose what `iptables` and its companions are, for the next boots too.

        None hides all that belongs to iptables.
        """
        self._iptables = kind
        if kind is None:
            self.commands.hide(
                "*tables*-*", "ip*tables", "xtables*", "arptables", "ebtables"
            )
            return
        for suffix in ("", "-save", "-restore"):
            target = f"iptables-{kind}{suffix}"
            self.commands.link(f"iptables{suffix}", target)

    def real(self, command: str, *arguments: str) -> CompletedProcess[str]:
        """Run one of the host's commands in sbin, also one that is hidden here."""
        return self.run(f"{REAL_COMMANDS}/sbin/{command}", *arguments)

    def iptables_save(self) -> str:
        """All rules of both variants, without counters, to be compared as text."""
        found = []
        for kind in ("nft", "legacy"):
            saved = self.real(f"iptables-{kind}-save").stdout
            found += [
                f"{kind}: {line.split(' [')[0]}"
                for line in saved.splitlines()
                # What is left out is made up of times; other remarks do matter.
                if not line.startswith(("# Generated", "# Completed"))
            ]
        return "\n".join(found)
