"""A log in tiles: it grows, it is read with proofs, and nothing in its files can be changed unseen."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from custodes.errors import ConfigError, CustodesError, InputError, StorageError
from custodes.services.calls import Caller
from custodes.transparency import log as log_module
from custodes.transparency import reading
from custodes.transparency.log import Log
from custodes.transparency.merkle import Span, Tree, leaf_hash, verify_consistency, verify_inclusion
from custodes.transparency.notes import Trust, cosign, parse_note
from custodes.transparency.reading import Folder, Reader, Web, audit, consistency, entries, inclusion, read_folder
from custodes.transparency.tiles import ENTRIES, ENTRY_BYTES_MAX, Tile, hashes_of, packed, tiles_between, unpacked
from tests.transparency.worlds import (
    LOG_KEY,
    NOON,
    ORIGIN,
    TRUST,
    WITNESS_KEYS,
    WITNESSES,
    key,
    log_in,
    new_log,
    numbered,
    tree_of,
)


def published(folder: Path) -> Tree:
    return TRUST.verify((folder / "checkpoint").read_bytes()).checkpoint.tree


# Where things lie

PATHS = {
    Tile(0, 1234067): "tile/0/x001/x234/067",
    Tile(0, 0, 255): "tile/0/000.p/255",
    Tile(ENTRIES, 999): "tile/entries/999",
    Tile(ENTRIES, 1000, 1): "tile/entries/x001/000.p/1",
    Tile(63, 5): "tile/63/005",
}


@pytest.mark.parametrize("tile", PATHS, ids=PATHS.values())
def test_tiles_lie_where_the_specification_says(tile: Tile) -> None:
    assert tile.path == PATHS[tile]


def test_the_tiles_of_70000_entries_are_those_of_the_specification() -> None:
    by_level = [tiles_between(0, 70_000, level) for level in (ENTRIES, 0, 1, 2, 3)]
    assert [len(tiles) for tiles in by_level] == [274, 274, 2, 1, 0]
    assert [tiles[-1].width for tiles in by_level[:4]] == [112, 112, 17, 1]
    assert [tile.path for tile in tiles_between(0, 256, 1)] == ["tile/1/000.p/1"]


def test_an_entry_may_be_as_long_as_the_limit() -> None:
    tile = Tile(ENTRIES, 0, 3)
    longest = [b"", b"a", bytes(ENTRY_BYTES_MAX)]
    assert unpacked(packed(longest), tile) == longest
    with pytest.raises(InputError):
        packed([bytes(ENTRY_BYTES_MAX + 1)])


BUNDLES = {
    "cut": packed(numbered(0, 3))[:-1],
    "a byte more": packed(numbered(0, 3)) + b"\0",
    "an entry more": packed(numbered(0, 4)),
    "an entry less": packed(numbered(0, 2)),
    "empty": b"",
    "more than a whole": packed(numbered(0, 257)),
}


@pytest.mark.parametrize("rule", BUNDLES)
def test_what_is_no_bundle(rule: str) -> None:
    with pytest.raises(InputError):
        unpacked(BUNDLES[rule], Tile(ENTRIES, 0, 3))


def test_what_is_no_tile() -> None:
    for data in (b"", bytes(95), bytes(97), bytes(128), bytes(8193)):
        with pytest.raises(InputError):
            hashes_of(data, Tile(0, 0, 3))
    assert len(hashes_of(bytes(8192), Tile(0, 0, 3))) == 3


# It grows


@pytest.mark.parametrize("steps", [(1, 2, 3), (255, 256, 257), (256,), (300, 511, 513, 600), (7, 65, 520)])
def test_a_log_that_grows_in_any_steps_is_the_tree_of_its_entries(tmp_path: Path, steps: tuple[int, ...]) -> None:
    new_log(tmp_path, *steps)
    tree = published(tmp_path)
    assert tree == tree_of(numbered(0, steps[-1]))
    folder = Folder(tmp_path)
    read_folder(folder, audit(tree))
    for index in {0, 1, 254, 255, 256, steps[-1] - 1} & set(range(steps[-1])):
        proof = read_folder(folder, inclusion(index, tree))
        verify_inclusion(leaf_hash(numbered(index, index + 1)[0]), index, proof, tree)
        assert read_folder(folder, entries(Span(index, steps[-1]), tree)) == numbered(index, steps[-1])
    for size in steps:  # also by tiles that were partial then
        old = tree_of(numbered(0, size))
        verify_consistency(old, tree, read_folder(folder, consistency(old, tree)))


def test_a_tree_past_a_whole_second_level(tmp_path: Path) -> None:
    """65,536 entries and some: three levels of tiles."""
    size = 256 * 256 + 300
    log = log_in(tmp_path)
    log.create()
    log.append([b"%d" % number for number in range(size - 3)])
    log.publish()
    log.append([b"%d" % number for number in range(size - 3, size)])
    log.publish()
    tree = published(tmp_path)
    assert tree == tree_of([b"%d" % number for number in range(size)])
    read_folder(Folder(tmp_path), audit(tree))
    assert {path.name for path in (tmp_path / "tile").iterdir()} == {"entries", "0", "1", "2"}
    assert read_folder(Folder(tmp_path), entries(Span(65_535, 65_537), tree)) == [b"65535", b"65536"]


def test_a_partial_tile_is_removed_when_it_is_full_and_readers_of_old_trees_take_the_full_one(tmp_path: Path) -> None:
    new_log(tmp_path, 200)
    old = published(tmp_path)
    log = log_in(tmp_path)
    log.append(numbered(200, 300))
    assert (tmp_path / "tile/0/000.p/200").exists()
    log.publish()
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    assert read_folder(Folder(tmp_path), entries(Span(0, 200), old)) == numbered(0, 200)


def test_a_log_is_never_begun_twice(tmp_path: Path) -> None:
    new_log(tmp_path, 3)
    for lost in ("", ".signed", "checkpoint"):
        if lost:
            (tmp_path / lost).unlink()
        with pytest.raises(ConfigError, match="holds a log already"):
            log_in(tmp_path).create()
    with pytest.raises(ConfigError, match="holds no log"):
        log_in(tmp_path).append(numbered(3, 4))
    with pytest.raises(ConfigError):
        Log(tmp_path, key("other"), TRUST)


def test_nothing_is_appended_by_nothing_and_an_entry_too_long_leaves_nothing(tmp_path: Path) -> None:
    log = new_log(tmp_path, 3)
    before = files(tmp_path)
    for wrong in ([], [b"good", bytes(ENTRY_BYTES_MAX + 1)]):
        with pytest.raises(InputError):
            log.append(wrong)
    assert files(tmp_path) == before


def test_the_longest_entry_is_appended_and_read(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.append([bytes(ENTRY_BYTES_MAX)] * 256)
    log.publish()
    assert read_folder(Folder(tmp_path), entries(Span(255, 256), published(tmp_path))) == [bytes(ENTRY_BYTES_MAX)]


def test_a_log_is_published_when_enough_witnesses_signed_what_was_signed_last(tmp_path: Path) -> None:
    trust = Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES, 2)
    log = Log(tmp_path, LOG_KEY, trust)
    log.create()
    stale = parse_note(log.append(numbered(0, 2))).text
    text = parse_note(log.append(numbered(2, 3))).text

    def lines(of: bytes, *numbers: int) -> bytes:
        return "".join(str(cosign(of, WITNESS_KEYS[number], NOON)) for number in numbers).encode()

    unknown = str(cosign(text, key("unknown.example"), NOON)).encode()
    for few in (b"", lines(text, 0), lines(text, 0, 0) + unknown, lines(stale, 0, 1)):
        with pytest.raises(InputError):
            log.publish(few)
        assert not (tmp_path / "checkpoint").exists()
    log.publish(lines(text, 0, 1) + unknown)
    seen = trust.verify((tmp_path / "checkpoint").read_bytes())
    assert len(seen.witnesses) == 2
    assert b"unknown" not in seen.note


# What the disk lost or changed is not signed


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_log_whose_disk_changed_what_the_new_entries_touch_signs_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1", ".signed"]):
        place = tmp_path / str(number)
        log = new_log(place, 300)
        signed = log.signed()
        data = bytearray((place / name).read_bytes())
        data[10] ^= 1
        (place / name).write_bytes(data)
        with pytest.raises(CustodesError):
            log.append(numbered(300, 301))
        if name != ".signed":
            assert log.signed() == signed


def test_planted_a_log_that_does_not_compare_with_what_it_signed_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module.Log, "_require", lambda self, root, tree: None)
    log = new_log(tmp_path, 300)
    data = bytearray((tmp_path / "tile/1/000.p/1").read_bytes())
    data[10] ^= 1
    (tmp_path / "tile/1/000.p/1").write_bytes(data)
    log.append(numbered(300, 301))
    log.publish()
    with pytest.raises(InputError):
        read_folder(Folder(tmp_path), consistency(tree_of(numbered(0, 300)), published(tmp_path)))


def test_what_is_written_wrongly_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that flips a bit of a tile or an entry while it is written."""
    log = new_log(tmp_path, 3)
    signed, replace = log.signed(), log_module.replace_file

    for part in ("tile/0", "tile/entries"):

        def flips(path: Path, content: bytes, *, mode: int = 0o600, part: str = part) -> None:
            wrong = bytes([*content[:-1], content[-1] ^ 1]) if part in str(path) else content
            replace(path, wrong, mode=mode)

        monkeypatch.setattr(log_module, "replace_file", flips)
        with pytest.raises(CustodesError):
            log.append(numbered(3, 9))
        monkeypatch.setattr(log_module, "replace_file", replace)
        assert log.signed() == signed
    log.append(numbered(3, 9))  # and nothing of it stays
    log.publish()
    assert published(tmp_path) == tree_of(numbered(0, 9))


