"""Codes of every awkward shape, and levels of native code, for the tests of both kinds of search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from custodes import native

Uint8s = npt.NDArray[np.uint8]
Generator = np.random.Generator

LEVELS = (*native.levels(), native.NONE)


def uniform(rng: Generator, count: int, size: int) -> Uint8s:
    return rng.integers(0, 256, (count, size), dtype=np.uint8)


def few_values(rng: Generator, count: int, size: int) -> Uint8s:
    return uniform(rng, 4, size)[rng.integers(0, 4, count)]


def same_prefix(rng: Generator, count: int, size: int) -> Uint8s:
    codes = np.zeros((count, size), dtype=np.uint8)
    codes[:, -1] = rng.integers(0, 8, count)
    return codes


def constant(rng: Generator, count: int, size: int) -> Uint8s:
    return np.full((count, size), rng.choice([0, 255]), dtype=np.uint8)


def counting(rng: Generator, count: int, size: int) -> Uint8s:
    return np.tile(np.arange(count, dtype=">u4")[:, None], (1, size // 4)).view(np.uint8)[:, :size]


def flipped(rng: Generator, codes: Uint8s, counts: npt.NDArray[np.int64]) -> Uint8s:
    """Each code with so many of its bits flipped, at random places."""
    order = np.argsort(rng.random((len(codes), 256)), axis=1)
    bits = (np.argsort(order, axis=1) < counts[:, None]).astype(np.uint8)
    return codes ^ np.packbits(bits, axis=1)


def clustered(rng: Generator, count: int, size: int) -> Uint8s:
    centres = uniform(rng, 16, size)
    return flipped(rng, centres[rng.integers(0, 16, count)], rng.integers(0, 60, count))


def banded(rng: Generator, count: int, size: int) -> Uint8s:
    """All codes equal in half of their bands: the buckets of those hold everything."""
    codes = uniform(rng, count, size)
    codes[:, ::2] = 170
    return codes


def evenly_flipped(rng: Generator, codes: Uint8s, count: int) -> Uint8s:
    """Each code with ``count`` bits flipped, spread over the 16 bands as evenly as can be: the hardest codes to
    find.
    """
    quotas = count // 16 + (np.argsort(rng.random((len(codes), 16)), axis=1) < count % 16)
    ranks = np.argsort(np.argsort(rng.random((len(codes), 16, 16)), axis=2), axis=2)
    return codes ^ np.packbits((ranks < quotas[:, :, None]).astype(np.uint8).reshape(-1, 256), axis=1)


SHAPES = [uniform, few_values, same_prefix, constant, counting]
HAMMING_SHAPES = [uniform, clustered, banded, few_values, same_prefix, constant]
