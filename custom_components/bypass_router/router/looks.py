"""What a loop on the router sees, compared with what was read last.

To compare it with what the loop saw before is not enough: what was changed and changed
back between two of its looks may have been read in between.
"""

from collections.abc import Mapping, Sequence
from hashlib import md5, sha256
import re

from .monitor import Seen

# What is printed to the loop and to us may differ for good, by a letter that is none,
# say. If both stay as they are while the loop tells so often, they are the same.
_ROUNDS = 3
_COUNTERS = re.compile("packets [0-9]* bytes [0-9]*")
_MD5_LENGTH = 32


class Looks:
    """The commands that a loop looks by, and what was seen and read by them last."""

    def __init__(self, commands: Sequence[str]) -> None:
        """Take the commands; nothing is seen or read yet."""
        self.commands = commands
        self._digest: str | None = None
        self._read: str | None = None
        self._asked = False
        self._odd: tuple[str, str] | None = None
        self._rounds = 0
        self._left = 0

    def saw(self, seen: Seen) -> bool:
        """Take what the loop sees; return whether the rules are to be read."""
        asked, self._asked = self._asked, False
        self._digest = seen.digest
        if seen.digest is None or self._read is None:
            if seen.changed:
                self._left = _ROUNDS
            return asked or seen.changed
        self._rounds += 1
        return not self._agree(seen.digest, self._read)

    def read(self, printed: Mapping[str, str]) -> bool:
        """Take what was read, by command; return whether to ask what the loop sees."""
        if any(command not in printed for command in self.commands):
            return False
        text = "\n\n".join(printed[command] for command in self.commands)
        before, self._read = self._read, _COUNTERS.sub("", text).rstrip("\n")
        if self._digest is None:
            # Where the loop can make no digest, it is looked and read by turns until
            # both have stayed as they are for a while: each may be what the other was.
            if before != self._read:
                self._left = _ROUNDS
            self._asked = self._left > 0
            self._left -= self._asked
        else:
            self._asked = not self._agree(self._digest, self._read)
        return self._asked

    def _agree(self, digest: str, read: str) -> bool:
        """Return whether the loop sees what was read, as far as can be known."""
        algorithm = md5 if len(digest) == _MD5_LENGTH else sha256
        text = read.encode(errors="replace")
        if algorithm(text, usedforsecurity=False).hexdigest() == digest:
            self._odd = None
            return True
        if self._odd != (digest, read):
            self._odd, self._rounds = (digest, read), 0
        return self._rounds >= _ROUNDS
