"""What can go wrong on the way to a router, and on it: one class a kind.

Each class has a `key`, the name of its sentence in the translations, and each
error carries `details`, the words that the sentence needs. Details are shown to
the user: no secret goes in, and text of the router only through `printable`. What
Python or a library says is no word of a sentence: it is for logs and diagnostics,
and what it means is a class of its own.
"""

from typing import ClassVar


def printable(text: str, limit: int = 200) -> str:
    """Return text from outside as one short line that is safe to show."""
    # No more than can be needed: the text may be as long as the router likes.
    text = text.lstrip()[: 20 * limit]
    text = "".join(char for char in text if char.isprintable() or char.isspace())
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


class RouterError(Exception):
    """Something failed on the way to the router, or on it."""

    key: ClassVar[str] = "router_error"

    def __init__(self, **details: str) -> None:
        """Keep the words for the user's sentence."""
        words = ", ".join(f"{name}: {value}" for name, value in details.items())
        super().__init__(f"{self.key} ({words})" if words else self.key)
        self.details = details


class ConnectionFailed(RouterError):
    """No SSH connection; the classes below say why."""


class CannotReach(ConnectionFailed):
    """No way was found to the host; the classes below say why, where that is known."""

    key = "cannot_reach"


class NameUnknown(CannotReach):
    """No one knows the host's name."""

    key = "name_unknown"


class NameServerSilent(CannotReach):
    """Whoever knows the host's name can't be asked."""

    key = "name_server_silent"


class NoRoute(CannotReach):
    """The network is there, and the host is not in it."""

    key = "no_route"


class NetworkUnreachable(CannotReach):
    """No network of Home Assistant's leads to the address."""

    key = "network_unreachable"


class PortClosed(ConnectionFailed):
    """The host answers, and refuses the port."""

    key = "port_closed"


class NoAnswer(ConnectionFailed):
    """Nothing came back in time."""

    key = "no_answer"


class NotSSH(ConnectionFailed):
    """Something listens there, and it does not speak SSH as we need it."""

    key = "not_ssh"


class CutOff(NotSSH):
    """The host takes a connection, and cuts it off before it has said what it is."""

    key = "cut_off"


class HostKeyChanged(ConnectionFailed):
    """The host proved another key than the pinned one; no secret was sent."""

    key = "host_key_changed"


class AuthenticationFailed(ConnectionFailed):
    """The router refused the account's password or key."""

    key = "authentication_failed"


class PasswordExpired(AuthenticationFailed):
    """The router lets the account in once its password is changed, and not before."""

    key = "password_expired"


class LoginEnded(ConnectionFailed):
    """The router has proved its key, and ended the login: perhaps of an old account."""

    key = "login_ended"


class AccountRefused(LoginEnded):
    """It has said why, too: the account has expired, or is locked."""

    key = "account_refused"


class TooManyAttempts(ConnectionFailed):
    """Not tried: the router refused us so often that it may lock us out."""

    key = "too_many_attempts"


class ConnectionLost(ConnectionFailed):
    """The connection broke while a script ran: its outcome is unknown."""

    key = "connection_lost"


class FewSessions(RouterError):
    """The SSH server allows so few sessions at once that this one had to end."""

    key = "few_sessions"


class InvalidPrivateKey(RouterError):
    """The text is not a private key in a format that OpenSSH knows."""

    key = "invalid_private_key"


class PassphraseRequired(RouterError):
    """The private key is encrypted, and no passphrase was given."""

    key = "passphrase_required"


class WrongPassphrase(RouterError):
    """The passphrase does not open the private key."""

    key = "wrong_passphrase"


class KeyNotInstalled(RouterError):
    """The file of the account's keys could not be changed."""

    key = "key_not_installed"


class KeyRefused(KeyNotInstalled):
    """A new key is in that file, and the router lets no one in with it."""

    key = "key_refused"


class TimedOut(RouterError):
    """The router did not finish a script in time: its outcome is unknown."""

    key = "timed_out"


class BadOutput(RouterError):
    """The router's answer can't be understood, or is far too long."""

    key = "bad_output"


class NoAddress(RouterError):
    """The router has no IPv4 address that a forward could use."""

    key = "no_address"


class FirewallMissing(RouterError):
    """The router has no firewall command that we can use."""

    key = "firewall_missing"


class FirewallTooOld(FirewallMissing):
    """The one that the router has can't do what we need."""

    key = "firewall_too_old"


class FirewallNotThere(RouterError):
    """The firewall that the user has chosen is not on the router, or too old."""

    key = "firewall_not_there"


class NotPrivileged(RouterError):
    """The account may not change the router's firewall."""

    key = "not_privileged"


class NewerFormat(RouterError):
    """Rules of ours are there that a later version has written: they are let be.

    found, known: the numbers of the formats.
    """

    key = "newer_format"


class FirewallFailed(RouterError):
    """The router's firewall command failed, or refused the rules."""

    key = "firewall_failed"


class PortTaken(RouterError):
    """A forward of another Home Assistant has the port."""

    key = "port_taken_elsewhere"


class ClosingRefused(RouterError):
    """The command that ends connections was allowed, and is not any more."""

    key = "closing_refused"


class NotApplied(RouterError):
    """The rules were set, and are not as set when read back, again and again."""

    key = "not_applied"


class BootFileRefused(RouterError):
    """What brings forwards back at the router's start could not be written there."""

    key = "at_boot_refused"


class BootFileLeft(BootFileRefused):
    """Nor could what is there be taken away, which brings back more than it is to."""

    key = "at_boot_left"


class NoInitSystem(BootFileRefused):
    """The router has neither systemd nor OpenWrt's init scripts."""

    key = "at_boot_no_init"


class BootNeedsRoot(BootFileRefused):
    """The account may not write it."""

    key = "at_boot_needs_root"


class TargetTaken(RouterError):
    """Another device is where a forward leads that follows one: it is kept closed.

    target: the address.
    """

    key = "target_taken"
