"""The ledger's file: who may share it, what it refuses, and that no fault of the disk passes for a record."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from custodes.errors import ConfigError, InternalError, StorageError
from custodes.gateway.people import books, migrations
from custodes.gateway.people.migrations import APPLICATION_ID, STEPS, migrate
from custodes.gateway.people.sqlite import SqliteLedger, check_version
from tests.gateway.people.making import ALLOWED, NOON, asking, entry, noted, refused, run


@contextmanager
def opened(path: Path, busy_ms: int = 5_000) -> Iterator[SqliteLedger]:
    with closing(SqliteLedger(path, busy_ms=busy_ms)) as ledger:
        yield ledger


@pytest.mark.parametrize("version", ["3.7.0", "3.51.2", "3.40.1"])
def test_an_sqlite_that_may_damage_the_ledger_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="damage"):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_later_one_is_taken(version: str) -> None:
    check_version(version)


def test_nobody_else_may_read_the_ledger(tmp_path: Path) -> None:
    with opened(tmp_path / "home" / "ledger.db") as ledger:
        run(ledger.note(noted()))
        for path in (tmp_path / "home").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_it_is_there_after_it_was_closed(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        run(ledger.note(noted()))
    with opened(tmp_path / "ledger.db") as ledger:
        assert run(ledger.standing(asking())).strikes == 1


def test_requests_at_once_are_all_written_each_as_its_own(tmp_path: Path) -> None:
    async def at_once(ledger: SqliteLedger) -> int:
        told = await asyncio.gather(*(ledger.note(noted(n % 50, user=f"user {n % 50}")) for n in range(400)))
        return sum(each.struck for each in told)

    with opened(tmp_path / "ledger.db") as ledger:
        assert run(at_once(ledger)) == 50
        assert len(run(ledger.decisions(0, 1_000))) == 400
        assert run(ledger.standing(asking(user=""))).strikes == 50


def test_one_that_is_refused_undoes_nothing_of_those_committed_with_it(tmp_path: Path) -> None:
    async def together(ledger: SqliteLedger) -> list[object]:
        works = [ledger.note(noted(1)), ledger.appeal("tenant", "nothing", NOON), ledger.note(noted(2))]
        return list(await asyncio.gather(*works, return_exceptions=True))

    with opened(tmp_path / "ledger.db") as ledger:
        assert [type(each).__name__ for each in run(together(ledger))] == ["Consequence", "InputError", "Consequence"]
        assert run(ledger.standing(asking())).strikes == 2


def test_who_stops_waiting_does_not_undo_what_was_asked(tmp_path: Path) -> None:
    async def impatient(ledger: SqliteLedger) -> None:
        task = asyncio.ensure_future(ledger.note(noted(1)))
        await asyncio.sleep(0)
        task.cancel()
        await ledger.note(noted(2))
        assert (await ledger.standing(asking())).strikes == 2

    with opened(tmp_path / "ledger.db") as ledger:
        run(impatient(ledger))


# -- faults


def test_a_ledger_that_another_holds_is_an_error_and_then_works_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path, busy_ms=50) as ledger, closing(apsw.Connection(str(path))) as other:
        run(ledger.note(noted(1)))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="BusyError"):
            run(ledger.note(noted(2)))
        assert run(ledger.standing(asking())).strikes == 1  # reading waits for nobody
        other.execute("ROLLBACK")
        run(ledger.note(noted(3)))
        assert run(ledger.standing(asking())).strikes == 2


async def note_many(ledger: SqliteLedger, count: int) -> None:
    for number in range(count):
        await ledger.note(noted(number, user=f"user {number}"))


def test_a_full_disk_is_an_error_and_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "connection_hooks", [lambda database: database.pragma("max_page_count", 30)])
    with opened(tmp_path / "ledger.db") as ledger:
        with pytest.raises(StorageError, match="FullError"):
            run(note_many(ledger, 1_000))
        kept = len(run(ledger.decisions(0, 2_000)))
        assert 0 < kept < 1_000
        assert run(ledger.standing(asking(user=""))).strikes == kept


class FailingFile(apsw.VFSFile):
    """A disk that breaks at a chosen write or sync, whatever it is of."""

    left = 1 << 60
    syncs = 0

    def __init__(self, base: str, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__(base, name, flags)

    def _one(self) -> None:
        FailingFile.left -= 1
        if FailingFile.left < 0:
            raise apsw.IOError("planted")

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._one()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._one()
        FailingFile.syncs += 1
        super().xSync(flags)


class FailingDisk(apsw.VFS):
    def __init__(self) -> None:
        self.below = apsw.vfs_names()[0]
        super().__init__("failing", self.below, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> FailingFile:  # noqa: N802
        return FailingFile(self.below, name, flags)


@pytest.fixture
def disk() -> Iterator[type[FailingFile]]:
    vfs = FailingDisk()
    yield FailingFile
    FailingFile.left = 1 << 60
    vfs.unregister()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whichever_write_or_sync_fails_nobody_is_told_that_it_was_kept(tmp_path: Path, disk: type[FailingFile]) -> None:
    for budget in range(24):
        path = tmp_path / f"{budget}.db"
        told = 0
        with opened(path) as ledger:
            disk.left = budget
            try:
                for number in range(6):
                    run(ledger.note(noted(number)))
                    told += 1
            except StorageError:
                disk.left = 1 << 60
                with pytest.raises(StorageError, match=r"before|could not"):  # a disk that failed is not trusted again
                    run(ledger.note(noted(99)))
            disk.left = 1 << 60
        with opened(path) as ledger:
            kept = len(run(ledger.decisions(0, 100)))
            assert told <= kept <= told + 1  # one may have become durable without anybody knowing it
            assert run(ledger.standing(asking(user=""))).strikes == kept


def test_a_decision_is_synced_whatever_it_is_committed_with_and_who_came_in_alone_is_not(
    tmp_path: Path, disk: type[FailingFile]
) -> None:
    async def together(ledger: SqliteLedger) -> None:
        await asyncio.gather(*(ledger.enter(entry(f"with {number}")) for number in range(3)), ledger.note(noted(2)))

    with opened(tmp_path / "ledger.db") as ledger:
        run(ledger.note(noted(0)))
        before = disk.syncs
        run(ledger.enter(entry("one")))
        ledger.give_back("one")
        run(ledger.enter(entry("two")))
        assert disk.syncs == before
        run(ledger.note(noted(1)))
        assert disk.syncs > before
        before = disk.syncs
        run(together(ledger))
        assert disk.syncs > before


def test_a_bug_in_one_piece_of_work_answers_and_the_thread_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "ledger.db") as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(books, "_count", lambda *_: 1 // 0)
            with pytest.raises(InternalError):
                run(ledger.note(noted(1)))
        run(ledger.note(noted(2)))
        assert run(ledger.standing(asking())).strikes == 1


def test_planted_without_the_look_for_a_retry_it_is_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(tables: books.Tables, told: books.Noted) -> tuple[int, bool]:
        values = (told.name, told.tenant, told.user, told.at, told.verdict.strikes)
        query = "INSERT INTO strikes (name, tenant, user, at, weight) VALUES (?, ?, ?, ?, ?) RETURNING id"
        return tables.all(query, *values)[0][0], True

    def twice(path: Path) -> int:
        with opened(path) as ledger:
            run(ledger.note(noted()))
            run(ledger.note(noted()))
            return run(ledger.standing(asking())).strikes

    assert twice(tmp_path / "good.db") == 1
    monkeypatch.setattr(books, "_strike", strike)
    assert twice(tmp_path / "bad.db") == 2


# -- two processes

WRITER = """
import asyncio, sys
from pathlib import Path
from custodes.gateway.people.sqlite import SqliteLedger
from tests.gateway.people.making import noted
ledger = SqliteLedger(Path(sys.argv[1]))
async def go():
    for number in range(100):
        await ledger.note(noted(number, user=f"user {number}"))
