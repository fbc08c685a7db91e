"""One method of search in a process of its own, on one core: builds its index over a file of codes, then answers as it is asked, line by line.

search_methods.py METHOD CODES QUERIES       run by .venv (custodes, numpy, bulk) or .venv-bench (flat, multihash-*, pdqindex)

It prints one JSON object when the index is built. Then each line of standard input is a JSON object, and is answered by one:
{"case", "first", "seconds"} times queries from ``first`` on for about that long, {"case", "sample"} gives the pairs found for the first queries,
and {} the most memory that searching took since the index was built. Memory is the growth of the resident set with the input freed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

RADIUS = 31
BATCHES = (1, 1_000, 20_000, 1_000_000)

Pairs = list[list[int]]
Search = Callable[[Any, int], Pairs]
"""Takes queries; gives the pairs of so many of the first of them, for 0 an empty list."""


# -- custodes


def custodes(codes: Any, *, resident: bool = True) -> tuple[dict[str, tuple[int, Search]], int]:
    """Each level that this machine has, one at a time and in batches."""
    from custodes import native
    from custodes.index import HammingIndex

    index = HammingIndex.build(codes) if resident else HammingIndex.build(codes, resident=False)

    def search(level: str, threads: int) -> Search:
        def do(queries: Any, wanted: int) -> Pairs:
            native.use(level)
            return pairs_of(index.search(queries, RADIUS, threads=threads), wanted)

        return do

    cases = {}
    for level in native.levels() if resident else native.levels()[:1]:
        for batch in BATCHES if resident else BATCHES[-1:]:
            cases[f"{level}/{batch}/1"] = (batch, search(level, 1))
    if len(CORES) > 1:
        cases[f"{native.levels()[0]}/{BATCHES[-1]}/4"] = (BATCHES[-1], search(native.levels()[0], 4))
    return cases, getattr(index, "nbytes", 0)


def bulk(codes: Any) -> tuple[dict[str, tuple[int, Search]], int]:
    return custodes(codes, resident=False)


def numpy_only(codes: Any) -> tuple[dict[str, tuple[int, Search]], int]:
    from custodes.index import HammingIndex

    without_native()
    index = HammingIndex.build(codes)
    do = lambda queries, wanted: pairs_of(index.search(queries, RADIUS), wanted)  # noqa: E731
    return {f"numpy/{batch}/1": (batch, do) for batch in BATCHES[:-1]}, getattr(index, "nbytes", 0)


def without_native() -> None:
    try:
        from custodes import native
    except ImportError:
        return
    native.use(None)


def pairs_of(found: Any, wanted: int) -> Pairs:
    if not wanted:
        return []
    first = found.rows < wanted
    return [list(pair) for pair in zip(*(column[first].tolist() for column in found), strict=True)]


# -- faiss and ThreatExchange


def flat(codes: Any) -> tuple[dict[str, tuple[int, Search]], int]:
    import faiss

    index = faiss.IndexBinaryFlat(256)
    return faiss_cases(index, codes), 0


def multihash(codes: Any, hashes: int, bits: int, flips: int) -> tuple[dict[str, tuple[int, Search]], int]:
    import faiss

    index = faiss.IndexBinaryMultiHash(256, hashes, bits)
    index.nflip = flips
    return faiss_cases(index, codes), 0


def faiss_cases(index: Any, codes: Any) -> dict[str, tuple[int, Search]]:
    import faiss

    faiss.omp_set_num_threads(1)
    for first in range(0, len(codes), 1_000_000):
        index.add(codes[first : first + 1_000_000])

    def do(queries: Any, wanted: int) -> Pairs:
        ends, distances, ids = index.range_search(queries, RADIUS + 1)  # its radius is exclusive
        if not wanted:
            return []
        rows = np.repeat(np.arange(len(queries)), np.diff(ends.astype(np.int64)))
        return [list(map(int, pair)) for pair in zip(rows, ids, distances, strict=True) if pair[0] < wanted]

    return {"1": (1, do), "1000": (1_000, do)}


def pdqindex(codes: Any) -> tuple[dict[str, tuple[int, Search]], int]:
    """ThreatExchange's index as the hasher-matcher-actioner uses it: hexadecimal text in, one query at a time."""
    import faiss
    from threatexchange.signal_type.pdq.pdq_index import PDQIndex

    faiss.omp_set_num_threads(1)
    index = PDQIndex((code.tobytes().hex(), number) for number, code in enumerate(codes))

    def do(queries: Any, wanted: int) -> Pairs:
        found = [index.query(query.tobytes().hex()) for query in queries]
        if not wanted:
            return []
        return [[row, each.metadata, each.similarity_info.distance] for row, of in enumerate(found) for each in of]

    return {"1": (1, do)}, 0


