"""Lists are kept whole, encrypted and in versions; a stopped import changes nothing; nothing at rest tells a value."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto.keys import ListsKey
from custodes.errors import ListError, StorageError
from custodes.lists import store as module
from custodes.lists.container import ListHeader, collect, decode, encode
from custodes.lists.store import ListStore, Provenance
from custodes.model import Entry, Kind, Role

KEY = ListsKey(bytes(range(32)))
FROM = Provenance(source="list.csv", format="csv", authority="Demo authority")


def digest(number: int, kind: Kind = Kind.MD5) -> bytes:
    return hashlib.shake_256(f"pattern {number}".encode()).digest(kind.size_bytes)


def entry(number: int, kind: Kind = Kind.MD5, entry_id: str | None = None, role: Role = Role.CONFIRMED) -> Entry:
    return Entry(kind, digest(number, kind), f"e{number}" if entry_id is None else entry_id, "A1", "high", role)


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "lists", KEY)


def ids_in(store: ListStore, list_id: str = "demo") -> set[str]:
    contents = store.load(store.current([list_id])).lists[0].contents
    return {contents.entry_id(number) for columns in contents.kinds.values() for number in columns.ids}


def test_an_imported_list_is_loaded_as_it_was_given(store: ListStore) -> None:
    given_ = [entry(1), entry(2, Kind.PDQ, role=Role.SEED), entry(3, Kind.URL_RAW_SHA1), entry(4, role=Role.NEGATIVE)]
    report = store.import_entries("demo", given_, FROM)
    assert (report.records, report.skipped, report.list) == (4, 0, "demo")
    assert report.entries == {Kind.MD5: 2, Kind.PDQ: 1, Kind.URL_RAW_SHA1: 1}
    assert report.roles == {Role.CONFIRMED: 2, Role.SEED: 1, Role.NEGATIVE: 1}
    loaded = store.load()
    assert loaded.versions == {"demo": report.version}
    assert loaded.kinds == (Kind.MD5, Kind.PDQ, Kind.URL_RAW_SHA1)
    assert expand(loaded.lists[0].contents) == sorted(given_, key=lambda e: (list(Kind).index(e.kind), e.id))


def expand(contents: module.Contents) -> list[Entry]:
    return [
        Entry(
            kind,
            columns.codes[row].tobytes(),
            contents.entry_id(columns.ids[row]),
            contents.categories[columns.categories[row]],
            contents.assurances[columns.assurances[row]],
            module.ROLES[columns.roles[row]],
        )
        for kind, columns in contents.kinds.items()
        for row in range(len(columns))
    ]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
entries = st.builds(
    lambda kind, number, id_, category, role: Entry(kind, digest(number, kind), id_, category, category[::-1], role),
    st.sampled_from(list(Kind)),
    st.integers(0, 5),
    texts.filter(bool),
    texts,
    st.sampled_from(list(Role)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(entries, min_size=1, max_size=30))
def test_any_entries_come_back_in_order_each_once(items: list[Entry]) -> None:
    contents, count = collect(items)
    head, body = encode(ListHeader(list="demo", sequence=1, created="", provenance=FROM), contents)
    header, back, view = decode(head + body)
    assert (header.list, header.provenance, count, bytes(view)) == ("demo", FROM, len(items), body)
    expected = [e for kind in Kind for e in dict.fromkeys(items) if e.kind is kind]
    assert expand(back) == expected


def test_equal_entries_are_folded_and_those_that_differ_in_anything_are_kept(store: ListStore) -> None:
    items = [entry(1), entry(1), entry(1, role=Role.NEGATIVE), entry(1, entry_id="other"), entry(1)]
    report = store.import_entries("demo", items, FROM)
    assert (report.records, report.skipped, report.entries) == (5, 2, {Kind.MD5: 3})


def test_entries_without_an_id_are_numbered_by_their_place(store: ListStore) -> None:
    store.import_entries("demo", [entry(1), entry(2, entry_id=""), entry(2, entry_id=""), entry(3, entry_id="")], FROM)
    assert ids_in(store) == {"e1", "row-2", "row-4"}


def test_a_withdrawn_entry_is_gone_with_the_next_version(store: ListStore) -> None:
    first = store.import_entries("demo", [entry(1), entry(2)], FROM).version
    second = store.import_entries("demo", [entry(2)], FROM).version
    assert ids_in(store) == {"e2"}
    assert (first[:2], second[:2]) == ("1-", "2-")


def test_version_names_follow_the_content_and_only_for_holders_of_the_key(tmp_path: Path) -> None:
    one, other = ListStore(tmp_path / "one", KEY), ListStore(tmp_path / "two", ListsKey(bytes(32)))
    names = [
        one.import_entries("demo", [entry(1)], FROM).version,
        one.import_entries("demo", [entry(1)], Provenance(source="elsewhere")).version,
        one.import_entries("demo", [entry(2)], FROM).version,
        other.import_entries("demo", [entry(1)], FROM).version,
    ]
    digests = [name.partition("-")[2] for name in names]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_show_tells_counts_and_no_values(store: ListStore) -> None:
    assert store.show() == []
    report = store.import_entries("demo", [entry(1), entry(2, Kind.PDQ, role=Role.SEED)], FROM)
    (summary,) = store.show()
    assert (summary.list, summary.version, summary.provenance) == ("demo", report.version, FROM)
    assert summary.entries == {Kind.MD5: 1, Kind.PDQ: 1}
    assert summary.roles == {Role.CONFIRMED: 1, Role.SEED: 1}
    assert summary.categories == {"A1": 2}
    for shown in (repr(summary), repr(report), repr(store.load()), repr(store.load().lists[0].contents)):
        assert not tells_values(shown.encode())


def tells_values(data: bytes) -> list[str]:
    """The forms in which a byte string holds the value or id of entry 1 or 2."""
    found = []
    for number in (1, 2):
        value = digest(number)
        forms = {
            "raw": value,
            "hex": value.hex().encode(),
            "base64": base64.b64encode(value)[:20],
            "reversed": value[::-1],
        }
        found += [name for name, form in forms.items() if form in data or form.upper() in data]
    return found + (["id"] if b"secret-id" in data else [])


def at_rest(folder: Path) -> bytes:
    return b"".join(str(p).encode() + (p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*"))


def test_nothing_at_rest_tells_a_value(store: ListStore, tmp_path: Path) -> None:
    store.import_entries("demo", [entry(1), entry(2, entry_id="secret-id")], FROM)
    assert tells_values(at_rest(tmp_path)) == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}


def test_planted_fault_a_list_written_in_clear_is_caught(
    store: ListStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "lock", lambda key, plaintext, context: plaintext)
    store.import_entries("demo", [entry(1), entry(2, entry_id="secret-id")], FROM)
    assert set(tells_values(at_rest(tmp_path))) == {"raw", "id"}


def test_an_empty_import_or_a_failing_source_changes_nothing(store: ListStore) -> None:
    def failing() -> Iterator[Entry]:
        yield entry(7)
        raise ListError("a.csv has 1 problems")

    store.import_entries("demo", [entry(1)], FROM)
    before = store.load().versions
    for bad in ([], failing()):
        with pytest.raises(ListError):
            store.import_entries("demo", bad, FROM)
    with pytest.raises(ListError, match="has 3 bytes, not 16"):
        store.import_entries("demo", [Entry(Kind.MD5, b"abc", "")], FROM)
    assert store.load().versions == before
    with pytest.raises(ListError):
        store.import_entries("other", [], FROM)
    assert store.ids() == ["demo"]


def stopped_at(store: ListStore, step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Import a second version in which the n-th call that touches the disk fails. False when there are fewer calls."""
    count = 0

    def failing(real: object) -> object:
        def call(*args: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                raise OSError(28, "No space left on device")
            return real(*args, **options)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(os.fsync))
        patch.setattr(Path, "replace", failing(Path.replace))
        try:
            store.import_entries("demo", [entry(2)], FROM)
        except StorageError:
            return True
    return False


