"""The ten nearest of many vectors for each of a few: vectors and gigabytes a second, from memory and from disk, beside NumPy, NumKong, faiss and usearch.

Every engine lives in a process of its own with the same vectors; rounds of all of them are interleaved. What an engine does is in ``similar_methods``.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dialogue import Dialogue
from measure import measured
from similar_methods import DIMENSION, vectors_of
from tables import BIN, WORK, Bench, median, peers_ready

__all__ = ["bench_similar"]

ROUNDS = 3
ROW_BYTES = 2 * DIMENSION
NAMES = {
    "custodes": "custodes",
    "memory": "memory",
    "numpy": "NumPy",
    "numkong": "NumKong fp16",
    "faiss": "faiss IndexFlatIP, batched",
    "usearch": "usearch exact",
}
LESSER = ("near, baseline", "near, none")  # not with 1,000 seeds: it would take a minute a round
SEEDS = {"read": (1,), "copy": (1,), "probe": (1,)}


@dataclass
class Case:
    """One engine, one number of seeds."""

    engine: str
    case: str
    seeds: int
    vectors: int
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        what = {"read": "read", "copy": "copy", "probe": "1 vector, all scores"}.get(self.case, f"{self.seeds:,} seeds")
        how = self.case.removeprefix("near").replace("none", "NumPy") if self.case not in SEEDS else ""
        return f"{what}: {NAMES[self.engine]}{how if how.startswith(',') or not how else f', {how}'}"

    @property
    def per_s(self) -> float:
        return self.vectors / median(self.runs, "wall_s")


def bench_similar(*, quick: bool) -> Bench:
    """From memory, beside peers; then the command, from disk."""
    peers_ready()
    count, threads = (100_000 if quick else 1_000_000), len(os.sched_getaffinity(0))
    cases = in_memory(count, threads)
    disk = from_disk(200_000 if quick else 1_000_000)
    bench = Bench("similar", "Nearest neighbours of vectors", notes=notes(count, threads))
    bench.heads = ["", "vectors/s", "GB/s", "CPU µs a vector", "of the ten nearest found", "peak PSS, MB"]
    bench.rows = [row(each, cases) for each in cases] + [disk_row(*each) for each in disk.items()]
    bench.ratios = ratios(cases)
    bench.runs = {each.title: each.runs for each in cases} | {name: [found] for name, found in disk.items()}
    return bench


def in_memory(count: int, threads: int) -> list[Case]:
    opened: dict[str, Dialogue] = {}
    environment = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    try:
        for engine in NAMES:
            own = engine in ("custodes", "memory")
            words = (engine, str(threads), str(count))
            opened[engine] = Dialogue(
                "similar_methods.py", *words, peer=not own, environment={} if own else environment
            )
        cases = [
            Case(engine, case, seeds, count // 5 if seeds == 1000 or "," in case else count)
            for engine, process in opened.items()
            for case in process.ready["cases"]
            for seeds in SEEDS.get(case, (1, 100) if case in LESSER else (1, 100, 1000))
        ]
        for number in range(ROUNDS + 1):  # the first touches fresh memory, and is not counted
            for each in cases:
                found = opened[each.engine].ask(case=each.case, seeds=each.seeds, vectors=each.vectors)
                each.runs = [*each.runs, found] if number else []
                print(
                    f"  {number} {each.title}: {each.vectors / found['wall_s'] / 1e6:.3f} million/s",
                    file=sys.stderr,
                    flush=True,
                )
    finally:
        for process in opened.values():
            process.close()
    return cases


# -- from disk


def from_disk(count: int) -> dict[str, dict[str, Any]]:
    """The command on files; ten times as many are the same files under ten names, for the memory that it takes."""
    home = WORK / f"vectors-{count}"
    files = written(home / "one", count)
    ten = home / "ten"
    shutil.rmtree(ten, ignore_errors=True)
    ten.mkdir()
    for number in range(10):
        for path in files:
            os.link(path, ten / f"{number}-{path.name}")
    found: dict[str, dict[str, Any]] = {}
    for seeds in (1, 100, 1000):
        np.save(home / "seeds.npy", vectors_of(seeds, seed=2))
        for name, folder, cold in (("cold", home / "one", True), ("in the page cache", home / "one", False)):
            found[f"{seeds:,} seeds: custodes similar neighbours, files {name}"] = command(
                folder, home, files, cold=cold
            )
    np.save(home / "seeds.npy", vectors_of(100, seed=2))
    found["100 seeds: the same, ten times the vectors"] = command(ten, home, files, cold=False)
    dropped(files)
    began = time.perf_counter()
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    found["reading the files alone, cold (cat)"] = {"vectors": count, "wall_s": time.perf_counter() - began}
    return found


def written(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"img_emb_{number:04}.npy" for number in range(4)]
    for number, path in enumerate(files):
        if not path.exists():
            np.save(path, vectors_of(count // 4, seed=10 + number))
    return files


def command(folder: Path, home: Path, files: list[Path], *, cold: bool) -> dict[str, Any]:
    out = home / "found.parquet"
    out.unlink(missing_ok=True)
    if cold:
        dropped(files)
    words = ["similar", "neighbours", folder, "--seeds", home / "seeds.npy", "--out", out, "--json", "--quiet"]
    cost = measured([BIN / "custodes", *words])
    said = json.loads(cost.output)
    return {
        "vectors": said["vectors"],
        "wall_s": cost.wall_s,
        "search_s": said["seconds"],
        "cpu_s": cost.cpu_s,
        "pss": cost.pss_bytes_max,
    }


def dropped(files: list[Path]) -> None:
    """Have the kernel forget the files: it does, once they are written and where nobody has them mapped."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


