"""Mistakes planted in the C++ sources of PDQ and of the forms are caught by their check program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.share import share

from .toolchain import is_caught, needs_compiler

pytestmark = needs_compiler()

# file, what stands there, what stands there instead
FAULTS: dict[str, tuple[str, str, str]] = {
    "the same terms are added in another order": (
        "pdq.hpp",
        "product(load(from + FLOATS * at), all(weights[at]))",
        "product(load(from + FLOATS * (tents.support - at)), all(weights[tents.support - at]))",
    ),
    "the last columns of a band are not summed": ("pdq.hpp", "if (column < columns) {", "if (column > columns) {"),
    "few columns lose the last weight": ("pdq.hpp", "at < support; at++) total +=", "at < support - 1; at++) total +="),
    "a band is taken to start at the top": (
        "pdq.hpp",
        "tents.begin[k] - tents.begin[range.first]",
        "tents.begin[k] - tents.begin[0]",
    ),
    "the median is the next smallest": ("pdq.hpp", "below < COEFFICIENTS / 2", "below <= COEFFICIENTS / 2"),
    "negative zero is below zero": ("pdq.hpp", "value + 0.0f", "value"),
    "reflections are exchanged": ("pdq.hpp", "{0, row + 1, column + 1,", "{0, column + 1, row + 1,"),
    "quality looks at rows alone": ("pdq.hpp", "i < GRID * row + GRID - 1;", "i < GRID * row;"),
    "two forms are exchanged": ("forms.hpp", "{6, 3, 1, 7}", "{6, 1, 3, 7}"),
    "one bit is not turned": ("forms.hpp", "0x0000AAAA0000AAAA", "0x0000AAAA00002AAA"),
}


@pytest.mark.parametrize("name", share(FAULTS, 4))
def test_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    assert is_caught("check_pdq", FAULTS[name], tmp_path, machine="any")  # one level is enough, and quick
