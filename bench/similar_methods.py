"""One way to find the ten nearest of many vectors for each of a few, all from memory, in a process of its own; asked line by line.

similar_methods.py ENGINE THREADS VECTORS      ENGINE: custodes, memory (.venv), numpy, numkong, faiss, usearch (.venv-bench)

It answers {"case", "vectors"} with the seconds of one search over so many vectors and the rows found for some of the seeds. The peers take vectors for
normalised, which these nearly are, and give inner products of floats; custodes divides by lengths and gives cosines of doubles.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

DIMENSION = 768
TOP = 10
SHOWN = 20
BATCH = 16_384

Search = Callable[[Any, Any], Any]


def vectors_of(count: int, seed: int = 1) -> Any:
    """Unit vectors in fp16, in clusters, as pictures of one kind are."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((200, DIMENSION), dtype=np.float32)
    made = np.empty((count, DIMENSION), dtype=np.float16)
    for start in range(0, count, 50_000):
        part = random.standard_normal((min(50_000, count - start), DIMENSION), dtype=np.float32)
        part += 0.7 * centres[random.integers(0, len(centres), len(part))]
        made[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def batches(vectors: Any, step: int = BATCH) -> Iterator[tuple[int, Any]]:
    for first in range(0, len(vectors), step):
        yield first, vectors[first : first + step]


class Best:
    """The top rows of each seed, from matrices of scores."""

    def __init__(self, seeds: int) -> None:
        self.scores = np.full((seeds, TOP), -np.inf, dtype=np.float32)
        self.rows = np.zeros((seeds, TOP), dtype=np.int64)

    def add(self, first: int, scores: Any) -> None:  # [seeds, rows]
        at = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        self.merge(np.take_along_axis(scores, at, 1), first + at)

    def merge(self, scores: Any, rows: Any) -> None:
        scores, rows = np.concatenate([self.scores, scores], 1), np.concatenate([self.rows, rows], 1)
        at = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        self.scores, self.rows = np.take_along_axis(scores, at, 1), np.take_along_axis(rows, at, 1)


# -- engines: what searches, by case


def custodes(threads: int) -> dict[str, Search]:
    from custodes import native
    from custodes.similar.arithmetic import Seeds, dots
    from custodes.similar.neighbours import Neighbours

    def near(vectors: Any, seeds: Any) -> Any:
        found = Neighbours(seeds, TOP)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: found.feed(*part), batches(vectors)))
        return found.result()["row"].reshape(len(seeds), TOP)

    def probe(vectors: Any, seeds: Any) -> Any:
        weights = Seeds.of(seeds[:1]).unit

        def score(part: tuple[int, Any]) -> Any:
            products, squares = dots(part[1], weights)
            return products[0] / np.sqrt(squares)

        with ThreadPoolExecutor(threads) as pool:
            scores = np.concatenate(list(pool.map(score, batches(vectors))))
        return np.argsort(-scores, kind="stable")[None, :TOP] if len(scores) < 100_000 else None

    def at(level: str, work: Search) -> Search:
        def do(vectors: Any, seeds: Any) -> Any:
            native.use(level)
            return work(vectors, seeds)

        return do

    best = next(iter(native.levels()), native.NONE)
    others = {f"near, {level}": at(level, near) for level in (*native.levels()[1:], native.NONE)}
    return {"near": at(best, near), "probe": at(best, probe)} | others


def memory(threads: int) -> dict[str, Search]:
    """Reading alone, and copying."""

    def each(vectors: Any, work: Callable[[tuple[int, Any]], Any]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, batches(vectors)))

    def read(vectors: Any, _: Any) -> None:
        each(vectors, lambda part: part[1].view(np.uint64).max())

    def copy(vectors: Any, _: Any) -> None:
        into = np.zeros_like(vectors)
        began[0] = time.perf_counter()
        each(vectors, lambda part: np.copyto(into[part[0] : part[0] + len(part[1])], part[1]))

    return {"read": read, "copy": copy}


