"""The text of a private key, looked at before asyncssh opens it.

A key that is protected by a passphrase names itself how much work it takes to open
it. No one can stop that work once it has begun.
"""

from binascii import a2b_base64
from collections.abc import Iterator
import re

from asyncssh.asn1 import der_decode
from asyncssh.packet import SSHPacket

from ..errors import InvalidPrivateKey, RouterError

# ssh-keygen takes 16 or 24 rounds, and careful people 100 to 500: at 10 ms each, this
# is ten seconds, and half a minute on a small computer, at each connection.
MOST_BCRYPT_ROUNDS = 1024
# openssl takes 2048, and careful people a million. As many seconds.
MOST_HASH_ROUNDS = 4_000_000
# The longest of RSA, with 16384 bits, has 13,000 letters. The time to find out that
# something is no key may grow with the square of its length.
_LONGEST = 32768
# asyncssh would take what stands in the header for a pattern, and would pass over
# letters that are none of base64.
_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9]+ )?PRIVATE KEY-----[ \t\r]*\n"
    r"(?P<headers>(?:[A-Za-z-]+:[^\n]*\n)*)"
    r"(?P<content>[A-Za-z0-9+/=\s]*)"
    r"-----END (?P=kind)?PRIVATE KEY-----"
)
_OPENSSH = b"openssh-key-v1\0"


class CostlyPrivateKey(RouterError):
    """To open the private key would take too long."""

    key = "private_key_costly"


def checked_key(text: str) -> str:
    """Return the one private key in a text, if it can be opened in bearable time.

    Raises InvalidPrivateKey and CostlyPrivateKey, and what asyncssh raises for a key
    that ends too early.
    """
    if len(text) > _LONGEST or not (found := _KEY.search(text)):
        raise InvalidPrivateKey
    content = a2b_base64(found["content"])
    match found["kind"]:
        case "OPENSSH ":
            rounds, most = _bcrypt_rounds(content), MOST_BCRYPT_ROUNDS
        case "ENCRYPTED ":
            rounds, most = _hash_rounds(content), MOST_HASH_ROUNDS
        case _:
            # Not protected, or by the one round of old times.
            rounds, most = 0, 0
    if rounds > most:
        raise CostlyPrivateKey(most=str(most))
    return f"{found[0]}\n"


def _bcrypt_rounds(content: bytes) -> int:
    """Return the rounds in the header of OpenSSH's format; 0 for an open key."""
    packet = SSHPacket(content.removeprefix(_OPENSSH))
    _cipher, kind, options = (packet.get_string() for _ in range(3))
    if kind != b"bcrypt":
        return 0
    packet = SSHPacket(options)
    _salt = packet.get_string()
    return packet.get_uint32()


def _hash_rounds(content: bytes) -> int:
    """Return the largest number that a key in PKCS#8 gives to its protection.

    Whichever kind of protection it is, the others are lengths.
    """
    match der_decode(content):
        case (tuple(protection), bytes()):
            return max(_numbers(protection), default=0)
        case _:
            raise InvalidPrivateKey


def _numbers(value: object) -> Iterator[int]:
    """Return each number in a value of ASN.1."""
    if isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int):
        yield value
