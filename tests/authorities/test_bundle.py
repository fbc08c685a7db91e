"""A subscriber of a published list takes it whole, once, and from the places that it was told; nothing that it says tells a value."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from custodes.authorities.base import Feedback, ResumeExpired, Verdict
from custodes.authorities.bundle import Bundle, open_bundle_source
from custodes.authorities.bundle_files import FolderFiles, WebFiles
from custodes.authorities.settings import BundleSettings
from custodes.authorities.sync import sync
from custodes.bundles.target import open_list, seal_list
from custodes.crypto.keys import ListsKey
from custodes.crypto.seal import Recipient, create_identity
from custodes.durable import exclusive
from custodes.errors import AuthorityError, ConfigError, InputError, StorageError
from custodes.lists.store import ListStore
from custodes.model import Entry, Kind
from custodes.services.calls import Caller, CallLimits

from .bundle_world import LIST, Served, StoppedError, World, entries, export_of, pages, refusal, said_of, taken, truth

KEY = ListsKey(bytes(range(32)))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path)


def test_a_list_arrives_as_it_was_published_and_is_fetched_again_only_when_it_changed(world: World) -> None:
    served = Served(world.publish(3))
    bundle = world.subscriber(world.home / "state", served)
    (page,) = pages(bundle)
    assert {entry for record in page.records for entry in record.entries} == truth(3)
    assert (page.checkpoint, page.unchanged, bundle.scheme) == (said_of(3).version, False, "ncmec")
    served.asked.clear()
    (page,) = pages(bundle, said_of(3).version)
    assert (page.records, page.checkpoint, page.unchanged) == ((), said_of(3).version, True)
    assert served.asked == ["metadata/2.root.json", "metadata/timestamp.json"]
    served.table = world.publish(4)
    assert taken(bundle, said_of(3).version) == truth(4)


def test_entries_of_one_id_are_one_record(world: World) -> None:
    held = [*entries(3), Entry(Kind.MD5, hashlib.md5(b"entry 1").digest(), "e1", "A1", "high")]
    said = said_of(1)
    world.publisher.publish(said, seal_list(export_of(said, held), [world.recipient]))
    (page,) = pages(world.subscriber(world.home / "state", world.served()))
    assert {record.id: len(record.entries) for record in page.records} == {f"e{n}": 1 + (n == 1) for n in range(1, 6)}


def test_a_store_follows_a_publisher(world: World) -> None:
    store = ListStore(world.home / "lists", KEY)
    served = Served(world.publish(2))
    bundle = world.subscriber(world.home / "state", served)
    report = asyncio.run(sync(store, LIST, bundle))
    assert (report.added, report.withdrawn, report.unchanged) == (4, 0, False)
    assert store.show([LIST])[0].provenance.scheme == "ncmec"
    assert asyncio.run(sync(store, LIST, bundle)).unchanged
    served.table = world.publish(4)
    report = asyncio.run(sync(store, LIST, bundle))
    assert (report.added, report.withdrawn, sum(report.entries.values())) == (2, 1, 5)


def test_a_sync_that_is_stopped_at_any_request_changes_nothing_and_the_next_one_succeeds(world: World) -> None:
    store = ListStore(world.home / "lists", KEY)
    served = Served(world.publish(2))
    bundle = world.subscriber(world.home / "state", served)
    asyncio.run(sync(store, LIST, bundle))
    for count in range(3, 13):
        old, before = served.table, store.current()
        served.table = world.publish(count)
        stop = (count - 3) % 5  # at the next root, the timestamp, the snapshot, the targets, the list
        served.stop_before = stop
        served.asked.clear()
        with pytest.raises(StoppedError):
            asyncio.run(sync(store, LIST, bundle))
        assert store.current() == before
        assert not (world.home / "state" / "sealed.age").exists()
        served.stop_before, new = -1, served.table
        if stop >= 2:  # the new timestamp was seen: what was served before it is a rollback
            served.table = old
            assert "older" in refusal(bundle)
        served.table = new
        asyncio.run(sync(store, LIST, bundle))
        assert store.current() != before


def test_status_says_the_version_and_until_when_it_is_vouched_for(world: World) -> None:
    line = asyncio.run(world.subscriber(world.home / "state", world.publish(3)).status())
    assert said_of(3).version in line
    assert "2090-01-02" in line


def test_it_takes_no_feedback_and_no_half_walks(world: World) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    assert asyncio.run(bundle.feedback_reasons(Kind.PDQ)) == {}
    with pytest.raises(InputError):
        asyncio.run(bundle.give(Feedback("e1", Kind.PDQ, Verdict.CONFIRM)))
    with pytest.raises(ResumeExpired):
        asyncio.run(anext(aiter(bundle.pages("", "somewhere"))))


def test_a_list_that_the_publisher_does_not_have_is_said_so(world: World) -> None:
    assert "has no list" in refusal(world.subscriber(world.home / "state", world.publish(1), list="other"))


def test_another_root_than_the_one_that_trust_began_with_is_refused(world: World, tmp_path: Path) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    pages(bundle)
    root = world.home / "root.json"
    root.write_bytes(root.read_bytes() + b" ")
    with pytest.raises(ConfigError, match="not the root"):
        pages(bundle)
    root.unlink()
    assert taken(bundle) == truth(1), "the root that was pinned is enough"


@pytest.mark.parametrize("broken", ["absent", "empty", "text", "cut", "folder"])
def test_a_trusted_root_that_is_none_is_refused(world: World, broken: str) -> None:
    root = world.home / "root.json"
    data = root.read_bytes()
    root.unlink()
    if broken == "folder":
        root.mkdir()
    elif broken != "absent":
        root.write_bytes({"empty": b"", "text": b"root", "cut": data[:-9]}[broken])
    bundle = world.subscriber(world.home / "state", world.publish(1))
    assert taken(bundle) == "refused"
    if broken == "folder":
        root.rmdir()
    root.write_bytes(data)
    assert taken(bundle) == truth(1), "nothing was pinned"


@pytest.mark.parametrize("text", ["", "soon", "2090-01-01T00:00:00"])
def test_a_damaged_memory_of_the_time_is_refused(world: World, text: str) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    pages(bundle)
    (world.home / "state" / "latest-time").write_text(text)
    with pytest.raises(StorageError, match="damaged"):
        pages(bundle)


def test_two_at_once_are_refused(world: World) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(1))
    with exclusive(world.home / "state"):
        assert "another process" in refusal(bundle)


def test_what_is_kept_is_for_its_owner_alone_and_holds_no_plaintext(world: World) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(3))
    pages(bundle)
    assert stat.S_IMODE((world.home / "state").stat().st_mode) == 0o700
    kept = b"".join(path.read_bytes() for path in (world.home / "state").rglob("*") if path.is_file())
    for entry in entries(3):
        assert entry.value.hex().encode() not in kept
    assert b"age-encryption.org" not in kept


def test_an_identity_that_others_can_read_is_refused(world: World) -> None:
    (world.home / "identity").chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        pages(world.subscriber(world.home / "state", world.publish(1)))


class Listener(logging.Handler):
    """Hears what a program that logs everything hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.name)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    listener, root = Listener(), logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(listener)
    yield listener.heard
    root.removeHandler(listener)
    root.setLevel(level)


