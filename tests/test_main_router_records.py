"""What the main router was asked for, as it is read from disk: whatever is there."""

from typing import Any, Final, override

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.main_router.records import Record
from custom_components.bypass_router.router.port_mapping.base import (
    PortMapping,
    PublicPort,
)
from custom_components.bypass_router.storage import NotSaved

from .memory_main_router import MemoryFile, records_in

WEB: Final = PublicPort("tcp", 443)
RECORD: Final = Record(
    "01WEB", PortMapping(WEB, 8443), 7, 7200, 1.5, former=frozenset({1, 2})
)
LINE: Final = {
    "forward": "01WEB",
    "transport": "tcp",
    "public_port": 443,
    "port": 8443,
    "number": 7,
    "lease": 7200,
    "asked": 1.5,
    "agreed": False,
    "former": [1, 2],
}


class Given(MemoryFile):
    """A file that holds anything."""

    def __init__(self, stored: object) -> None:
        """Take what."""
        super().__init__()
        self.stored = stored

    @override
    async def async_load(self) -> object:
        """Return it."""
        return self.stored


async def read(stored: object) -> tuple[dict[PublicPort, Record], tuple[str, ...]]:
    """Return what is read of something."""
    records = records_in(Given(stored))
    await records.load()
    return dict(records.mappings), records.locations


async def test_what_is_saved_is_read() -> None:
    """Of mappings, and of where the main router was found."""
    file = MemoryFile()
    records = records_in(file)
    await records.load()
    assert (records.mappings, records.locations) == ({}, ())
    for_good = Record(
        "02", PortMapping(PublicPort("udp", 1), 1), 0, 0, 2.0, agreed=True
    )
    mapping = PortMapping(PublicPort("udp", 2), 2)
    kept = Record("03", mapping, 1, 7200, 2.0, looked=False, kept=86_400)
    mappings = {it.mapping.public: it for it in (RECORD, for_good, kept)}
    await records.save(mappings)
    await records.save(locations=("http://192.168.50.1:5000/",))
    again = records_in(file)
    await again.load()
    assert again.mappings == mappings
    assert again.locations == ("http://192.168.50.1:5000/",)
    await again.remove()
    assert file.text is None


async def test_what_is_on_disk_is_not_written_again() -> None:
    """At each look."""
    file = MemoryFile()
    records = records_in(file)
    await records.save({WEB: RECORD})
    file.text = None
    await records.save({WEB: RECORD}, ())
    assert file.text is None


async def test_what_could_not_be_saved_is_not_so_and_is_written_later() -> None:
    """Though it is the same as before then."""
    file = MemoryFile()
    records = records_in(file)
    await records.save({WEB: RECORD})
    file.full = True
    with pytest.raises(NotSaved):
        await records.save({})
    assert records.mappings == {WEB: RECORD}
    file.full, file.text = False, None
    await records.save({WEB: RECORD})
    assert file.text is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"forward": 1},
        {"transport": "sctp"},
        {"public_port": 0},
        {"public_port": 65536},
        {"public_port": "443"},
        {"public_port": True},
        {"port": 0},
        {"port": True},
        {"port": 1.5},
        {"number": -1},
        {"lease": -1},
        {"lease": 604_801},
        {"lease": False},
        {"asked": None},
        {"asked": float("nan")},
        {"asked": float("inf")},
        {"asked": 10**400},
        {"agreed": 1},
        {"former": {}},
    ],
)
async def test_a_line_that_makes_no_sense_is_left_out(wrong: dict[str, Any]) -> None:
    """And the others are read."""
    other = {**LINE, "public_port": 444}
    found, _ = await read({"mappings": [{**LINE, **wrong}, other]})
    assert list(found) == [PublicPort("tcp", 444)]
    for key in LINE:
        assert await read(
            {"mappings": [{it: LINE[it] for it in LINE if it != key}]}
        ) == (
            {},
            (),
        )


async def test_what_makes_sense_is_read() -> None:
    """But for ports that are none."""
    assert await read({"mappings": [LINE]}) == ({WEB: RECORD}, ())
    line = {**LINE, "former": [1, 2, "3", None, 2.5]}
    assert await read({"mappings": [line]}) == ({WEB: RECORD}, ())
    for kept in (-1, 604_801, True, "1", None):
        line = {**LINE, "kept": kept}
        assert await read({"mappings": [line]}) == ({WEB: RECORD}, ())


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*LINE, "mappings", "locations"]), inner)
    ),
    max_leaves=12,
)
_LINES: Final = st.fixed_dictionaries(
    {key: st.just(value) | _JSON for key, value in LINE.items()}
)


@given(
    st.one_of(
        _JSON, st.fixed_dictionaries({"mappings": st.lists(_LINES), "locations": _JSON})
    )
)
async def test_whatever_the_file_holds_is_read(stored: object) -> None:
    """And what was read is written and read as it is."""
    found, locations = await read(stored)
    assert all(record.mapping.public == public for public, record in found.items())
    assert all(isinstance(text, str) for text in locations)
    file = MemoryFile()
    await records_in(file).save(found, locations)
    again = records_in(file)
    await again.load()
    assert (again.mappings, again.locations) == (found, locations)


def test_when_it_is_due_and_when_it_ends() -> None:
    """Half of the lease; never, if it is for good; at once, if no one has agreed."""
    asked = Record("01WEB", PortMapping(WEB, 8443), 0, 7200, 1000.0, agreed=True)
    assert (asked.renew_at, asked.until) == (4600, 8200)
    assert [asked.is_due(now) for now in (999, 1000, 4599, 4600)] == [
        True,
        False,
        False,
        True,
    ]
    for_good = Record("01WEB", PortMapping(WEB, 8443), 0, 0, 1000.0, agreed=True)
    assert not for_good.is_due(10**10)
    assert Record("01WEB", PortMapping(WEB, 8443), 0, 0, 1000.0).is_due(1001)
