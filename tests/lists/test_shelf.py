"""Lists in shared memory answer as lists that were loaded, cannot be changed, lie in no file, and leave nothing open."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from custodes.crypto.keys import ListsKey
from custodes.errors import ListError
from custodes.index.segment import TABLES_MIN
from custodes.lists import shelf as module
from custodes.lists.container import Provenance
from custodes.lists.matcher import Matcher, MatchSettings
from custodes.lists.shelf import Shelf
from custodes.lists.store import ListStore
from custodes.model import MATCHED_KINDS, Entry, Kind, Role, Signal

FROM = Provenance(source="test")
LIMITS = {"one": MatchSettings(pdq_distance_bits=10)}
QUERIES = 40


def digest(number: int, kind: Kind) -> bytes:
    return hashlib.sha256(f"umbrella {number}".encode()).digest()[: kind.size_bytes]


def entries(first: int, kinds: list[Kind], count: int) -> list[Entry]:
    numbers = range(first, first + count)
    return [Entry(kind, digest(n, kind), f"e{n}", "A1", role=list(Role)[n % 3]) for kind in kinds for n in numbers]


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "lists", ListsKey(bytes(range(32))))


def two_lists(store: ListStore, count: int) -> dict[str, str]:
    """One list of all kinds and one of some, with entries in common."""
    store.import_entries("one", entries(0, list(MATCHED_KINDS), count), FROM)
    store.import_entries("two", entries(count // 2, [Kind.MD5, Kind.PDQ], count), FROM)
    return store.current()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no paths wanted


def codes(kind: Kind, count: int) -> npt.NDArray[np.uint8]:
    """Of entries of the first list alone, of both, of the second, and of none."""
    numbers = [*range(QUERIES), *range(count // 2, count // 2 + QUERIES), count + 1, 10 * count]
    return np.array([list(digest(n, kind)) for n in numbers], dtype=np.uint8)


def said(matcher: Matcher, kind: Kind, count: int) -> list[tuple[int, Signal]]:
    """Rows and signals of all matches; of PDQ codes, 12 bits off."""
    given = codes(kind, count)
    if kind is not Kind.PDQ:
        exact = matcher.exact(kind, given)
        return [(row, matcher.signal(kind, entry)) for row, entry in zip(*map(np.ndarray.tolist, exact), strict=True)]
    given[:QUERIES, :1] ^= 0xFF
    near = matcher.near(np.tile(given, 4), np.full(len(given), 100))
    hits = zip(*map(np.ndarray.tolist, near), strict=True)
    return [(row, matcher.signal(kind, entry, distance, form)) for row, entry, distance, form in hits]


@pytest.mark.parametrize("count", [QUERIES, TABLES_MIN + 1], ids=["compared", "with tables"])
def test_a_matcher_over_the_shelf_answers_as_one_over_loaded_lists(store: ListStore, count: int) -> None:
    versions = two_lists(store, count)
    shelf = Shelf.filled(store, versions)
    mapped = Matcher(shelf.lists(), LIMITS, indexes=shelf.indexes())
    shelf.close()  # what is mapped stays
    loaded = Matcher(store.load(versions), LIMITS)
    assert (mapped.kinds, mapped.versions) == (MATCHED_KINDS, versions) == (loaded.kinds, loaded.versions)
    for kind in MATCHED_KINDS:
        answer = said(mapped, kind, count)
        assert {signal.list_id for _, signal in answer} == ({"one", "two"} if kind in (Kind.MD5, Kind.PDQ) else {"one"})
        assert answer == said(loaded, kind, count)


def write(descriptor: int) -> None:
    os.pwrite(descriptor, b"x", 0)


def shrink(descriptor: int) -> None:
    os.ftruncate(descriptor, 1)


def grow(descriptor: int) -> None:
    os.ftruncate(descriptor, 1 << 30)


def map_to_write(descriptor: int) -> None:
    mmap.mmap(descriptor, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE).close()


def refused(shelf: Shelf, change: Callable[[int], None]) -> set[str]:
    """The parts of the shelf that do not let themselves be changed."""
    names = set()
    for name, descriptor in shelf.descriptors.items():
        try:
            change(descriptor)
        except PermissionError:
            names.add(name)
    shelf.close()
    return names


CHANGES = [write, shrink, grow, map_to_write]


@pytest.mark.parametrize("change", CHANGES)
def test_the_memory_cannot_be_changed(store: ListStore, change: Callable[[int], None]) -> None:
    shelf = Shelf.filled(store, two_lists(store, 5))
    assert refused(shelf, change) == {"list/one", "list/two", *(f"index/{kind.value}" for kind in MATCHED_KINDS)}


@pytest.mark.parametrize("change", CHANGES)
def test_without_its_seals_the_same_check_reports_it(
    store: ListStore, change: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEALS", 0)
    assert refused(Shelf.filled(store, two_lists(store, 5)), change) == set()


def test_the_memory_is_in_no_file_and_in_no_process_that_it_is_not_given_to(store: ListStore, tmp_path: Path) -> None:
    shelf = Shelf.filled(store, two_lists(store, 5))
    for descriptor in shelf.descriptors.values():
        assert os.readlink(f"/proc/self/fd/{descriptor}") == "/memfd:custodes (deleted)"  # noqa: PTH115 - as it is said
        assert not os.get_inheritable(descriptor)
    listed = "import os; print(*(os.path.realpath(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')))"
    child = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True, close_fds=False)
    assert "memfd" not in child.stdout
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert held, "the lists themselves, locked"
    assert not any(digest(number, kind) in held for number in range(8) for kind in MATCHED_KINDS)
    shelf.close()


def test_a_closed_shelf_leaves_no_descriptor(store: ListStore) -> None:
    versions, before = two_lists(store, 5), open_descriptors()
    shelf = Shelf.filled(store, versions)
    assert len(open_descriptors()) == len(before) + 2 + len(MATCHED_KINDS)
    shelf.lists(), shelf.indexes()
    shelf.close()
    shelf.close()
    assert open_descriptors() == before


def locked_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck:"))
    return 1024 * int(line.split()[1])


def test_the_memory_is_locked_while_the_shelf_is_open(store: ListStore) -> None:
    versions, before = two_lists(store, 5), locked_bytes()
    shelf = Shelf.filled(store, versions)
    size_bytes = sum(os.fstat(descriptor).st_size for descriptor in shelf.descriptors.values())
    assert locked_bytes() - before >= size_bytes
    assert not shelf.in_swap
    shelf.close()
    assert locked_bytes() == before


def test_where_the_kernel_refuses_to_lock_it_is_said(store: ListStore) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0));"
        "from tests.lists.test_shelf import *;"
        "store = ListStore(Path(sys.argv[1]), ListsKey(bytes(range(32))));"
        "os.setuid(65534) if os.geteuid() == 0 else None;"
        "shelf = module.Shelf({}, {}); shelf._put('list/x', bytearray(5000)); print(shelf.in_swap)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(store._directory)], check=False, capture_output=True, text=True
    )
    assert said.stdout == "True\n", said.stderr


@pytest.mark.parametrize("damage", ["a flipped bit", "cut", "gone"])
def test_a_damaged_list_is_refused_and_leaves_no_descriptor(store: ListStore, tmp_path: Path, damage: str) -> None:
    versions = two_lists(store, 5)
    path = tmp_path / "lists" / "two" / f"{versions['two']}.list"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "a flipped bit" else data[:-1])
    if damage == "gone":
        path.unlink()
    before = open_descriptors()
    with pytest.raises(ListError, match="list two"):
        Shelf.filled(store, versions)
    assert open_descriptors() == before
