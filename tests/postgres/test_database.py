"""A piece of work in PostgreSQL is whole or not at all, is run again after any loss until it is durable, and tells no values."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from custodes.errors import ConfigError, InputError, StorageError
from custodes.postgres.address import Address, parameters
from custodes.postgres.database import Database, locked
from custodes.postgres.migrations import migrate
from tests.postgres.proxy import Proxy, proxied
from tests.postgres.server import Given, Server, new_schema, skip_without

SECRET = "4f1e-secret-value"
TABLE = ("CREATE TABLE notes (name text PRIMARY KEY, text text NOT NULL)",)


@pytest.fixture
def proxy(postgres: Server | Given) -> Iterator[Proxy]:
    skip_without(private=True)
    with proxied(postgres.url) as standing:
        yield standing


@pytest.fixture
def database(postgres: Server | Given) -> Database:
    made = postgres.database(schema=new_schema("notes"))
    migrate(made, "notes", TABLE)
    return made


def put(name: str, text: str = "") -> Any:
    """Safe to run twice: what is there stays."""
    return lambda connection: (
        connection.execute("INSERT INTO notes VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, text)).rowcount
    )


def names(database: Database) -> list[str]:
    return database.read(lambda connection: [row[0] for row in connection.execute("SELECT name FROM notes ORDER BY 1")])


# -- transactions


def test_what_run_returned_from_is_there(database: Database) -> None:
    assert database.run(put("a")) == 1
    assert names(database) == ["a"]


@pytest.mark.parametrize("error", [InputError("ours"), ZeroDivisionError(), KeyboardInterrupt()])
def test_what_raises_leaves_nothing_and_the_next_goes_on(database: Database, error: BaseException) -> None:
    def fails(connection: Any) -> None:
        put("half")(connection)
        raise error

    with pytest.raises(type(error)):
        database.run(fails)
    assert (database.run(put("whole")), names(database)) == (1, ["whole"])


def test_a_read_sees_one_state_and_writes_nothing(database: Database) -> None:
    def twice(connection: Any) -> tuple[int, int]:
        count = "SELECT count(*) FROM notes"
        before = connection.execute(count).fetchone()[0]
        database.run(put("meanwhile"))
        return before, connection.execute(count).fetchone()[0]

    assert database.read(twice) == (0, 0)
    with pytest.raises(StorageError, match=r"ReadOnlySqlTransaction|away|could not be used"):
        Database(database._address, patience_s=0.2).read(put("b"))
    assert names(database) == ["meanwhile"]


def test_threads_share_few_connections(postgres: Server | Given, database: Database) -> None:
    few = Database(database._address, connections=2)
    busy = [threading.Thread(target=few.run, args=(put(str(number)),)) for number in range(12)]
    for thread in busy:
        thread.start()
    for thread in busy:
        thread.join()
    assert len(names(database)) == 12
    assert len(few._idle) <= 2


def test_a_lock_by_name_excludes_until_the_transaction_ends(database: Database) -> None:
    order: list[str] = []

    def second() -> None:
        database.run(lambda connection: (locked(connection, "a name"), order.append("second")))

    with database.hold(lambda connection: locked(connection, "a name")):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_deadlocked_work_is_run_again(postgres: Server | Given, database: Database) -> None:
    database.run(put("a")), database.run(put("b"))
    both = threading.Barrier(2, timeout=10)
    tries: list[str] = []

    def crosswise(first: str, then: str) -> Any:
        def work(connection: Any) -> None:
            tries.append(first)
            connection.execute("UPDATE notes SET text = text || 'x' WHERE name = %s", (first,))
            if len(tries) <= 2:
                both.wait()
            connection.execute("UPDATE notes SET text = text || 'x' WHERE name = %s", (then,))

        return work

    other = threading.Thread(target=database.run, args=(crosswise("b", "a"),))
    other.start()
    database.run(crosswise("a", "b"))
    other.join()
    texts = database.read(lambda connection: connection.execute("SELECT text FROM notes").fetchall())
    assert (len(tries), texts) == (3, [("xx",), ("xx",)])


# -- losses


def work_of_three(name: str) -> Any:
    def work(connection: Any) -> int:
        put(f"{name} 1")(connection)
        put(f"{name} 2")(connection)
        return int(connection.execute("SELECT count(*) FROM notes").fetchone()[0])

    return work


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_cut_at_any_statement_costs_nothing(proxy: Proxy, database: Database, when: Any) -> None:
    through = proxy.database(schema=database.schema)
    for number in range(1, 40):
        proxy.cut(number, when)
        assert through.run(work_of_three(f"{number:02}")) == 2 * number
        if not proxy.cuts:
            break
    assert number > 5
    assert len(names(database)) == 2 * number


def test_the_answer_to_a_commit_is_lost_and_the_work_is_there_once(proxy: Proxy, database: Database) -> None:
    through = proxy.database(schema=database.schema)
    proxy.cut(1, "after", only=b"COMMIT")
    assert through.run(put("once")) == 0  # the second time it was there
    assert (proxy.cuts, names(database)) == (1, ["once"])


def test_the_test_catches_work_that_is_not_safe_to_run_twice(proxy: Proxy, database: Database) -> None:
    through = proxy.database(schema=database.schema)
    proxy.cut(1, "after", only=b"COMMIT")
    through.run(lambda connection: connection.execute("INSERT INTO notes SELECT count(*)::text, '' FROM notes"))
    assert names(database) == ["0", "1"]


def test_what_is_held_is_lost_with_its_connection(proxy: Proxy, database: Database) -> None:
    through = proxy.database(schema=database.schema)

    def lost(then: str) -> None:
        with through.hold(put("held")) as (connection, count):
            assert count == 1
            proxy.refuse()
            proxy.refuse(False)
            if then:
                connection.execute(then)

    for then in ("SELECT 1", ""):
        with pytest.raises(StorageError, match="lost in the middle"):
            lost(then)
    assert names(database) == []
    with through.hold(put("kept")):
        pass
    assert names(database) == ["kept"]


def test_it_waits_for_a_server_that_comes_back(mortal_postgres: Server) -> None:
    database = mortal_postgres.database()
    migrate(database, "notes", TABLE)
    for number, stop in enumerate((mortal_postgres.kill9, mortal_postgres.stop_immediate, mortal_postgres.stop)):
        stop()
        again = threading.Timer(0.3, mortal_postgres.start)
        again.start()
        assert database.run(put(str(number))) == 1
        again.join()
    assert names(database) == ["0", "1", "2"]


def test_patience_ends(proxy: Proxy, database: Database) -> None:
    impatient = proxy.database(schema=database.schema, patience_s=0.3)
    proxy.refuse()
    with pytest.raises(StorageError, match=r"could not be used for 0\.3 seconds"):
        impatient.run(put("a"))
    proxy.refuse(False)
    assert impatient.run(put("a")) == 1


def test_a_statement_that_waits_for_a_lock_is_run_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.postgres.address._SESSION", {"lock_timeout": "50ms"})
    hasty, tries = Database(database._address, patience_s=20), []

    def work(connection: Any) -> None:
        tries.append(1)
        locked(connection, "one name")

    with database.hold(lambda connection: locked(connection, "one name")):
        waiting = threading.Thread(target=hasty.run, args=(work,))
        waiting.start()
        while len(tries) < 3:
            time.sleep(0.01)
    waiting.join()
    assert len(tries) >= 3


# -- what is told


def test_no_error_quotes_a_value(database: Database) -> None:
    database.run(put(SECRET))
    with pytest.raises(StorageError) as caught:
        database.run(lambda connection: connection.execute("INSERT INTO notes VALUES (%s, %s)", (SECRET, SECRET)))
    assert "UniqueViolation (23505)" in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__suppress_context__


def test_a_password_stands_in_no_repr_and_no_error() -> None:
    skip_without()
    address = Address("postgresql://custodes@127.0.0.1:1/custodes", password=SECRET)
    with pytest.raises(StorageError) as caught:
        Database(address, patience_s=0).run(put("a"))
    assert SECRET not in f"{address!r} {caught.value} {caught.value.hint}"


# -- where it is


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://custodes:secret@db/custodes", "holds a password"),
        ("postgresql://custodes@db/custodes?password=secret", "holds a password"),
        ("postgresql://db/custodes?passfile=/root/x", "holds a password"),
        ("postgresql://db/custodes?options=-csynchronous_commit%3Doff", "options"),
        ("postgresql://custodes@db/custodes?sslmode=require", "sslmode=require"),
        ("postgresql://custodes@localhost,db.example/custodes?sslmode=disable", "sslmode=disable"),
        ("postgresql://localhost/custodes?hostaddr=192.0.2.1&sslmode=prefer", "sslmode=prefer"),
        ("postgresql://db:secret-in-a-port/custodes?nonsense=1", "cannot be read"),
        ("host=db password=secret", "does not begin with"),
        ("", "does not begin with"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(url: str, said: str) -> None:
    skip_without()
    with pytest.raises(ConfigError, match=said) as caught:
        Database(Address(url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("schema", ["", "a b", 'a"b', "Custodes", "1a", "a" * 64])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(ConfigError, match="not a plain name"):
        Address("postgresql://db/custodes", schema=schema)


def given(parsed: dict[str, str], **changed: Any) -> dict[str, str]:
    return parameters(Address("postgresql://db/custodes", **changed), parsed)


def test_another_machine_is_verified_and_this_one_need_not_be() -> None:
    verified = given({"host": "db.example", "dbname": "custodes"})
    assert (verified["sslmode"], verified["sslrootcert"]) == ("verify-full", "system")
    own = given({"host": "db.example", "sslrootcert": "/etc/ca.pem"})
    assert (own["sslmode"], own["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
    assert given({"host": "db.example", "sslmode": "disable"}, unsafe_no_tls=True)["sslmode"] == "disable"
    for host in ("", "localhost", "127.0.0.1", "127.8.8.8", "::1", "/run/postgresql", "@abstract"):
        assert "sslmode" not in given({"host": host}), host
    for host in ("localhost.example", "128.0.0.1", "127.0.0.1.example", "::2"):
        assert given({"host": host})["sslmode"] == "verify-full", host


def test_every_session_commits_durably_and_has_limits() -> None:
    options = given({}, schema="ours")["options"]
    for setting in ("synchronous_commit=on", "statement_timeout=30s", "lock_timeout=10s", "search_path=ours"):
        assert f"-c {setting}" in options


def test_the_session_is_as_asked_whatever_the_server_would_do(database: Database) -> None:
    shown = {
        name: database.read(lambda connection, name=name: connection.execute(f"SHOW {name}").fetchone()[0])
        for name in ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    }
    assert list(shown.values()) == ["on", "30s", "10s", "30s"]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_commits_is_refused(mortal_postgres: Server, setting: str) -> None:
    mortal_postgres.stop()
    mortal_postgres.start(**{setting: "off"})
    with pytest.raises(ConfigError, match=f"{setting} is off"):
        mortal_postgres.database().run(put("a"))


def test_a_standby_is_waited_for_until_it_leads(mortal_postgres: Server) -> None:
    import psycopg

    replica = {"wal_level": "replica", "max_wal_senders": "2", "hot_standby": "on"}
    mortal_postgres.stop()
    mortal_postgres.start(**replica)
    database = mortal_postgres.database()
    migrate(database, "notes", TABLE)
    mortal_postgres.stop()
    (mortal_postgres.folder / "standby.signal").touch()
    mortal_postgres.start(**replica)
    with pytest.raises(StorageError, match="could not be used"):
        mortal_postgres.database(patience_s=0.3).run(put("a"))
    waiting = threading.Thread(target=database.run, args=(put("a"),))
    waiting.start()
    with psycopg.connect(mortal_postgres.url, autocommit=True) as connection:
        connection.execute("SELECT pg_promote()")
    waiting.join()
    assert names(database) == ["a"]


def test_who_is_refused_at_the_door_is_told_at_once(postgres: Server | Given) -> None:
    skip_without(private=True)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="refuses us"):
        Database(Address(postgres.url.replace("postgres@", "nobody@"))).run(put("a"))
    assert time.monotonic() - began < 5


def test_without_its_driver_nothing_is_done_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "psycopg":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="driver is not installed") as caught:
        Database(Address("postgresql://localhost/custodes"))
    assert caught.value.hint == "pip install 'custodes[postgres]'"
