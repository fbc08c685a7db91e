"""A transparency log of a million entries: how long it takes to grow, how large it is, what a proof costs, and a full check."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tables import WORK, Bench, interleaved, median

from custodes.crypto.keys import SigningKey
from custodes.transparency.entries import CardEntry, entry_bytes
from custodes.transparency.log import Log
from custodes.transparency.merkle import Tree, verify_consistency
from custodes.transparency.notes import Trust
from custodes.transparency.proof import Proof
from custodes.transparency.reading import Folder, audit, consistency, inclusion, read_folder

__all__ = ["bench_log"]

ORIGIN = "log.example/bench"
BATCH = 50_000
PROOFS = 1_000


def bench_log(*, quick: bool) -> Bench:
    """Entries as ``custodes log append --card`` makes them."""
    size = 100_000 if quick else 1_000_000
    grown = Grown(WORK / "log", size)
    cases = {
        "one entry more, published": grown.one_more,
        "its inclusion proof, from the tiles": grown.prove,
        "the proof's file, verified": grown.verify,
        "a consistency proof, made and verified": grown.goes_on,
        "the whole log checked": grown.check,
    }
    runs = {"made": [{"wall_s": grown.made_s}]} | interleaved(cases, 3 if quick else 5)
    bench = Bench("log", f"A transparency log of {size:,} entries", runs=runs, heads=["", "time"])
    bench.notes = [
        f"Entries of {len(entry(0))} bytes, as cards are. Files on the disk, each synced as it is written; warm page cache; one thread.",
        f"Proofs: of {PROOFS:,} entries all over the log, and per proof. Medians of interleaved runs.",
    ]
    bench.rows = [[f"{size:,} entries appended, {BATCH:,} at a time", f"{grown.made_s:.1f} s"]]
    bench.rows += [[name, shown(median(runs[name], "wall_s"))] for name in cases]
    length, files, size_bytes = grown.proof_bytes(), *grown.on_disk()
    bench.ratios = [
        f"On disk: {size_bytes / 2**20:.0f} MiB in {files:,} files ({size_bytes / size:.0f} bytes an entry).",
        f"A proof's file has {length:,} bytes, with the log's signature; each witness adds about 100.",
    ]
    return bench


def entry(number: int) -> bytes:
    return entry_bytes(CardEntry(sha256=sha256(b"card %d" % number).hexdigest()))


class Grown:
    """The log, made once for all cases."""

    def __init__(self, folder: Path, size: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        key = SigningKey(ORIGIN, Ed25519PrivateKey.generate())
        self.trust = Trust(ORIGIN, (key.verifier,))
        self.folder, self.files, self.next = folder, Folder(folder), size
        self.log = Log(folder, key, self.trust)
        self.log.create()
        rows = [entry(number) for number in range(size)]
        began = time.perf_counter()
        for at in range(0, size, BATCH):
            self.log.append(rows[at : at + BATCH])
            self.log.publish()
            if at == size // 2 - BATCH:
                self.half = self.tree()
        self.made_s = time.perf_counter() - began

    def tree(self) -> Tree:
        return self.trust.verify((self.folder / "checkpoint").read_bytes()).checkpoint.tree

    def numbers(self) -> range:
        return range(0, self.next, self.next // PROOFS)

    def one_more(self) -> dict[str, Any]:
        def more() -> None:
            self.log.append([entry(self.next)])
            self.log.publish()

        found = timed(more)
        self.next += 1
        return found

    def prove(self) -> dict[str, Any]:
        tree = self.tree()

        def all_of_them() -> None:
            for number in self.numbers():
                read_folder(self.files, inclusion(number, tree))

        return timed(all_of_them, len(self.numbers()))

    def proof(self, number: int) -> Proof:
        note = (self.folder / "checkpoint").read_bytes()
        return Proof(number, tuple(read_folder(self.files, inclusion(number, self.tree()))), note)

    def proof_bytes(self) -> int:
        return len(bytes(self.proof(self.next // 3)))

    def verify(self) -> dict[str, Any]:
        number = self.next // 3
        data, row = bytes(self.proof(number)), entry(number)

        def often() -> None:
            for _ in range(PROOFS):
                Proof.parse(data).verify(row, self.trust)

        return timed(often, PROOFS)

    def goes_on(self) -> dict[str, Any]:
        tree = self.tree()

        def made_and_verified() -> None:
            verify_consistency(self.half, tree, read_folder(self.files, consistency(self.half, tree)))

        return timed(made_and_verified)

    def check(self) -> dict[str, Any]:
        tree = self.tree()
        return timed(lambda: read_folder(self.files, audit(tree)))

    def on_disk(self) -> tuple[int, int]:
        paths = [Path(home) / name for home, _, names in os.walk(self.folder) for name in names]
        return len(paths), sum(path.stat().st_size for path in paths)


def timed(what: Callable[[], object], times: int = 1) -> dict[str, Any]:
    began = time.perf_counter()
    what()
    return {"wall_s": (time.perf_counter() - began) / times}


def shown(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds >= 1
        else f"{seconds * 1e3:.1f} ms"
        if seconds >= 1e-3
        else f"{seconds * 1e6:.0f} µs"
    )