def numpy_only(_: int) -> dict[str, Search]:
    """The linear algebra has as many threads as it was started with."""

    def near(vectors: Any, seeds: Any) -> Any:
        best, asked = Best(len(seeds)), seeds.astype(np.float32)
        for first, part in batches(vectors):
            best.add(first, asked @ part.astype(np.float32).T)
        return best.rows

    def probe(vectors: Any, seeds: Any) -> None:
        weight = seeds[0].astype(np.float32)
        np.concatenate([part.astype(np.float32) @ weight for _, part in batches(vectors)])

    return {"near": near, "probe": probe}


def numkong(threads: int) -> dict[str, Search]:
    """fp16 as stored, sums of floats; seeds in blocks of 64, which is the quickest."""
    import numkong as nk

    def products(part: Any, packed: list[Any]) -> Any:
        return np.concatenate([np.asarray(nk.dots_packed(part, each)) for each in packed], axis=1)

    def near(vectors: Any, seeds: Any) -> Any:
        packed = [nk.dots_pack(np.ascontiguousarray(seeds[at : at + 64])) for at in range(0, len(seeds), 64)]

        def work(part: tuple[int, Any]) -> Best:
            best = Best(len(seeds))
            best.add(part[0], products(part[1], packed).T)
            return best

        total = Best(len(seeds))
        with ThreadPoolExecutor(threads) as pool:
            for each in pool.map(work, batches(vectors, 4096)):
                total.merge(each.scores, each.rows)
        return total.rows

    def alone(vectors: Any, seeds: Any) -> None:
        """The products, and nothing done with them."""
        packed = [nk.dots_pack(np.ascontiguousarray(seeds[at : at + 64])) for at in range(0, len(seeds), 64)]
        with ThreadPoolExecutor(threads) as pool:
            list(
                pool.map(
                    lambda part: [nk.dots_packed(part[1], each) for each in packed] and None, batches(vectors, 1024)
                )
            )

    def probe(vectors: Any, seeds: Any) -> None:
        packed = [nk.dots_pack(np.ascontiguousarray(seeds[:1]))]
        with ThreadPoolExecutor(threads) as pool:
            np.concatenate(list(pool.map(lambda part: products(part[1], packed)[:, 0], batches(vectors))))

    return {"near": near, "products alone": alone, "probe": probe}


def faiss(threads: int) -> dict[str, Search]:
    """IndexFlatIP of a batch at a time, filled, searched, emptied."""
    import faiss as library

    library.omp_set_num_threads(threads)

    def near(vectors: Any, seeds: Any) -> Any:
        best, asked, index = Best(len(seeds)), seeds.astype(np.float32), library.IndexFlatIP(DIMENSION)
        for first, part in batches(vectors):
            index.add(part.astype(np.float32))
            scores, rows = index.search(asked, TOP)
            best.merge(scores, first + rows)
            index.reset()
        return best.rows

    return {"near": near}


def usearch(threads: int) -> dict[str, Search]:
    from usearch.index import MetricKind, search

    def near(vectors: Any, seeds: Any) -> Any:
        found = search(vectors, seeds, TOP, MetricKind.IP, exact=True, threads=threads)
        return np.asarray(found.keys).reshape(len(seeds), TOP)

    return {"near": near}


ENGINES: dict[str, Callable[[int], dict[str, Search]]] = {
    "custodes": custodes,
    "memory": memory,
    "numpy": numpy_only,
    "numkong": numkong,
    "faiss": faiss,
    "usearch": usearch,
}
began = [0.0]


def main() -> None:
    engine, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    cases = ENGINES[engine](threads)
    vectors = vectors_of(count)
    print(json.dumps({"cases": list(cases)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        seeds = vectors_of(asked["seeds"], seed=2)
        part = vectors[: asked["vectors"]]
        began[0], cpu = time.perf_counter(), time.process_time()
        rows = cases[asked["case"]](part, seeds)
        figures = {"wall_s": time.perf_counter() - began[0], "cpu_s": time.process_time() - cpu}
        found = None if rows is None else np.sort(np.asarray(rows)[:SHOWN], axis=1).tolist()
        print(json.dumps(figures | {"rows": found}), flush=True)


if __name__ == "__main__":
    main()
