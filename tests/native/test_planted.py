"""Mistakes planted in the C++ sources are caught by the comparison that the suite makes of every level."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.share import share

from .toolchain import is_caught, needs_compiler

pytestmark = needs_compiler()

# file, what stands there, what stands there instead
FAULTS: dict[str, tuple[str, str, str]] = {
    "a band's limit too small by one": (
        "hamming.hpp",
        "one[i] = chain.threshold[i];",
        "one[i] = chain.threshold[i] - 1;",
    ),
    "three bands' limit too small by one": (
        "hamming.hpp",
        "three[i] = two[i] + last + 1;",
        "three[i] = two[i] + last;",
    ),
    "the radius is exclusive": ("hamming.hpp", "if (bits > limits_.radius", "if (bits >= limits_.radius"),
    "the radius is exclusive where all are compared": (
        "hamming.hpp",
        "if (bits_apart <= radius",
        "if (bits_apart < radius",
    ),
    "the last mask is never probed": (
        "hamming.hpp",
        "probe < NEAR_MASKS.end[ones]; probe++",
        "probe < NEAR_MASKS.end[ones] - (ones > 0); probe++",
    ),
    "a pair is reported at each start": (
        "hamming.hpp",
        "if (is_start(d, i)) return false;",
        "if (is_start(d, i)) return true;",
    ),
    "the next band must be nearer by one bit": (
        "hamming.hpp",
        "const int most = limits_.two[runs.band] - run.ones;",
        "const int most = limits_.two[runs.band] - run.ones - 1;",
    ),
    "the last of four entries is dropped": (
        "hamming.hpp",
        "i < TOGETHER && entries.from + i < entries.to",
        "i < TOGETHER - 1 && entries.from + i < entries.to",
    ),
}


@pytest.mark.parametrize("name", share(FAULTS, 4))
def test_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    assert is_caught("check_hamming", FAULTS[name], tmp_path, machine="any")  # one level is enough, and quick
