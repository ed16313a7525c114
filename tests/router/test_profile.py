"""What the profile of an account prints and reads is none of our answers.

Whatever it is that a login shell says, on either stream, before a script, amid it, or
after: an answer is what the script has printed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import time

import asyncssh
import pytest

from custom_components.bypass_router.router.errors import BadOutput
from custom_components.bypass_router.router.ssh import process as process_module
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import at_once, soon

SERVERS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(ssh="openssh"), RouterOptions(ssh="dropbear")],
    ids=["openssh", "dropbear"],
)
ACCOUNT = Credentials("chatty", "secret")
PROFILES = {
    "a locale that is missing": "export LC_ALL=xx_XX.UTF-8 LANG=yy_YY.UTF-8",
    "a command that is missing": "no-such-command --init; stty erase '^?'",
    "both streams by turns": "for i in 1 2 3 4 5 6; do echo $i; echo $i >&2; done",
    "a job that goes on": "( for i in $(seq 400); do echo mail; sleep 0.001; done ) &",
    "a job on stderr": "( for i in $(seq 400); do echo mail >&2; sleep 0.001; done ) &",
    "a job that ends no line": "( while sleep 0.002; do printf .; done ) &",
}
READERS = {
    "a question": 'read -r answer; echo "$answer"; echo "$answer" >&2',
    "a pager": "head -n 1",
    "one that reads on": "timeout 3 cat",
}
LINES = [f"line {number}" for number in range(300)]


def use_profile(lab: Lab, profile: str) -> None:
    """Let the account have this one, whichever file its shell reads."""
    if not (lab.bypass.root / "home/chatty").exists():
        lab.bypass.users.add(ACCOUNT.username, "secret", "/bin/bash")
        # dropbear lets in no one with another.
        lab.bypass.disk.write("/etc/shells", "/bin/sh\n/bin/bash\n")
    for name in (".profile", ".bashrc", ".bash_profile"):
        lab.bypass.run("sh", "-c", f'printf "%s\\n" "$0" >~chatty/{name}', profile)


@asynccontextmanager
async def sessions(lab: Lab, number: int) -> AsyncIterator[list[Session]]:
    """Log in so many times at once."""
    host = lab.bypass.address
    key = await fetch_host_key(host, 22)
    opened = await at_once(
        *(Session.open(host, 22, key, ACCOUNT) for _ in range(number))
    )
    try:
        yield list(opened)
    finally:
        await at_once(*(session.close() for session in opened))


async def answers(session: Session) -> None:
    """See that an answer is whole, and nothing but the answer."""
    script = Script().run("uid", "id -u").run("bad", "sh -c 'echo no >&2; exit 3'")
    script.feed("lines", "cat", LINES).run("long", "seq 5000").run("none", "true")
    sections = await session.run(script)
    assert sections["uid"].output == "1000"
    assert (sections["bad"].output, sections["bad"].status) == ("no", 3)
    assert sections["lines"].lines == LINES
    assert sections["long"].lines == [str(number) for number in range(1, 5001)]
    assert sections["none"].output == ""


@SERVERS
async def test_what_a_profile_prints_is_in_no_answer(at_home: Lab) -> None:
    """In forty connections, of the first script and of the one after it.

    What goes wrong by chance did so in every eighth.
    """
    for profile in PROFILES.values():
        use_profile(at_home, profile)
        for _ in range(10):
            # dropbear lets five log in at once.
            async with sessions(at_home, 4) as some:
                await at_once(*map(answers, some))
                await at_once(*map(answers, some))


@SERVERS
@pytest.mark.parametrize("profile", READERS.values(), ids=READERS)
async def test_a_profile_that_reads_takes_nothing_of_a_script(
    at_home: Lab, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets a line that means nothing, and what it says to it is no answer."""
    monkeypatch.setattr(process_module, "_NUDGE", 0.3)
    use_profile(at_home, profile)
    async with sessions(at_home, 1) as [session]:
        for _ in range(3):
            await answers(session)
        async with asyncio.timeout(soon(30)):
            lines = session.stream("echo on; cat >/dev/null\n", 5)
            assert await anext(lines) == "on"
            await lines.aclose()


async def test_an_account_for_which_the_server_has_a_command_of_its_own(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as that is a shell: it never hears ours."""
    monkeypatch.setattr(process_module, "_NUDGE", 0.3)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key("openssh").decode()
    at_home.bypass.users.authorize(f'command="exec sh -s" {public}')
    private = key.export_private_key("openssh").decode()
    host = at_home.bypass.address
    session = await Session.open(
        host,
        22,
        await fetch_host_key(host, 22),
        Credentials("root", private_key=private),
    )
    for _ in range(2):
        sections = await session.run(Script().run("uid", "id -u"))
        assert sections["uid"].output == "0"
    await session.close()


@SERVERS
async def test_what_gets_into_an_answer_has_it_printed_again(at_home: Lab) -> None:
    """And nothing is run twice, nor is anyone held up by the job that prints."""
    job = "while [ ! -e /tmp/quiet ]; do echo mail; sleep 0.2; done"
    use_profile(at_home, f"( {job} ) &")
    once = Script().run("ran", "sh -c 'echo ran >>/tmp/ran; sleep 0.3; seq 100000'")
    async with sessions(at_home, 1) as [session]:
        await answers(session)
        sections = await session.run(once)
        assert sections["ran"].lines[-1] == "100000"
        assert len(sections["ran"].lines) == 100000
        assert at_home.bypass.run("cat", "/tmp/ran").stdout == "ran\n"
        began = time.monotonic()
        await answers(session)
        await answers(session)
        assert time.monotonic() - began < soon(2)
        at_home.bypass.run("touch", "/tmp/quiet")


async def test_an_answer_that_never_comes_whole_is_an_error(at_home: Lab) -> None:
    """Its outcome is unknown; the next one may be good."""
    use_profile(at_home, "( while sleep 0.0001; do seq 3; done ) &")
    at_home.bypass.commands.replace(
        "sh", '#!/mnt/bin/bash\nexec /mnt/bin/bash --posix "$@"\n'
    )
    async with sessions(at_home, 1) as [session]:
        with pytest.raises(BadOutput):
            await session.run(Script().run("long", "seq 300000"))
        use_profile(at_home, "")
        at_home.bypass.run("pkill", "-u", "chatty", "-f", "sleep 0.0001", check=False)
        await answers(session)
