"""Beside what programs write at the hook `forward`: where rules of ours go."""

from collections.abc import Iterator
import re

import pytest

from custom_components.bypass_router.router.backend import Backend
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect
from .nft_programs import PROGRAMS
from .test_foreign_chains import GATES, changed, read, steps
from .test_forward_hook import passing
from .test_router import WEB, ruleset


def listed(text: str) -> str:
    """Return a listing as nft prints it with handles, and the maps behind it."""
    return "\n".join(_with_handles(text)) + "\n" + _maps(text)


def _with_handles(text: str) -> Iterator[str]:
    """Yield the lines, with a handle on each rule, and without maps' elements."""
    for number, line in enumerate(text.strip().split("\n"), 10):
        if "elements = " in line:
            continue
        is_rule = re.fullmatch(r"\t\t(?!type |flags |hook |policy ).*", line)
        yield f"{line} # handle {number}" if is_rule else line


def _maps(text: str) -> str:
    """Return the tables' maps alone."""
    (name,) = re.findall(r"^table (\S+ \S+) ", text, re.MULTILINE)
    maps = re.findall(r"\tmap \S+ \{\n.*?\n\t\}", text, re.DOTALL)
    return f"table {name} {{\n" + "\n\n".join(maps) + "\n}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_ours_stands_right_before_what_drops_and_nowhere_else(name: str) -> None:
    """And all stays as it is when the last forward goes."""
    program = PROGRAMS[name]
    text = listed(program.text)
    for _, lines in steps([WEB], text):
        for line in lines:
            found = re.fullmatch(
                r"(?:add|insert) rule (\S+ \S+ \S+)(?: handle ([0-9]+))? meta .*", line
            )
            assert found
            chain, handle = found.groups()
            before = re.search(rf"^\t\t(.*) # handle {handle}$", text, re.MULTILINE)
            rule = re.sub(' comment ".*"', "", before[1]) if before else ""
            assert program.places[chain] == rule
    assert bool(steps([WEB], text)) == bool(program.places)
    after = changed(text, [WEB])
    assert GATES.carries(WEB, read(after))
    assert not steps([WEB], after)
    named = [it.seen["rule"] for it in GATES.obstacles(WEB, read(after))]
    assert named == list(filter(None, [program.named]))
    assert changed(after, []) == text


@pytest.mark.parametrize("router_options", [RouterOptions(iptables=None)])
async def test_a_forward_passes_beside_each_of_them(at_home: Lab) -> None:
    """Loaded, printed by this nft, and passed by packets with payload."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home, firewall=Backend.NFTABLES)
    try:
        for name, program in PROGRAMS.items():
            at_home.bypass.run("nft", "-f", "-", input=program.text)
            loaded = ruleset(at_home)
            await router.rules.read()
            live = await router.rules.apply([WEB])
            assert live.forwards == {WEB.id: WEB}, name
            assert await passing(at_home) == {"tcp"}, name
            places = {
                place
                for place in program.places
                if "bypass_router"
                in at_home.bypass.run("nft", f"list chain {place}").stdout
            }
            assert places == set(program.places), name
            await router.rules.apply([])
            assert ruleset(at_home) == loaded, name
            (table,) = re.findall(r"^table (\S+ \S+) ", program.text, re.MULTILINE)
            at_home.bypass.run("nft", f"delete table {table}")
    finally:
        await router.close()
