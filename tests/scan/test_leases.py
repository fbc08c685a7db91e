"""A run's shards are leased to one coordinator at a time; who has outlived his lease commits nothing; what is done is decided by the store alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.postgres.proxy import proxied
from tests.postgres.server import Given, Server, new_schema, skip_without

from custodes.errors import FencedError, StorageError
from custodes.ledger import leases_sql
from custodes.ledger.leases import Claim, Leases, PostgresFence, Settled, Work
from custodes.ledger.run import ShardRecord
from custodes.model import Reason
from custodes.postgres.database import Database
from custodes.scan.shard import ShardJob, ShardReport
from custodes.scan.supply import LeasedSupply, Listed, Supply

RUN = "0123456789abcdef"


@pytest.fixture
def database(postgres: Server | Given) -> Database:
    return postgres.database(schema=new_schema("leases"))


@pytest.fixture
def begin(database: Database) -> Iterator[Callable[[], Leases]]:
    """Coordinators of one run, which end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Leases(Database(database._address), RUN))


def expire(database: Database, leases: Leases) -> None:
    """As if it had been stopped for longer than its lease."""
    database.run(
        lambda connection: connection.execute(
            "UPDATE coordinators SET expires = clock_timestamp() - interval '1 second' WHERE name = %s",
            (leases._own["name"],),
        )
    )


def works(count: int) -> list[Work]:
    return [Work(shard) for shard in range(count)]


def shards(claims: list[Claim]) -> list[int]:
    return [claim.work.shard for claim in claims]


def rows(database: Database, columns: str) -> list[tuple[Any, ...]]:
    return database.read(
        lambda connection: connection.execute(f"SELECT {columns} FROM shards ORDER BY shard, generation").fetchall()
    )


# -- leases


def test_each_shard_is_leased_once(begin: Callable[[], Leases]) -> None:
    one, two = begin(), begin()
    one.plan(works(5))
    two.plan(works(5))
    first, second = one.claim(2), two.claim(9)
    assert (shards(first[0]), shards(second[0])) == ([0, 1], [2, 3, 4])
    assert (one.claim(9), two.claim(9)) == (([], True), ([], True))


def test_runs_do_not_know_each_other(database: Database, begin: Callable[[], Leases]) -> None:
    one = begin()
    one.plan(works(2))
    with Leases(Database(database._address), "another run") as other:
        other.plan(works(1))
        assert shards(other.claim(9)[0]) == [0]
    assert shards(one.claim(9)[0]) == [0, 1]


def test_what_is_given_back_goes_to_another_with_a_greater_token(
    database: Database, begin: Callable[[], Leases]
) -> None:
    two = begin()
    with Leases(Database(database._address), RUN) as one:
        one.plan(works(3))
        claims, _ = one.claim(3)
    again, _ = two.claim(3)
    assert [(claim.work, claim.taken_over) for claim in again] == [(work, False) for work in works(3)]
    assert all(new.token > old.token for new, old in zip(again, claims, strict=True))


def test_what_ran_out_is_taken_over_and_the_old_one_may_do_nothing(
    database: Database, begin: Callable[[], Leases]
) -> None:
    one, two = begin(), begin()
    one.plan(works(2))
    old, _ = one.claim(2)
    assert two.claim(2)[0] == []
    expire(database, one)
    new, _ = two.claim(2)
    assert [(claim.work.shard, claim.taken_over) for claim in new] == [(0, True), (1, True)]
    assert all(mine.token > his.token for mine, his in zip(new, old, strict=True))
    with pytest.raises(FencedError, match="lease has run out"):
        one.claim(1)
    fence = PostgresFence(database, RUN)
    with pytest.raises(FencedError), fence.held(0, 0, old[0].token):
        pytest.fail("a zombie went past the fence")
    with fence.held(0, 0, new[0].token):
        pass
    assert rows(database, "shard, done") == [(0, True), (1, False)]


def test_a_token_grows_even_where_an_older_database_was_restored(
    database: Database, begin: Callable[[], Leases]
) -> None:
    one = begin()
    one.plan(works(1))
    (old,), _ = one.claim(1)
    database.run(lambda connection: connection.execute("UPDATE shards SET token = 0, coordinator = NULL"))
    (new,), _ = begin().claim(1)
    assert new.token > old.token


