"""PDQ codes for the benchmarks of search: random ones, and ones that lie as those of photographs do, with queries of known distance.

Everything is seeded and made once into ``bench/work``. ``brute`` is the slow answer that every method's recall is counted by; it shares no line
with any of the methods. What is indexed and timed is for ``search_methods``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["CODE_BYTES", "QUERIES", "brute", "code_file", "query_file"]

Uint8s = npt.NDArray[np.uint8]

CODE_BYTES: Final = 32
QUERIES: Final = 1_000_000
RADIUS: Final = 31
CHUNK_ROWS: Final = 1_000_000
NEAR_PER_PICTURE: Final = 3
SCENES: Final = 4_000
SCENES_QUICK: Final = 200
HELD_OUT: Final = 0.2
"""Share of the scenes that no list holds: their pictures are the misses among the queries."""


def code_file(folder: Path, kind: str, count: int, *, quick: bool = False) -> Path:
    """``count`` codes, ``random`` or ``clustered``, as one array uint8[count, 32] on disk."""
    path = folder / f"codes-{kind}-{count}{'-quick' * (quick and kind == 'clustered')}.npy"
    if not path.exists():
        aside = path.with_suffix(".aside.npy")
        stored = np.lib.format.open_memmap(aside, "w+", np.uint8, (count, CODE_BYTES))
        parts = random_codes(count) if kind == "random" else clustered_codes(scenes(folder, quick=quick)[0], count)
        first = 0
        for part in parts:
            stored[first : first + len(part)] = part
            first += len(part)
        stored.flush()
        aside.replace(path)
    return path


def query_file(folder: Path, codes: Path, *, quick: bool = False) -> Path:
    """Queries for these codes in random order: half of them misses, half an entry with 0 to 31 bits turned, evenly."""
    path = codes.with_name(f"{codes.stem}-queries.npy")
    if not path.exists():
        random = np.random.default_rng(11)
        if "clustered" in codes.name:
            strangers = scenes(folder, quick=quick)[1]
            misses = flipped(random, strangers[random.integers(len(strangers), size=QUERIES // 2)], (0, 32))
        else:
            misses = random_rows(random, QUERIES // 2)
        held = np.load(codes, mmap_mode="r")
        planted = flipped(random, held[np.sort(random.integers(len(held), size=QUERIES - QUERIES // 2))], (0, RADIUS))
        np.save(path, random.permutation(np.concatenate([misses, planted])))
    return path


def random_rows(random: np.random.Generator, rows: int) -> Uint8s:
    return np.frombuffer(random.bytes(rows * CODE_BYTES), np.uint8).reshape(rows, CODE_BYTES)


def random_codes(count: int) -> Iterator[Uint8s]:
    random = np.random.default_rng(count)
    for first in range(0, count, CHUNK_ROWS):
        yield random_rows(random, min(CHUNK_ROWS, count - first))


def clustered_codes(pictures: Uint8s, count: int) -> Iterator[Uint8s]:
    """The pictures' own codes, some near neighbours of each (1 to 12 bits), and far ones (32 to 48 bits) for the rest.

    Near ones are copies of a listed picture; far ones are no matches of anything, but share the bits that pictures have in common, so that the
    bands of the codes fill as unevenly as those of photographs do.
    """
    random = np.random.default_rng(count + 1)
    own = random.permutation(pictures)[:count]
    near = min(count - len(own), NEAR_PER_PICTURE * len(own))
    yield own
    yield flipped(random, own[random.integers(len(own), size=near)], (1, 12))
    for first in range(len(own) + near, count, CHUNK_ROWS):
        rows = min(CHUNK_ROWS, count - first)
        yield flipped(random, own[random.integers(len(own), size=rows)], (32, 48))


def flipped(random: np.random.Generator, codes: Uint8s, bits: tuple[int, int]) -> Uint8s:
    """The codes with a number of bits turned that is even between the two bounds, both included."""
    out = np.empty_like(codes)
    for first in range(0, len(codes), 1 << 16):
        part = codes[first : first + (1 << 16)]
        places = np.argsort(random.random((len(part), CODE_BYTES * 8), np.float32), axis=1)
        turned = places < random.integers(bits[0], bits[1] + 1, (len(part), 1))
        out[first : first + len(part)] = part ^ np.packbits(turned, axis=1)
    return out


# -- pictures


def scenes(folder: Path, *, quick: bool) -> tuple[Uint8s, Uint8s]:
    """PDQ codes of procedural scenes in variants: those that lists may hold, and those held out."""
    number = SCENES_QUICK if quick else SCENES
    path = folder / f"scene-codes-{number}.npy"
    if not path.exists():
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(_scene_codes, range(number), chunksize=20))
        np.save(path, np.stack(found))
    codes = np.load(path)
    held_out = int(number * HELD_OUT)
    return codes[held_out:].reshape(-1, CODE_BYTES), codes[:held_out].reshape(-1, CODE_BYTES)


def _scene_codes(number: int) -> Uint8s:
    """One scene and what people do to pictures: brightness, recompression, scaling, cropping, small rotations."""
    from corpus import _clouds, _leaves
    from PIL import ImageEnhance

    from custodes.pdq import pdq

    random = np.random.default_rng([5, number])
    scene = _leaves(random, _clouds(random, (512, 384))).convert("L")
    width, height = scene.size
    variants = [scene, scene.resize((160, 120))]
    variants += [ImageEnhance.Brightness(scene).enhance(factor) for factor in (0.7, 1.3)]
    variants += [_recompressed(scene, quality) for quality in (15, 40, 70)]
    variants += [scene.crop((n, n, width - n, height - n)) for n in (4, 8, 20)]
    variants += [scene.rotate(angle, expand=False).crop((20, 20, width - 20, height - 20)) for angle in (-3, -1, 1, 3)]
    codes = [pdq(np.asarray(each), *each.size).code for each in variants]
    return np.frombuffer(b"".join(codes), np.uint8).reshape(len(codes), CODE_BYTES)


def _recompressed(image, quality: int):
    from PIL import Image

    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(BytesIO(out.getvalue()))


# -- the oracle


def brute(codes: Uint8s, queries: Uint8s, radius: int = RADIUS) -> list[list[int]]:
    """All [query row, entry, distance] within the radius, by comparing each query with every code."""
    found = []
    words = codes.view(np.uint64)
    for row, query in enumerate(queries.view(np.uint64)):
        for first in range(0, len(words), CHUNK_ROWS):
            distances = np.bitwise_count(words[first : first + CHUNK_ROWS] ^ query).sum(axis=1, dtype=np.uint16)
            for entry in np.flatnonzero(distances <= radius).tolist():
                found.append([row, first + entry, int(distances[entry])])
    return found
