"""Which of ten million digests are in a list: rows a second, beside a Python set and the joins of Polars and DuckDB, all in memory."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialogue import Dialogue, native_levels
from tables import Bench, median, peers_ready

__all__ = ["bench_membership"]

ROUNDS = 3
PEER_NAMES = {
    "set": "Python set of bytes",
    "polars": "Polars semi-join, binary",
    "duckdb-blob": "DuckDB semi-join, BLOB",
    "duckdb-hex": "DuckDB semi-join, hexadecimal text",
}
BIG_ENTRIES = 100_000_000
BIG_FREE_GB = 16


@dataclass(frozen=True)
class Part:
    """One list and one number of threads: the engines that are compared on it."""

    kind: str
    entries: int
    threads: int
    engines: tuple[str, ...]

    def title(self, engine: str, case: str) -> str:
        name = PEER_NAMES.get(engine, f"custodes, {case}")
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.kind}, {self.entries // 1_000_000} million entries, {threads}: {name}"


def bench_membership(*, quick: bool) -> Bench:
    """MD5 and SHA-256, a million and ten million entries, one thread and four."""
    peers_ready()
    queries = 1_000_000 if quick else 10_000_000
    bench = Bench("membership", "Exact membership", notes=notes(queries))
    bench.heads = ["", "build, s", "search, s", "million rows/s", "CPU-s", "hits"]
    for part in parts(quick=quick):
        runs = compared(part, queries)
        bench.runs |= runs
        bench.rows += [row(name, found, queries) for name, found in runs.items()]
        bench.ratios += ratios(runs)
    return bench


def parts(*, quick: bool) -> list[Part]:
    own = ("custodes",) if native_levels() else ()
    peers = ("polars", "duckdb-blob", "duckdb-hex")
    sizes = (1_000_000,) if quick else (1_000_000, 10_000_000)
    found = []
    for kind in ("md5", "sha256"):
        for entries in sizes:
            found.append(Part(kind, entries, 1, (*own, "numpy", "set", *peers)))
            found.append(Part(kind, entries, 4, (*own, *peers)))
    if own and not quick and free_gb() > BIG_FREE_GB:
        found.append(Part("md5", BIG_ENTRIES, 4, own))
    return found


def free_gb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable"))


def compared(part: Part, queries: int) -> dict[str, list[dict[str, Any]]]:
    """Interleaved rounds; the engines keep their lists in memory between them."""
    environment = {"POLARS_MAX_THREADS": str(part.threads), "OMP_NUM_THREADS": str(part.threads)}
    opened: dict[str, Dialogue] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    try:
        for engine in part.engines:
            words = (engine, str(part.threads), part.kind, str(part.entries), str(queries))
            peer = engine in PEER_NAMES and engine != "set"
            opened[engine] = Dialogue("membership_methods.py", *words, peer=peer, environment=environment)
        for process in opened.values():
            process.ask(case=process.ready["cases"][0])  # the first touches fresh memory, and is not counted
        for number in range(ROUNDS):
            for engine, process in opened.items():
                for case in process.ready["cases"]:
                    found = process.ask(case=case) | {"engine": engine}
                    clock = "cpu_s" if part.threads == 1 else "wall_s"
                    found |= {"search_s": found[clock], "build_s": process.ready[f"build_{clock}"]}
                    found |= {"kind": part.kind, "entries": part.entries, "threads": part.threads, "case": case}
                    runs.setdefault(part.title(engine, case), []).append(found | {"queries": queries})
                    shown = f"{found['search_s']:.2f} s, {found['hits']:,} hits"
                    print(f"  {number + 1}/{ROUNDS} {part.title(engine, case)}: {shown}", file=sys.stderr, flush=True)
    finally:
        for process in opened.values():
            process.close()
    hits = {found["hits"] for each in runs.values() for found in each}
    assert len(hits) == 1, f"the engines disagree: {hits}"
    return runs


def row(name: str, found: Sequence[dict[str, Any]], queries: int) -> list[str]:
    search = median(list(found), "search_s")
    shown = [name, f"{found[0]['build_s']:.2f}", f"{search:.3f}", f"{queries / search / 1e6:.1f}"]
    return [*shown, f"{median(list(found), 'cpu_s'):.2f}", f"{found[0]['hits']:,}"]


def ratios(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Search alone, and with the building of ours, because a join builds its table each time."""
    ours = next(iter(runs))
    if runs[ours][0]["engine"] in PEER_NAMES:  # four threads without native kernels: ours has none
        return []
    own, build = median(runs[ours], "search_s"), runs[ours][0]["build_s"]
    said = []
    for name, found in runs.items():
        engine = found[0]["engine"]
        if engine in PEER_NAMES:
            theirs = median(found, "search_s")
            whole = theirs + (found[0]["build_s"] if engine == "set" else 0)
            shown = f"{theirs / own:.2f} of the time to search, {whole / (own + build):.2f} with building"
            said.append(f"{name} / {ours.split(': ')[1]}: {shown}")
    return said


def notes(queries: int) -> list[str]:
    return [
        f"{queries:,} digests against a list, both random, one in a thousand a hit; everything is in memory before the clock starts. Three interleaved rounds, medians. One thread means one core and its CPU time, four threads mean the wall clock.",
        "search: custodes finds the pairs of row and entry in an index that it keeps; the set is asked row by row, and its objects know their hash from an uncounted round before; Polars and DuckDB join, and build their own table of the list each time, so “with building” is the fairer ratio for a list that is used once, and the other for one that is kept.",
        "build: custodes' index from an array of bytes, the set and its objects, for the others loading both sides into their own tables (of text, where so named). All engines count the same hits.",
    ]
