"""The outbox, the receipts and the record in a database that is lost at any statement: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import pytest

from custodes.config import Site, create_site
from custodes.errors import ConfigError, StorageError
from custodes.handover.custody import Act, Custody
from custodes.handover.outbox import FORMAT, Outbox, Pace, Put
from custodes.handover.receipts import Receipt, Receipts
from custodes.handover.shared import Shared
from custodes.office import Office
from custodes.postgres.database import Database
from custodes.postgres.once import Once
from custodes.postgres.settings import DatabaseSettings
from tests.handover.homes import TableHome
from tests.handover.keeping import NOON, custody_in, deed, letter, transport_key
from tests.postgres.proxy import Proxy, proxied
from tests.postgres.server import Given, Server, new_schema

T = TypeVar("T")
When = Literal["before", "after"]
KEYS = [transport_key()]


def story(home: TableHome) -> list[Any]:
    """One letter on its whole way, and what everybody was told of it."""
    outbox, receipts = Outbox(home / "outbox", KEYS), Receipts(home / "receipts", KEYS)
    custody = custody_in(home)
    told: list[Any] = [outbox.put(letter(1)), outbox.put(letter(1))]
    custody.append(deed(1, Act.QUEUED))
    item = outbox.take("ncmec", "test")
    assert item is not None
    item = outbox.save(item, {"report": "42"})
    receipts.keep(f"{1:032x}", "ncmec", "test", Receipt(step="finish", received=NOON, body=b"<r/>"))
    custody.append(deed(1, Act.SENT), deed(1, Act.RECEIVED))
    outbox.delete(item)
    told += [item.head.attempts, outbox.put(letter(1)), len(receipts.of(f"{1:032x}", "ncmec", "test"))]
    told += [line.act.value for line in custody.records()]
    return told


TOLD = [Put.NEW, Put.SAME, 1, Put.DELIVERED, 1, "queued", "sent", "received"]


@pytest.fixture
def proxy(postgres: Server | Given) -> Iterator[Proxy]:
    with proxied(postgres.url) as made:
        yield made


def cuts(proxy: Proxy, path: Path, numbers: range, when: When, only: bytes = b"") -> Iterator[list[Any]]:
    """What the story tells where the connection is cut at each of these statements, until it ends before the number."""
    database = proxy.database(schema=new_schema("cuts"))
    Shared(database)
    for number in numbers:
        proxy.cut(0)
        home = TableHome(path / f"{when}{number}", database)
        home.path.mkdir()
        proxy.cut(number, when, only)
        yield story(home)
        if not proxy.cuts:
            return


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stride", [15, pytest.param(1, marks=pytest.mark.soak)])
def test_cut_at_any_statement_everybody_is_told_the_same(proxy: Proxy, tmp_path: Path, when: When, stride: int) -> None:
    told = list(cuts(proxy, tmp_path, range(1, 2000, stride), when))
    assert len(told) * stride > 60  # else nothing was cut
    assert all(each == TOLD for each in told)


def test_a_commit_whose_answer_was_lost_is_not_done_again(proxy: Proxy, tmp_path: Path) -> None:
    assert all(each == TOLD for each in cuts(proxy, tmp_path, range(1, 100), "after", b"COMMIT"))


def test_planted_without_the_row_of_an_attempt_a_lost_answer_is_told_or_done_twice(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(self: Once, work: Callable[[Any], T]) -> T:
        return self.database.run(work)

    monkeypatch.setattr(Once, "run", again)

    def wrong() -> Iterator[bool]:
        try:
            yield from (each != TOLD for each in cuts(proxy, tmp_path, range(1, 100), "after", b"COMMIT"))
        except (AssertionError, StorageError):  # a lease that was taken, and nobody was told
            yield True

    assert any(wrong())


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.timeout(1200)
def test_a_server_that_is_killed_loses_nothing_that_was_told(
    mortal_postgres: Server, tmp_path: Path, kills: int
) -> None:
    database, over = mortal_postgres.database(patience_s=60), threading.Event()
    home = TableHome(tmp_path, database)
    told: dict[int, int] = {}

    def work(which: int) -> None:
        own = mortal_postgres.database(patience_s=60)
        shared = Shared(own)
        outbox, number = Outbox(shared.place(f"{home.token}/outbox"), KEYS), which
        while not over.is_set():
            assert outbox.put(letter(number)) is Put.NEW
            (recorded,) = custody_in(home).append(deed(number, Act.QUEUED))
            told[number] = recorded.seq
            number += 3
        own.close()

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for number in range(kills):
        have = len(told)
        while len(told) < have + 5 and any(thread.is_alive() for thread in threads):
            over.wait(0.01)
        mortal_postgres.kill9() if number % 2 else mortal_postgres.stop_immediate()
        mortal_postgres.start()
    over.set()
    for thread in threads:
        thread.join()
    lines = list(custody_in(home).records())
    assert {int(line.incident, 16): line.seq for line in lines} == told
    assert len(lines) == len(told) == len(Outbox(home / "outbox", KEYS).survey().items) > 5 * kills
    database.close()


def test_leases_are_told_by_the_servers_clock(tables: Database, tmp_path: Path) -> None:
    home = TableHome(tmp_path, tables)
    one, other = (Outbox(home / "outbox", KEYS, Pace(lease_s=60)) for _ in range(2))
    one.put(letter(1))
    assert (one.take("ncmec", "test") is None, other.take("ncmec", "test") is None) == (False, True)
    ((server,),) = tables.run(lambda session: session.execute("SELECT clock_timestamp()").fetchall())
    assert abs((one.survey().taken - server).total_seconds()) < 5


def test_two_forms_of_one_database_are_two_places(tables: Database) -> None:
    shared = Shared(tables)
    one, other = (Outbox(shared.place(f"{FORMAT}/{new_schema('form')}"), KEYS) for _ in range(2))
    one.put(letter(1))
    assert (one.known(letter(1).key), other.known(letter(1).key)) == (True, False)


# -- a database that was put back


def put_back(home: TableHome) -> Custody:
    """Five lines, of which the backup that is put back knows two."""
    custody = custody_in(home)
    for number in range(2):
        custody.append(deed(number))
    envelope, lines = home.pages().remembered(), home.lines()
    for number in range(2, 5):
        custody.append(deed(number))
    home.rewrite(lines)
    home.pages().remember(envelope)  # type: ignore[arg-type]
    return custody


def test_a_record_that_was_put_back_is_noticed_by_each_machine_that_saw_more(tables: Database, tmp_path: Path) -> None:
    home = TableHome(tmp_path, tables)
    custody = put_back(home)
    for use in (custody.verify, lambda: custody.append(deed(9)), custody.head):
        with pytest.raises(StorageError, match="ends at line 2, and had come to line 5"):
            use()
    assert custody_in(home, guard=None).verify().seq == 2  # a machine that never wrote cannot know


def test_a_record_that_went_on_otherwise_or_was_begun_anew_is_noticed(tables: Database, tmp_path: Path) -> None:
    home = TableHome(tmp_path, tables)
    put_back(home)
    for number in range(10, 15):
        custody_in(home, guard=None).append(deed(number))
    with pytest.raises(StorageError, match="another record"):
        custody_in(home).append(deed(9))
    TableHome(tmp_path, tables)  # emptied
    with pytest.raises(StorageError, match="is empty, and had come to line 5"):
        custody_in(home).verify()


def test_planted_without_the_guard_a_record_that_was_put_back_passes(
    tables: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = TableHome(tmp_path, tables)
    monkeypatch.setattr(Custody, "_refuse_another", lambda *_: None)
    assert put_back(home).verify().seq == 2


def test_a_memory_that_is_gone_is_noticed(tables: Database, tmp_path: Path) -> None:
    home = TableHome(tmp_path, tables)
    custody_in(home).append(deed(1))
    tables.run(lambda session: session.execute("UPDATE custody_memory SET envelope = NULL"))
    with pytest.raises(StorageError, match="not its memory"):
        custody_in(home).append(deed(2))


# -- a site


def test_offices_of_a_site_with_a_database_share_all_they_keep(postgres: Server | Given, tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    alone = Office(site)
    database = DatabaseSettings(url=postgres.url, schema=new_schema("office"))
    shared = Site(site.path, msgspec.structs.replace(site.config, database=database))
    with pytest.raises(ConfigError, match="not in it"):  # what was sent before is known in the folder alone
        Office(shared)
    alone.outbox.put(letter(1))
    (site.home / site.config.handover.state).rename(tmp_path / "elsewhere")
    one, other = Office(shared), Office(shared)
    assert one.outbox.put(letter(1)) is Put.NEW
    assert other.outbox.put(letter(1)) is Put.SAME
    one.custody.append(deed(1))
    other.custody.append(deed(2))
    assert one.custody.verify() == other.custody.head()
    assert (site.home / "custody.guard").exists()
    assert not (site.home / site.config.handover.state).exists()