METHODS: dict[str, Callable[[Any], tuple[dict[str, tuple[int, Search]], int]]] = {
    "custodes": custodes,
    "bulk": bulk,
    "numpy": numpy_only,
    "flat": flat,
    "multihash-16x16": lambda codes: multihash(codes, 16, 16, 1),
    "multihash-11x23": lambda codes: multihash(codes, 11, 23, 2),
    "pdqindex": pdqindex,
}


# -- the conversation


def timed(case: tuple[int, Search], queries: Any, first: int, seconds: float) -> dict[str, Any]:
    """Whole batches, at least one, for about so many seconds."""
    batch, search = case
    batch = min(batch, len(queries))
    spread = first % (len(queries) - batch + 1)
    search(queries[spread : spread + min(batch, 20)], 0)
    done, wall, cpu = 0, time.perf_counter(), time.process_time()
    while done == 0 or time.perf_counter() - wall < seconds:
        at = (first + done) % (len(queries) - batch + 1)
        search(queries[at : at + batch], 0)
        done += batch
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return {"queries": done, "cpu_us": 1e6 * cpu_s / done, "wall_us": 1e6 * wall_s / done}


def sampled(case: tuple[int, Search], queries: Any, sample: int) -> Pairs:
    """The pairs of the first queries, found in the way that is timed: one at a time, or within a whole batch."""
    batch, search = case
    if batch > 1:
        return search(queries[: max(batch, sample)], sample)
    return [[row, *pair[1:]] for row in range(sample) for pair in search(queries[row : row + 1], 1)]


def resident_bytes(field: str) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def one_core(case: str) -> None:
    """All but the case of four threads run on the last core that there is."""
    os.sched_setaffinity(0, CORES if case.endswith("/4") else {max(CORES)})


CORES = os.sched_getaffinity(0)


def main() -> None:
    method, code_path, query_path = sys.argv[1:4]
    one_core("")
    queries = np.load(query_path)
    own = method in ("custodes", "bulk", "numpy")
    import_module("custodes.index" if own else "threatexchange.signal_type.pdq.pdq_index")  # before memory is counted
    before = resident_bytes("VmRSS")
    codes = np.load(code_path)
    wall, cpu = time.perf_counter(), time.process_time()
    cases, index_bytes = METHODS[method](codes)
    cases = {name: case for name, case in cases.items() if case[0] <= len(queries)}
    said: dict[str, Any] = {"build_s": time.perf_counter() - wall, "build_cpu_s": time.process_time() - cpu}
    entries = len(codes)
    del codes
    said |= {"entry_bytes": (resident_bytes("VmRSS") - before) / entries, "nbytes": index_bytes / entries}
    said |= {"peak_bytes": resident_bytes("VmHWM"), "cases": {name: batch for name, (batch, _) in cases.items()}}
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM from here on
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if not asked:
            print(json.dumps({"entry_bytes": (resident_bytes("VmHWM") - before) / entries}), flush=True)
            continue
        case = cases[asked["case"]]
        one_core(asked["case"])
        if "sample" in asked:
            answer: Any = sampled(case, queries, asked["sample"])
        else:
            answer = timed(case, queries, asked["first"], asked["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
