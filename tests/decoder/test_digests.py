"""MD5, SHA-1 and SHA-256 in one pass are those of hashlib."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes import digests, native
from custodes.digests import crypto_digests
from custodes.model import Content

ONE_PASS = digests._ONE_PASS
LENGTHS = (*range(301), *(64 * blocks + more for blocks in (16, 1000) for more in (-9, -8, -1, 0, 1, 55, 56)))


@pytest.fixture(autouse=True)
def chosen_level() -> Iterator[None]:
    before = native.level()
    yield
    native.use(before)


def by_hashlib(data: bytes | bytearray | memoryview) -> tuple[bytes, ...]:
    return tuple(hashlib.new(name, data).digest() for name in ("md5", "sha1", "sha256"))


def content(length: int) -> bytes:
    return np.random.default_rng(length).bytes(length)


@pytest.mark.parametrize("level", [*native.levels()[:1], native.NONE])
def test_digests_of_every_length_equal_those_of_hashlib(level: str) -> None:
    native.use(level)
    wrong = [length for length in LENGTHS if crypto_digests(Content(content(length))) != by_hashlib(content(length))]
    assert wrong == []


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1 << 20))
def test_digests_of_long_contents_equal_those_of_hashlib(seed: int, length: int) -> None:
    data = np.random.default_rng(seed).bytes(length)
    assert crypto_digests(Content(data)) == by_hashlib(data)


@given(st.binary(max_size=200), st.integers(0, 20), st.integers(0, 20))
def test_views_are_digested_from_where_they_begin_to_where_they_end(data: bytes, skipped: int, cut: int) -> None:
    for whole in (data, bytearray(data), memoryview(data)):
        part = memoryview(whole)[skipped : max(skipped, len(data) - cut)]
        assert crypto_digests(Content(part)) == by_hashlib(part)  # type: ignore[arg-type]
        assert crypto_digests(Content(whole)) == by_hashlib(data)  # type: ignore[arg-type]


@pytest.mark.skipif(ONE_PASS is None, reason="NOT TESTED: this machine has no SHA instructions, or no native library")
def test_the_one_pass_is_taken_where_there_is_one_and_a_fault_in_it_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ONE_PASS is not None

    def without_the_last_byte(data: bytes, length: int, out: object) -> None:
        ONE_PASS(data, max(0, length - 1), out)

    monkeypatch.setattr(digests, "_ONE_PASS", without_the_last_byte)
    native.use(native.levels()[0])
    with pytest.raises(AssertionError):
        test_digests_of_every_length_equal_those_of_hashlib(native.levels()[0])
    native.use(native.NONE)
    test_digests_of_every_length_equal_those_of_hashlib(native.NONE)
