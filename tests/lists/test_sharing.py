"""Lists are decrypted once on a machine, whoever of its workers is first, and outlive the one that filled them; nobody else is given them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from custodes.crypto.keys import ListsKey
from custodes.errors import ListError, StorageError
from custodes.lists import sharing, shelf
from custodes.lists.container import Provenance
from custodes.lists.sharing import Sharing
from custodes.lists.shelf import Shelf
from custodes.lists.store import ListStore
from custodes.model import Entry, Kind

WORKER = """
import sys, time
from pathlib import Path
from custodes.crypto.keys import ListsKey
from custodes.lists.sharing import Sharing
from custodes.lists.shelf import Shelf
from custodes.lists.store import ListStore

home, name, version, pause = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
store = ListStore(home / "lists", ListsKey(bytes(range(32))))

def fill():
    with (home / "filled").open("a") as file:
        file.write("x")
    print("fills", flush=True)
    time.sleep(pause)
    return Shelf.filled(store, {"one": version})

found = Sharing(name.encode(), {"one": version}, fill).shelf()
print(len(found.lists().lists[0].contents), sorted(found.indexes().exact), flush=True)
sys.stdin.read()
"""


class Place:
    """A list store, and a name that is this test's own."""

    def __init__(self, home: Path) -> None:
        self.home, self.name = home, f"{home}-{os.getpid()}"
        self.store = ListStore(home / "lists", ListsKey(bytes(range(32))))
        entries = [Entry(Kind.MD5, number.to_bytes(16, "big"), f"e{number}") for number in range(50)]
        self.store.import_entries("one", entries, Provenance(source="test"))
        self.version = self.store.current()["one"]

    @property
    def fills(self) -> int:
        path = self.home / "filled"
        return len(path.read_text()) if path.exists() else 0

    @contextmanager
    def worker(self, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
        argv = [sys.executable, "-c", WORKER, str(self.home), self.name, self.version, str(pause)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def sharing(self) -> Sharing:
        return Sharing(self.name.encode(), {"one": self.version}, lambda: pytest.fail("nobody was to fill it again"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    return said(process) if line == "fills" else line


NOBODY = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
ASK = NOBODY + "s.connect({!r}); print(len(s.recv(100)))"
SQUAT = NOBODY + "s.bind({!r}); s.listen(); print(1, flush=True); s.accept(); sys.stdin.read()"
ANSWER = "50 [<Kind.MD5: 'md5'>]"


def test_of_many_workers_one_fills_and_all_have_the_same(place: Place) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(place.worker(pause=0.3)) for _ in range(5)]
        assert [said(each) for each in workers] == [ANSWER] * 5
    assert place.fills == 1


def test_when_the_one_that_hands_out_is_killed_another_does_and_nothing_is_filled_again(place: Place) -> None:
    with place.worker() as first:
        assert said(first) == ANSWER
        with place.worker() as second, place.worker() as third:
            assert (said(second), said(third)) == (ANSWER, ANSWER)
            for gone, left in ((first, second), (second, third)):
                gone.send_signal(signal.SIGKILL)
                gone.wait()
                with place.worker() as late:
                    assert said(late) == ANSWER
                    assert left.poll() is None
            assert place.fills == 1


def test_when_the_one_that_fills_is_killed_who_waits_fills(place: Place) -> None:
    with place.worker(pause=60) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "fills\n"
        with place.worker() as second:
            first.send_signal(signal.SIGKILL)
            assert said(second) == ANSWER
    assert place.fills == 2


def test_when_nobody_is_left_the_memory_is_gone(place: Place) -> None:
    for _ in range(2):
        with place.worker() as alone:
            assert said(alone) == ANSWER
    assert place.fills == 2


def test_who_cannot_fill_it_says_so_and_does_not_stand_in_the_way(place: Place) -> None:
    def fails() -> Shelf:
        raise ListError("no such list")

    with pytest.raises(ListError):
        Sharing(place.name.encode(), {"one": place.version}, fails).shelf()
    with place.worker() as worker:
        assert said(worker) == ANSWER


def test_the_memory_that_is_given_cannot_be_changed_and_is_kept_from_swap(place: Place) -> None:
    with place.worker() as worker:
        assert said(worker) == ANSWER
        found = place.sharing().shelf()
        assert not found.in_swap
        for descriptor in found.descriptors.values():
            assert os.get_inheritable(descriptor) is False
            with pytest.raises(PermissionError):
                os.pwrite(descriptor, b"x", 0)


def test_memory_without_seals_is_not_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SEALS", 0)
    unsealed = Shelf.filled(place.store, {"one": place.version})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Thread(target=sharing.give, args=(theirs, unsealed.descriptors)).start()
        with pytest.raises(StorageError):
            sharing.received(ours, {"one": place.version})
    unsealed.close()


def test_what_is_cut_off_is_not_taken_and_leaves_nothing_open(place: Place) -> None:
    full = Shelf.filled(place.store, {"one": place.version})
    before = open_descriptors()
    for cut in range(2):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            names = b"\x92\xa1a\xa1b"
            theirs.sendall(len(names).to_bytes(4, "big") + names)
            socket.send_fds(theirs, [b"."], list(full.descriptors.values())[:cut])
            theirs.shutdown(socket.SHUT_WR)
            assert sharing.received(ours, {}) is None
    assert open_descriptors() == before
    full.close()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: no process of another user can be made")
def test_another_user_is_neither_given_the_lists_nor_believed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = ASK.format(sharing.named(place.name.encode()))
    with place.worker() as worker:
        assert said(worker) == ANSWER
        assert as_nobody(ask) == "0"
    monkeypatch.setattr(sharing, "_TRIES_MAX", 3)
    squat = SQUAT.format(sharing.named(place.name.encode()))
    with subprocess.Popen([sys.executable, "-c", squat], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(StorageError):
            place.sharing().shelf()
        other.kill()


def as_nobody(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: no process of another user can be made")
def test_without_the_look_at_the_user_the_same_check_reports_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "same_user", lambda _: True)
    found = Sharing(
        place.name.encode(), {"one": place.version}, lambda: Shelf.filled(place.store, {"one": place.version})
    )
    found.shelf()
    ask = ASK.format(sharing.named(place.name.encode()))
    assert as_nobody(ask) != "0"
