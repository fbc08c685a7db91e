"""Vectors are committed as findings are: whole before the done-mark, or not at all, and bound to it by their digest."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import numpy as np
import pytest
from test_commit import KEY, FaultyDisk, HalfWriting, commit_of, commits, manifest

from custodes.errors import InputError, InternalError, StorageError
from custodes.ledger.run import RunDirectory, ShardCommit, ShardRecord, Vectors, encode_vectors, read_record, shard_name
from custodes.ledger.store import Folder
from custodes.similar.vectors import npy_shard

ROWS, DIMENSION = 3, 5


def some(seed: int = 1) -> Vectors:
    """A vector, none, and one without a direction."""
    found = np.random.default_rng(seed).standard_normal((ROWS, DIMENSION)).astype(np.float16)
    found[1], found[2] = np.nan, 0
    return found


def with_vectors(vectors: Vectors, shard: int = 0, generation: int = 0, sealed: bytes = b"sealed") -> ShardCommit:
    return msgspec.structs.replace(commit_of(shard, generation, sealed=sealed), vectors=vectors)


def created(path: Path) -> RunDirectory:
    return RunDirectory.create(path, manifest(), KEY)


def files(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in (run.path / "vectors").glob("*/*"))


def test_vectors_come_back_as_they_were_and_searches_can_read_them(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    record = run.commit(with_vectors(some()))
    assert np.array_equal(run.vectors(record), some(), equal_nan=True)
    path = Path(*run.vector_files([record]))
    assert path == run.path / "vectors" / "00000" / f"00000000.g0-{record.vectors_sha256[:16]}.npy"
    shard = npy_shard(str(path))
    assert (shard.rows, shard.dimension, shard.dtype.str) == (ROWS, DIMENSION, "<f2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_commit_without_vectors_leaves_the_files_of_before(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    record = run.commit(commit_of(0))
    plain = msgspec.json.encode(record, order="sorted")
    assert b"vectors" not in plain
    assert not (run.path / "vectors").exists()
    assert msgspec.json.decode(plain, type=ShardRecord).vectors_file == ""
    with pytest.raises(StorageError, match="without vectors"):
        run.vectors(record)


@pytest.mark.parametrize("disk_kind", [FaultyDisk, HalfWriting])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("again", [1, 2], ids=["the same vectors again", "other vectors"])
def test_a_fault_at_any_step_leaves_a_shard_with_its_vectors_or_none(
    tmp_path: Path, disk_kind: type[FaultyDisk], code: int, again: int
) -> None:
    for nth in range(100):
        whole = created(tmp_path / str(nth))
        disk = disk_kind(nth, code)
        faulty = RunDirectory.open(Folder(whole.path, disk), KEY)
        if commits(lambda run=faulty: run.commit(with_vectors(some()))) and not disk.failed:
            assert nth > 7, "the loop never failed anything"
            break
        if (done := whole.latest().get(0)) is not None:  # the done-mark is out: then its vectors must be too
            assert np.array_equal(whole.vectors(done), some(), equal_nan=True)
        record = whole.commit(with_vectors(some(again), sealed=b"again"))
        assert np.array_equal(whole.vectors(record), some(1 if done else again), equal_nan=True)
        whole.sweep()
        assert files(whole) == [record.vectors_file]
        assert len(whole.sealed_files()) == 1
    else:
        pytest.fail("a commit has no end of steps")


def test_the_fault_loop_catches_a_ledger_that_marks_the_shard_before_its_vectors(tmp_path: Path) -> None:
    class MarksFirst(RunDirectory):
        def commit(self, commit: ShardCommit) -> ShardRecord:
            later: list[tuple[str, bytes]] = []
            real = self.store.publish

            def publish(name: str, data: bytes) -> bool:
                if name.endswith(".npy"):
                    later.append((name, data))
                    return True
                return real(name, data)

            self.store.publish = publish  # type: ignore[method-assign]
            record = super().commit(commit)
            for name, data in later:
                real(name, data)
            return record

    lost = 0
    for nth in range(20):
        whole = created(tmp_path / str(nth))
        faulty = MarksFirst(Folder(whole.path, FaultyDisk(nth)), whole.manifest, KEY)
        commits(lambda run=faulty: run.commit(with_vectors(some())))
        done = whole.latest().get(0)
        lost += done is not None and not commits(lambda run=whole, record=done: run.vectors(record))
    assert lost > 0


@pytest.mark.parametrize("second", [1, 2], ids=["the same vectors", "other vectors"])
def test_who_comes_second_takes_nothing_from_who_was_first(tmp_path: Path, second: int) -> None:
    run = created(tmp_path / "run")
    first = run.commit(with_vectors(some()))
    assert run.commit(with_vectors(some(second), sealed=b"second")) == first
    assert files(run) == [first.vectors_file]
    assert np.array_equal(run.vectors(first), some(), equal_nan=True)


def test_the_sweep_removes_vectors_that_no_commit_names_and_keeps_every_generation(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    records = [run.commit(with_vectors(some(seed), generation=seed)) for seed in (0, 1)]
    orphan = (run.path / run.vectors_name(records[0])).with_name("00000000.g0-0123456789abcdef.npy")
    orphan.write_bytes(b"left by a crash")
    orphan.with_name(".half.tmp").write_bytes(b"left in the middle of one")
    assert run.sweep() == 2
    assert files(run) == sorted(record.vectors_file for record in records)


DAMAGE = {
    "a bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "truncated": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "those of another shard": lambda data: encode_vectors(some(9)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_vectors_that_were_changed_or_are_gone_are_noticed(tmp_path: Path, damage: str) -> None:
    run = created(tmp_path / "run")
    record = run.commit(with_vectors(some()))
    path = Path(*run.vector_files([record]))
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for read in (run.vectors, lambda record: run.vector_files([record])):
        with pytest.raises(StorageError, match="missing or was changed"):
            read(record)
    path.unlink()
    with pytest.raises(StorageError, match="missing or was changed"):
        run.vectors(record)


def test_the_digest_of_the_vectors_is_bound_to_the_locked_counts(tmp_path: Path) -> None:
    run = created(tmp_path / "run")
    record = run.commit(with_vectors(some()))
    assert read_record(run.store, shard_name(0, 0)) == record
    run.found(record)
    with pytest.raises(InputError, match="cannot be opened"):
        run.found(msgspec.structs.replace(record, vectors_sha256="0" * 64))


@pytest.mark.parametrize("shape", [(ROWS - 1, DIMENSION), (ROWS + 1, DIMENSION), (ROWS,), (0, DIMENSION)])
def test_vectors_of_other_than_the_rows_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    run = created(tmp_path / "run")
    with pytest.raises(InternalError, match="3 rows but vectors"):
        run.commit(with_vectors(np.zeros(shape, np.float16)))
    assert run.latest() == {}
    assert not (run.path / "vectors").exists()