def test_a_log_that_was_put_back_to_an_older_state_signs_nothing(tmp_path: Path) -> None:
    log = new_log(tmp_path, 3)
    old = log.signed()
    log.append(numbered(3, 5))
    log.publish()
    (tmp_path / ".signed").write_bytes(old)
    with pytest.raises(StorageError, match="published more"):
        log.append(numbered(3, 6, "fork"))


# What a reader notices


def rewritten(folder: Path, rows: list[bytes]) -> None:
    """The log with other entries, done to the end: bundles and tiles fit each other, only the signed root is not theirs."""
    other = folder.with_name("other")
    forger = log_in(other)
    forger.create()
    forger.append(rows)
    shutil.rmtree(folder / "tile")
    shutil.move(other / "tile", folder / "tile")
    shutil.rmtree(other)


def changed_rows(index: int, rows: list[bytes]) -> Iterator[list[bytes]]:
    yield [*rows[:index], b"edited", *rows[index + 1 :]]
    yield [*rows[:index], *rows[index + 1 :]]  # deleted
    yield [*rows[:index], b"slipped in", *rows[index:]]
    if index:
        yield [*rows[: index - 1], rows[index], rows[index - 1], *rows[index + 1 :]]
        yield rows[:index]  # cut short


def undetected(folder: Path, size: int, indices: list[int]) -> list[int]:
    """Where rows can be changed, and an outside verifier with the checkpoint still accepts the log, or gives out what was changed."""
    new_log(folder, size)
    tree, rows, found = published(folder), numbered(0, size), []
    for index in indices:
        for changed in changed_rows(index, rows):
            rewritten(folder, changed)
            if passes(folder, tree) or (given(folder, tree, index) not in (None, rows[index : index + 1])):
                found.append(index)
    return found


