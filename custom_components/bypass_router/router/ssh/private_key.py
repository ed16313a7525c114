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
# Editors and messengers make one dash of two.
_DASHES = r"[-\u2010-\u2015\u2212]{2,8}"
_BEGIN = re.compile(rf"{_DASHES}\s*BEGIN (?P<kind>[A-Z0-9]+ )?PRIVATE KEY\s*{_DASHES}")
_END = re.compile(rf"{_DASHES}\s*END (?P<kind>[A-Z0-9]+ )?PRIVATE KEY\s*{_DASHES}")
_PUTTY = "PuTTY-User-Key-File-"
# What people paste along: indents and other ends of lines, also as they are written in
# JSON; quotes around the text or each line; marks that no one sees.
_AROUND = re.compile(r"""(?:\\[rnt]|[\s\\"'`>|\u200b-\u200d\u2060\ufeff])+""")
# Of a key that is protected as in old times; in one line, nothing ends its number.
_HEADERS = re.compile(
    r"Proc-Type: ?4,ENCRYPTED ?DEK-Info: ?"
    r"(AES-[0-9]{3}-CBC,[0-9A-Fa-f]{32}|DES[A-Z0-9-]{0,5}-CBC,[0-9A-Fa-f]{16})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LINE = 64
_OPENSSH = b"openssh-key-v1\0"


class CostlyPrivateKey(RouterError):
    """To open the private key would take too long."""

    key = "private_key_costly"


class PuttyPrivateKey(InvalidPrivateKey):
    """The private key is in the format of PuTTY, which OpenSSH does not know."""

    key = "private_key_of_putty"


def checked_key(text: str) -> str:
    """Return the one private key in a text, if it can be opened in bearable time.

    Raises InvalidPrivateKey, PuttyPrivateKey and CostlyPrivateKey, and what asyncssh
    raises for a key that ends too early.
    """
    kind, headers, encoded = _parts(text)
    content = a2b_base64(encoded)
    match kind:
        case "OPENSSH ":
            rounds, most = _bcrypt_rounds(content), MOST_BCRYPT_ROUNDS
        case "ENCRYPTED ":
            rounds, most = _hash_rounds(content), MOST_HASH_ROUNDS
        case _:
            # Not protected, or by the one round of old times.
            rounds, most = 0, 0
    if rounds > most:
        raise CostlyPrivateKey(most=str(most))
    lines = [encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE)]
    return "\n".join(
        (
            f"-----BEGIN {kind}PRIVATE KEY-----",
            *headers,
            *lines,
            f"-----END {kind}PRIVATE KEY-----",
            "",
        )
    )


def _parts(text: str) -> tuple[str, list[str], str]:
    """Return a key's kind, its headers and the end of these, and all its letters.

    Whatever a person has pasted along is left out: asyncssh would take what stands in
    the first line for a pattern, and would pass over letters that are none of base64.
    """
    if len(text) > _LONGEST:
        raise InvalidPrivateKey
    if _PUTTY in text:
        raise PuttyPrivateKey
    begin = _BEGIN.search(text)
    end = _END.search(text, begin.end()) if begin else None
    if not begin or not end or begin["kind"] != end["kind"]:
        raise InvalidPrivateKey
    inside = _AROUND.sub(" ", text[begin.end() : end.start()]).lstrip()
    headers: list[str] = []
    if header := _HEADERS.match(inside):
        headers = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: {header[1]}", ""]
        inside = inside[header.end() :]
    encoded = inside.replace(" ", "")
    if not _BASE64.fullmatch(encoded):
        raise InvalidPrivateKey
    return begin["kind"] or "", headers, encoded


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
