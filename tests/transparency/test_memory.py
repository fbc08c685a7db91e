"""A verifier remembers: no rollback and no fork is accepted, whoever has the log's key."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from custodes.errors import InputError, StorageError
from custodes.transparency import memory as memory_module
from custodes.transparency.memory import ForkError, Memory, follow
from custodes.transparency.merkle import Tree, leaf_hash
from custodes.transparency.notes import Seen, Trust
from custodes.transparency.reading import Folder, Reader
from custodes.transparency.witness import request
from tests.transparency.worlds import (
    LOG_KEY,
    ORIGIN,
    TRUST,
    WITNESSES,
    log_in,
    naive_consistency,
    new_log,
    note_of,
    numbered,
    tree_of,
    witness_in,
)


def seen(tree: Tree) -> Seen:
    return TRUST.verify(note_of(tree))


def proof(old: int, size: int, fork: str = "") -> list[bytes]:
    return naive_consistency(old, [leaf_hash(entry) for entry in numbered(0, size, fork)])


def test_a_log_that_goes_on_is_followed(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    assert memory.last(ORIGIN) is None
    memory.advance(seen(tree_of([])))
    memory.advance(seen(tree_of(numbered(0, 3))))  # nothing is to be proven of an empty log
    memory.advance(seen(tree_of(numbered(0, 3))))
    memory.advance(seen(tree_of(numbered(0, 9))), proof(3, 9))
    assert Memory(tmp_path).last(ORIGIN) == tree_of(numbered(0, 9))


def accepted(folder: Path, histories: int) -> list[int]:
    """Of so many forks and rollbacks, each with the log's own key and the best proof there is, those that were accepted."""
    rng, memory, found = random.Random(7), Memory(folder), []
    size = 40
    memory.advance(seen(tree_of(numbered(0, size))))
    for number in range(histories):
        shared, other = rng.randrange(size), rng.randrange(1, 80)
        rows = [*numbered(0, shared), *numbered(shared, max(other, shared + 1), f"fork {number}")]
        if number % 4 == 0:
            rows = numbered(0, rng.randrange(size))  # an older state, and nothing else
        leaves = [leaf_hash(row) for row in rows]
        best = naive_consistency(size, leaves) if len(rows) >= size else []
        for tried in (best, proof(size, len(rows)) if len(rows) >= size else [], []):
            try:
                memory.advance(seen(tree_of(rows)), tried)
                found.append(number)
            except InputError:
                pass
    assert memory.last(ORIGIN) == tree_of(numbered(0, size))
    return found


def test_no_fork_and_no_rollback_of_40_is_accepted(tmp_path: Path) -> None:
    assert accepted(tmp_path, 40) == []


@pytest.mark.soak
def test_no_fork_and_no_rollback_of_200_is_accepted(tmp_path: Path) -> None:
    assert accepted(tmp_path, 200) == []


def test_planted_a_memory_that_asks_for_no_proof_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "verify_consistency", lambda old, new, proof: None)
    with pytest.raises(AssertionError):
        assert accepted(tmp_path, 40) == []


def split(folder: Path, forks: int) -> list[int]:
    """Forks that a log with its key brings to three witnesses of which one is its friend, and that two of three then signed."""
    trust, found = Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES, 2), []
    for number in range(forks):
        place = folder / str(number)
        honest = [witness_in(place / str(each), each) for each in (0, 1)]
        rows = numbered(0, 5)
        for witness in honest:
            assert witness.add_checkpoint(request(0, [], note_of(tree_of(rows)))).status == 200
        forked = [*numbered(0, number % 5), *numbered(number % 5, 5 + number % 3, f"fork {number}")]
        note = note_of(tree_of(forked))
        replies = [witness_in(place / "friend", 2).add_checkpoint(request(0, [], note))]
        for witness in honest:
            for old in (0, 5):
                best = naive_consistency(5, [leaf_hash(row) for row in forked]) if old else []
                replies.append(witness.add_checkpoint(request(old, best, note)))
        lines = b"".join(reply.body for reply in replies if reply.status == 200)
        try:
            trust.verify(note + lines)
            found.append(number)
        except InputError:
            pass
    return found


def test_no_split_view_of_10_is_accepted_by_who_asks_for_two_of_three_witnesses(tmp_path: Path) -> None:
    assert split(tmp_path, 10) == []


@pytest.mark.soak
def test_no_split_view_of_200_is_accepted_by_who_asks_for_two_of_three_witnesses(tmp_path: Path) -> None:
    assert split(tmp_path, 200) == []


def test_of_two_histories_both_notes_are_kept(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.advance(seen(tree_of(numbered(0, 3))))
    fork = note_of(tree_of(numbered(0, 3, "fork")))
    with pytest.raises(ForkError):
        memory.advance(TRUST.verify(fork))
    kept = {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {note_of(tree_of(numbered(0, 3))), fork}


def test_logs_are_remembered_apart(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.advance(seen(tree_of(numbered(0, 3))))
    assert memory.last("log.example/2") is None


def test_a_damaged_memory_is_not_an_empty_one(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    memory.advance(seen(tree_of(numbered(0, 3))))
    (last,) = tmp_path.rglob("last")
    for damaged in (b"", last.read_bytes()[:-9], note_of(tree_of([])).replace(b"/1\n", b"/2\n", 1)):
        last.write_bytes(damaged)
        with pytest.raises(StorageError):
            memory.advance(seen(tree_of(numbered(0, 9))), proof(3, 9))


def test_a_log_is_followed_by_its_tiles_and_a_fork_of_them_is_not(tmp_path: Path) -> None:
    memory, reader = Memory(tmp_path / "memory"), Reader(Folder(tmp_path / "log"))
    log = new_log(tmp_path / "log", 3)

    def followed(where: Reader = reader) -> Tree:
        return asyncio.run(follow(where, TRUST, memory)).checkpoint.tree

    assert followed() == tree_of(numbered(0, 3))
    log.append(numbered(3, 300))
    log.publish()
    assert followed() == followed() == tree_of(numbered(0, 300))
    forger = log_in(tmp_path / "fork")
    forger.create()
    for entries in (numbered(0, 299), numbered(299, 300, "fork"), numbered(300, 400)):
        forger.append(entries)
        forger.publish()
        with pytest.raises(InputError):
            followed(Reader(Folder(tmp_path / "fork")))
    assert followed() == tree_of(numbered(0, 300))
