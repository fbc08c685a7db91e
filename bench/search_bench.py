"""Search within 31 bits, beside faiss and ThreatExchange's index: time a query, memory an entry, time to build, and whether all is found.

Every method lives in a process of its own on one core; rounds of all of them are interleaved, and custodes takes part in every round, so that a
ratio is always one within a round. What a method does is in ``search_methods``, what is searched in ``codes``.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from codes import brute, code_file, query_file
from dialogue import Dialogue, native_levels
from tables import WORK, Bench, peers_ready

__all__ = ["bench_search"]

ROUNDS = 2  # of each group of peers
SECONDS = 4.0
SECONDS_OURS = 1.0
SETS = (("random", 100_000), ("random", 1_000_000), ("clustered", 1_000_000), ("random", 10_000_000))
WAIT_S_MAX = 30.0
SAMPLE = 200
BULK_CODES = 100_000_000
BULK_FREE_GB = 14
LEVELS = ("avx512", "avx2", "neon", "baseline", "numpy")
TITLES = {
    "flat": "faiss IndexBinaryFlat",
    "multihash-16x16": "faiss MultiHash 16x16, nflip 1",
    "multihash-11x23": "faiss MultiHash 11x23, nflip 2",
    "pdqindex": "ThreatExchange PDQIndex",
}
# Large ones not all at once: PDQIndex takes 9 GB at ten million entries while it is built.
GROUPS = (("pdqindex", "flat"), ("multihash-11x23", "multihash-16x16"))


@dataclass
class Found:
    """Rounds of one case on one set of codes."""

    codes: int
    kind: str
    method: str
    case: str
    batch: int
    built: dict[str, Any]
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)
    recall: float | None = None

    @property
    def us(self) -> float:
        """CPU microseconds a query; of several threads the wall clock's."""
        clock = "wall_us" if self.case.endswith("/4") else "cpu_us"
        return statistics.median(each[clock] for each in self.rounds.values())

    @property
    def title(self) -> str:
        if self.method in TITLES:
            return TITLES[self.method] + ("" if self.batch == 1 else f", in batches of {self.batch:,}")
        level, _, threads = self.case.split("/")
        how = "one at a time" if self.batch == 1 else f"in batches of {self.batch:,}"
        form = "custodes, bulk form" if self.method == "bulk" else "custodes"
        return f"{form}, {level}, {how}" + (", 4 threads (wall clock)" if threads != "1" else "")


def bench_search(*, quick: bool) -> Bench:
    """Codes from a hundred thousand to ten million; a hundred million in the bulk form alone."""
    peers_ready()
    native = bool(native_levels())
    found: list[Found] = []
    for kind, count in SETS[:3] if quick else SETS:
        found += compared(Data.of(kind, count, quick=quick), native=native, quick=quick)
    if native and not quick and free_gb() > BULK_FREE_GB:
        found += bulk(Data.of("random", BULK_CODES, quick=False))
    bench = Bench("search", "PDQ search within 31 bits", notes=notes(found, quick=quick))
    bench.heads = ["", "µs a query", "queries/s", "recall", "bytes an entry", "build, s"]
    bench.rows = [row(each) for each in found]
    bench.ratios = ratios(found)
    bench.runs = {f"{each.kind} {each.codes}: {each.title}": stored(each) for each in found}
    return bench


@dataclass(frozen=True)
class Data:
    """A set of codes and its queries, on disk, with the true answers for the first of them."""

    kind: str
    codes: Path
    queries: Path
    count: int
    sample: int
    truth: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, kind: str, count: int, *, quick: bool) -> Data:
        codes = code_file(WORK, kind, count, quick=quick)
        queries = query_file(WORK, codes, quick=quick)
        sample = SAMPLE if count <= 10_000_000 else SAMPLE // 10
        asked = np.load(queries, mmap_mode="r")[:sample]
        truth = brute(np.load(codes, mmap_mode="r"), np.ascontiguousarray(asked))
        print(f"  {count:,} {kind} codes: {len(truth)} pairs for {sample} queries", file=sys.stderr, flush=True)
        return cls(kind, codes, queries, count, sample, frozenset(map(tuple, truth)))


def compared(data: Data, *, native: bool, quick: bool) -> list[Found]:
    """Custodes stays; peers come and go in groups that fit into memory."""
    found: list[Found] = []
    seconds = 0.5 if quick else 1.0
    own = ["custodes", "numpy"] if native else ["numpy"]
    opened = {name: Dialogue("search_methods.py", name, data.codes, data.queries) for name in own}
    try:
        held = [each for name in own for each in cases_of(opened[name], name, data)]
        found += held
        for number, group in enumerate(GROUPS):
            peers = {name: Dialogue("search_methods.py", name, data.codes, data.queries, peer=True) for name in group}
            try:
                there = [each for name in group for each in cases_of(peers[name], name, data)]
                found += there
                for round_ in range(ROUNDS * number, ROUNDS * (number + 1)):
                    for each in held + there:
                        measure((opened | peers)[each.method], each, round_, seconds)
            finally:
                close(peers)
    finally:
        close(opened)
    return [each for each in found if each.rounds]


def bulk(data: Data) -> list[Found]:
    """The form that keeps one band in memory at a time, a batch of a million, once. Its memory is what searching takes: it keeps only codes."""
    with Dialogue("search_methods.py", "bulk", data.codes, data.queries) as process:
        found = cases_of(process, "bulk", data)[:1]
        for each in found:
            measure(process, each, 0, 1.0)
        process.ready |= process.ask()
    return found