def test_a_lease_is_renewed_as_long_as_its_coordinator_lives(database: Database) -> None:
    with Leases(Database(database._address), RUN, lease_s=0.6) as one:
        one.plan(works(2))
        one.claim(1)
        time.sleep(1.2)
        one.check()
        assert shards(one.claim(1)[0]) == [1]


def test_a_lease_that_ran_out_is_not_renewed(database: Database) -> None:
    with Leases(Database(database._address), RUN, lease_s=0.6) as one:
        expire(database, one)
        one._renewing.join(10)
        with pytest.raises(FencedError):
            one.check()


def test_a_shard_is_not_taken_over_while_its_mark_is_being_published(
    database: Database, begin: Callable[[], Leases]
) -> None:
    one, two = begin(), begin()
    one.plan(works(2))
    (first, _), _ = one.claim(2)
    with PostgresFence(database, RUN).held(0, 0, first.token):
        expire(database, one)
        assert shards(two.claim(9)[0]) == [1]
    assert two.claim(9) == ([], True)
    assert rows(database, "shard, done") == [(0, True), (1, False)]


def test_a_lease_is_renewed_while_a_mark_is_being_published(database: Database, begin: Callable[[], Leases]) -> None:
    one = begin()
    one.plan(works(1))
    (first,), _ = one.claim(1)
    with PostgresFence(database, RUN).held(0, 0, first.token):
        Database(database._address, patience_s=1).run(one._prolong)


def test_what_could_not_be_published_is_not_done(database: Database, begin: Callable[[], Leases]) -> None:
    one = begin()
    one.plan(works(1))
    (first,), _ = one.claim(1)
    with pytest.raises(StorageError, match="disk full"), PostgresFence(database, RUN).held(0, 0, first.token):
        raise StorageError("disk full")
    assert rows(database, "done") == [(False,)]


@pytest.mark.parametrize("token", [0, -1, 1])
def test_no_token_that_was_not_given_passes_the_fence(
    database: Database, begin: Callable[[], Leases], token: int
) -> None:
    one = begin()
    one.plan(works(1))
    one.claim(1)
    for asked in ((0, 0), (0, 1), (7, 0)):
        with pytest.raises(FencedError), PostgresFence(database, RUN).held(*asked, token):
            pytest.fail("passed")


# -- what is done


def test_counts_of_what_was_committed_are_kept(database: Database, begin: Callable[[], Leases]) -> None:
    one = begin()
    one.plan(works(2))
    one.claim(2)
    report = Settled(0, 0, 40, {Reason.FULL: 30, Reason.DNS: 10}, 12345)
    for _ in range(2):
        assert one.claim(1, [report])[1]
    assert rows(database, "shard, done, rows, reasons, bytes_fetched") == [
        (0, True, 40, {"full": 30, "dns": 10}, 12345),
        (1, False, None, None, None),
    ]


def test_what_was_given_up_is_open_to_nobody_until_somebody_begins_anew(begin: Callable[[], Leases]) -> None:
    one, two = begin(), begin()
    one.plan(works(1))
    one.claim(1)
    assert one.claim(1, [Settled(0)]) == ([], False)
    assert two.claim(1) == ([], False)
    two.plan(works(1))
    assert shards(two.claim(1)[0]) == [0]


def test_what_another_took_over_cannot_be_given_up(database: Database, begin: Callable[[], Leases]) -> None:
    one, two = begin(), begin()
    one.plan(works(1))
    one.claim(1)
    two.claim(1, [Settled(0)])
    assert rows(database, "failed") == [(False,)]


def test_the_store_knows_more_than_the_database(database: Database, begin: Callable[[], Leases]) -> None:
    """The database was lost, or an old one was restored: what is done is recorded, and nothing of it is leased."""
    one = begin()
    one.plan(works(3))
    one.plan([Work(2)], [Settled(0, 0, 5), Settled(1, 0, 5), Settled(7, 0, 5)])
    assert shards(one.claim(9)[0]) == [2]
    assert rows(database, "shard, done") == [(0, True), (1, True), (2, False), (7, True)]


def test_the_database_knows_more_than_the_store(begin: Callable[[], Leases]) -> None:
    """A shard file was deleted, as the message says where it is damaged: it is done again."""
    one = begin()
    one.plan(works(2), [Settled(0, 0, 5)])
    assert one.plan(works(2)) == [Work(0)]
    one.reopen([Work(0)])
    assert shards(one.claim(9)[0]) == [0, 1]


