"""A commit is whole or absent, whatever fails, at whichever step, and the run goes on after it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from custodes.crypto.keys import RunKey
from custodes.errors import ConfigError, InputError, InternalError, StorageError
from custodes.ledger.disk import Disk
from custodes.ledger.manifest import Manifest, differences, make_manifest
from custodes.ledger.rows import REASON_ORDER, RowsBuilder, digest_arrays, outcomes_table
from custodes.ledger.run import Found, RunDirectory, ShardCommit, shard_name
from custodes.ledger.store import Folder
from custodes.model import Kind, Reason

KEY = RunKey(bytes(32))


def manifest(**changed: object) -> Manifest:
    fields: dict[str, object] = {
        "dataset": "links.parquet",
        "passes": ["columns"],
        "lists": [],
        "settings": {"fetch": {"total_timeout_s": 20.0}},
        "recipients": ["age1x"],
        "demo_authority": False,
        "unsafe": [],
        "confinement": "",
        "input": "abc",
        "plan": {"rows": 3, "shards": [{"index": shard} for shard in range(12)]},
    }
    return make_manifest(**(fields | changed))


def commit_of(shard: int = 0, generation: int = 0, found: int = 1, sealed: bytes = b"sealed") -> ShardCommit:
    codes = np.array([REASON_ORDER.index(Reason.COLUMNS_ONLY)] * 2 + [REASON_ORDER.index(Reason.NO_DIGEST)], np.uint8)
    return ShardCommit(
        shard=shard,
        generation=generation,
        table=outcomes_table(codes),
        coverage={"columns": 2},
        started=1.0,
        finished=2.0,
        bytes_fetched=0,
        sealed=sealed,
        found=Found(rows=found, by_list={"a": found}, by_rule={"exact": found}),
    )


class FaultyDisk(Disk):
    """Fails the n-th operation, counted over all four kinds, with the given error, and every operation after it."""

    def __init__(self, nth: int, code: int = errno.ENOSPC) -> None:
        self.left = nth
        self.code = code
        self.failed = False

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.failed = True
            raise OSError(self.code, os.strerror(self.code))

    def write(self, path: Path, data: bytes) -> None:
        self._count()
        super().write(path, data)

    def link(self, aside: Path, path: Path) -> bool:
        self._count()
        return super().link(aside, path)

    def sync_directory(self, directory: Path) -> None:
        self._count()
        super().sync_directory(directory)


class HalfWriting(FaultyDisk):
    """A disk that fills up in the middle of a file."""

    def write(self, path: Path, data: bytes) -> None:
        try:
            self._count()
        except OSError:
            path.write_bytes(data[: len(data) // 2])
            raise
        Disk.write(self, path, data)


def test_a_run_adds_up(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    run.commit(commit_of(0))
    run.commit(commit_of(1, found=0))
    counts = run.counts()
    assert counts.rows == 6
    assert counts.reasons == {Reason.COLUMNS_ONLY: 4, Reason.NO_DIGEST: 2}
    assert counts.findings == 1
    assert counts.coverage == {"columns": 4}
    assert len(run.sealed_files()) == 2


def test_the_second_commit_of_a_shard_changes_nothing(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    first = run.commit(commit_of(0, sealed=b"first"))
    second = run.commit(commit_of(0, sealed=b"second", found=7))
    assert second == first
    assert run.counts().findings == 1
    assert [path.read_bytes() for path in run.sealed_files()] == [b"first"]
    assert len(list((tmp_path / "run" / "findings").glob("*/*"))) == 1


@pytest.mark.parametrize("disk_kind", [FaultyDisk, HalfWriting])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_fault_at_any_step_of_a_commit_loses_and_doubles_nothing(
    tmp_path: Path, disk_kind: type[FaultyDisk], code: int
) -> None:
    for nth in range(100):
        path = tmp_path / str(nth)
        whole = RunDirectory.create(path, manifest(), KEY)
        disk = disk_kind(nth, code)
        faulty = RunDirectory.open(Folder(path, disk), KEY)
        if commits(lambda run=faulty: run.commit(commit_of(0))) and not disk.failed:
            assert nth > 4, "the loop never failed anything"
            break
        done_before = whole.latest()
        if 0 in done_before:  # the done-mark is out: then its findings must be too
            assert whole.sealed_files()
        whole.commit(commit_of(0, sealed=b"again"))
        assert whole.counts().findings == 1
        assert whole.counts().rows == 3
        assert len(whole.sealed_files()) == 1
    else:
        pytest.fail("a commit has no end of steps")


def commits(action: Callable[[], object]) -> bool:
    try:
        action()
    except StorageError:
        return False
    return True


def test_the_fault_loop_catches_a_ledger_that_marks_the_shard_before_its_findings(tmp_path: Path) -> None:
    class MarksFirst(RunDirectory):
        def commit(self, commit: ShardCommit):  # type: ignore[no-untyped-def]
            later: list[tuple[str, bytes]] = []
            real = self.store.publish

            def publish(name: str, data: bytes) -> bool:
                if name.endswith(".age"):
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
        path = tmp_path / str(nth)
        whole = RunDirectory.create(path, manifest(), KEY)
        faulty = MarksFirst(Folder(path, FaultyDisk(nth)), whole.manifest, KEY)
        commits(lambda run=faulty: run.commit(commit_of(0)))
        whole.commit(commit_of(0, sealed=b"again"))
        try:
            whole.sealed_files()
        except StorageError:
            lost += 1
    assert lost > 0


def test_a_commit_whose_outcomes_do_not_add_up_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    rows = RowsBuilder(2)
    rows.set(0, reason=Reason.FULL.value)
    short = ShardCommit(
        shard=0,
        generation=0,
        table=rows.table(),
        coverage={},
        started=0,
        finished=1,
        bytes_fetched=0,
        sealed=b"x",
        found=Found(),
    )
    with pytest.raises(InternalError, match="2 rows but 1 outcomes"):
        run.commit(short)
    assert run.latest() == {}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input": "other"}, "input was abc, is other"),
        ({"settings": {"fetch": {"total_timeout_s": 5.0}}}, r"settings.fetch.total_timeout_s was 20.0, is 5.0"),
        ({"passes": ["columns", "bytes"]}, "passes was"),
        ({"unsafe": ["--unsafe-no-jail"]}, "unsafe was"),
    ],
    ids=["other data", "other settings", "other passes", "unsafe now"],
)
def test_a_run_goes_on_only_with_the_same_and_says_what_changed(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    RunDirectory.create(tmp_path / "run", manifest(), KEY)
    RunDirectory.create(tmp_path / "run", manifest(), KEY)
    with pytest.raises(ConfigError, match=said):
        RunDirectory.create(tmp_path / "run", manifest(**changed), KEY)


def test_where_the_dataset_lies_makes_no_difference() -> None:
    assert differences(manifest(), manifest(dataset="/elsewhere/links.parquet")) == []


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace("20.0", "21.0"))
    with pytest.raises(InputError, match="changed after it was written"):
        RunDirectory.open(run.path, KEY)


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory.create(tmp_path, manifest(), KEY)


def test_no_damage_to_a_shard_file_changes_what_it_says(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    record = run.commit(commit_of(0))
    rows, counts = run.rows(record), run.counts()
    path = run.path / shard_name(0, 0)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            said = (run.rows(record).to_pydict(), run.counts())
        except (StorageError, InputError):
            noticed += 1
        else:
            assert said == (rows.to_pydict(), counts)
    assert noticed > len(whole) // 7 // 2


def test_a_findings_file_that_is_gone_or_changed_is_noticed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    run.commit(commit_of(0))
    [stored] = run.sealed_files()
    (run.path / stored.name).write_bytes(b"other")
    with pytest.raises(StorageError, match="missing or was changed"):
        run.sealed_files()


def test_records_that_were_read_once_hide_no_change_of_a_findings_file(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    for shard in (0, 1):
        run.commit(commit_of(shard))
    records = list(run.records())
    whole = run.sealed_files()
    orphan = (run.path / whole[0].name).with_name("00000000.g0-feed.age")
    orphan.write_bytes(b"of a commit that never was")
    assert run.sweep(records) == 1
    assert run.sealed_files(records) == whole
    assert run.counts(records) == run.counts()
    (run.path / whole[1].name).write_bytes(b"other")
    with pytest.raises(StorageError, match="missing or was changed"):
        run.sealed_files(records)
    (run.path / whole[1].name).unlink()
    with pytest.raises(StorageError, match="missing or was changed"):
        run.sealed_files(records)


def test_the_newest_record_of_a_shard_is_found_among_its_neighbours(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    assert run.latest_of(1) is None
    for shard, generations in ((0, 1), (1, 11), (11, 1)):  # the tenth generation is newer than the ninth
        for generation in range(generations):
            run.commit(commit_of(shard, generation))
    ((run.path / shard_name(1, 0)).parent / ".00000001.g12.parquet.0badc0de.tmp").write_bytes(b"left by a crash")
    newest = [run.latest_of(shard) for shard in (0, 1, 2, 11)]
    assert [record and (record.shard, record.generation) for record in newest] == [(0, 0), (1, 10), None, (11, 0)]


def test_counts_of_findings_need_the_run_key(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    run.commit(commit_of(0))
    stranger = RunDirectory.open(run.path, RunKey(b"x" * 32))
    with pytest.raises(InputError):
        stranger.counts()


def test_two_coordinators_do_not_share_a_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    held = run.hold()
    with pytest.raises(InputError, match="in use"):
        run.hold()
    held.close()
    run.hold().close()


def test_the_sweep_removes_orphans_and_nothing_else(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    run.commit(commit_of(0))
    orphan = (run.path / run.sealed_files()[0].name).with_name("00000000.g0-feed.age")
    orphan.write_bytes(b"left by a crash")
    assert run.sweep() == 1
    assert not orphan.exists()
    assert len(run.sealed_files()) == 1


def test_the_newest_generation_counts_and_findings_of_all(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", manifest(), KEY)
    run.commit(commit_of(0))
    run.commit(commit_of(0, generation=1, found=2))
    counts = run.counts()
    assert counts.rows == 3
    assert counts.findings == 3


def line(frame: int, quality: int, letter: bytes) -> dict[str, object]:
    return {"frame": frame, "quality": quality, "code": letter * 32, "reflections": b"r" * 96}


def test_stored_digests_come_back_as_arrays() -> None:
    rows = RowsBuilder(3)
    for row in range(3):
        rows.set(row, reason=Reason.DNS.value)
    rows.set(1, reason=Reason.FULL.value, md5=b"m" * 16, sha1=b"s" * 20, sha256=b"t" * 32)
    rows.set(1, pdq=[line(0, 80, b"p"), line(4, 60, b"q")])
    found = digest_arrays(rows.table())
    assert found[Kind.MD5][0].tolist() == [1]
    assert bytes(found[Kind.MD5][1][0]) == b"m" * 16
    assert found[Kind.PDQ][0].tolist() == [1, 1]
    assert [bytes(code) for code in found[Kind.PDQ][1]] == [b"p" * 32 + b"r" * 96, b"q" * 32 + b"r" * 96]
    assert found[Kind.PDQ][2].tolist() == [80, 60]
