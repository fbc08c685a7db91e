"""Tables are brought to the newest version in whole steps, by however many processes; newer ones and other ones are left alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from custodes.errors import StorageError
from custodes.postgres.database import Database
from custodes.postgres.migrations import migrate
from tests.postgres.proxy import proxied
from tests.postgres.server import Given, Server, new_schema, skip_without

STEPS = (
    "CREATE TABLE a (b integer); INSERT INTO a VALUES (1);",
    "ALTER TABLE a ADD COLUMN c integer NOT NULL DEFAULT 7",
    "UPDATE a SET b = b + 1",
)


@pytest.fixture
def database(postgres: Server | Given) -> Database:
    return postgres.database(schema=new_schema("migrated"))


def rows(database: Database) -> list[tuple[Any, ...]]:
    return database.read(lambda connection: connection.execute("SELECT * FROM a").fetchall())


def test_each_step_is_applied_once_in_order(database: Database) -> None:
    for count in (1, 2, 2, 3, 3):
        migrate(database, "x", STEPS[:count])
    assert rows(database) == [(2, 7)]


def test_scopes_do_not_know_each_other(database: Database) -> None:
    migrate(database, "x", STEPS)
    migrate(database, "y", ("CREATE TABLE other (b integer)",))
    migrate(database, "x", STEPS)
    assert rows(database) == [(2, 7)]


def test_a_step_that_fails_leaves_the_ones_before_it(database: Database) -> None:
    with pytest.raises(StorageError, match="refused a statement"):
        migrate(database, "x", (*STEPS[:2], "UPDATE a SET b = 5; SELECT nonsense"))
    assert rows(database) == [(1, 7)]
    migrate(database, "x", STEPS)
    assert rows(database) == [(2, 7)]


def test_a_database_of_a_newer_program_is_left_alone(database: Database) -> None:
    migrate(database, "x", STEPS)
    with pytest.raises(StorageError, match="by a newer custodes"):
        migrate(database, "x", STEPS[:2])


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_step_that_was_changed_is_noticed(database: Database, changed: int) -> None:
    migrate(database, "x", STEPS)
    other = [*STEPS]
    other[changed] += " "
    with pytest.raises(StorageError, match="not made by these steps"):
        migrate(database, "x", [*other, "SELECT 1"])


def test_many_at_once_apply_each_step_once(postgres: Server | Given, database: Database) -> None:
    failed: list[BaseException] = []

    def one() -> None:
        try:
            migrate(postgres.database(schema=database.schema), "x", STEPS)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, rows(database)) == ([], [(2, 7)])


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_any_statement_each_step_is_applied_once(postgres: Server | Given, when: Any) -> None:
    skip_without(private=True)
    with proxied(postgres.url) as proxy:
        for number in range(1, 60):
            database = proxy.database(schema=new_schema("cut"))
            proxy.cut(number, when)
            migrate(database, "x", STEPS)
            cuts, _ = proxy.cuts, proxy.cut(0)
            assert rows(database) == [(2, 7)]
            if not cuts:
                break
        assert 15 < number < 59


def test_the_cut_test_catches_a_step_that_runs_beside_its_record(
    postgres: Server | Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without(private=True)
    module = "custodes.postgres.migrations"
    monkeypatch.setattr(f"{module}._step", beside)
    with pytest.raises(AssertionError):
        test_cut_at_any_statement_each_step_is_applied_once(postgres, "after")


def beside(connection: Any, scope: str, steps: Any, number: int) -> None:
    """The fault: the step is committed before it is written down that it was applied."""
    from custodes.postgres.migrations import _applied, _digest

    if _applied(connection, scope, steps) >= number:
        return
    try:
        connection.execute(steps[number - 1])
    except Exception:
        raise AssertionError from None
    connection.commit()
    connection.execute(
        "INSERT INTO migrations (scope, number, sha256) VALUES (%s, %s, %s)",
        (scope, number, _digest(steps[number - 1])),
    )
