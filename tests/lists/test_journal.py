"""What a walk brought is kept, encrypted, and goes on; what belongs to another start, or cannot be read, is thrown away."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from custodes.crypto.keys import ListsKey
from custodes.errors import StorageError
from custodes.lists.journal import Journal, Start
from custodes.lists.records import Record
from custodes.model import Entry, Kind, Role

KEY = ListsKey(bytes(range(32)))
START = Start(version="3-abc", checkpoint="then", service="ncmec", environment="ngo-test")


def record(number: int) -> Record:
    value = hashlib.sha256(f"pattern {number}".encode()).digest()
    entry = Entry(Kind.PDQ, value, f"id {number}", "A1", "unreviewed", Role.SEED)
    return Record(f"id {number}", (entry,), 1_700_000_000_000 + number)


def journal(folder: Path, start: Start = START, key: ListsKey = KEY) -> Journal:
    found = Journal(folder, key, "demo")
    found.begin(start)
    return found


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    first = journal(tmp_path)
    first.append((record(1), Record("gone", (), 5)), "page 2", None, {"video": 2})
    first.append((record(2),), "page 3", None, {"video": 1, "malformed": 1})
    return tmp_path


def test_a_walk_goes_on_where_it_stopped(kept: Path) -> None:
    again = journal(kept)
    assert (again.pages, again.resume, again.checkpoint) == (2, "page 3", None)
    assert again.skipped == {"video": 3, "malformed": 1}
    assert list(again.records()) == [record(1), Record("gone", (), 5), record(2)]
    again.append((), "", "now", {})
    assert journal(kept).checkpoint == "now"


@pytest.mark.parametrize(
    "start",
    [
        Start(version="4-abc", checkpoint="then", service="ncmec", environment="ngo-test"),
        Start(version="3-abc", checkpoint="later", service="ncmec", environment="ngo-test"),
        Start(version="3-abc", checkpoint="then", service="stopncii", environment="ngo-test"),
        Start(version="3-abc", checkpoint="then", service="ncmec", environment="ngo"),
    ],
    ids=["another version in force", "another checkpoint", "another service", "another environment"],
)
def test_pages_of_another_start_are_thrown_away(kept: Path, start: Start) -> None:
    again = journal(kept, start)
    assert (again.pages, again.resume, list(again.records())) == (0, "", [])
    assert list(kept.iterdir()) == []


def damage(folder: Path, how: str) -> None:
    first, second = sorted(folder.iterdir())
    if how == "a flipped bit":
        data = bytearray(second.read_bytes())
        data[-1] ^= 1
        second.write_bytes(data)
    elif how == "a cut page":
        second.write_bytes(second.read_bytes()[:40])
    elif how == "the first is gone":
        first.unlink()
    elif how == "two pages changed places":
        one, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(one)


@pytest.mark.parametrize("how", ["a flipped bit", "a cut page", "the first is gone", "two pages changed places"])
def test_a_damaged_journal_begins_anew(kept: Path, how: str) -> None:
    damage(kept, how)
    assert journal(kept).pages == 0


def test_another_list_and_another_key_read_nothing(kept: Path) -> None:
    other = Journal(kept, KEY, "other")
    other.begin(START)
    assert other.pages == 0


def test_nothing_of_it_is_in_clear(kept: Path) -> None:
    data = b"".join(path.read_bytes() for path in kept.iterdir())
    value = record(1).entries[0].value
    assert value not in data
    assert value.hex().encode() not in data
    assert b"id 1" not in data
    assert b"page 2" not in data


def test_a_page_that_cannot_be_written_is_an_error(kept: Path, tmp_path: Path) -> None:
    again = journal(kept)
    (kept / ".00000003.page.aside").mkdir()
    with pytest.raises(StorageError):
        again.append((record(3),), "page 4", None, {})
    assert journal(kept).pages == 2
