"""A key of our own for the account on the router.

It goes into the account's `authorized_keys` beside what is there, with no more
rights than running commands: no terminal, no forwarding of anything.
"""

from shlex import quote

import asyncssh

from ..errors import KeyNotInstalled
from .script import Script
from .session import Session

# Known to OpenSSH and to every dropbear; `restrict` is not.
_RESTRICTIONS = "no-agent-forwarding,no-port-forwarding,no-pty,no-X11-forwarding"

# OpenWrt's dropbear reads root's keys from a place of its own.
_FILE = """\
if [ "$(id -u)" = 0 ] && [ -f /etc/openwrt_release ] && [ -d /etc/dropbear ]
then file=/etc/dropbear/authorized_keys
else file=$HOME/.ssh/authorized_keys
fi
umask 077
"""
_INSTALL = f"""{_FILE}\
mkdir -p "${{file%/*}}" || exit
grep -qxF -- "$1" "$file" 2>/dev/null && exit 0
if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file" || exit; fi
printf '%s\\n' "$1" >>"$file"
"""
# The new file takes the place of the old one whole: whatever interrupts this,
# no one else's key is lost.
_REMOVE = f"""{_FILE}\
grep -qxF -- "$1" "$file" 2>/dev/null || exit 0
file=$(readlink -f "$file") && cp -p "$file" "$file.new" || exit
grep -vxF -- "$1" "$file" >"$file.new"
[ "$?" -le 1 ] && mv "$file.new" "$file"
"""

# All that bear a mark of ours but one, which may be none.
_FORGET = f"""{_FILE}\
pattern="^{_RESTRICTIONS} ssh-ed25519 [A-Za-z0-9+/=]* $2\\$"
grep -e "$pattern" "$file" 2>/dev/null | grep -qvxF -- "$1" || exit 0
file=$(readlink -f "$file") && cp -p "$file" "$file.new" || exit
grep -v -e "$pattern" "$file" >"$file.new"
[ "$?" -le 1 ] || exit
if [ -n "$1" ] && grep -qxF -- "$1" "$file"
then printf '%s\\n' "$1" >>"$file.new" || exit
fi
mv "$file.new" "$file"
"""


def _comment(owner: str) -> str:
    """Return what tells our keys from others, for people as well."""
    return f"bypass_router:{owner}"


def generate_key(owner: str) -> str:
    """Return a new Ed25519 private key, in OpenSSH's format."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment=_comment(owner))
    return key.export_private_key("openssh").decode()


def made_here(private_key: str, owner: str) -> bool:
    """Return whether `generate_key` made this key, rather than the user."""
    try:
        key = asyncssh.import_private_key(private_key)
    except asyncssh.KeyImportError:
        # Ours have no passphrase.
        return False
    return key.get_comment() == _comment(owner)


def authorized_line(private_key: str) -> str:
    """Return the line of `authorized_keys` that lets this key in."""
    public = asyncssh.import_private_key(private_key).export_public_key("openssh")
    return f"{_RESTRICTIONS} {public.decode().strip()}"


async def install_key(session: Session, private_key: str) -> None:
    """Let a key log in to the account, beside those that can already.

    Idempotent. Raises KeyNotInstalled.
    """
    await _change(session, install_script(authorized_line(private_key)))


async def remove_key(session: Session, private_key: str) -> None:
    """Take away what `install_key` added. Idempotent; raises KeyNotInstalled."""
    await _change(session, remove_script(authorized_line(private_key)))


async def forget_keys(session: Session, owner: str, keep: str | None) -> None:
    """Take away all keys that an owner has ever put there, but for one to keep.

    That may be the user's own, which is no such key. Raises KeyNotInstalled.
    """
    line = authorized_line(keep) if keep and made_here(keep, owner) else ""
    await _change(session, forget_script(owner, line))


async def _change(session: Session, script: Script) -> None:
    """Run a script that changes the account's file."""
    result = (await session.run(script, as_account=True))["key"]
    if not result.ok:
        raise KeyNotInstalled(message=result.message)


def install_script(line: str) -> Script:
    """Return a script that adds the line, unless it is there; label `key`."""
    return Script().run("key", f"sh -c {quote(_INSTALL)} sh {quote(line)}")


def remove_script(line: str) -> Script:
    """Return a script that takes the line away, if it is there; label `key`."""
    return Script().run("key", f"sh -c {quote(_REMOVE)} sh {quote(line)}")


def forget_script(owner: str, keep: str) -> Script:
    """Return a script that takes all lines of an owner away but one; label `key`."""
    mark = quote(_comment(owner))
    return Script().run("key", f"sh -c {quote(_FORGET)} sh {quote(keep)} {mark}")
