"""Host keys and the account's secrets, as values."""

from dataclasses import dataclass, field
from typing import Self

import asyncssh

from ..errors import InvalidPrivateKey, PassphraseRequired, WrongPassphrase
from .private_key import checked_key

_RSA = ("rsa-sha2-512", "rsa-sha2-256")
# The best kind first: the router proves the first of these that it has.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    *_RSA,
)
# What asyncssh raises for what is no key; the last ones for what is almost one.
_NO_KEY = (
    asyncssh.KeyImportError,
    asyncssh.KeyEncryptionError,
    ArithmeticError,
    LookupError,
    RecursionError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A router's public host key, in OpenSSH's one-line format."""

    text: str

    def __post_init__(self) -> None:
        """Leave out the comment: two keys are equal, whatever is said of them."""
        object.__setattr__(self, "text", " ".join(self.text.split()[:2]))

    @classmethod
    def of(cls, key: asyncssh.SSHKey) -> Self:
        """Return the text of a key."""
        return cls(key.export_public_key("openssh").decode())

    @property
    def key(self) -> asyncssh.SSHKey:
        """The key itself."""
        return asyncssh.import_public_key(self.text)

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` prints it: `SHA256:…`."""
        return self.key.get_fingerprint()

    @property
    def openssh_command(self) -> str:
        """The command that prints the fingerprint on a router with OpenSSH."""
        return f"ssh-keygen -lf /etc/ssh/ssh_host_{self._kind}_key.pub"

    @property
    def dropbear_command(self) -> str:
        """The one on a router with dropbear, where OpenWrt has its keys."""
        return f"dropbearkey -y -f /etc/dropbear/dropbear_{self._kind}_host_key"

    @property
    def _kind(self) -> str:
        """The kind as files are named after it."""
        # ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa.
        return self.text.split()[0].removeprefix("ssh-").partition("-")[0]

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The signature algorithms by which a router can prove this key.

        Asked for alone, so that a router which has other keys too, or only
        this one, proves this one.
        """
        kind = self.text.split()[0]
        return _RSA if kind == "ssh-rsa" else (kind,)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account on the router, and what proves that it is ours."""

    username: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)

    def load_key(self) -> asyncssh.SSHKey | None:
        """Return the private key, if there is one.

        Opening an encrypted key takes a good part of a second: not for the
        event loop. Raises InvalidPrivateKey, CostlyPrivateKey, PassphraseRequired
        and WrongPassphrase.
        """
        if not self.private_key:
            return None
        try:
            return asyncssh.import_private_key(
                checked_key(self.private_key), self.passphrase or None
            )
        except _NO_KEY as err:
            # asyncssh tells the cases apart by its words alone.
            if "Passphrase must be specified" in str(err):
                raise PassphraseRequired from None
            if "Incorrect passphrase" in str(err) or "decrypt" in str(err):
                raise WrongPassphrase from None
            raise InvalidPrivateKey from None