def test_an_import_stopped_at_any_step_leaves_a_whole_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = 0
    stopped = True
    while stopped:
        step += 1
        store = ListStore(tmp_path / str(step), KEY)
        store.import_entries("demo", [entry(1)], FROM)
        stopped = stopped_at(store, step, monkeypatch)
        assert ids_in(store) in ([{"e1"}, {"e2"}] if stopped else [{"e2"}])
        store.import_entries("demo", [entry(3)], FROM)
        assert ids_in(store) == {"e3"}
    assert step == 10  # three times: file synced, renamed, folder synced; and the run that was not stopped


@pytest.mark.parametrize("list_id", ["", "A", "-a", ".hidden", "a/b", "..", "a b", "ä", "x" * 64, "a\n"])
def test_list_ids_that_could_be_paths_are_refused(store: ListStore, list_id: str, tmp_path: Path) -> None:
    with pytest.raises(ListError):
        store.import_entries(list_id, [entry(1)], FROM)
    with pytest.raises(ListError):
        store.remove(list_id)
    with pytest.raises(ListError):
        store.current([list_id])
    with pytest.raises(ListError, match="not a list id"):
        store.load({list_id: "1-000000000000"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("list_id", ["a", "0", "ncmec-npo.v2_test", "x" * 63])
def test_list_ids_of_letters_digits_and_marks_are_taken(store: ListStore, list_id: str) -> None:
    store.import_entries(list_id, [entry(1)], FROM)
    assert store.ids() == [list_id]


def test_no_list_and_an_unknown_list_are_errors_with_a_hint(store: ListStore) -> None:
    with pytest.raises(ListError, match="no hash list") as caught:
        store.load()
    assert "custodes lists import" in str(caught.value.hint)
    store.import_entries("one", [entry(1)], FROM)
    store.import_entries("two", [entry(1)], FROM)
    with pytest.raises(ListError, match="no list 'three'") as caught:
        store.current(["one", "three"])
    assert caught.value.hint == "lists there are: one, two"
    with pytest.raises(ListError, match="No such file") as caught:
        store.load({"three": "1-000000000000"})
    assert caught.value.hint == "lists there are: one, two"
    for nothing in (lambda: store.load({}), lambda: store.current([])):
        with pytest.raises(ListError, match="no hash list"):
            nothing()
    assert [each.id for each in store.load(store.current(["two"])).lists] == ["two"]


def test_a_named_version_is_loaded_even_when_a_later_one_is_current(store: ListStore) -> None:
    first = store.import_entries("demo", [entry(1)], FROM).version
    store.import_entries("demo", [entry(2)], FROM)
    contents = store.load({"demo": first}).lists[0].contents
    assert [e.id for e in expand(contents)] == ["e1"]


@pytest.mark.parametrize("version", ["", "1", "0-000000000000", "../x", "1-00000000000G", "1-000000000000.list"])
def test_a_version_that_could_be_a_path_is_refused(store: ListStore, version: str) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    with pytest.raises(ListError, match="not a version"):
        store.load({"demo": version})


def test_a_removed_list_is_gone_in_all_versions(store: ListStore, tmp_path: Path) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    store.import_entries("demo", [entry(2)], FROM)
    store.remove("demo")
    assert store.ids() == []
    assert list((tmp_path / "lists").iterdir()) == []
    with pytest.raises(ListError):
        store.remove("demo")


def list_file(folder: Path, list_id: str = "demo") -> Path:
    (path,) = (folder / "lists" / list_id).glob("*.list")
    return path


def test_no_altered_cut_or_swapped_list_file_is_loaded(store: ListStore, tmp_path: Path) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    path = list_file(tmp_path)
    whole = path.read_bytes()
    altered = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    for content in [*altered, whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(ListError):
            store.load()
    path.write_bytes(whole)
    assert ids_in(store) == {"e1"}


def test_an_old_version_or_another_list_under_a_current_name_is_refused(store: ListStore, tmp_path: Path) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    old = list_file(tmp_path).read_bytes()
    current = store.import_entries("demo", [entry(2)], FROM).version
    (tmp_path / "lists" / "demo" / f"{current}.list").write_bytes(old)
    with pytest.raises(ListError, match="another key, or for another purpose or place"):
        store.load()
    store.import_entries("demo", [entry(1)], FROM)
    (tmp_path / "lists" / "demo").rename(tmp_path / "lists" / "renamed")
    with pytest.raises(ListError):
        store.load()


@pytest.mark.parametrize("content", [b"", b"../../etc/passwd\n", b"9-000000000000\n", b"\xff\n", b"1\n"])
def test_a_broken_current_pointer_is_refused(store: ListStore, tmp_path: Path, content: bytes) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    (tmp_path / "lists" / "demo" / "current").write_bytes(content)
    with pytest.raises(ListError):
        store.load()


def test_another_key_is_refused(store: ListStore, tmp_path: Path) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    with pytest.raises(ListError, match="another key"):
        ListStore(tmp_path / "lists", ListsKey(bytes(32))).load()


def test_imports_at_the_same_time_make_one_version_each(store: ListStore, tmp_path: Path) -> None:
    reports: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: reports.append(store.import_entries("demo", [entry(n)], FROM).version))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.partition("-")[0] for version in reports) == [str(n) for n in range(1, 9)]
    assert store.load().versions["demo"].startswith("8-")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_malformed_plaintext_is_a_list_error(data: st.DataObject) -> None:
    # Authentic but wrong, as a list of a later version would be.
    contents, _ = collect([entry(1), entry(2, Kind.PDQ)])
    plain = b"".join(encode(ListHeader(list="demo", sequence=1, created="", provenance=FROM), contents))
    at = data.draw(st.integers(0, len(plain) - 1))
    cut = plain[:at] + data.draw(st.binary(max_size=9))
    assume_changed = cut != plain
    try:
        decode(cut)
        assert not assume_changed or len(cut) == len(plain)
    except ListError:
        pass


def read_by_the_documentation(data: bytes) -> tuple[object, list[tuple[str, str, str, str, int]]]:
    """docs/formats/list-file.md, "Plaintext", again and without our code: header and (kind, hex, id, category,
    role).
    """
    at = 8
    assert data[:8] == b"custlst1"

    def take(size: int) -> bytes:
        nonlocal at
        taken = data[at : at + size]
        at += -(-size // 8) * 8
        return taken

    def block() -> dict[str, object]:
        (size,) = struct.unpack("<Q", take(8))
        return json.loads(take(size))  # type: ignore[no-any-return]

    def u32(count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", take(4 * count))

    header, shape = block(), block()
    offsets = struct.unpack(f"<{shape['ids'] + 1}Q", take(8 * (shape["ids"] + 1)))  # type: ignore[operator]
    text = take(shape["id_bytes"])  # type: ignore[arg-type]
    rows = []
    for kind, count in shape["kinds"]:  # type: ignore[attr-defined]
        size = {"md5": 16, "sha1": 20}.get(kind.rpartition("-")[2], 32)
        codes = take(count * size)
        ids, categories, _assurances, roles = u32(count), u32(count), u32(count), take(count)
        for n in range(count):
            own = text[offsets[ids[n]] : offsets[ids[n] + 1]].decode()
            category = shape["categories"][categories[n]]  # type: ignore[index]
            rows.append((kind, codes[n * size : (n + 1) * size].hex(), own, category, roles[n]))
    assert at == len(data)
    return header, rows


def test_the_documented_layout_is_the_layout() -> None:
    items = [entry(1), entry(2, Kind.URL_RAW_SHA1, role=Role.NEGATIVE), entry(3, Kind.PDQ, "é", Role.SEED), entry(4)]
    plain = b"".join(encode(ListHeader(list="demo", sequence=7, created="x", provenance=FROM), collect(items)[0]))
    header, rows = read_by_the_documentation(plain)
    provenance = {"source": "list.csv", "format": "csv", "authority": "Demo authority"}
    assert header == {"list": "demo", "sequence": 7, "created": "x", "provenance": provenance}
    assert rows == [
        ("md5", digest(1).hex(), "e1", "A1", 0),
        ("md5", digest(4).hex(), "e4", "A1", 0),
        ("pdq", digest(3, Kind.PDQ).hex(), "é", "A1", 1),
        ("url/raw-sha1", digest(2, Kind.URL_RAW_SHA1).hex(), "e2", "A1", 2),
    ]


def test_loaded_columns_are_read_only(store: ListStore) -> None:
    store.import_entries("demo", [entry(1)], FROM)
    with pytest.raises(ValueError, match="read-only"):
        store.load().lists[0].contents.kinds[Kind.MD5].codes[0] = np.uint8(0)