def passes(folder: Path, tree: Tree) -> bool:
    try:
        read_folder(Folder(folder), audit(tree))
    except InputError:
        return False
    return True


def given(folder: Path, tree: Tree, index: int) -> list[bytes] | None:
    try:
        return read_folder(Folder(folder), entries(Span(index, index + 1), tree))
    except InputError:
        return None


def test_no_entry_is_edited_deleted_slipped_in_moved_or_cut_off_unseen(tmp_path: Path) -> None:
    assert undetected(tmp_path / "log", 260, [0, 1, 130, 254, 255, 256, 259]) == []


@pytest.mark.soak
def test_no_entry_of_500_is_changed_in_any_way_unseen(tmp_path: Path) -> None:
    assert undetected(tmp_path / "log", 500, list(range(500))) == []


def test_planted_a_reader_that_does_not_compare_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_agree", lambda found, stated, what: None)
    assert undetected(tmp_path / "log", 260, [130]) != []


def test_no_byte_of_any_file_can_be_changed_unseen(tmp_path: Path) -> None:
    """A byte in every 61st place of every file, and each file cut, made longer, or gone."""
    new_log(tmp_path, 300)
    tree, unseen = published(tmp_path), []
    for name, data in files(tmp_path / "tile").items():
        path = tmp_path / "tile" / name
        if Path(name).parent.name.endswith(".p") and not name.endswith(("/44", "/1")):
            continue  # of an older tree
        for at in range(0, len(data), 61):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            if passes(tmp_path, tree):
                unseen.append((name, at))
        for other in (data[:-1], data[:-32], data + b"\0", data + bytes(32), b""):
            path.write_bytes(other)
            if passes(tmp_path, tree):
                unseen.append((name, len(other)))
        path.unlink()
        if passes(tmp_path, tree):
            unseen.append((name, -1))
        path.write_bytes(data)
    assert unseen == []
    assert passes(tmp_path, tree)


def test_there_is_no_entry_past_the_end(tmp_path: Path) -> None:
    new_log(tmp_path, 3)
    tree = published(tmp_path)
    for span in (Span(3, 4), Span(2, 4), Span(1, 1), Span(2, 1), Span(-1, 1)):
        with pytest.raises(InputError):
            read_folder(Folder(tmp_path), entries(span, tree))
    with pytest.raises(InputError):
        read_folder(Folder(tmp_path), inclusion(3, tree))


def test_a_log_is_read_at_an_address_as_in_its_folder(tmp_path: Path) -> None:
    new_log(tmp_path, 200, 300)

    async def main() -> None:
        app = web.Application()
        app.router.add_static("/log", tmp_path)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        caller = Caller(f"http://127.0.0.1:{port}/log", "the log", unsafe_allow_loopback=True)
        try:
            reader = Reader(Web(caller))
            tree = TRUST.verify(await reader.checkpoint()).checkpoint.tree
            assert tree == published(tmp_path)
            await reader.read(audit(tree))
            assert await reader.read(entries(Span(250, 260), tree)) == numbered(250, 260)
            old = tree_of(numbered(0, 200))
            assert await reader.read(entries(Span(0, 9), old)) == numbered(0, 9)  # by the full tile
            verify_consistency(old, tree, await reader.read(consistency(old, tree)))
            (tmp_path / "checkpoint").unlink()
            with pytest.raises(InputError, match="has no checkpoint"):
                await reader.checkpoint()
        finally:
            await caller.close()
            await runner.cleanup()

    asyncio.run(main())
