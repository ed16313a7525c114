"""The bypass router's SSH server: OpenSSH's or dropbear."""

from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from .disk import Disk
from .node import Node
from .requirements import LabUnavailable, require
from .seccomp import call_without_setgroups
from .user_namespace import single_user
from .waiting import tries, wait_until

type SshKind = Literal["openssh", "dropbear"]

_COMMAND: Final = {"openssh": "sshd", "dropbear": "dropbear"}
_HOST_KEY: Final = {
    "openssh": "/etc/ssh/ssh_host_{}_key",
    "dropbear": "/etc/dropbear/dropbear_{}_host_key",
}
_MAKE_KEY: Final = {
    "openssh": "ssh-keygen -q -N '' {bits} -t {name} -f {path}",
    "dropbear": "dropbearkey {bits} -t {name} -f {path} 2>&1 | grep ^[es] >{path}.pub",
}
_RSA_BITS: Final = {"openssh": "-b 2048", "dropbear": "-s 2048"}
_LOG: Final = "/var/log/ssh.log"

_known_keys: dict[tuple[SshKind, str], tuple[bytes, str]] = {}
"""Host keys made before by this process: making one of RSA takes its time."""


def logins_of(account: str) -> str:
    """Return what pgrep finds OpenSSH's processes by that serve an account.

    Since 9.8, they are of another program than the one that listens.
    """
    return f"^sshd(-session)?: {account}"


class SshServer:
    """A server with host keys of the kinds named, such as `ed25519` and `rsa`."""

    def __init__(
        self,
        node: Node,
        disk: Disk,
        kind: SshKind,
        host_keys: tuple[str, ...],
        port: int,
    ) -> None:
        """Install its keys and settings on the disk."""
        require(_COMMAND[kind])
        self.kind: Final[SshKind] = kind
        self.port: Final = port
        self._node = node
        self._disk = disk
        self._keys: dict[str, str] = {}
        disk.path(_HOST_KEY[kind]).parent.mkdir(exist_ok=True)
        for name in host_keys:
            if (kind, name) not in _known_keys:
                _known_keys[kind, name] = self._make_key(name)
            private, self._keys[name] = _known_keys[kind, name]
            disk.write(self._key_path(name), private, 0o600)
        if kind == "openssh":
            for name, public in self._keys.items():
                disk.write(f"{self._key_path(name)}.pub", f"{public}\n")
            settings = [
                f"Port {port}",
                *(f"HostKey {self._key_path(name)}" for name in host_keys),
                "PermitRootLogin yes",
                "PasswordAuthentication yes",
                "KbdInteractiveAuthentication no",
                "UsePAM no",
                "PidFile none",
                "Subsystem sftp internal-sftp",
            ]
            disk.write("/etc/ssh/sshd_config", "\n".join(settings) + "\n")

    def _key_path(self, name: str) -> str:
        """Where a host key is kept on the router."""
        return _HOST_KEY[self.kind].format(name)

    def _make_key(self, name: str) -> tuple[bytes, str]:
        """Make a host key on the router; gives the private and the public half."""
        path = self._key_path(name)
        for old in (path, f"{path}.pub"):
            self._disk.path(old).unlink(missing_ok=True)
        bits = _RSA_BITS[self.kind] if name == "rsa" else ""
        command = _MAKE_KEY[self.kind].format(bits=bits, name=name, path=path)
        self._node.run("sh", "-c", command)
        public = self._disk.path(f"{path}.pub").read_text().split()[:2]
        return self._disk.path(path).read_bytes(), " ".join(public)

    def renew_keys(self) -> None:
        """Make new host keys, as a new installation does; a restart takes them."""
        for name in self._keys:
            _, self._keys[name] = self._make_key(name)

    def host_key(self, name: str) -> str:
        """A host key's public half, as in a line of known_hosts without the host."""
        return self._keys[name]

    def start(self) -> None:
        """Start it and wait until it listens."""
        run = self._node.root / "run/sshd"
        run.mkdir(exist_ok=True)
        if self.kind == "openssh":
            argv = ["/usr/sbin/sshd", "-D", "-E", _LOG]
        else:
            keys = [part for n in self._keys for part in ("-r", self._key_path(n))]
            # A shell, to have its log where OpenSSH's is.
            argv = ["sh", "-c", f'exec dropbear "$@" 2>>{_LOG}', "sh", "-F", "-E"]
            argv += ["-p", str(self.port), *keys]
        if single_user():
            call_without_setgroups(lambda: self._node.spawn(*argv))
        else:
            self._node.spawn(*argv)
        for _ in tries():
            if self.listening():
                return
        raise LabUnavailable(f"The SSH server did not start: {self.log()}")

    def stop(self) -> None:
        """Kill it and all its sessions."""
        processes = []
        for name in (self._node.root / "proc").glob("[0-9]*/comm"):
            with suppress(OSError):
                if name.read_text().startswith(("sshd", "dropbear")):
                    processes.append(name.parent.name)
        if processes:
            self._node.run("sh", "-c", f"kill -9 {' '.join(processes)}", check=False)
        wait_until(lambda: not self.listening())

    def listening(self) -> bool:
        """Whether its port is open, found out without a connection."""
        sockets = Path(f"/proc/{self._node.process}/net/tcp")
        return any(
            f":{self.port:04X} 00000000:0000 0A" in line
            for line in sockets.read_text().splitlines()
        )

    def log(self) -> str:
        """What it had to say."""
        path = self._disk.path(_LOG)
        return path.read_text(errors="replace") if path.exists() else ""
