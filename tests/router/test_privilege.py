"""What sudo's words mean: as sudo 1.9.13p3 of Debian 12 prints them, and sudo-rs."""

import pytest

from custom_components.bypass_router.router.ssh.script import Result
from custom_components.bypass_router.router.ssh.sudo import refused_by_sudo

UNRESOLVED = "sudo: unable to resolve host bypass: Temporary failure in name resolution"
NO_CHAIN = "iptables-restore: line 2 failed: No chain/target/match by that name."
LOOK = "/usr/sbin/iptables --wait 5 -t nat -S PREROUTING"
# Each was seen in the lab, with the status beside it.
REFUSED = {
    "no rule": (1, "sudo: a password is required"),
    "no rule, and no password needed": (1, "alice is not in the sudoers file."),
    "another command": (
        1,
        f"Sorry, user alice is not allowed to execute '{LOOK}' as root on bypass.",
    ),
    "a terminal is wanted": (1, "sudo: sorry, you must have a tty to run sudo"),
    "beside a warning": (1, f"{UNRESOLVED}\nsudo: a password is required"),
    "a mistake in the sudoers lines": (
        1,
        (
            "/etc/sudoers.d/bypass-router:1:19: syntax error\n"
            "alice ALL NOPASSWD: ALL\n"
            "                  ^~~~~~~~~\n"
            "sudo: a password is required"
        ),
    ),
    "sudoers lines that anybody may change": (
        1,
        (
            "sudo: /etc/sudoers.d/bypass-router is world writable\n"
            "sudo: a password is required"
        ),
    ),
    "sudo-rs 0.2.5": (1, "sudo-rs: I'm sorry alice. I'm afraid I can't do that"),
    "sudo-rs 0.2.5, and nothing allowed": (
        1,
        "sudo-rs: Sorry, user alice may not run sudo on bypass.",
    ),
    "sudo-rs 0.2.15": (1, "sudo: I'm sorry alice. I'm afraid I can't do that"),
    "sudo-rs 0.2.15, and nothing allowed": (
        1,
        "sudo: Sorry, user alice may not run sudo on bypass.",
    ),
    "sudo-rs 0.2.15 wants the password": (
        1,
        "sudo: interactive authentication is required",
    ),
    "sudo-rs 0.2.15, and a line that it does not know": (
        1,
        (
            "/etc/sudoers.d/bypass-router:6:48: unknown setting: 'pam_session'\n"
            "Defaults!BYPASS_ROUTER_NFT_LOOK !log_allowed, !pam_session\n"
            "                                               ^~~~~~~~~~~\n"
            "sudo: I'm sorry alice. I'm afraid I can't do that"
        ),
    ),
    "no sudoers": (
        1,
        (
            "sudo: unable to open /etc/sudoers: No such file or directory\n"
            "sudo: no valid sudoers sources found, quitting\n"
            "sudo: error initializing audit plugin sudoers_audit"
        ),
    ),
    "an account that has expired": (
        1,
        (
            'sudo: Account expired or PAM config lacks an "account" section for sudo,'
            " contact your system administrator\n"
            "sudo: a password is required"
        ),
    ),
    "a container that lets nobody become root": (
        1,
        (
            'sudo: The "no new privileges" flag is set, which prevents sudo from'
            " running as root.\n"
            "sudo: If sudo is running in a container, you may need to adjust the"
            " container configuration to disable the flag."
        ),
    ),
    "a disk that lets nobody become root": (
        1,
        (
            "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the"
            " 'nosuid' option set or an NFS file system without root privileges?"
        ),
    ),
    "no sudo, says dash": (127, "sh: 1: sudo: not found"),
    "no sudo, says busybox": (127, "sh: sudo: not found"),
    "no sudo, says bash": (127, "bash: line 1: sudo: command not found"),
}
RAN = {
    "all is well": (0, "-P PREROUTING ACCEPT"),
    "all is well beside a warning": (0, f"{UNRESOLVED}\n-P PREROUTING ACCEPT"),
    "refused by the firewall": (1, NO_CHAIN),
    "refused by the firewall, beside a warning": (1, f"{UNRESOLVED}\n{NO_CHAIN}"),
    "the same, and the log is full": (
        1,
        (
            "sudo: unable to open log file /var/log/sudo.log: No space left on device\n"
            f"{NO_CHAIN}"
        ),
    ),
    "an option that this iptables lacks": (
        2,
        f'{UNRESOLVED}\niptables v1.8.9 (nf_tables): unknown option "--nosuch"',
    ),
    "somebody else's lock": (
        4,
        (
            "Another app is currently holding the xtables lock; still 4s 0us time ahead"
            " to have a chance to grab the lock..."
        ),
    ),
    "no iptables": (1, "sudo: iptables: command not found"),
    "an iptables that is no program": (127, "/usr/sbin/iptables: 1: x: not found"),
    "too few files may be open": (
        1,
        "sudo: unknown uid 1001\nsudo: error initializing audit plugin sudoers_audit",
    ),
    "words that were only repeated": (1, "iptables: 'sudo: a password is required'"),
    "nothing was said": (1, ""),
}


@pytest.mark.parametrize(("status", "said"), REFUSED.values(), ids=REFUSED)
def test_what_sudo_says_instead_of_running_a_command_is_a_refusal(
    status: int, said: str
) -> None:
    """Whatever warnings stand around it."""
    assert refused_by_sudo(Result(said, status))


@pytest.mark.parametrize(("status", "said"), RAN.values(), ids=RAN)
def test_what_fails_for_another_reason_is_none(status: int, said: str) -> None:
    """No one is sent to look for a right that is not missing."""
    assert not refused_by_sudo(Result(said, status))
