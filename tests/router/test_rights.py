"""What `sudo -l` tells, as Debian 12's sudo, 1.9.13p3, prints it."""

import pytest

from custom_components.bypass_router.router.ssh.rights import Rights, read_rights
from custom_components.bypass_router.router.ssh.script import Result

HEAD = """\
Matching Defaults entries for alice on bypass:
    env_reset, use_pty

User alice may run the following commands on bypass:
"""
ALL = {
    "(ALL) NOPASSWD: ALL": True,
    "(root) NOPASSWD: ALL": True,
    "(ALL : ALL) NOPASSWD: ALL": True,
    "(ALL : ALL) ALL\n    (ALL) NOPASSWD: ALL": True,
    "(root) NOPASSWD: /usr/sbin/nft -f -\n    (ALL) NOPASSWD: ALL": True,
    "(ALL) NOPASSWD: ALL\n    (ALL : ALL) ALL": False,
    "(ALL) NOPASSWD: ALL\n    (root) PASSWD: /bin/sh": False,
    "(root) PASSWD: /bin/sh\n    (ALL) NOPASSWD: ALL": False,
    "(ALL : ALL) ALL": False,
    "(bob) NOPASSWD: ALL": False,
    "(root) NOPASSWD: /usr/sbin/nft": False,
    "(root) NOPASSWD: NOEXEC: ALL": False,
    "(root) NOEXEC: NOPASSWD: ALL": False,
    "(ALL) NOPASSWD: ALL, !/bin/sh": False,
    "(ALL, !root) NOPASSWD: ALL": False,
    "(ALL) NOPASSWD: ALL\n    (root) !/usr/sbin/nft": False,
}


def told(
    listed: str, status: int = 0, before: str = "10.00", after: str = "10.02"
) -> Rights:
    """Return what is made of it, where sudo took its time."""
    return read_rights(
        {
            "before": Result(f"{before} 3.00", 0),
            "rights": Result(listed, status),
            "after": Result(f"{after} 3.00", 0),
            "name": Result("", 1),
        }
    )


@pytest.mark.parametrize(("entries", "expected"), ALL.items())
def test_who_may_do_all_is_known(entries: str, expected: bool) -> None:
    """Only one who needs no password, and is denied nothing."""
    assert told(f"{HEAD}    {entries}").all is expected


def test_who_may_start_nothing_more_may_not_do_all() -> None:
    """As a shell of root's would."""
    listed = f"{HEAD}    (ALL) NOPASSWD: ALL"
    assert not told(listed.replace("use_pty", "noexec, use_pty")).all
    assert told(listed.replace("use_pty", "!noexec, use_pty")).all


def test_a_refusal_allows_nothing() -> None:
    """Whatever is printed beside it."""
    assert not told(f"{HEAD}    (ALL) NOPASSWD: ALL", 1).all


@pytest.mark.parametrize(
    ("before", "after", "slow"),
    [("10.00", "10.30", False), ("10.00", "22.30", True), ("", "22.30", False)],
)
def test_patience_is_for_a_sudo_that_waits(before: str, after: str, slow: bool) -> None:
    """By the router's own clock, if it has one."""
    rights = told(HEAD, before=before, after=after)
    assert rights.slow is slow
    assert (rights.patience > 20) is slow
