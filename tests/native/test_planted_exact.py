"""Mistakes planted in the C++ sources of the exact index and of the digests are caught by their check programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from custodes import digests
from tests.share import share

from .toolchain import NATIVE, is_caught, needs_compiler

pytestmark = needs_compiler()

# what stands in exact.hpp, what stands there instead
EXACT_FAULTS: dict[str, tuple[str, str]] = {
    "the last word of a code is not compared": (
        "const uint64_t x = word(a, i), y = word(b, i);",
        "const uint64_t x = word(a, i), y = i + 1 < words() || i == 0 ? word(b, i) : x;",
    ),
    "the last row of a block is never asked": (
        "i < rows; i++) {\n            const uint64_t head",
        "i < rows - 1; i++) {\n            const uint64_t head",
    ),
    "filters are made before sorting is done": (
        "filter |= filter_bits(rows_.key(code));",
        "if (i > at) filter |= filter_bits(rows_.key(code));",
    ),
    "a bucket loses its last code": (
        "end = head_start(heads_[bucket_[i] + 1]);",
        "end = head_start(heads_[bucket_[i] + 1]) - 1;",
    ),
    "long buckets are sorted in runs only": ("if (count <= RUN) return true;", "if (count) return true;"),
    "equal codes lose their order": (
        "return rows_.before(rows_.at(b), rows_.at(a), false);",
        "return rows_.before(rows_.at(b), rows_.at(a), true);",
    ),
    "of equal codes one is found": ("report(hits_, row_[i], first, last - first)", "report(hits_, row_[i], first, 1)"),
}


# what stands in digest.hpp, what stands there instead
DIGEST_FAULTS: dict[str, tuple[str, str]] = {
    "the length needs one byte less than it does": ("left < BLOCK_BYTES - 8 ?", "left < BLOCK_BYTES - 7 ?"),
    "MD5's length is in the order of the others": ("shas.md5 = digests.md5;", ""),
    "a constant has one wrong bit": ("0xC67178F2}", "0xC67178F3}"),
    "one group of SHA-1 is left out": ("if (PART % 4 == 3) sha1", "if (PART % 4 == 3 && PART < 15) sha1"),
}


def is_caught_once(program: str, file: str, change: tuple[str, str], folder: Path) -> bool:
    assert (NATIVE / file).read_text().count(change[0]) == 1
    return is_caught(program, (file, *change), folder)


@pytest.mark.parametrize("name", share(EXACT_FAULTS, 4))
def test_planted_fault_in_the_exact_index_is_caught(name: str, tmp_path: Path) -> None:
    assert is_caught_once("check_exact", "exact.hpp", EXACT_FAULTS[name], tmp_path)


@pytest.mark.skipif(digests._ONE_PASS is None, reason="NOT TESTED: this machine has no SHA instructions")
@pytest.mark.parametrize("name", share(DIGEST_FAULTS, 3))
def test_planted_fault_in_the_digests_is_caught(name: str, tmp_path: Path) -> None:
    assert is_caught_once("check_digest", "digest.hpp", DIGEST_FAULTS[name], tmp_path)
