"""Each failure is told in plain words, in the language of the home."""

from collections.abc import Iterator
import errno
import os
import re
import socket
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_get_translations
import pytest

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.diagnosis.texts import async_texts, report
from custom_components.bypass_router.errors import sentence_of
from custom_components.bypass_router.router.doctor.doctor import unreachable
from custom_components.bypass_router.router.errors import (
    CannotReach,
    ConnectionFailed,
    CutOff,
    FirewallMissing,
    NameServerSilent,
    NameUnknown,
    NetworkUnreachable,
    NoAnswer,
    NoRoute,
    NotSSH,
    PortClosed,
)
from custom_components.bypass_router.router.ssh.login import connecting
from custom_components.bypass_router.router.ssh.session import fetch_host_key
from custom_components.bypass_router.unforeseen import Unforeseen

from .test_translations import LANGUAGES

# What the kernel, the resolver and Python say, and what it means.
MET: Final[list[tuple[BaseException, type[ConnectionFailed]]]] = [
    (OSError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 22)"), PortClosed),
    (OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)), NoRoute),
    (OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)), NetworkUnreachable),
    (OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), NoAnswer),
    (OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), CutOff),
    (OSError(errno.EACCES, os.strerror(errno.EACCES)), CannotReach),
    (
        OSError(
            "Multiple exceptions: [Errno 113] Connect call failed ('192.0.2.1', 22),"
            " [Errno 101] Connect call failed ('2001:db8::1', 22, 0, 0)"
        ),
        NoRoute,
    ),
    (OSError("Multiple exceptions: ()"), CannotReach),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), NameUnknown),
    (
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        NameServerSilent,
    ),
    (UnicodeEncodeError("idna", "x" * 64, 0, 64, "label too long"), NameUnknown),
    (UnicodeError("label empty or too long"), NameUnknown),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), NotSSH),
    (TimeoutError(), NoAnswer),
    (AssertionError("asyncssh"), NotSSH),
]
# Words of programs: of a function, of several errors, of a class, of a pair.
_OF_A_PROGRAM = re.compile(
    r"\bErrno\b|Connect call|Multiple exceptions|\w(?:Error|Exception)\b"
    r"|\('|[(（]\w+[:：=]|\bNone\b|\w=\w|\b[a-z]+_[a-z]+ \("
)


def plain(text: str) -> bool:
    """Return whether a text holds nothing that a program says for programmers."""
    words = [os.strerror(number) for number in errno.errorcode]
    return not _OF_A_PROGRAM.search(text) and not any(word in text for word in words)


def met() -> Iterator[tuple[ConnectionFailed, type[ConnectionFailed]]]:
    """Yield what becomes of each of them, and what is to."""
    for raised, kind in MET:
        with pytest.raises(ConnectionFailed) as caught, connecting("192.0.2.1", 22):
            raise raised
        yield caught.value, kind


@pytest.fixture(params=LANGUAGES)
async def home(hass: HomeAssistant, request: pytest.FixtureRequest) -> HomeAssistant:
    """A home in which people speak that language."""
    hass.config.language = request.param
    await async_get_translations(hass, request.param, "exceptions", {DOMAIN})
    return hass


def test_what_is_no_plain_text_is_found() -> None:
    """As forms, logs and pages have shown it."""
    assert plain("The device at 192.0.2.1 refuses SSH connections at port 22.")
    assert not plain("port_closed (host: 192.0.2.1, port: 22)")
    assert not plain("It failed: [Errno 113] Connect call failed ('192.0.2.1', 22)")
    assert not plain("No way was found (No route to host).")
    assert not plain("ConnectionResetError")


def test_each_way_in_which_a_router_is_not_reached_is_a_kind() -> None:
    """None goes by the text of a library."""
    assert [(type(err), kind) for err, kind in met() if type(err) is not kind] == []


async def test_none_of_these_ways_shows_a_programs_words(home: HomeAssistant) -> None:
    """In no language; and no two of them are told the same."""
    said = {type(err): sentence_of(home, err) for err, _ in met()}
    assert [text for text in said.values() if not plain(text)] == []
    assert len(set(said.values())) == len(said)


async def test_a_diagnosis_of_a_router_that_is_away_says_what_is_the_matter(
    home: HomeAssistant,
) -> None:
    """In the sentence that there is for it, in the language of the home."""
    texts = await async_texts(home)
    errors = [*(err for err, _ in met()), FirewallMissing(), Unforeseen()]
    for err in errors:
        diagnosis = unreachable(err)
        (failed,) = (check for check in diagnosis.checks if check.cause)
        seen = texts.sentences(failed)["seen"]
        assert sentence_of(home, err).startswith(seen)
        assert seen.endswith((".", "。"))
        assert plain(report(diagnosis, texts).replace("\\", ""))


async def test_a_port_that_is_really_closed_is_told_in_plain_words(
    home: HomeAssistant, socket_enabled: None
) -> None:
    """As this machine's kernel says it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(PortClosed) as caught:
            await fetch_host_key("127.0.0.1", port)
    said = sentence_of(home, caught.value)
    assert plain(said)
    assert "127.0.0.1" in said
    assert str(port) in said
