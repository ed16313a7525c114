"""Whether an account is as good as root by sudo, and how long sudo thinks about it.

The sudo of Debian looks up the router's own name each time. Where that is not in
`/etc/hosts`, and no name server answers, each command waits for ten seconds or more.
There, an account that may do all gets shells of root's instead, which are used again
and again. For one that may run some commands alone, nothing helps but patience; or
`!fqdn` in the sudoers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import re
from shlex import quote

from .script import Result, Script
from .sudo import SUDO

# Seconds. What waits for less does not wait for a name server: a busy router may take
# one for a sudo.
_SHORT = 1.9
# As `sudo -l` prints what an account may run, and as whom.
_ALL = re.compile(
    r"\s+\((?:ALL|root)(?: : [^()]{1,100})?\) (?:[A-Z_]+: )*NOPASSWD: (?:[A-Z_]+: )*ALL"
)
_ENTRY = re.compile(r"\s+\(")
# What takes back a part of it, or asks for the password after all.
_BUT = re.compile(r"!|\bNOEXEC:|\bPASSWD:")
_DEFAULT_BUT = re.compile(r"(?:^|[ ,])noexec(?:,|$)", re.MULTILINE)
_NAME = (
    'grep -qE "^[^#]*[[:space:]]$(cat /proc/sys/kernel/hostname)([[:space:]]|\\$)"'
    " /etc/hosts"
)
_UPTIME = re.compile(r"([0-9]{1,12}\.[0-9]{2}) ")


@dataclass(frozen=True, slots=True)
class Rights:
    """What sudo says of the account."""

    all: bool = False
    """Whether it may run anything as root, without a password."""
    delay: float = 0.0
    """Seconds that sudo took to say so."""
    nameless: bool = False
    """Whether the router's own name is missing in its `/etc/hosts`."""

    @property
    def slow(self) -> bool:
        """Whether sudo waits for something."""
        return self.delay > _SHORT

    @property
    def patience(self) -> float:
        """Seconds that each further sudo may take, if this one took long."""
        return 2 * self.delay if self.slow else 0.0


def rights_script() -> Script:
    """Return the script whose output `read_rights` understands; one call of sudo."""
    script = Script().run("before", "cat /proc/uptime")
    script.run("rights", f"""sh -c '[ "$(id -u)" != 0 ] && exec {SUDO}-l'""")
    script.run("after", "cat /proc/uptime")
    return script.run("name", f"sh -c {quote(_NAME)}")


def read_rights(sections: Mapping[str, Result]) -> Rights:
    """Return what the sections of `rights_script` tell."""
    before, after = (
        float(found[1]) if (found := _UPTIME.match(sections[label].output)) else 0.0
        for label in ("before", "after")
    )
    listed = sections["rights"]
    entries = [line for line in listed.lines if _ENTRY.match(line)]
    return Rights(
        # The last entry that matches a command counts; and a shell may run what the
        # account may not.
        all=listed.ok
        and bool(entries and _ALL.fullmatch(entries[-1]))
        and not any(map(_BUT.search, entries))
        and not _DEFAULT_BUT.search(listed.output),
        delay=max(0.0, after - before) if before else 0.0,
        nameless=sections["name"].status == 1,
    )
