"""Wherever a run lies: the first writer wins, what is written is there whole, and a shard is committed with its findings or not at all, whatever fails."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import msgspec
import pytest
from s3 import FAULTS, Request, Service, at_random, running
from test_commit import KEY, commit_of, manifest

from custodes.errors import ConfigError, InputError, StorageError
from custodes.ledger import objects
from custodes.ledger.objects import Objects
from custodes.ledger.run import RunDirectory, ShardCommit, shard_name
from custodes.ledger.store import Folder, Store, store_at, together

KINDS = ("folder", "memory", "s3", "s3 with faults")
PART = 5 << 20  # the least that S3 takes


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def bucket(service: Service) -> Store:
    return store_at(f"s3://{service.bucket}/{uuid.uuid4().hex}/run")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, service: Service) -> Iterator[Store]:
    if request.param == "folder":
        yield Folder(tmp_path / "run")
    elif request.param == "memory":
        yield store_at(f"memory://{uuid.uuid4().hex}/run")
    else:
        share = 0.1 if "faults" in request.param else 0.0
        with service.faulty(at_random(len(request.node.name), share)), pytest.MonkeyPatch.context() as patch:
            hasten(patch)  # our own tries alone, and more of them
            yield store_at(f"s3://{service.bucket}/{uuid.uuid4().hex}/run")


# -- what every store promises


def test_what_is_published_is_there_and_the_second_changes_nothing(store: Store) -> None:
    store.begin()
    assert store.publish("a/b", b"first")
    assert not store.publish("a/b", b"second")
    assert (store.read("a/b"), store.tail("a/b", 3), store.tail("a/b", 99)) == (b"first", b"rst", b"first")
    assert store.opened("a/b").read() == b"first"
    assert store.names() == ["a"]
    assert store.names("a") == ["b"]
    store.replace("a/b", b"third")
    assert store.read("a/b") == b"third"


def test_what_is_not_there_is_no_trouble(store: Store) -> None:
    store.begin()
    for read in (store.read, lambda name: store.tail(name, 8), store.opened):
        with pytest.raises(FileNotFoundError):
            read("a/b")
    store.remove("a/b")
    store.clear("a")
    assert store.names() == store.names("a") == []
    assert store.tidy() == 0


def test_what_is_removed_is_gone_and_its_neighbours_stay(store: Store) -> None:
    for name in ("a/1", "a/2", "a/in/3", "ab/4"):
        store.publish(name, name.encode())
    store.remove("a/1")
    assert store.names("a") == ["2", "in"]
    assert store.inner("a").names("in") == ["3"]
    store.clear("a")
    assert (store.names(), store.names("a")) == (["ab"], [])
    assert store.inner("ab").read("4") == b"ab/4"


def test_of_many_writers_at_once_one_wins(store: Store) -> None:
    if isinstance(store, Objects) and store.shown.startswith("memory"):
        pytest.skip("memory of a process decides nothing between threads")
    store.begin()
    for race in range(3):
        at_once = threading.Barrier(8)

        def write(writer: int, race: int = race, at_once: threading.Barrier = at_once) -> bool:
            at_once.wait()
            return store.publish(f"mark{race}", b"%d" % writer)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(write, range(8)))
        assert [writer for writer, first in enumerate(won) if first] == [int(store.read(f"mark{race}"))]


def test_a_run_adds_up_sweeps_and_goes_on_wherever_it_lies(store: Store) -> None:
    run = RunDirectory.create(store, manifest(), KEY)
    for shard in (0, 1, 11):
        run.commit(commit_of(shard))
    second = run.commit(commit_of(1, sealed=b"second", found=7))
    run.commit(commit_of(1, 1, found=2))
    store.publish("findings/00000/00000000.g0-feed.age", b"left by a crash")
    again = RunDirectory.create(store.inner("x").inner("..") if isinstance(store, Folder) else store, manifest(), KEY)
    records = list(again.records())
    assert [(each.shard, each.generation) for each in records] == [(0, 0), (1, 0), (1, 1), (11, 0)]
    assert records[1] == second
    assert again.sweep(records) == 1
    assert [stored.read_bytes() for stored in again.sealed_files(records)] == [b"sealed"] * 4
    assert (again.counts().rows, again.counts().findings) == (9, 5)
    assert again.rows(records[0]).num_rows == 3
    assert (again.latest_of(1), again.latest_of(2)) == (records[2], None)
    assert run.keep("kept/one", b"thing")
    assert not run.keep("kept/one", b"other")
    assert (again.kept("kept/one"), again.kept("kept/two")) == (b"thing", None)
    again.forget("kept")
    assert again.kept("kept/one") is None


def test_a_place_with_something_else_in_it_is_refused(store: Store) -> None:
    store.publish("thesis.doc", b"mine")
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory.create(store, manifest(), KEY)
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory.open(store, KEY)


def test_reads_together_come_in_order_and_the_first_error_ends_them(store: Store) -> None:
    taken: list[int] = []

    def asked() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 200:
            raise StorageError("no")
        return number * 2

    found: list[int] = []
    with pytest.raises(StorageError):
        found.extend(together(store, work, asked()))
    assert len(taken) < 500
    assert list(together(store, lambda number: number * 2, range(300))) == [number * 2 for number in range(300)]


# -- sweeping without a lock


def hurried(run: RunDirectory, *, rule: Callable[[RunDirectory], object] | None = None) -> list[bytes]:
    """A worker commits while a sweep runs between its findings and its done-mark. What findings the authority gets."""
    real = run.store.publish

    def publish(name: str, data: bytes) -> bool:
        if name.endswith(".parquet"):
            other = RunDirectory.open(run.store.inner(""), KEY) if not isinstance(run.store, Folder) else run
            (rule or RunDirectory.sweep)(other)
        return real(name, data)

    run.store.publish = publish  # type: ignore[method-assign]
    run.commit(commit_of(0))
    return [stored.read_bytes() for stored in run.sealed_files()]


def sweep_all(run: RunDirectory) -> None:
    """The planted fault: whatever no record names goes."""
    named = {record.findings_file for record in run.records()}
    for folder in run.store.names("findings"):
        for name in run.store.names(f"findings/{folder}"):
            if name not in named:
                run.store.remove(f"findings/{folder}/{name}")


def test_a_sweep_takes_nothing_from_who_is_about_to_commit(store: Store) -> None:
    run = RunDirectory.create(store, manifest(), KEY)
    assert hurried(run) == [b"sealed"]


def test_the_check_of_sweeping_catches_one_that_removes_a_racers_findings(store: Store) -> None:
    run = RunDirectory.create(store, manifest(), KEY)
    with pytest.raises(StorageError, match="missing or was changed"):
        hurried(run, rule=sweep_all)


def test_of_many_committing_at_once_each_shard_is_done_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    bucket = store_at(f"s3://{service.bucket}/{uuid.uuid4().hex}/run")
    RunDirectory.create(bucket, manifest(), KEY)
    with service.faulty(at_random(3, 0.04)):

        def coordinator(number: int) -> None:
            run = RunDirectory.open(bucket, KEY)
            for shard in random.Random(number).sample(range(12), 12):
                run.commit(commit_of(shard, sealed=b"%d of %d" % (shard, number)))
            run.sweep()

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(coordinator, range(3)))
    run = RunDirectory.open(bucket, KEY)
    run.sweep()
    assert run.counts().findings == 12
    assert [each.read_bytes().split()[0] for each in run.sealed_files()] == [b"%d" % shard for shard in range(12)]
    assert len(bucket.names("findings/00000")) == 12


# -- the fence


class FencedError(Exception):
    """Too late."""


def test_the_done_mark_is_published_inside_the_fence_or_not_at_all(store: Store) -> None:
    asked: list[tuple[int, int, int]] = []

    class Only:
        @contextmanager
        def held(self, shard: int, generation: int, token: int) -> Iterator[None]:
            asked.append((shard, generation, token))
            if token != 7:
                raise FencedError
            assert run.latest_of(shard) is None
            yield
            assert run.latest_of(shard) is not None

    run = RunDirectory.create(store, manifest(), KEY, Only())
    with pytest.raises(FencedError):
        run.commit(fenced(6))
    assert run.latest() == {}
    run.commit(fenced(7))
    run.sweep()
    assert asked == [(0, 0, 6), (0, 0, 7)]
    assert [stored.read_bytes() for stored in run.sealed_files()] == [b"7"]
    assert len(store.names("findings/00000")) == 1


def fenced(token: int) -> ShardCommit:
    return msgspec.structs.replace(commit_of(0, sealed=b"%d" % token), fence=token)


# -- object stores


def nth(number: int, fault: str, method: str = "") -> Callable[[Request], str | None]:
    """The n-th request (of a method) goes wrong, and no other."""
    count = iter(range(10**6))
    return lambda request: fault if request.method.startswith(method) and next(count) == number else None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_that_fails_at_any_step_of_a_commit_loses_and_doubles_nothing(
    service: Service, bucket: Store, fault: str
) -> None:
    for number in range(100):
        whole = RunDirectory.create(bucket.inner(str(number)), manifest(), KEY)
        before = service.went_wrong[fault]
        with service.faulty(nth(number, fault)):
            record = whole.commit(commit_of(0))
        assert whole.latest() == {0: record}
        assert [each.read_bytes() for each in whole.sealed_files()] == [b"sealed"]
        if service.went_wrong[fault] == before:
            assert number > 1
            return


@pytest.mark.parametrize("fault", ["500", "cut", "lost"])
def test_a_store_that_fails_for_good_ends_it_and_what_is_done_is_done_whole(
    service: Service, bucket: Store, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    monkeypatch.setattr(objects, "TRIES", 2)
    whole = RunDirectory.create(bucket, manifest(), KEY)
    for number in range(3):
        count = iter(range(10**6))
        store = impatient(bucket)
        with service.faulty(lambda _, n=number, c=count: fault if next(c) >= n else None), suppress(StorageError):
            RunDirectory.open(store, KEY).commit(commit_of(number))
        if number in whole.latest():  # its answer was lost
            assert whole.sealed_files()
        whole.commit(commit_of(number, sealed=b"again"))
    assert whole.counts().findings == 3
    assert len(whole.sealed_files()) == 3


def hasten(patch: pytest.MonkeyPatch) -> None:
    """Only our own tries, which wait for nothing."""
    patch.setattr(objects, "FIRST_WAIT_S", 0.001)
    patch.setattr(objects, "REQUEST_TRIES", 1)
    patch.setattr(objects, "TRIES", 8)


def impatient(store: Store) -> Store:
    """The same place, through a client that waits for nothing."""
    return Objects.of(store.at(), timeout_s=0.9)


def test_an_answer_that_takes_too_long_is_looked_for_and_found(
    service: Service, bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    monkeypatch.setattr(objects, "TRIES", 2)
    monkeypatch.setattr("s3.SLOW_S", 1.0)
    store = Objects.of(bucket.at(), timeout_s=0.3)
    with service.faulty(lambda request: "slow" if request.method == "PUT" else None):
        assert store.publish("mark", b"ours")
        assert not store.publish("mark", b"theirs")
    assert store.read("mark") == b"ours"


def test_a_store_that_ignores_the_condition_is_noticed_before_anything_is_written(
    service: Service, bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ignores", True)
    with pytest.raises(StorageError, match="writes over what is there"):
        RunDirectory.create(bucket, manifest(), KEY)
    assert bucket.names() == []


def test_such_a_store_would_let_both_of_two_win(
    service: Service, bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted fault: without the trial nobody would notice."""
    monkeypatch.setattr(service, "ignores", True)
    monkeypatch.setattr(Objects, "begin", lambda _: None)
    run = RunDirectory.create(bucket, manifest(), KEY)
    first, second = (run.commit(commit_of(0, sealed=sealed)) for sealed in (b"one", b"two"))
    assert first != second


