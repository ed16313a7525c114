"""Rules that go by their numbers, and what makes sure that the numbers are right.

A rule in a chain of ours with our tag may have been edited by anyone, so that no text
of it is safe to hand back: it is taken away by its place in the chain. And what leads
to a chain of ours is put in by its place among the rules of others. Just before, the
router compares what it has with what was read, by a checksum, so that the place is
still that one.
"""

from hashlib import md5
import re

# Without a line break where none belongs, and whatever was lost on the way here. The
# nft variant warns of tables of the other one in front of each listing.
_COUNTABLE = re.compile(
    "(?:# Warning: [^\n\ufffd]+\n)*(?:-[APN] [^\n\ufffd]+(?:\n|$))*"
)


def guard_of(look: str, listing: str) -> str | None:
    """Return a line for sh, which ends it unless `look` prints this listing.

    None where the rules of the listing can't be counted.
    """
    if not _COUNTABLE.fullmatch(listing):
        return None
    content = listing.encode(errors="replace")
    digest = md5(content, usedforsecurity=False).hexdigest()
    printed = f'printf %s "$({look} 2>&1)" | md5sum 2>/dev/null'
    # A router that has no such program can't be asked.
    return f'case "$({printed})" in "{digest}  -" | "") ;; *) exit 1 ;; esac'