# -- what is shown


def row(each: Case, cases: list[Case]) -> list[str]:
    truth = next(
        (
            case.runs[0]["rows"]
            for case in cases
            if (case.engine, case.case, case.seeds, case.vectors) == ("custodes", "near", each.seeds, each.vectors)
        ),
        None,
    )
    found = each.runs[0]["rows"] if each.case.startswith("near") else None
    share = (
        ""
        if not found or not truth
        else f"{np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(found, truth, strict=True)]):.4f}"
    )
    cpu = median(each.runs, "cpu_s") / each.vectors * 1e6
    return [each.title, f"{each.per_s:,.0f}", f"{each.per_s * ROW_BYTES / 1e9:.1f}", f"{cpu:.2f}", share, ""]


def disk_row(name: str, found: dict[str, Any]) -> list[str]:
    rate = found["vectors"] / found.get("search_s", found["wall_s"])
    cpu = f"{found['cpu_s'] / found['vectors'] * 1e6:.2f}" if "cpu_s" in found else ""
    memory = f"{found['pss'] / 1e6:,.0f}" if found.get("pss") else ""
    return [name, f"{rate:,.0f}", f"{rate * ROW_BYTES / 1e9:.2f}", cpu, "", memory]


def ratios(cases: list[Case]) -> list[str]:
    rates = {(each.engine, each.case, each.seeds): each.per_s for each in cases}
    said = [
        f"{seeds:,} seeds: custodes searches {rates['custodes', 'near', seeds] / rates[engine, 'near', seeds]:.1f} times as many vectors a second as {NAMES[engine]}"
        for seeds in (1, 100, 1000)
        for engine in NAMES
        if (engine, "near", seeds) in rates and engine != "custodes"
    ]
    for case in ("near", "probe"):
        share = rates["custodes", case, 1] / rates["memory", "read", 1]
        said.append(
            f"1 {'seed' if case == 'near' else 'vector, all scores'}: custodes takes {share:.0%} of the bandwidth of reading alone"
        )
    return said


def notes(count: int, threads: int) -> list[str]:
    return [
        f"{count:,} vectors of {DIMENSION} fp16 numbers in 200 clusters, a fifth of them for 1,000 seeds and for other levels than this machine's best; {threads} threads; the ten nearest of each seed; medians of {ROUNDS} interleaved rounds, from memory that a first round has touched. GB/s are those of the vectors as stored.",
        "custodes: cosines, exact in double precision. NumPy, NumKong and faiss: inner products of floats of vectors taken for normalised; NumPy and faiss after a conversion to fp32, 16,384 at a time. NumKong: products, then NumPy picks the ten; “products alone” stops before. usearch: fp16 as stored.",
        "“of the ten nearest found”: the share of custodes' answer that an engine found, for the first 20 seeds; below 1 where floats cannot tell near ties apart.",
        "From disk: the whole command; vectors/s are those of the search, without the start of Python; cold: the kernel was asked to drop the files' pages, but a virtual disk may be cached by its host.",
        "Peak memory is sampled twice a second: of a search that takes less it is a lower bound.",
    ]
