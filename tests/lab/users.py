"""The bypass router's users, their passwords, keys and rights."""

import ctypes
import os
from pathlib import Path
import shutil
from typing import Final, Literal

from .disk import Disk
from .requirements import LabUnavailable, find_command, require
from .user_namespace import single_user

_SUDO_LIBRARIES: Final = "/usr/libexec/sudo"


class Users:
    """Root to begin with, and whoever is added."""

    def __init__(self, disk: Disk) -> None:
        """Let there be root, without a password or a key."""
        self._disk = disk
        self._next_id = 1000
        self._homes = {"root": "/root"}
        self._key_folders: dict[str, str] = {}
        # Where root is the only user there is, the SSH server's own is root too.
        sshd = 0 if single_user() else 100
        disk.write(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n"
            f"sshd:x:{sshd}:0::/run/sshd:/usr/sbin/nologin\n",
        )
        disk.write("/etc/group", "root:x:0:\n")
        disk.write("/etc/shadow", "root:*:20000::::::\nsshd:*:20000::::::\n", 0o600)
        disk.path("/root").chmod(0o700)

    def add(
        self,
        name: str,
        password: str,
        shell: str = "/bin/sh",
        sudo: Literal["all"] | tuple[str, ...] | None = None,
    ) -> None:
        """Add a user, who may run some commands by `sudo`, without a password.

        `sudo` names them by absolute path, or is `all`.
        """
        if single_user():
            raise LabUnavailable(
                "A second user on the router needs root, or the package uidmap and a"
                " range of ids for this user in /etc/subuid and /etc/subgid."
            )
        number, self._next_id = self._next_id, self._next_id + 1
        home = self._homes[name] = f"/home/{name}"
        self._append("/etc/passwd", f"{name}:x:{number}:{number}::{home}:{shell}")
        self._append("/etc/group", f"{name}:x:{number}:")
        self._append("/etc/shadow", f"{name}:*:20000::::::")
        self.set_password(name, password)
        self._disk.path(home).mkdir(0o755)
        os.chown(self._disk.path(home), number, number)
        if sudo is not None:
            commands = "ALL" if sudo == "all" else ", ".join(sudo)
            self._install_sudo(f"{name} ALL=(ALL) NOPASSWD: {commands}\n")

    def set_password(self, name: str, password: str) -> None:
        """Give a user a new password."""
        shadow = self._disk.path("/etc/shadow")
        lines = shadow.read_text().splitlines()
        kept = [line for line in lines if not line.startswith(f"{name}:")]
        line = f"{name}:{_crypt(password)}:20000::::::"
        shadow.write_text("\n".join([*kept, line, ""]))

    def set_shell(self, name: str, shell: str) -> None:
        """Let a user log in to another shell, by its absolute path."""
        passwd = self._disk.path("/etc/passwd")
        users = [line.split(":") for line in passwd.read_text().splitlines()]
        lines = [":".join([*u[:6], shell if u[0] == name else u[6]]) for u in users]
        passwd.write_text("\n".join([*lines, ""]))
        # Without this file, dropbear lets in only those with /bin/sh.
        self._disk.write("/etc/shells", f"/bin/sh\n{shell}\n")

    def keep_keys_in(self, folder: str, user: str = "root") -> None:
        """Let a user's authorized_keys be in another folder than ~/.ssh."""
        self._key_folders[user] = folder

    def authorize(self, *public_keys: str, user: str = "root") -> None:
        """Let these keys log in as a user, and no others."""
        file = self._keys(user)
        text = "".join(f"{key.strip()}\n" for key in public_keys)
        self._disk.write(file, text, 0o600)
        owner = self._disk.path(self._homes[user]).stat()
        for path in (self._disk.path(file), self._disk.path(file).parent):
            os.chown(path, owner.st_uid, owner.st_gid)
        self._disk.path(file).parent.chmod(0o700)

    def authorized_keys(self, user: str = "root") -> str:
        """The text of a user's authorized_keys; empty if there is none."""
        path = self._disk.path(self._keys(user))
        return path.read_text() if path.exists() else ""

    def _keys(self, user: str) -> str:
        folder = self._key_folders.get(user, f"{self._homes[user]}/.ssh")
        return f"{folder}/authorized_keys"

    def _append(self, name: str, line: str) -> None:
        """Add a line to a file."""
        with self._disk.path(name).open("a") as file:
            file.write(f"{line}\n")

    def _install_sudo(self, rule: str) -> None:
        """Add a rule, and the program as root's own, which it insists on.

        In an ordinary user's namespace, the host's files belong to no one.
        """
        require("sudo")
        real = find_command("sudo") or ""
        sudoers = self._disk.path("/etc/sudoers")
        if not sudoers.exists():
            self._disk.write("/etc/sudo.conf", "Path plugin_dir /etc/sudo/\n")
            shutil.copytree(_SUDO_LIBRARIES, self._disk.path("/etc/sudo"))
            self._disk.write("/usr/bin/sudo", Path(real).read_bytes(), 0o4755)
            kinds = ("auth", "account", "session")
            policy = "".join(f"{kind} required pam_permit.so\n" for kind in kinds)
            self._disk.write("/etc/pam.d/sudo", policy)
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            defaults = f'Defaults env_reset, secure_path="{path}"\n'
            self._disk.write("/etc/sudoers", defaults, 0o440)
        with sudoers.open("a") as file:
            file.write(rule)


def _crypt(password: str) -> str:
    """Hash a password; quickly, as no one is kept out of the lab by it."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password.encode(), b"$6$rounds=1000$thelab$")
    assert isinstance(hashed, bytes)
    return hashed.decode()