def test_rows_to_be_tried_again_keep_their_reasons(begin: Callable[[], Leases]) -> None:
    one, two = begin(), begin()
    again = Work(3, 1, (Reason.DNS, Reason.TIMEOUT))
    one.plan([Work(0), again], [Settled(3, 0, 5)])
    assert [claim.work for claim in two.claim(9)[0]] == [Work(0), again]


def test_plans_of_many_shards_go_in_batches(begin: Callable[[], Leases], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.ledger.leases.BATCH_ROWS", 7)
    one = begin()
    one.plan(works(20)[10:], [Settled(shard, 0, 1) for shard in range(10)])
    assert shards(one.claim(99)[0]) == list(range(10, 20))


# -- the supply


def supplies(database: Database, count: int) -> Iterator[Supply]:
    yield Listed([ShardJob(shard) for shard in range(count)])
    with Leases(Database(database._address), RUN) as leases:
        leases.plan(works(count))
        yield LeasedSupply(leases, lambda _shard: None)


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_a_supply_hands_out_each_job_once_and_is_finished_then(database: Database, count: int) -> None:
    for supply in supplies(database, count):
        taken = []
        while (job := supply.take()) is not None:
            taken.append(job.shard)
            supply.settled(job.shard, ShardReport(job.shard, 0, 1, {}, 0))
        assert (taken, supply.take(), supply.finished) == (list(range(count)), None, True)


def test_a_supply_is_finished_where_its_last_job_failed(database: Database) -> None:
    for supply in supplies(database, 1):
        job = supply.take()
        assert job is not None
        supply.settled(job.shard)
        assert (supply.take(), supply.finished) == (None, True)


def test_a_leased_supply_is_not_finished_before_the_others_are(begin: Callable[[], Leases]) -> None:
    now = [0.0]
    one, two = (LeasedSupply(begin(), lambda _shard: None, lambda: now[0]) for _ in range(2))
    one._leases.plan(works(2))
    first, second = one.take(), two.take()
    assert first is not None
    assert second is not None
    one.settled(first.shard, ShardReport(first.shard, 0, 1, {}, 0))
    assert (one.take(), one.finished) == (None, False)
    two.settled(second.shard, ShardReport(second.shard, 0, 1, {}, 0))
    assert (two.take(), two.finished) == (None, True)
    assert (one.take(), one.finished) == (None, False)  # not asked again so soon
    now[0] += 1.0
    assert (one.take(), one.finished) == (None, True)


def record_of(shard: int) -> ShardRecord:
    return ShardRecord(
        run_id=RUN, shard=shard, generation=0, rows=3, reasons={Reason.FULL: 3}, coverage={}, started=0, finished=1,
        bytes_fetched=9, findings_file="", findings_sha256="", locked=b"",
    )  # fmt: skip


def test_what_its_former_coordinator_committed_is_recorded_and_not_done_again(
    database: Database, begin: Callable[[], Leases]
) -> None:
    one = begin()
    one.plan(works(3))
    one.claim(3)
    expire(database, one)
    asked: list[int] = []
    supply = LeasedSupply(begin(), lambda shard: asked.append(shard) or (record_of(shard) if shard < 2 else None))
    taken = [job.shard for _ in range(3) if (job := supply.take()) is not None]
    assert (taken, asked) == ([2], [0, 1, 2])
    supply.settled(2, ShardReport(2, 0, 1, {}, 0))
    assert (supply.take(), supply.finished) == (None, True)
    assert rows(database, "done, rows") == [(True, 3), (True, 3), (True, 1)]


# -- cut at every statement


class Marks:
    """Done-marks: the first wins, and more than one is counted."""

    def __init__(self) -> None:
        self.published: dict[int, int] = {}

    def publish(self, shard: int) -> None:
        self.published[shard] = self.published.get(shard, 0) + 1

    def committed(self, shard: int) -> ShardRecord | None:
        return record_of(shard) if shard in self.published else None


def work_all(supply: LeasedSupply, fence: PostgresFence, marks: Marks) -> None:
    while (job := supply.take()) is not None:
        with fence.held(job.shard, job.generation, job.fence):
            marks.publish(job.shard)
        supply.settled(job.shard, ShardReport(job.shard, 0, 3, {}, 0))


def whole_run(through: Database, marks: Marks, count: int = 2) -> bool:
    """Plan, claim, fence, record, renew, give back. Whether it said that it is finished."""
    with Leases(through, RUN) as leases:
        leases.plan(works(count), [])
        supply = LeasedSupply(leases, marks.committed)
        work_all(supply, PostgresFence(through, RUN), marks)
        through.run(leases._prolong)
        return supply.finished


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_at_any_statement_nothing_is_lost_and_nothing_doubled(postgres: Server | Given, when: Any) -> None:
    skip_without(private=True)
    with proxied(postgres.url) as proxy:
        for number in range(1, 120):
            schema = new_schema("cut")
            proxy.cut(0)
            with Leases(proxy.database(schema=schema), RUN):  # tables are there
                pass
            proxy.cut(number, when)
            marks, through = Marks(), proxy.database(schema=schema)
            assert whole_run(through, marks), number
            assert marks.published == {0: 1, 1: 1}, proxy.seen
            cuts, _ = proxy.cuts, proxy.cut(0)
            assert rows(through, "shard, done, rows") == [(shard, True, 3) for shard in range(2)]
            assert through.read(lambda connection: connection.execute("SELECT * FROM coordinators").fetchall()) == []
            if not cuts:
                break
        assert 30 < number < 119


def test_the_cut_test_catches_a_claim_that_is_not_safe_to_run_twice(
    postgres: Server | Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = "SELECT 1, 1, '{}'::text[], 1, true WHERE %(name)s = '' AND %(claim)s = 0"
    monkeypatch.setattr(leases_sql, "CLAIMED_BEFORE", nothing)
    with pytest.raises(AssertionError):
        test_cut_at_any_statement_nothing_is_lost_and_nothing_doubled(postgres, "after")


# -- random histories


def history(database: Database, rng: random.Random) -> tuple[list[int], dict[int, int]]:
    """Three coordinators that claim, commit, are stopped past their leases and go on. Commits by who had none any more; marks by shard."""
    past_the_fence, marks, held = [], Marks(), {}
    fence = PostgresFence(database, RUN)
    with ExitStack() as stack:
        alive = [stack.enter_context(Leases(Database(database._address), RUN)) for _ in range(3)]
        alive[0].plan(works(6))
        zombies: set[Leases] = set()
        for _ in range(40):
            one = rng.choice(alive)
            mine = held.setdefault(one, [])
            match rng.choice(["claim", "claim", "commit", "commit", "commit", "stop"]):
                case "claim" if one not in zombies:
                    mine += [
                        claim for claim in one.claim(rng.randint(1, 3))[0] if not marks.committed(claim.work.shard)
                    ]
                case "commit" if mine:
                    claim = mine.pop(rng.randrange(len(mine)))
                    try:
                        with fence.held(claim.work.shard, 0, claim.token):
                            marks.publish(claim.work.shard)
                            past_the_fence += [claim.work.shard] if one in zombies else []
                    except FencedError:
                        assert one in zombies
                case "stop" if one not in zombies and len(zombies) < 2:
                    expire(database, one)
                    zombies.add(one)
    return past_the_fence, marks.published


def check_histories(database: Database, count: int) -> None:
    for seed in range(count):
        database.run(lambda connection: connection.execute("DELETE FROM shards"))
        past, published = history(database, random.Random(seed))
        assert past == [], f"a zombie committed in history {seed}"
        assert set(published.values()) <= {1}, f"a shard was committed twice in history {seed}"


def test_no_zombie_commits_in_random_histories(database: Database, begin: Callable[[], Leases]) -> None:
    begin()
    check_histories(database, 12)


@pytest.mark.soak
def test_no_zombie_commits_in_500_random_histories(database: Database, begin: Callable[[], Leases]) -> None:
    begin()
    check_histories(database, 500)


FAULTS = {
    "a fence that does not look at the token": (
        "SELECT 1 FROM shards s WHERE s.run = %(run)s AND s.shard = %(shard)s AND s.generation = %(generation)s"
        " AND %(token)s > 0 FOR KEY SHARE OF s"
    ),
    "a fence that does not look at the lease": (
        "SELECT 1 FROM shards s WHERE s.run = %(run)s AND s.shard = %(shard)s AND s.generation = %(generation)s"
        " AND s.token = %(token)s FOR KEY SHARE OF s"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_histories_catch(
    database: Database, begin: Callable[[], Leases], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin()
    monkeypatch.setattr(leases_sql, "MAY_COMMIT", FAULTS[fault])
    with pytest.raises(AssertionError):
        check_histories(database, 12)
