"""The ledger in a database that is shared, killed, and lost at any statement: what the books say is what a client was told."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from typing import Any, Literal, TypeVar

import pytest

from custodes.errors import CustodesError, StorageError
from custodes.gateway.people import postgres as module
from custodes.gateway.people.ledger import Ledger, Outcome
from custodes.gateway.people.postgres import PostgresLedger
from custodes.gateway.vocabulary import Stage
from custodes.postgres.once import Once
from tests.gateway.people.making import ALLOWED, DAY, NOON, asking, entry, noted, refused, run
from tests.gateway.people.memory import MemoryLedger
from tests.gateway.people.sharing import Shared, emptied
from tests.postgres.proxy import Proxy, proxied
from tests.postgres.server import Given, Server

T = TypeVar("T")
When = Literal["before", "after"]
ALWAYS = (date(2026, 1, 1), date(2100, 1, 1))


async def story(ledger: Ledger) -> list[object]:
    """A little of everything, and what was told of it."""
    told: list[object] = [await ledger.enter(entry("a", 3))]
    told += [await ledger.note(noted(1, ALLOWED, stage=Stage.OUTPUT, booking="a"))]
    told += [await ledger.note(noted(number, refused(2))) for number in (2, 2, 3)]
    await ledger.appeal("tenant", noted(2).request, NOON)
    told += [await ledger.settle(noted(2).request, Outcome.OVERTURNED, ("alice",), NOON)]
    ledger.give_back("a")
    told += [await ledger.note(noted(4, ALLOWED)), await ledger.forget(NOON - DAY), await ledger.standing(asking())]
    return [*told, await ledger.decisions(0, 99), await ledger.tally(*ALWAYS)]


@pytest.fixture
def proxy(postgres: Server | Given) -> Iterator[Proxy]:
    with proxied(postgres.url) as made:
        yield made


def cuts(proxy: Proxy, shared: Shared, numbers: range, when: When, only: bytes = b"") -> Iterator[list[object]]:
    """What the story tells where the connection is cut at each of these statements."""
    through = Shared(proxy, shared.schema)  # type: ignore[arg-type]
    for number in numbers:
        proxy.cut(0)
        with closing(emptied(through)) as ledger:
            proxy.cut(number, when, only)
            yield run(story(ledger))
        if not proxy.cuts:
            return


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.soak)])
def test_cut_at_any_statement_it_says_what_a_ledger_in_memory_says(
    proxy: Proxy, shared: Shared, when: When, stride: int
) -> None:
    expected = run(story(MemoryLedger()))
    found = list(cuts(proxy, shared, range(1, 2_000, stride), when))
    assert len(found) * stride > 40
    for each in found:
        assert numbered(each) == numbered(expected)


def numbered(told: list[Any]) -> list[Any]:
    """Numbers of decisions have gaps where a transaction was lost: they tell the order alone."""
    decisions = [[getattr(each, name) for name in each.__struct_fields__ if name != "number"] for each in told[-2]]
    return [*told[:-2], decisions, told[-1]]


def test_a_commit_whose_answer_was_lost_is_not_done_again(proxy: Proxy, shared: Shared) -> None:
    expected = run(story(MemoryLedger()))
    for each in cuts(proxy, shared, range(1, 40), "after", b"COMMIT"):
        assert numbered(each) == numbered(expected)


def test_planted_without_the_row_of_an_attempt_a_decision_is_counted_twice(
    proxy: Proxy, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(self: Once, work: Callable[[Any], T]) -> T:
        return self.database.run(work)

    monkeypatch.setattr(Once, "run", again)
    expected = numbered(run(story(MemoryLedger())))

    def wrong() -> Iterator[bool]:
        try:
            yield from (numbered(each) != expected for each in cuts(proxy, shared, range(1, 40), "after", b"COMMIT"))
        except CustodesError:  # an appeal that was settled already, a booking that is there
            yield True

    assert any(wrong())


# -- several gateways


async def gateway(ledger: Ledger, which: int, book: Counter[str], requests: int) -> None:
    """Requests of users whom other gateways have, too; each is sent twice."""

    async def request(number: int) -> None:
        name = f"{number % 40}"
        for _ in range(2):
            await ledger.note(noted(name, user=f"user {number % 40}", at=NOON + number))
            book[name] += 1

    await asyncio.gather(*(request(which + 3 * number) for number in range(requests)))


def checked(ledger: Ledger, book: Counter[str]) -> None:
    """The ledger is what clients wrote down."""
    decisions = run(ledger.decisions(0, 100_000))
    kept = Counter(each.request.partition("-")[0].removeprefix("req_") for each in decisions)
    assert kept == book
    assert [each.number for each in decisions] == sorted({each.number for each in decisions})
    assert sum(each.decisions for each in run(ledger.tally(*ALWAYS)).counts) == book.total()
    assert run(ledger.standing(asking(NOON + 999, user=""))).strikes == len(book)


def at_once(shared: Shared, requests: int) -> None:
    emptied(shared).close()
    book: Counter[str] = Counter()

    def work(which: int) -> None:
        with closing(PostgresLedger(shared.database())) as ledger:
            run(gateway(ledger, which, book, requests))

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(PostgresLedger(shared.database())) as ledger:
        checked(ledger, book)


def test_several_gateways_at_once_count_as_one_would(shared: Shared) -> None:
    at_once(shared, 60)


def test_planted_gateways_that_write_at_once_count_a_retry_twice(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "locked", lambda *_: None)

    def often() -> None:
        for _ in range(10):
            at_once(shared, 60)

    with pytest.raises(AssertionError):
        often()


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.timeout(1200)
def test_a_server_that_is_killed_has_every_decision_that_was_answered_once(mortal_postgres: Server, kills: int) -> None:
    shared, book, over = Shared(mortal_postgres, "custodes"), Counter[str](), threading.Event()
    emptied(shared).close()

    async def until_over(ledger: Ledger, which: int) -> None:
        number = which
        while not over.is_set():
            await ledger.note(noted(number, user=f"user {number}"))
            book[str(number)] += 1
            number += 8

    def work() -> None:
        async def clients(ledger: Ledger) -> None:
            await asyncio.gather(*(until_over(ledger, which) for which in range(8)))

        with closing(PostgresLedger(shared.database(60))) as ledger:
            run(clients(ledger))

    thread = threading.Thread(target=work)
    thread.start()
    for number in range(kills):
        have = book.total()
        while book.total() < have + 20 and thread.is_alive():
            over.wait(0.01)
        mortal_postgres.stop_immediate() if number % 2 else mortal_postgres.kill9()
        mortal_postgres.start()
    over.set()
    thread.join()
    with closing(PostgresLedger(shared.database())) as ledger:
        checked(ledger, book)


def test_a_database_that_stays_away_is_an_error_and_then_works_again(proxy: Proxy, shared: Shared) -> None:
    emptied(shared).close()
    with closing(PostgresLedger(proxy.database(schema=shared.schema, patience_s=0.3))) as ledger:
        run(ledger.note(noted(1)))
        proxy.refuse()
        with pytest.raises(StorageError, match="could not be used") as caught:
            run(ledger.note(noted(2)))
        assert "umbrella" not in str(caught.value)
        proxy.refuse(False)
        run(ledger.note(noted(3)))
        assert [each.request[:5] for each in run(ledger.decisions(0, 9))] == ["req_1", "req_3"]
