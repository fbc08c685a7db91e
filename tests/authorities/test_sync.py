"""A list that is synced holds what its authority says, whatever is lost, late, twice, or in another order on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from custodes.authorities import sync as module
from custodes.authorities.base import Page
from custodes.authorities.sync import SyncReport, sync
from custodes.crypto.keys import ListsKey
from custodes.durable import exclusive
from custodes.errors import AuthorityError, ListError, StorageError
from custodes.lists import journal as journal_module
from custodes.lists.checks import ListChecks, Samples
from custodes.lists.container import ROLES
from custodes.lists.store import ListStore, StoreRules
from custodes.model import Entry

from .fake import PAGE_RECORDS, FakeAuthority

KEY = ListsKey(bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path) -> ListStore:
    return ListStore(tmp_path / "lists", KEY, StoreRules(memory=tmp_path / "memory"))


def run(store: ListStore, authority: FakeAuthority) -> SyncReport:
    return asyncio.run(sync(store, "demo", authority))


def held(store: ListStore) -> set[Entry]:
    if not store.ids():
        return set()
    contents = store.load(store.current(["demo"])).lists[0].contents
    return {
        Entry(
            kind,
            columns.codes[row].tobytes(),
            contents.entry_id(int(columns.ids[row])),
            contents.categories[columns.categories[row]],
            contents.assurances[columns.assurances[row]],
            ROLES[columns.roles[row]],
        )
        for kind, columns in contents.kinds.items()
        for row in range(len(columns))
    }


def filled(count: int = 10, seed: int = 0, *, whole: bool = False) -> FakeAuthority:
    authority = FakeAuthority(seed, whole=whole)
    for number in range(count):
        authority.say(f"id {number}", number)
    return authority


def test_a_first_sync_brings_everything_and_the_next_what_changed(store: ListStore) -> None:
    authority = filled()
    first = run(store, authority)
    assert (first.added, first.changed, first.withdrawn, first.pages) == (10, 0, 0, 4)
    assert (first.authority, first.environment, first.production) == ("fake", "test", False)
    assert first.skipped == {"video": 4}
    assert held(store) == authority.active()
    authority.say("id 3")
    authority.say("id 4", 40, 41)
    authority.say("new", 99)
    second = run(store, authority)
    assert (second.added, second.changed, second.withdrawn, second.pages) == (1, 1, 1, 1)
    assert held(store) == authority.active()


def test_where_nothing_is_new_the_version_stays(store: ListStore) -> None:
    authority = filled()
    version = run(store, authority).version
    again = run(store, authority)
    assert (again.version, again.unchanged) == (version, True)


def test_a_list_says_where_it_comes_from(store: ListStore) -> None:
    run(store, filled())
    provenance = store.show()[0].provenance
    assert (provenance.source, provenance.scheme, provenance.environment) == ("fake", "ncmec", "test")


@pytest.mark.parametrize("whole", [False, True])
def test_a_walk_interrupted_at_any_request_goes_on_there(tmp_path: Path, whole: bool) -> None:
    authority = filled(20, whole=whole)
    walk = -(-20 // PAGE_RECORDS)
    for lost in range(1, walk + 1):
        store = ListStore(tmp_path / f"{lost}", KEY)
        authority.requests, authority.fail_at = 0, {lost}
        with pytest.raises(AuthorityError):
            run(store, authority)
        assert store.ids() == []  # not half of a list
        run(store, authority)
        assert authority.requests == walk + 1  # nothing is asked for twice but what was not answered
        assert held(store) == authority.active()


@pytest.mark.parametrize("whole", [False, True])
def test_a_walk_that_expired_begins_again(tmp_path: Path, whole: bool) -> None:
    for expired in range(2, 8):
        authority = filled(20, whole=whole)
        authority.expire_at = {expired}
        authority.during = [("id 1", ()), ("id 2", (77,)), ("late", (5,))]
        store = ListStore(tmp_path / f"{expired}", KEY)
        run(store, authority)
        run(store, authority)
        assert held(store) == authority.active()


def test_a_walk_that_always_expires_is_given_up(store: ListStore) -> None:
    authority = filled(20)
    authority.expire_at = set(range(100))
    with pytest.raises(AuthorityError, match="let the walk expire 3 times"):
        run(store, authority)


def history(seed: int, folder: Path) -> None:
    """Random changes between and during walks that are cut off, expire, and find the store restarted."""
    chance = random.Random(seed)
    authority = FakeAuthority(seed, whole=chance.random() < 0.25)
    store = ListStore(folder, KEY)
    for _ in range(chance.randint(1, 6)):
        for _ in range(chance.randint(0, 8)):
            numbers = tuple(chance.sample(range(20), chance.choice([0, 1, 1, 2])))
            authority.say(f"id {chance.randrange(12)}", *numbers)
        authority.during = [
            (f"id {chance.randrange(12)}", (chance.randrange(20),)) for _ in range(chance.randint(0, 3))
        ]
        soon = range(authority.requests + 1, authority.requests + 12)
        authority.fail_at = set(chance.sample(soon, chance.randint(0, 4)))
        authority.expire_at = set(chance.sample(soon, chance.randint(0, 2)))
        while authority.truth:
            try:
                run(store, authority)
                break
            except AuthorityError:
                store = ListStore(folder, KEY)
    authority.during, authority.fail_at, authority.expire_at = [], set(), set()
    if authority.truth:
        run(store, authority)
    assert held(store) == authority.active()


def histories(folder: Path, count: int) -> None:
    for seed in range(count):
        history(seed, folder / str(seed))


def test_any_history_ends_with_what_the_authority_says(tmp_path: Path) -> None:
    histories(tmp_path, 60)


@pytest.mark.soak
def test_a_thousand_histories_end_with_what_the_authority_says(tmp_path: Path) -> None:
    histories(tmp_path, 1000)


def test_planted_fault_a_checkpoint_that_moves_before_the_walk_is_whole_loses_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FakeAuthority.pages

    async def hasty(self: FakeAuthority, checkpoint: str, resume: str = "") -> object:
        async for page in real(self, checkpoint, resume):
            yield Page(page.records, page.resume, str(self.at), page.skipped)

    monkeypatch.setattr(FakeAuthority, "pages", hasty)
    with pytest.raises(AssertionError):
        histories(tmp_path, 60)


def test_a_list_is_had_afresh_and_what_is_not_named_any_more_goes(store: ListStore) -> None:
    authority = filled()
    run(store, authority)
    del authority.truth["id 3"]  # a withdrawal that was never told
    run(store, authority)
    assert held(store) != authority.active()
    report = asyncio.run(sync(store, "demo", authority, afresh=True))
    assert (report.withdrawn, report.added, report.changed) == (1, 0, 0)
    assert held(store) == authority.active()
    assert run(store, authority).unchanged


def test_a_list_that_is_too_stale_to_be_used_is_synced(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    checks = {"demo": ListChecks(stale_after_h=1, when_stale="refuse")}
    store = ListStore(tmp_path / "lists", KEY, StoreRules(checks=checks, memory=tmp_path / "memory", clock=lambda: now))
    authority = filled()
    run(store, authority)
    now += timedelta(hours=2)
    with pytest.raises(ListError, match="is stale"):
        store.current()
    assert run(store, authority).unchanged
    assert held(store) == authority.active()


def test_a_list_that_was_set_back_is_synced_to_a_version_past_all_that_were_in_force(
    store: ListStore, tmp_path: Path
) -> None:
    authority = filled()
    first = run(store, authority).version
    authority.say("id 3")
    run(store, authority)
    (tmp_path / "lists/demo/current").write_text(f"{first}\n")
    with pytest.raises(ListError, match="an older one was put in its place"):
        store.current()
    assert run(store, authority).version.startswith("3-")
    assert held(store) == authority.active()


def test_an_answer_without_an_end_is_an_error_and_what_came_is_kept(store: ListStore) -> None:
    authority = filled()

    class Endless(FakeAuthority):
        async def pages(self, checkpoint: str, resume: str = "") -> object:  # type: ignore[override]
            yield Page((), "")

    endless = Endless()
    with pytest.raises(AuthorityError, match="without a checkpoint"):
        run(store, endless)
    run(store, authority)
    assert held(store) == authority.active()


def test_a_list_is_synced_by_one_at_a_time(store: ListStore) -> None:
    with exclusive(store.journal("demo").folder), pytest.raises(ListError, match="by another process"):
        run(store, filled())


def test_a_version_that_a_check_speaks_against_waits_and_the_next_sync_asks_again(tmp_path: Path) -> None:
    authority = filled()
    bad = Samples(harmless=tuple(entry for entry in authority.active() if entry.id == "id 3"))
    rules = StoreRules(checks={"demo": ListChecks()}, samples=lambda _: bad)
    store = ListStore(tmp_path, KEY, rules)
    report = run(store, authority)
    assert report.held
    assert store.ids() == []
    authority.say("id 3")  # the authority mends it
    assert run(store, authority).held == ()
    assert held(store) == authority.active()
    assert store.held() == {}


def test_a_disk_that_is_full_at_any_page_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_module.replace_file
    for full in range(1, 5):
        authority = filled()
        store = ListStore(tmp_path / str(full), KEY)
        writes = iter(range(1, 100))

        def failing(path: Path, content: bytes, writes: Iterator[int] = writes, full: int = full) -> None:
            if next(writes) == full:
                raise StorageError("cannot write")
            real(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "replace_file", failing)
            with pytest.raises(StorageError):
                run(store, authority)
        run(store, authority)
        assert held(store) == authority.active()


def test_a_crash_between_the_new_version_and_the_end_of_the_journal_is_harmless(
    store: ListStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = filled()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(store, authority)
    assert held(store) == authority.active()
    authority.say("id 1")
    run(store, authority)
    assert held(store) == authority.active()
