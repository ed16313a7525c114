"""What is written on a router so that forwards come back when it starts.

Each Home Assistant has a file of its own in one folder, and what the router runs at its
start runs them all. That is one for all of them: a unit of systemd, which is run again
when a firewall is started or loaded anew, or an init script of OpenWrt's, which is kept
by an update of its system. Where the clock is not known yet, the files are run again
when it is. It goes with the last file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
import re
from shlex import quote
from typing import Final

from ..errors import BootFileLeft, BootFileRefused, NoInitSystem
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .clock import NOT_YET, NTP_ANSWERED

FOLDER: Final = "/etc/bypass_router"
UNIT: Final = "/etc/systemd/system/bypass_router.service"
WANTED: Final = "/etc/systemd/system/multi-user.target.wants/bypass_router.service"
INIT: Final = "/etc/init.d/bypass_router"
STARTED: Final = "/etc/rc.d/S99bypass_router"
NTP: Final = "/etc/hotplug.d/ntp/99-bypass_router"
KEPT: Final = "/etc/sysupgrade.conf"
_OWNER: Final = re.compile("[0-9a-z]{1,32}")
_FIREWALLS: Final = "nftables.service firewalld.service ufw.service docker.service"
_RUN: Final = f'for file in {FOLDER}/*.sh; do [ ! -f "$file" ] || sh "$file"; done'
_RUN_OR_WAIT: Final = (
    f'for file in {FOLDER}/*.sh; do [ ! -f "$file" ] || sh "$file" || '
    f'[ $? != {NOT_YET} ] || {{ while sleep 5; sh "$file"; [ $? = {NOT_YET} ]; '
    "do :; done >/dev/null 2>&1 & }; done"
)
UNIT_TEXT: Final = f"""\
[Unit]
Description=Port forwards of Home Assistant's Bypass Router
PartOf={_FIREWALLS}
ReloadPropagatedFrom={_FIREWALLS}
After={_FIREWALLS}
After=iptables.service netfilter-persistent.service network.target time-sync.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '{_RUN_OR_WAIT.replace("$", "$$")}; true'
ExecReload=/bin/sh -c '{_RUN.replace("$", "$$")}; true'

[Install]
WantedBy=multi-user.target
"""
INIT_TEXT: Final = f"""#!/bin/sh /etc/rc.common
# Port forwards of Home Assistant's Bypass Router.
START=99

start() {{
	{_RUN}
	true
}}
"""
NTP_TEXT: Final = f"""\
# Port forwards of Home Assistant's Bypass Router, when the clock is first set.
if [ "$ACTION" = stratum ] && [ ! -e {NTP_ANSWERED} ]; then
	: >{NTP_ANSWERED}
	{INIT} start
fi
"""
KEPT_LINES: Final = (f"{FOLDER}/", INIT, STARTED, NTP)

_NONE, _LEFT = 3, 4
# What is there already is not written again, to spare flash memory. A file takes the
# place of the old one whole.
_WRITE: Final = f"""\
file={FOLDER}/$1.sh
umask 022
put() {{ [ "$(cat "$1" 2>/dev/null)" = "$2" ] || printf '%s\\n' "$2" >"$1"; }}
link() {{ [ -L "$2" ] || ln -s "$1" "$2"; }}
hook() {{
  if [ -d /run/systemd/system ]; then
    [ ! -L {WANTED} ] || known=1
    put {UNIT} "$2" && mkdir -p {WANTED.rpartition("/")[0]} &&
      link ../bypass_router.service {WANTED}
  elif [ -f /etc/rc.common ] && [ -d /etc/rc.d ]; then
    known=1
    put {INIT} "$3" && chmod 755 {INIT} && link ../init.d/bypass_router {STARTED} &&
      mkdir -p {NTP.rpartition("/")[0]} && put {NTP} "$4" &&
      for line in {" ".join(KEPT_LINES)}; do
        grep -qsxF "$line" {KEPT} || echo "$line" >>{KEPT} || return
      done
  else
    exit {_NONE}
  fi
}}
mkdir -p {FOLDER} && hook "$@" &&
  (umask 077 && cat >"$file.new") && mv "$file.new" "$file" && {{
    [ -n "$known" ] ||
      {{ systemctl daemon-reload && systemctl --no-block start bypass_router; }}
    exit 0
  }} >/dev/null 2>&1 </dev/null