def close(opened: dict[str, Dialogue]) -> None:
    for process in opened.values():
        process.close()


def cases_of(process: Dialogue, method: str, data: Data) -> list[Found]:
    """The cases that a process offers, each with its recall on the sample."""
    ready = process.ready
    found = []
    for case, batch in ready["cases"].items():
        each = Found(data.count, data.kind, method, case, batch, ready)
        pairs = frozenset(map(tuple, process.ask(case=case, sample=data.sample)))
        assert pairs <= data.truth, f"{method} {case} found what is not there"
        each.recall = len(pairs) / len(data.truth)
        found.append(each)
    return found


def measure(process: Dialogue, each: Found, round_: int, share: float) -> None:
    """One round, unless a batch would take too long by what smaller ones took. Lesser levels are done after the first group."""
    level = each.case.split("/")[0]
    too_long = process.ready.get("speed", {}).get(level, 0) * each.batch / 1e6 > WAIT_S_MAX * share
    lesser = each.method not in TITLES and level != next(iter(process.ready["cases"])).split("/")[0]
    if too_long or (lesser and len(each.rounds) >= ROUNDS):
        return
    seconds = (SECONDS if each.method in TITLES else SECONDS_OURS) * share
    each.rounds[round_] = process.ask(case=each.case, first=round_ * 100_003, seconds=seconds)
    process.ready.setdefault("speed", {})[level] = each.rounds[round_]["wall_us"]
    shown = f"{each.rounds[round_]['cpu_us']:.2f} µs CPU, {each.rounds[round_]['wall_us']:.2f} µs wall"
    print(f"  {round_ + 1} {each.codes:,} {each.kind} {each.title}: {shown}", file=sys.stderr, flush=True)


def free_gb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable"))


# -- what is shown


def row(each: Found) -> list[str]:
    recall = "" if each.recall is None else f"{each.recall:.4f}".rstrip("0").rstrip(".")
    shown = [f"{each.codes:,} {each.kind}: {each.title}", figure(each.us), f"{1e6 / each.us:,.0f}", recall]
    return [*shown, f"{each.built['entry_bytes']:.0f}", f"{each.built['build_s']:.2f}"]


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def stored(each: Found) -> list[dict[str, Any]]:
    """For the file of results: rounds, with everything that a plot asks for in each."""
    told = {"codes": each.codes, "kind": each.kind, "method": each.method, "case": each.case, "batch": each.batch}
    told |= {"recall": each.recall} | {key: value for key, value in each.built.items() if key not in ("cases", "speed")}
    return [told | {"round": number} | figures for number, figures in each.rounds.items()]


def ratios(found: Sequence[Found]) -> list[str]:
    """Each peer, one query at a time, over custodes one at a time and in its largest batch."""
    said = []
    for peer in found:
        if peer.method not in TITLES or peer.batch != 1:
            continue
        ours = [each for each in found if (each.codes, each.kind) == (peer.codes, peer.kind)]
        one = best([each for each in ours if each.batch == 1 and each.case.endswith("/1")])
        many = best([each for each in ours if each.batch > 1 and each.case.endswith("/1")])
        parts = [f"{figure(within(peer, each))} times {each.title.removeprefix('custodes, ')}" for each in (one, many)]
        said.append(f"{peer.codes:,} {peer.kind}: {peer.title} takes {' and '.join(parts)}")
    return said


def best(found: Sequence[Found]) -> Found:
    """The case of the best level, in its largest batch."""
    own = [each for each in found if each.method not in TITLES]
    return min(own, key=lambda each: (LEVELS.index(each.case.split("/")[0]), -each.batch))


def within(peer: Found, own: Found) -> float:
    """The median over the rounds that both took part in."""
    both = peer.rounds.keys() & own.rounds.keys()
    return statistics.median(peer.rounds[n]["cpu_us"] / own.rounds[n]["cpu_us"] for n in both)


def notes(found: Sequence[Found], *, quick: bool) -> list[str]:
    scenes = "200" if quick else "4,000"
    largest = max((each for each in found), key=lambda each: each.built["peak_bytes"])
    return [
        "Everything within 31 of 256 bits is asked for. One core each, alone on it; µs are CPU time (the four threads' is the wall clock's), medians of interleaved rounds; a ratio is the median of those within one round.",
        "random: even bits; half of the queries are other random codes, half an entry with 0 to 31 bits turned. These are the best case of every index by bands, ours and faiss's.",
        f"clustered: PDQ codes of {scenes} procedural scenes, four fifths of them listed, in 14 variants each (brightness, JPEG quality, size, crop, small rotations), then filled up: three near neighbours of each picture (1 to 12 bits), the rest far ones (32 to 48 bits). Misses are pictures of the scenes that are not listed, with up to 32 bits turned; half of the queries are entries with 0 to 31.",
        f"recall: the pairs found of those that a comparison with every code finds, for {SAMPLE} of the queries; a pair too many would have stopped the benchmark.",
        "bytes an entry: growth of the resident set when the index is built and its input freed. faiss's and PDQIndex's entries have a number as id, so have ours. Of the bulk form it is the most that searching took, one table, batch and answers included.",
        "faiss 1.15.1 with one thread, its `range_search` with its exclusive radius at 32; PDQIndex of threatexchange 1.2.17 as hasher-matcher-actioner holds it by default, hexadecimal text in. It has no batches. A batch is left out where it would take more than 30 s.",
        f"The largest process was {largest.title} on {largest.codes:,} codes, at most {largest.built['peak_bytes'] / 1e9:.1f} GB, building and the input included.",
    ]