def uploads(service: Service) -> int:
    """Uploads in parts that were begun and neither completed nor given up."""
    client = boto3.client("s3")
    found = len(client.list_multipart_uploads(Bucket=service.bucket).get("Uploads", []))
    client.close()
    return found


def of_parts(service: Service, fault: Callable[[Request], str | None]) -> bool:
    """Publish what takes three parts. Whether it went well."""
    store = Objects.of(f"s3://{service.bucket}/{uuid.uuid4().hex}")
    store._part_bytes = PART
    data = os.urandom(2 * PART + 1)
    with service.faulty(fault):
        try:
            won = store.publish("large", data)
        except StorageError:
            return False
    assert won
    assert store.read("large") == data
    return True


PARTS = {
    "torn once": (nth(1, "cut", "PUT"), True),
    "a part refused": (lambda request: "500" if "partNumber=2" in request.path else None, False),
    "never completed": (
        lambda request: "cut" if request.method == "POST" and "uploadId" in request.path else None,
        False,
    ),
    "completed, and not told": (nth(1, "lost", "POST"), True),
}


@pytest.mark.parametrize("case", PARTS)
def test_a_large_upload_is_there_whole_or_given_up(
    service: Service, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(objects, "TRIES", 2)
    monkeypatch.setattr(objects, "REQUEST_TRIES", 2)
    fault, well = PARTS[case]
    before = uploads(service)
    assert of_parts(service, fault) == well
    assert uploads(service) == before


def test_the_check_of_uploads_catches_one_that_is_not_given_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs = pytest.importorskip("s3fs")

    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(s3fs.S3FileSystem, "_abort_mpu", nothing)
    monkeypatch.setattr(objects, "TRIES", 1)
    monkeypatch.setattr(objects, "REQUEST_TRIES", 1)
    before = uploads(service)
    assert not of_parts(service, PARTS["a part refused"][0])
    assert uploads(service) == before + 1


def test_small_files_are_put_in_one_request_each_and_records_are_read_from_their_ends(
    service: Service, bucket: Store
) -> None:
    run = RunDirectory.create(bucket, manifest(), KEY)
    service.seen.clear()
    run.commit(commit_of(0))
    assert [(each.method, each.conditional) for each in service.seen] == [("PUT", True)] * 2
    service.seen.clear()
    run.latest_of(0)
    assert [(each.method, each.range, each.status) for each in service.seen] == [
        ("GET", "bytes=-65536", 206),
        ("GET", "bytes=-65536", 404),
    ]


def test_what_is_done_is_known_without_a_listing(service: Service, bucket: Store) -> None:
    run = RunDirectory.create(bucket, manifest(), KEY)
    run.commit(commit_of(3))
    service.seen.clear()
    assert list(RunDirectory.open(bucket, KEY).latest()) == [3]
    assert not [each for each in service.seen if "list-type" in each.path]


REFUSED = {
    "another kind of store": "ftp://host/run",
    "one store in another": "simplecache::s3://runs/run",
    "a password": "s3://name:planted-secret@runs/run",
    "a signature": "s3://runs/run?X-Amz-Signature=planted-secret",
    "http": "https://host/run",
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_and_not_repeated(case: str) -> None:
    with pytest.raises(InputError) as raised:
        store_at(REFUSED[case])
    assert "planted-secret" not in str(raised.value)


def test_a_bucket_that_is_not_there_or_refuses_is_said_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    with pytest.raises(StorageError, match="no good answer: NoSuchBucket"):
        RunDirectory.create("s3://nowhere/run", manifest(), KEY)
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory.open(f"s3://{service.bucket}/nowhere", KEY)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("s3fs")

    monkeypatch.setattr(objects, "url_to_fs", missing)
    with pytest.raises(ConfigError, match="not installed") as raised:
        store_at("s3://runs/run")
    assert "custodes[s3]" in (raised.value.hint or "")


def test_a_path_is_a_folder_however_it_is_written(tmp_path: Path) -> None:
    for place in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        found = store_at(place)
        assert isinstance(found, Folder)
        assert found.path == tmp_path


def test_a_footer_that_is_longer_than_what_is_read_first_is_read_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custodes.ledger.run.FOOTER_BYTES", 64)
    run = RunDirectory.create(store, manifest(), KEY)
    record = run.commit(commit_of(0))
    assert run.latest_of(0) == record
    assert len(store.tail(shard_name(0, 0), 64)) == 64
