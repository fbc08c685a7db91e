"""One engine that says which of ten million digests are in a list, all from memory, in a process of its own; asked line by line.

membership_methods.py ENGINE THREADS KIND ENTRIES QUERIES      ENGINE: custodes, numpy, set (.venv), polars, duckdb-blob, duckdb-hex (.venv-bench)

It prints what building took, if the engine builds anything that lasts, and then answers {"case"} with the seconds of one search and the hits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = {"md5": 16, "sha256": 32}
HITS_PER_MILLE = 1

Count = Callable[[], int]


def digests(kind: str, entries: int, queries: int) -> tuple[Any, Any]:
    """The list and what is asked: one in a thousand is an entry, the others are random."""
    size = SIZES[kind]
    random = np.random.default_rng(entries)
    known = np.frombuffer(random.bytes(entries * size), np.uint8).reshape(entries, size)
    asked = np.frombuffer(random.bytes(queries * size), np.uint8).reshape(queries, size).copy()
    rows = random.choice(queries, queries * HITS_PER_MILLE // 1000, replace=False)
    asked[rows] = known[random.integers(entries, size=len(rows))]
    return known, asked


# -- engines: given both, they build what lasts and give the searches that may be asked for


def custodes(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    from custodes import native
    from custodes.index import ExactIndex

    index = ExactIndex.build(known)

    def search(level: str) -> Count:
        def do() -> int:
            native.use(level)
            return len(np.unique(index.search(asked, threads=threads).rows))

        return do

    return {level: search(level) for level in native.levels()}


def numpy_only(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    from custodes.index import ExactIndex

    assert threads == 1
    try:
        from custodes import native
    except ImportError:
        pass
    else:
        native.use(None)
    index = ExactIndex.build(known)
    return {"numpy": lambda: len(np.unique(index.search(asked).rows))}


def python_set(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    assert threads == 1
    held = set(rows_of(known))
    rows = rows_of(asked)
    return {"set": lambda: sum(map(held.__contains__, rows))}


def rows_of(codes: Any) -> list[bytes]:
    return codes.view(f"V{codes.shape[1]}").ravel().tolist()


def polars(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    import polars as pl

    assert pl.thread_pool_size() == threads
    frames = [pl.from_arrow(binary_table(codes)) for codes in (known, asked)]
    return {"polars": lambda: frames[1].join(frames[0], on="digest", how="semi").height}


def duckdb_blob(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    return with_duckdb(binary_table(known), binary_table(asked), threads)


def duckdb_hex(known: Any, asked: Any, threads: int) -> dict[str, Count]:
    return with_duckdb(hex_table(known), hex_table(asked), threads)


def with_duckdb(known_table: Any, asked_table: Any, threads: int) -> dict[str, Count]:
    import duckdb

    engine = duckdb.connect()
    engine.execute(f"SET threads = {threads}")
    engine.register("known_table", known_table)
    engine.register("asked_table", asked_table)
    engine.execute("CREATE TABLE known AS SELECT digest FROM known_table")
    engine.execute("CREATE TABLE asked AS SELECT digest FROM asked_table")
    query = "SELECT count(*) FROM asked SEMI JOIN known USING (digest)"
    return {"duckdb": lambda: int(engine.execute(query).fetchone()[0])}


def binary_table(codes: Any) -> Any:
    return arrow_table(codes.tobytes(), codes.shape[1], text=False)


def hex_table(codes: Any) -> Any:
    return arrow_table(codes.tobytes().hex().encode(), 2 * codes.shape[1], text=True)


def arrow_table(data: bytes, width: int, *, text: bool) -> Any:
    """A column of values of one width, without a Python object for each."""
    import pyarrow as pa

    rows = len(data) // width
    offsets = pa.py_buffer(np.arange(rows + 1, dtype=np.int64) * width)
    kind = pa.large_string() if text else pa.large_binary()
    return pa.table({"digest": pa.Array.from_buffers(kind, rows, [None, offsets, pa.py_buffer(data)])})


ENGINES: dict[str, Callable[[Any, Any, int], dict[str, Count]]] = {
    "custodes": custodes,
    "numpy": numpy_only,
    "set": python_set,
    "polars": polars,
    "duckdb-blob": duckdb_blob,
    "duckdb-hex": duckdb_hex,
}


def main() -> None:
    engine, threads, kind, entries, queries = sys.argv[1:6]
    cores = sorted(os.sched_getaffinity(0))[-int(threads) :]
    os.sched_setaffinity(0, cores)
    known, asked = digests(kind, int(entries), int(queries))
    wall, cpu = time.perf_counter(), time.process_time()
    cases = ENGINES[engine](known, asked, int(threads))
    built = {"build_wall_s": time.perf_counter() - wall, "build_cpu_s": time.process_time() - cpu}
    del known
    print(json.dumps(built | {"cases": list(cases)}), flush=True)
    for line in sys.stdin:
        case = cases[json.loads(line)["case"]]
        wall, cpu = time.perf_counter(), time.process_time()
        hits = case()
        figures = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "hits": hits}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
