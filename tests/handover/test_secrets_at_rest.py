"""Of 1,000 planted links and hashes none can be read in the outbox, the receipts, the record of custody, or a file that was being written."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from custodes.handover import locker as module
from custodes.handover.custody import Act
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipt, Receipts
from tests.handover.keeping import NOON, custody_in, deed, letter, outbox_in, transport_key

ROOT = Path(__file__).parents[2]
COUNT = 1000
GROUPS = 100
TOKENS = [hashlib.sha256(b"umbrella %d" % number).hexdigest()[:24] for number in range(COUNT)]
LINKS = [f"https://images.example/{token}.jpg" for token in TOKENS]


def digests_of(number: int) -> list[bytes]:
    return [hashlib.new(name, b"entry %d" % number).digest() for name in ("md5", "sha1", "sha256")]


def payload(group: int) -> bytes:
    """What an incident of ten images tells: links, and digests in hex."""
    told: list[bytes] = []
    for number in range(COUNT)[group::GROUPS]:
        told += [LINKS[number].encode(), *(digest.hex().encode() for digest in digests_of(number))]
    return b" ".join(told)


def needles() -> Iterator[bytes]:
    """Links, their tokens and the digests, in every spelling in which they might be written."""
    for number, link in enumerate(LINKS):
        yield from (link.encode(), TOKENS[number].encode(), link[::-1].encode(), base64.b64encode(link.encode())[:32])
        for value in digests_of(number):
            yield from (value, value[::-1], value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value))
    for group in range(GROUPS):
        yield base64.b64encode(payload(group))[:40]


class Search:
    """All needles at once, by the eight bytes that each begins with."""

    def __init__(self) -> None:
        self._starts: dict[bytes, list[bytes]] = {}
        for needle in needles():
            self._starts.setdefault(needle[:8], []).append(needle)
        common = self._starts.pop(b"https://")  # as good as the token in it
        assert len(common) == COUNT
        self._wanted = np.sort(np.array([int.from_bytes(start, "big") for start in self._starts], np.uint64))

    def __call__(self, folder: Path) -> list[str]:
        """The files in which there is any; also those whose name has one."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        return [path.name for path in files if self.in_bytes(path.name.encode()) or self.in_bytes(path.read_bytes())]

    def in_bytes(self, data: bytes) -> bool:
        if len(data) < 8:
            return False
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), 8)
        heads = np.ascontiguousarray(windows).view(">u8").ravel().astype(np.uint64)
        places = np.searchsorted(self._wanted, heads).clip(max=len(self._wanted) - 1)
        hits = np.flatnonzero(self._wanted[places] == heads)
        return any(data.startswith(needle, int(at)) for at in hits for needle in self._starts[data[at : at + 8]])


@pytest.fixture(scope="module")
def search() -> Search:
    return Search()


def hand_over(home: Path, count: int = GROUPS) -> None:
    """Everything that is written on the way of an incident; a third is left in each state."""
    outbox, custody = outbox_in(home / "outbox"), custody_in(home)
    receipts = Receipts(Folder(home / "receipts"), [transport_key()])
    for number in range(count):
        outbox.put(letter(number, payload(number)))
        receipts.keep(f"{number:032x}", "ncmec", "test", Receipt(step="finish", received=NOON, body=payload(number)))
    custody.append(*(deed(number, Act.RECEIVED, digest="0" * 64) for number in range(count)))
    for number in range(2 * count // 3):
        item = outbox.take("ncmec", "test")
        assert item is not None
        item = outbox.save(item, {"link": LINKS[number]})
        if number % 2:
            outbox.bury(item, "code_4100")
        else:
            outbox.delete(item)


def test_nothing_is_readable_in_anything_that_is_kept(tmp_path: Path, search: Search) -> None:
    hand_over(tmp_path)
    assert len(list(tmp_path.rglob("*.item"))) > GROUPS
    assert search(tmp_path) == []


def test_planted_an_item_in_clear_is_found(tmp_path: Path, search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "lock", lambda key, plain, context: plain)
    monkeypatch.setattr(module, "unlock", lambda key, data, context: bytes(data))
    hand_over(tmp_path, 6)
    found = search(tmp_path)
    assert len(found) == len(list(tmp_path.rglob("*.item"))) > 6


@pytest.mark.parametrize("number", [0, 499, 999])
def test_planted_each_spelling_of_each_secret_is_found(tmp_path: Path, search: Search, number: int) -> None:
    md5, _, sha256 = digests_of(number)
    for spelt in (LINKS[number].encode(), TOKENS[number].encode(), md5, sha256.hex().encode(), base64.b64encode(md5)):
        (tmp_path / "leak").write_bytes(b"before " + spelt + b" after")
        assert search(tmp_path) == ["leak"]
    (tmp_path / "leak").write_bytes(b"nothing")
    (tmp_path / md5.hex()).touch()
    assert search(tmp_path) == [md5.hex()]


def copies_of(busy: Path, to: Path, count: int) -> Iterator[Path]:
    """The folder, as it is while somebody writes in it."""
    for number in range(count):
        copy = to / str(number)
        with suppress(shutil.Error):  # some files were replaced meanwhile: what was copied is looked at
            shutil.copytree(busy, copy)
        yield copy


def test_nothing_is_readable_in_a_copy_taken_while_it_is_written(tmp_path: Path, search: Search) -> None:
    busy, temporary = tmp_path / "busy", tmp_path / "temporary"
    busy.mkdir()
    temporary.mkdir()
    argv = [sys.executable, "-m", "tests.handover.crashing", "busy", str(busy)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(b"\n".join(payload(group) for group in range(GROUPS)))
            process.stdin.close()
            while len(list(busy.glob("outbox/*.item"))) < GROUPS // 2:
                assert process.poll() is None
            left = [path for copy in copies_of(busy, tmp_path / "copies", 5) for path in search(copy)]
        finally:
            process.kill()
    assert left == []
    assert search(temporary) == []
    names = {path.suffix for path in (tmp_path / "copies").rglob("*") if path.is_file()}
    assert {".item", ".check", ".jsonl"} <= names