asyncio.run(go())
ledger.close()
"""


def test_two_processes_on_one_ledger_lose_nothing_and_count_retries_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) for _ in range(2)]  # both make it, too
    assert [process.wait(60) for process in processes] == [0, 0]
    with opened(path) as ledger:
        assert len(run(ledger.decisions(0, 1_000))) == 200
        standing = run(ledger.standing(asking(user="")))
        assert (standing.strikes, standing.tenant_refusals) == (100, 100)


# -- migrations


def connection(path: Path) -> apsw.Connection:
    return apsw.Connection(str(path))


def test_a_ledger_of_version_1_is_brought_up_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(connection(path)) as database:
        migrate(database, STEPS[:1])
        database.execute("INSERT INTO strikes VALUES (7, 'req_1', 'tenant', 'user', ?, 2, NULL)", (NOON - 1,))
        database.execute(
            "INSERT INTO decisions VALUES (1, ?, 'tenant', 'user', 'req_1-0', 'input', 'refuse', 'a rule', 'soft', 'safety', 0,"
            " '[]', '', '[]', 1, 2, 7)",
            (NOON - 1,),
        )
    with opened(path) as ledger:
        assert run(ledger.standing(asking())).strikes == 2
        assert run(ledger.appeal("tenant", "req_1-0", NOON)).strikes == 2
        assert [each.acknowledged for each in run(ledger.decisions(0, 9))] == [False]
        assert not run(ledger.note(noted(1, refused(2)))).struck


def test_a_step_that_fails_leaves_the_version_before(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(connection(path)) as database:
        with pytest.raises(apsw.SQLError):
            migrate(database, (STEPS[0], "CREATE TABLE half (x); CREATE TABLE strikes (x);"))
        migrate(database)
        assert not database.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").get


@pytest.mark.parametrize("steps", [(*STEPS, "CREATE TABLE newer (x)"), ("CREATE TABLE other (x)", STEPS[1])])
def test_a_ledger_of_a_newer_or_another_program_is_refused(tmp_path: Path, steps: tuple[str, ...]) -> None:
    path = tmp_path / "ledger.db"
    with closing(connection(path)) as database:
        migrate(database, steps)
    with pytest.raises(StorageError, match=r"newer|not made by"):
        SqliteLedger(path)


def test_a_database_of_something_else_and_what_is_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(connection(path)) as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(StorageError, match="something else"):
        SqliteLedger(path)
    (tmp_path / "none.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(StorageError, match="NotADBError"):
        SqliteLedger(tmp_path / "none.db")
    (tmp_path / "link.db").symlink_to(path)
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteLedger(tmp_path / "link.db")


def test_released_steps_are_never_changed() -> None:
    assert [migrations._digest(step)[:16] for step in STEPS] == RELEASED
    assert APPLICATION_ID == 0x63757374


RELEASED = ["c6a6a0cea0146f22", "39a4793a5da7f059", "ac34b87a5053e76f", "b9b08986a5692f0c"]


def test_no_error_tells_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as ledger, closing(connection(path)) as database:
        database.execute("CREATE TRIGGER no BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, 'umbrella'); END")
        with pytest.raises(StorageError) as caught:
            run(ledger.note(noted(1, ALLOWED)))
        assert "umbrella" not in str(caught.value)
