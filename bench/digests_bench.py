"""From bytes to digests, beside hashlib, Pillow and pdqhash; and MD5, SHA-1 and SHA-256 alone, beside hashlib. CPU time of one core."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dialogue import Dialogue
from photos import SIZES, photos
from tables import WORK, Bench, peers_ready

__all__ = ["bench_crypto", "bench_digests"]

ROUNDS = 5
PEER = "hashlib, Pillow RGB and pdqhash"
TITLES = {
    "exact": "custodes, exact",
    "floor": "floor: decoding at an eighth (Pillow)",
    "pdqhash": PEER,
}
CONTENT_SIZES = {"10 kB": 10_000, "140 kB": 140_000, "1.1 MB": 1_100_000, "5 MB": 5_000_000}


def bench_digests(*, quick: bool) -> Bench:
    """Every tool on every size, round by round; the best of the rounds for each picture, because noise only adds."""
    peers_ready()
    folder = photos(WORK, quick=quick)
    runs: dict[str, list[dict[str, Any]]] = {}
    with (
        Dialogue("digests_methods.py", "custodes", folder) as own,
        Dialogue("digests_methods.py", "pdqhash", folder, peer=True) as peer,
    ):
        asked = [(process, case) for process in (own, peer) for case in process.ready["cases"]]
        for number in range(2 if quick else ROUNDS):
            for size in SIZES:
                for process, case in asked:
                    found = process.ask(case=case, size=size)["cpu_ms"]
                    name = f"{size}: {TITLES.get(case, f'custodes, {case}')}"
                    runs.setdefault(name, []).append({"size": size, "case": case, "cpu_ms": found})
                    print(f"  {number + 1} {name}: {statistics.fmean(found):.2f} ms", file=sys.stderr, flush=True)
    bench = Bench("digests", "From bytes to digests", notes=digest_notes(folder), runs=runs)
    bench.heads = ["", "CPU ms an image", "images/s a core", "times the peer"]
    for name, found in sorted(runs.items(), key=lambda item: list(SIZES).index(item[1][0]["size"])):
        mean, theirs = best_mean(found), best_mean(runs[f"{found[0]['size']}: {PEER}"])
        bench.rows.append([name, f"{mean:.2f}", f"{1000 / mean:,.0f}", f"{theirs / mean:.1f}"])
    bench.ratios = [ratio(runs, size, own.ready["cases"][0]) for size in SIZES]
    return bench


def best_mean(found: list[dict[str, Any]]) -> float:
    """The mean over the pictures of the least that each took."""
    return statistics.fmean(min(times) for times in zip(*(each["cpu_ms"] for each in found), strict=True))


def ratio(runs: dict[str, list[dict[str, Any]]], size: str, case: str) -> str:
    own, theirs, floor = (best_mean(runs[f"{size}: {name}"]) for name in (f"custodes, {case}", PEER, TITLES["floor"]))
    return f"{size}: {PEER} take {theirs / own:.1f} times the CPU time of custodes, {case}; of custodes' {own:.2f} ms {floor:.2f} are the floor"


def digest_notes(folder: Path) -> list[str]:
    sizes = []
    for size in SIZES:
        files = sorted((folder / size).glob("*.jpg"))
        sizes.append(f"{len(files)} of {size} ({statistics.median(f.stat().st_size for f in files) / 1000:,.0f} kB)")
    return [
        f"Procedural JPEGs, dead leaves over 1/f noise, quality 75 to 95, 4:2:0, a fifth progressive: {', '.join(sizes)}; in brackets the median size. They are in memory before the clock starts.",
        "CPU time of one core, the best of interleaved rounds for each picture, then the mean over the pictures.",
        "custodes: MD5, SHA-1, SHA-256, decoding and PDQ with its reflections, as a carrier and its decoder do it, without the messages between them. Its default policy decodes luma at a reduced scale and stays within a few bits of the code of the whole picture; “exact” decodes all of it and equals pdqhash's code.",
        f'{PEER}: `hashlib` three times, `Image.open(…).convert("RGB")`, `pdqhash.compute` (one form, no reflections).',
        "The floor is Pillow decoding luma at an eighth of the size, the nearest that can be run to entropy decoding alone. It reads all scans of a progressive file, and custodes skips some, so custodes may come out below it there.",
    ]


# -- MD5, SHA-1, SHA-256


def bench_crypto(*, quick: bool) -> Bench:
    """The three digests of one content, against hashlib one after the other; interleaved in this process."""
    from digests_methods import native_here, use

    from custodes.digests import crypto_digests
    from custodes.model import Content

    def ours(data: bytes) -> Any:
        return crypto_digests(Content(data))

    levels = [*native_here(), None]
    cases: dict[str, tuple[str | None, Callable[[bytes], Any]]] = {"hashlib, one after the other": (None, by_hashlib)}
    cases |= {f"custodes, {level or 'without native kernels'}": (level, ours) for level in levels}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    bench = Bench("crypto", "MD5, SHA-1 and SHA-256 of one content")
    for size, length in CONTENT_SIZES.items():
        data = os.urandom(length)
        times = max(3, (2_000_000 if quick else 40_000_000) // length)
        for _ in range(ROUNDS):
            for name, (level, do) in cases.items():
                use(level)
                began = time.process_time_ns()
                for _ in range(times):
                    do(data)
                spent = (time.process_time_ns() - began) / 1000 / times
                bench.runs.setdefault(f"{size}: {name}", []).append({"bytes": length, "cpu_us": spent})
    use(levels[0])
    bench.heads = ["", "CPU µs", "GB/s", "times hashlib"]
    for name, found in bench.runs.items():
        least = min(each["cpu_us"] for each in found)
        theirs = min(each["cpu_us"] for each in bench.runs[f"{name.split(':')[0]}: {next(iter(cases))}"])
        speed = found[0]["bytes"] / least / 1000
        bench.rows.append([name, f"{least:,.1f}", f"{speed:.2f}", f"{theirs / least:.2f}"])
    bench.notes = [
        "Random bytes in memory, CPU time of one core, the best of five interleaved rounds.",
        "MD5 is one long chain of dependent steps, and takes more than half of the three; taking them in one pass can hide the others behind it, and no more.",
    ]
    return bench


def by_hashlib(data: bytes) -> Any:
    return [hashlib.new(name, data, usedforsecurity=False).digest() for name in ("md5", "sha1", "sha256")]