rm -f "$file.new"
[ -z "$5" ] || rm -f "$file" || exit {_LEFT}
exit 1
"""
REMOVE: Final = f"""\
for file in {FOLDER}/*.sh; do [ ! -f "$file" ] || exit 0; done
[ ! -f {UNIT} ] || unit=1
rm -f {FOLDER}/*.sh.new {WANTED} {UNIT} {STARTED} {INIT} {NTP}
rmdir {FOLDER} 2>/dev/null
if grep -qs bypass_router {KEPT}; then
  kept=$(grep -v bypass_router {KEPT})
  printf '%s\\n' "$kept" >{KEPT}
fi
[ -z "$unit" ] || systemctl daemon-reload >/dev/null 2>&1
exit 0
"""
"""Takes away all but the files themselves, if none is left."""
_FORGET: Final = f"""\
rm -f {FOLDER}/$1.sh.new
rm -f {FOLDER}/$1.sh || exit {_LEFT}
{REMOVE}"""
LOOK: Final = f"ls {FOLDER}"
"""Names the Home Assistants that have a file there; any account may see that."""
_NAMED: Final = re.compile(r"([0-9a-z]{1,32})\.sh")
_NOTE: Final = "# "
_NOTED: Final = re.compile(r"# ([0-9a-f]{64}) ([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class BootFile:
    """What a file on the router says of itself."""

    digest: str
    """Of what it brings back."""
    written: int
    """In Unix time of Home Assistant's clock."""

    @property
    def line(self) -> str:
        """Its line in the file."""
        return f"{_NOTE}{self.digest} {self.written}"


def digest_of(*told: object) -> str:
    """Return what tells files apart that bring back other things."""
    return sha256(repr(told).encode()).hexdigest()


def owners_of(result: Result) -> frozenset[str]:
    """Return which Home Assistants have a file, as `LOOK` has printed it."""
    found = map(_NAMED.fullmatch, result.lines if result.ok else ())
    return frozenset(name[1] for name in found if name)


def write_script(
    owner: str, note: BootFile, lines: list[str], *, sudo: bool, off: bool
) -> Script:
    """Return a script that writes an owner's file; label `boot`.

    Where that fails, a file that was to be without something that is `off` goes.
    """
    texts = (text.strip() for text in (UNIT_TEXT, INIT_TEXT, NTP_TEXT))
    words = map(quote, (_checked(owner), *texts))
    command = f"sh -c {quote(_WRITE)} sh {' '.join(words)} {'off' if off else "''"}"
    return Script().feed(
        "boot",
        as_root(command, sudo=sudo),
        [
            "# Made by Home Assistant's Bypass Router, which writes it anew.",
            note.line,
            *lines,
        ],
    )


def forget_script(owner: str, *, sudo: bool) -> Script:
    """Return a script that takes an owner's file away; label `boot`."""
    command = f"sh -c {quote(_FORGET)} sh {quote(_checked(owner))}"
    return Script().run("boot", as_root(command, sudo=sudo))


def note_script(owner: str, *, sudo: bool) -> Script:
    """Return a script that prints what an owner's file says of itself; label `boot`."""
    command = f"sed -n 2p {FOLDER}/{_checked(owner)}.sh"
    return Script().run("boot", as_root(command, sudo=sudo))


def read_note(sections: Mapping[str, Result]) -> BootFile | None:
    """Return what that script printed; None for no file, or for one of others."""
    found = _NOTED.fullmatch(sections["boot"].output)
    return BootFile(found[1], int(found[2])) if found else None


def check_written(sections: Mapping[str, Result]) -> None:
    """Raise NoInitSystem, BootFileLeft or BootFileRefused if a script has failed."""
    result = sections["boot"]
    if result.ok:
        return
    if result.status == _NONE:
        raise NoInitSystem
    if result.status == _LEFT:
        raise BootFileLeft(message=result.message)
    raise BootFileRefused(message=result.message)


def _checked(owner: str) -> str:
    """Return an owner's id, which is a name of a file here."""
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"no owner: {owner!r}")
    return owner
