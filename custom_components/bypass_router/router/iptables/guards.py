"""Rules that go by their numbers, and what makes sure that the numbers are right.

A rule in a chain of ours with our tag may have been edited by anyone, so that no text
of it is safe to hand back: it is taken away by its place in the chain. Just before, the
router compares the chain with what was read, by a checksum, so that the place is still
that rule's.
"""

import re
from zlib import crc32

# Without a line break where none belongs, and whatever was lost on the way here. The
# nft variant warns of tables of the other one in front of each listing.
_COUNTABLE = re.compile(
    "(?:# Warning: [^\n\ufffd]+\n)*(?:-[APN] [^\n\ufffd]+(?:\n|$))*"
)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def guard_of(look: str, listing: str) -> str | None:
    """Return a line for sh, which ends it unless `look` prints this listing.

    None where the rules of the listing can't be counted.
    """
    if not _COUNTABLE.fullmatch(listing):
        return None
    printed = f'printf %s "$({look} 2>&1)" | cksum'
    return f'[ "$({printed})" = "{cksum(listing.encode(errors="replace"))}" ] || exit'


def cksum(content: bytes) -> str:
    """Return what `cksum` prints of its stdin: POSIX' checksum, and the length."""
    length = len(content)
    whole = content + length.to_bytes((length.bit_length() + 7) // 8, "little")
    # zlib's is the same with each bit in the other order, and another start.
    mirrored = crc32(whole.translate(_REVERSED), 0xFFFFFFFF)
    return f"{int(f'{mirrored:032b}'[::-1], 2)} {length}"