def test_planted_fault_a_client_that_is_not_silenced_is_heard(
    world: World, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tuf"), "propagate", True)
    pages(world.subscriber(world.home / "state", world.publish(1)))
    assert "tuf.ngclient.fetcher" in heard


def test_neither_the_client_nor_its_errors_tell_anything(
    world: World, capfd: pytest.CaptureFixture[str], heard: list[str]
) -> None:
    bundle = world.subscriber(world.home / "state", world.publish(3))
    pages(bundle)
    world.clock.forward(hours=1)
    table = world.publish(4)
    name = next(name for name in table if name.startswith("targets/") and name not in bundle.files.table)  # type: ignore[attr-defined]
    table[name] = b"other"
    said = refusal(world.subscriber(world.home / "state", table))
    assert [name for name in heard if name.startswith(("tuf", "securesystemslib"))] == []
    assert capfd.readouterr() == ("", "")
    for secret in (name, (world.home / "identity").read_text(), *(entry.value.hex() for entry in entries(4))):
        assert secret not in said + repr(bundle)


@pytest.mark.parametrize(
    ("length", "size"), [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (8192, 8192), (8193, 16384)]
)
def test_the_size_of_a_sealed_list_tells_the_power_of_two_above_it(length: int, size: int) -> None:
    text = b"x" * length
    secret, recipient = create_identity()
    sealed = seal_list(text, [Recipient(recipient)])
    assert size < len(sealed) < size + 600, "age adds a stanza for the recipient and one of random length"
    assert open_list(sealed, secret) == text


@pytest.mark.parametrize("field", ["size_bytes_max", "bytes_per_s_min", "timeout_s"])
def test_limits_are_greater_than_nothing(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        BundleSettings(source="", list="", trusted_root="", identity="", **{field: 0})


def test_a_list_of_the_greatest_size_is_fetched_and_one_byte_more_is_not(world: World) -> None:
    table = world.publish(1)
    size = max(len(data) for name, data in table.items() if name.startswith("targets/"))
    assert taken(world.subscriber(world.home / "a", table, size_bytes_max=size)) == truth(1)
    served = Served(table)
    assert "limit" in refusal(world.subscriber(world.home / "b", served, size_bytes_max=size - 1))
    assert not [name for name in served.asked if name.startswith("targets/")]


# From a folder


def in_folder(world: World, state: str = "state") -> Bundle:
    settings = BundleSettings(source="publisher/public", list=LIST, trusted_root="root.json", identity="identity")
    return Bundle(settings, world.home, world.home / state, open_bundle_source(settings, world.home), world.clock)


def test_a_list_comes_from_a_folder(world: World) -> None:
    world.publish(3)
    assert taken(in_folder(world)) == truth(3)


def test_a_folder_without_a_publishers_files_is_refused(world: World) -> None:
    settings = BundleSettings(source="elsewhere", list=LIST, trusted_root="root.json", identity="identity")
    with pytest.raises(ConfigError, match="does not hold"):
        open_bundle_source(settings, world.home)


def test_a_fifo_in_place_of_a_file_hangs_nobody(world: World) -> None:
    world.publish(3)
    path = world.publisher.public / "metadata" / "timestamp.json"
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in refusal(in_folder(world))


@pytest.mark.parametrize(
    "name", ["../keys/x", "metadata/../../x", "targets/.hidden", "/etc/x", "targets/A?b", "targets"]
)
def test_no_name_leads_out_of_the_publishers_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(AuthorityError, match="cannot be asked for"):
        FolderFiles(tmp_path).download_bytes(name, 100)


# From the web


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Endless(Quiet):
    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                type(self).sent += self.wfile.write(b"[" * 65536)
        except OSError:
            pass


class Elsewhere(Quiet):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", "/other" + self.path)
        self.end_headers()


@pytest.fixture
def serve() -> Iterator[object]:
    running: list[ThreadingHTTPServer] = []

    def start(handler: type[BaseHTTPRequestHandler] | partial[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def on_the_web(world: World, address: str, *, loopback: bool = True) -> Bundle:
    settings = BundleSettings(source=address, list=LIST, trusted_root="root.json", identity="identity")
    files = open_bundle_source(settings, world.home, unsafe_allow_loopback=loopback)
    assert isinstance(files, WebFiles)
    return Bundle(settings, world.home, world.home / "state", files, world.clock)


def test_a_list_comes_from_a_web_server_of_files(world: World, serve: object) -> None:
    world.publish(3)
    bundle = on_the_web(world, serve(partial(Quiet, directory=world.publisher.public)))  # type: ignore[operator]
    assert taken(bundle) == truth(3)
    assert taken(bundle, said_of(3).version) == "unchanged"


def test_redirects_are_not_followed(world: World, serve: object) -> None:
    bundle = on_the_web(world, serve(Elsewhere))  # type: ignore[operator]
    assert "302" in refusal(bundle)
    assert Elsewhere.asked == ["/metadata/2.root.json"]


def test_endless_data_ends_where_the_file_may_end(world: World, serve: object) -> None:
    bundle = on_the_web(world, serve(Endless))  # type: ignore[operator]
    assert "longer than 512000 bytes" in refusal(bundle)
    assert Endless.sent < 16 << 20, "what fits in the buffers between the two"


class Slow(Quiet):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"{")
        self.rfile.read(1)  # until the other side gives up


def test_slow_data_are_given_up_after_the_time_that_the_size_takes(serve: object) -> None:
    address = serve(Slow)  # type: ignore[operator]
    limits = CallLimits(timeout_s=0.05, attempts_max=1)
    caller = Caller(address, "the publisher", limits=limits, unsafe_allow_loopback=True)
    with pytest.raises(AuthorityError, match="no whole answer"):
        WebFiles(caller, bytes_per_s_min=100_000).download_bytes("metadata/timestamp.json", 10_000)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/x", "http://example.org/", "https://u:p@example.org/", "https://example.org/?a=1", "ftp://x/"],
)
def test_only_https_without_user_or_query_is_an_address(world: World, address: str) -> None:
    with pytest.raises(ConfigError, match="must be https"):
        on_the_web(world, address, loopback=False)


def test_an_address_inside_is_not_dialled(world: World) -> None:
    bundle = on_the_web(world, "https://127.0.0.1:9", loopback=False)
    bundle.files._caller.limits = CallLimits(attempts_max=1)  # type: ignore[attr-defined]
    assert "not public" in refusal(bundle)
