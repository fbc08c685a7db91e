"""What comes into force, what waits, and what is noticed: held versions, rollback, freeze, and lists that are gone."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from custodes.crypto.keys import ListsKey
from custodes.errors import ListError
from custodes.lists import store as module
from custodes.lists.checks import ListChecks, Samples
from custodes.lists.container import Provenance
from custodes.lists.records import Record
from custodes.lists.store import ListStore, StoreRules, Walk
from custodes.model import Entry, Kind

KEY = ListsKey(bytes(range(32)))
FROM = Provenance(source="demo")


def entry(number: int) -> Entry:
    return Entry(Kind.MD5, hashlib.md5(b"pattern %d" % number).digest(), f"e{number}")


def records(*numbers: int) -> list[Record]:
    return [Record(f"e{number}", (entry(number),)) for number in numbers]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store_in(folder: Path, clock: Clock, samples: Samples | None = None, **checks: object) -> ListStore:
    rules = StoreRules(
        checks={"demo": ListChecks(**checks)},  # type: ignore[arg-type]
        samples=lambda _: samples or Samples(),
        memory=folder / "lists.memory",
        clock=clock,
    )
    return ListStore(folder / "lists", KEY, rules)


def numbers_in(store: ListStore) -> set[str]:
    contents = store.load(store.current(["demo"])).lists[0].contents
    return {contents.entry_id(int(number)) for columns in contents.kinds.values() for number in columns.ids}


SUSPICIOUS = Samples(harmless=(entry(9),))


def test_a_version_that_a_check_speaks_against_waits_and_the_one_before_stays(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, SUSPICIOUS)
    first = store.import_entries("demo", [entry(1)], FROM)
    bad = store.import_entries("demo", [entry(2), entry(9)], FROM)
    assert (first.held, len(bad.held)) == ((), 1)
    assert numbers_in(store) == {"e1"}
    assert store.held() == {"demo": {bad.version: list(bad.held)}}
    assert store.show()[0].held == {bad.version: list(bad.held)}
    store.accept("demo", bad.version)
    assert numbers_in(store) == {"e2", "e9"}
    assert store.held() == {}


def test_a_first_version_that_waits_is_no_list_yet(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, SUSPICIOUS)
    bad = store.import_entries("demo", [entry(9)], FROM)
    assert (store.ids(), list(store.held())) == ([], ["demo"])
    with pytest.raises(ListError, match="no hash list"):
        store.load()
    store.accept("demo", bad.version)
    assert numbers_in(store) == {"e9"}


def test_a_rejected_version_is_gone(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, SUSPICIOUS)
    store.import_entries("demo", [entry(1)], FROM)
    bad = store.import_entries("demo", [entry(9)], FROM).version
    store.reject("demo", bad)
    assert store.held() == {}
    assert numbers_in(store) == {"e1"}
    for gone in (lambda: store.accept("demo", bad), lambda: store.reject("demo", bad)):
        with pytest.raises(ListError):
            gone()


def test_a_newer_candidate_takes_the_place_of_one_that_waits(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, SUSPICIOUS)
    store.import_entries("demo", [entry(1)], FROM)
    store.import_entries("demo", [entry(9)], FROM)
    bad = store.import_entries("demo", [entry(9), entry(3)], FROM).version
    assert list(store.held()["demo"]) == [bad]
    store.import_entries("demo", [entry(4)], FROM)
    assert (store.held(), numbers_in(store)) == ({}, {"e4"})
    assert [path.stem for path in (tmp_path / "lists/demo").glob("*.list")].count(bad) == 0


def test_updates_fold_into_the_list_and_what_is_nothing_new_makes_no_version(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    assert store.checkpoint("demo") == ""
    first = store.update("demo", records(1, 2), FROM, Walk("one"))
    assert (first.added, first.changed, first.withdrawn, first.entries) == (2, 0, 0, {Kind.MD5: 2})
    assert store.checkpoint("demo") == "one"
    clock.now += timedelta(hours=1)
    same = store.update("demo", records(2), FROM, Walk("two"))
    assert (same.unchanged, same.version) == (True, first.version)
    assert store.checkpoint("demo") == "two"
    assert store.show()[0].confirmed == "2026-01-01T01:00:00+00:00"
    gone = store.update("demo", [*records(3), Record("e1")], FROM, Walk("three"))
    assert (gone.added, gone.withdrawn) == (1, 1)
    assert numbers_in(store) == {"e2", "e3"}
    whole = store.update("demo", records(3, 4), FROM, Walk("four", whole=True))
    assert (whole.added, whole.withdrawn, numbers_in(store)) == (1, 1, {"e3", "e4"})


def test_the_last_entry_may_be_withdrawn_and_then_nothing_is_scanned(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    store.update("demo", records(1), FROM, Walk("one"))
    store.update("demo", [Record("e1")], FROM, Walk("two"))
    assert store.load().kinds == ()
    assert store.show()[0].entries == {}


def test_a_checkpoint_is_good_for_its_version_alone(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    store.update("demo", records(1), FROM, Walk("one"))
    store.confirm("demo", "later")
    assert store.checkpoint("demo") == "later"
    (tmp_path / "lists/demo/state").unlink()
    assert store.checkpoint("demo") == "one"  # what the version itself carries


def test_an_older_folder_put_back_is_noticed_and_may_be_accepted_on_purpose(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    first = store.import_entries("demo", [entry(1), entry(2)], FROM).version
    shutil.copytree(tmp_path / "lists", tmp_path / "backup")
    store.import_entries("demo", [entry(2)], FROM)
    shutil.rmtree(tmp_path / "lists")
    shutil.copytree(tmp_path / "backup", tmp_path / "lists")
    with pytest.raises(ListError, match="an older one was put in its place") as caught:
        store.current()
    assert first in str(caught.value.hint)
    assert store.verify("demo")
    store.accept("demo", first)
    assert numbers_in(store) == {"e1", "e2"}


def test_a_pointer_set_back_to_an_older_version_is_noticed(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    first = store.import_entries("demo", [entry(1)], FROM).version
    store.import_entries("demo", [entry(2)], FROM)
    (tmp_path / "lists/demo/current").write_text(f"{first}\n")
    with pytest.raises(ListError, match="an older one was put in its place"):
        store.current()


def test_planted_fault_a_store_that_remembers_nothing_does_not_notice(tmp_path: Path, clock: Clock) -> None:
    store = ListStore(tmp_path / "lists", KEY, StoreRules(clock=clock))
    first = store.import_entries("demo", [entry(1)], FROM).version
    store.import_entries("demo", [entry(2)], FROM)
    (tmp_path / "lists/demo/current").write_text(f"{first}\n")
    assert store.current() == {"demo": first}


def test_an_import_after_a_rollback_goes_on_with_the_numbers(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    for number in (1, 2, 3):
        store.import_entries("demo", [entry(number)], FROM)
    shutil.rmtree(tmp_path / "lists")
    assert store.import_entries("demo", [entry(4)], FROM).version.startswith("4-")
    assert numbers_in(store) == {"e4"}


def test_a_list_that_is_gone_is_noticed_unless_it_was_removed(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    for name in ("demo", "other", "third"):
        store.import_entries(name, [entry(1)], FROM)
    shutil.rmtree(tmp_path / "lists/demo")
    with pytest.raises(ListError, match="list demo was here and is gone"):
        store.current()
    store.remove("demo")
    store.remove("other")
    assert list(store.current()) == ["third"]
    for gone in ("demo", "other", "never"):
        with pytest.raises(ListError, match="there is no list"):
            store.remove(gone)
    store.import_entries("demo", [entry(2)], FROM)
    assert list(store.current()) == ["demo", "third"]


def test_a_damaged_memory_is_an_error_and_no_empty_one(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    store.import_entries("demo", [entry(1)], FROM)
    memory = tmp_path / "lists.memory"
    memory.write_bytes(memory.read_bytes()[:-1])
    with pytest.raises(ListError, match="damaged"):
        store.current()


def test_a_version_issued_before_the_one_in_force_is_refused(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)

    def issued(when: str) -> Provenance:
        return Provenance(source="demo", issued=when)

    store.import_entries("demo", [entry(1)], issued("2026-01-02"))
    with pytest.raises(ListError, match="was issued 2026-01-01, the one in force 2026-01-02"):
        store.import_entries("demo", [entry(2)], issued("2026-01-01"))
    store.import_entries("demo", [entry(3)], issued("2026-01-02"))
    assert numbers_in(store) == {"e3"}


@pytest.mark.parametrize("when_stale", ["flag", "refuse"])
def test_a_list_is_stale_past_its_limit(tmp_path: Path, clock: Clock, when_stale: str) -> None:
    store = store_in(tmp_path, clock, stale_after_h=24, when_stale=when_stale)
    store.import_entries("demo", [entry(1)], FROM)
    clock.now += timedelta(hours=24)
    assert store.stale(["demo"]) == {}
    assert store.current()
    clock.now += timedelta(seconds=1)
    assert store.stale(["demo"]) == {"demo": "2026-01-01T00:00:00+00:00"}
    assert store.show()[0].stale
    if when_stale == "refuse":
        with pytest.raises(ListError, match="stale: it was last confirmed 2026-01-01"):
            store.current()
    else:
        assert store.current()
    store.confirm("demo", "now")
    assert store.current()
    assert store.stale(["demo"]) == {}


def test_a_clock_that_is_set_back_makes_nothing_fresh(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, stale_after_h=24)
    store.import_entries("demo", [entry(1)], FROM)
    clock.now += timedelta(days=9)
    store.import_entries("other", [entry(1)], FROM)
    clock.now -= timedelta(days=9)
    assert store.stale(["demo"])


def test_a_list_without_its_state_is_stale_where_there_is_a_limit(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, stale_after_h=24)
    store.import_entries("demo", [entry(1)], FROM)
    (tmp_path / "lists/demo/state").unlink()
    assert store.stale(["demo"]) == {"demo": ""}


def test_old_versions_are_deleted_past_their_number_and_never_the_one_in_force(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, versions_kept=2)
    versions = [store.import_entries("demo", [entry(number)], FROM).version for number in range(5)]
    kept = sorted(path.stem for path in (tmp_path / "lists/demo").glob("*.list"))
    assert kept == versions[2:]
    store.accept("demo", versions[2])
    assert store.current() == {"demo": versions[2]}


def test_the_value_of_an_entry_is_found_by_its_id(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock)
    twice = Entry(Kind.MD5, entry(5).value, "e4")
    store.import_entries("demo", [entry(1), entry(2), entry(4), twice], FROM)
    assert store.value_of("demo", "e2", Kind.MD5) == entry(2).value
    for own, kind in (("e9", Kind.MD5), ("e22", Kind.MD5), ("", Kind.MD5), ("e2", Kind.PDQ), ("e4", Kind.MD5)):
        with pytest.raises(ListError, match="under this id") as caught:
            store.value_of("demo", own, kind)
        assert own not in str(caught.value) or not own


def test_verify_names_what_is_wrong_and_no_value(tmp_path: Path, clock: Clock) -> None:
    store = store_in(tmp_path, clock, stale_after_h=1)
    first = store.import_entries("demo", [entry(1)], FROM).version
    store.import_entries("demo", [entry(2), entry(9)], FROM)
    assert store.verify("demo") == []
    path = tmp_path / f"lists/demo/{first}.list"
    path.write_bytes(path.read_bytes()[:-1])
    clock.now += timedelta(hours=2)
    damaged, stale = store.verify("demo")
    assert damaged.startswith(f"version {first}: cannot open list demo")
    assert stale == "not confirmed since 2026-01-01T00:00:00+00:00: stale"
    assert len(store_in(tmp_path, clock, SUSPICIOUS).verify("demo")) == 2


def test_planted_fault_without_the_checks_a_bad_version_comes_into_force(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "objections", lambda *_: [])
    store = store_in(tmp_path, clock, SUSPICIOUS)
    store.import_entries("demo", [entry(9)], FROM)
    assert numbers_in(store) == {"e9"}
