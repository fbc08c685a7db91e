"""Mistakes planted in the C++ sources of PNG's rows, of deflate and of resizing are caught by their check program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.share import share

from .toolchain import is_caught, needs_compiler

pytestmark = needs_compiler()

# file, what stands there, what stands there instead
FAULTS: dict[str, tuple[str, str, str]] = {
    "the pixel above is that to the left": ("pixels.hpp", "        c = b;\n", "        c = a;\n"),
    "the last pixel of a row is not restored": (
        "pixels.hpp",
        "restore_bytes<FILTER>(row, above, step, done, size, out);",
        "restore_bytes<FILTER>(row, above, step, done + 1, size, out);",
    ),
    "of equal distances the wrong one is nearest": (
        "pixels.hpp",
        "either(_mm_cmpgt_epi16(turn, low), either(_mm_cmpgt_epi16(high, turn), c, low), high)",
        "either(_mm_cmpgt_epi16(low, turn), high, either(_mm_cmpgt_epi16(high, turn), c, low))",
    ),
    "of two rows the lower sees what is above the upper": (
        "pixels.hpp",
        "_mm_unpacklo_epi64(wide(load_pixel(above + i)), a)",
        "_mm_unpacklo_epi64(wide(load_pixel(above + i)), wide(load_pixel(above + i - STEP)))",
    ),
    "of two rows the lower lacks its last pixel": (
        "pixels.hpp",
        "done ? done - step : 0, size, out + size",
        "done, size, out + size",
    ),
    "a length has a bit too few": (
        "pixels.hpp",
        "while (over >> (bits + 3)) bits++;",
        "while (over >> (bits + 4)) bits++;",
    ),
    "a code is longer than its limit": ("pixels.hpp", "std::min(depth[i], limit)", "std::min(depth[i], 15)"),
    "a repetition is one longer": (
        "pixels.hpp",
        "        told.repetition(end - i);",
        "        told.repetition(end - i + 1);",
    ),
    "the last block does not say so": ("pixels.hpp", "to == size", "to > size"),
    "blue counts for green": ("resize.hpp", "total[c] += from[CHANNELS * i + c]", "total[c] += from[CHANNELS * i]"),
    "sums are not rounded": ("resize.hpp", "total[i] = 1 << (WEIGHT_BITS - 1);", "total[i] = 0;"),
    "sums wrap around": ("resize.hpp", "value < 0 ? 0 : value > 255 ? 255 : value", "value"),
}


@pytest.mark.parametrize("name", share(FAULTS, 4))
def test_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    assert is_caught("check_pixels", FAULTS[name], tmp_path, machine="any")  # one level is enough, and quick
