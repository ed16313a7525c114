"""Host keys and the account's secrets, as values."""

from dataclasses import dataclass, field
import re
from typing import Self

import asyncssh

from .errors import InvalidPrivateKey, PassphraseRequired, WrongPassphrase

_RSA = ("rsa-sha2-512", "rsa-sha2-256")
# The best kind first: the router proves the first of these that it has.
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    *_RSA,
)
# The longest of RSA, with 16384 bits, has 13,000 letters. The time to find out that
# something is no key may grow with the square of its length.
_LONGEST_KEY = 32768
# asyncssh takes what stands there for a pattern.
_HEADER = re.compile(r"-----BEGIN [A-Z0-9 ]+-----")
# What asyncssh raises for it; the others for what is almost a key.
_NO_KEY = (
    asyncssh.KeyImportError,
    asyncssh.KeyEncryptionError,
    ArithmeticError,
    LookupError,
    RecursionError,
    ValueError,
    re.PatternError,
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A router's public host key, in OpenSSH's one-line format."""

    text: str

    @classmethod
    def of(cls, key: asyncssh.SSHKey) -> Self:
        """Return the key without its comment."""
        exported = key.export_public_key("openssh").decode()
        return cls(" ".join(exported.split()[:2]))

    @property
    def key(self) -> asyncssh.SSHKey:
        """The key itself."""
        return asyncssh.import_public_key(self.text)

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` prints it: `SHA256:…`."""
        return self.key.get_fingerprint()

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
        event loop. Raises InvalidPrivateKey, PassphraseRequired and
        WrongPassphrase.
        """
        if not self.private_key:
            return None
        text = self.private_key.strip() + "\n"
        if len(text) > _LONGEST_KEY or not all(
            _HEADER.fullmatch(line.strip())
            for line in text.split("\n")
            if line.lstrip().startswith("-----BEGIN ")
        ):
            raise InvalidPrivateKey
        try:
            return asyncssh.import_private_key(text, self.passphrase or None)
        except _NO_KEY as err:
            # asyncssh tells the cases apart by its words alone.
            if "Passphrase must be specified" in str(err):
                raise PassphraseRequired from None
            if "Incorrect passphrase" in str(err) or "decrypt" in str(err):
                raise WrongPassphrase from None
            raise InvalidPrivateKey from None
