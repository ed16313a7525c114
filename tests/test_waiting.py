"""No test gives up on what is only slow, or leaves behind what runs on."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.waiting import NeverCame, at_once, soon, until, until_told, wait_until

REPOSITORY = Path(__file__).parents[1]
CODE = [
    path
    for folder in ("custom_components", "tests")
    for path in (REPOSITORY / folder).rglob("*.py")
]
TESTS = [path for path in CODE if path.is_relative_to(REPOSITORY / "tests")]
# Shorter limits are for what is not to come.
MOMENT = 5.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be waited for long."""
    monkeypatch.setattr(until, "__defaults__", (0.1,))
    monkeypatch.setattr(until_told, "__defaults__", (0.1,))
    monkeypatch.setattr(wait_until, "__defaults__", (0.1,))


async def test_what_comes_late_is_what_was_waited_for() -> None:
    """And it is returned, whoever is asked for it."""
    answers = iter([0, 0, 7] * 3)

    async def ask() -> int:
        return next(answers)

    assert await until(lambda: next(answers)) == 7
    assert await until_told(ask) == 7
    assert wait_until(lambda: next(answers)) == 7


@pytest.mark.usefixtures("impatient")
async def test_what_never_comes_is_told() -> None:
    """With how long it was waited for."""

    async def ask() -> bool:
        return False

    with pytest.raises(NeverCame, match=r"within 0\.1 seconds"):
        await until(lambda: False)
    with pytest.raises(NeverCame):
        await until_told(ask)
    with pytest.raises(NeverCame):
        wait_until(lambda: False)


@pytest.mark.parametrize(
    ("running", "average", "seconds"),
    [(1, 0.5, 2.0), (4, 0.5, 2.0), (6, 0.5, 6.0), (20, 6.0, 20.0), (1, 10.0, 10.0)],
)
def test_what_is_quick_may_take_longer_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, running: int, average: float, seconds: float
) -> None:
    """As many times as there are others for each processor, now or just before."""
    text = f"{average} 0.5 0.5 {running}/300 4321\n"
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    assert soon(2.0) == seconds


async def test_where_one_fails_the_others_are_ended_first() -> None:
    """Or they would run into the next test."""
    ended = asyncio.Event()

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    with pytest.RaisesGroup(ValueError):
        await at_once(lasts(), fails())
    assert ended.is_set()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls in a file, each with the name of what is called."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def place(path: Path, node: ast.expr) -> str:
    """Return where in the repository something stands."""
    return f"{path.relative_to(REPOSITORY)}:{node.lineno}"


def test_no_code_leaves_siblings_running() -> None:
    """As `gather` does when one of them fails, unless it waits for all."""
    assert not [
        place(path, call)
        for path in CODE
        for name, call in calls(path)
        if name == "asyncio.gather"
        and "return_exceptions" not in {word.arg for word in call.keywords}
    ]


def test_no_test_has_a_limit_of_its_own() -> None:
    """There is one for what hangs, and one for what promises to be quick."""
    assert not [
        place(path, call)
        for path in TESTS
        for name, call in calls(path)
        if name in {"asyncio.timeout", "asyncio.wait_for", "asyncio.wait"}
        for it in (*call.args, *(word.value for word in call.keywords))
        if isinstance(it, ast.Constant)
        and isinstance(it.value, int | float)
        and it.value > MOMENT
    ]


def test_what_promises_to_be_quick_is_measured_as_on_this_machine() -> None:
    """`time.monotonic() - began < soon(2)`, and no number alone."""
    assert not [
        place(path, node)
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        and ast.unparse(node.left).startswith("time.monotonic() -")
        and isinstance(node.ops[0], ast.Lt)
        and "soon(" not in ast.unparse(node)
    ]


def test_servers_of_tests_ask_for_no_name() -> None:
    """A machine whose own name no one knows waits seconds for each answer."""
    starts = [
        (place(path, call), {it.arg: ast.unparse(it.value) for it in call.keywords})
        for path in CODE
        for name, call in calls(path)
        if name in {"asyncssh.create_server", "asyncssh.listen"}
    ]
    assert starts
    assert not [where for where, words in starts if words.get("gss_host") != "None"]
