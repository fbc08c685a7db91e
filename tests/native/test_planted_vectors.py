"""Mistakes planted in the C++ sources of the cosines are caught by their check program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.share import share

from .toolchain import NATIVE, is_caught, needs_compiler

pytestmark = needs_compiler()

# what stands in vectors.hpp, what stands there instead
FAULTS: dict[str, tuple[str, str]] = {
    "the last numbers of a vector are left out": ("if (at == dimension) return;", "if (at <= dimension) return;"),
    "a limit that is met is not reached": ("a.lane[i] >= limits[i]", "a.lane[i] > limits[i]"),
    "the last rows of a batch are not compared": (
        "row < count_; row += TILE_ROWS",
        "row + TILE_ROWS <= count_; row += TILE_ROWS",
    ),
    "rows are counted from their batch": ("report_all(found, from_ + row + r,", "report_all(found, row + r,"),
    "a group is held to the first one's limits": (
        "panels_.limits + GROUP * (group + g)",
        "panels_.limits + GROUP * g",
    ),
    "the second of two numbers is not added": (
        " + second * seeds.number[2 * i + 1]",
        " + 0 * second * seeds.number[2 * i + 1]",
    ),
    "subnormal numbers are taken for zero": ("value *= 0x1p112f;", "value = rest < 0x400u ? 0 : value * 0x1p112f;"),
    "what is infinite is a number": ("if (rest >= 0x7C00u)", "if (rest > 0xFFFFu)"),
    "halves are rounded away from zero": (
        "const float moved = a.lane[i] + 12582912.0f;",
        "const float moved = (a.lane[i] < 0 ? -std::floor(-a.lane[i] + 0.5f) : std::floor(a.lane[i] + 0.5f)) + 12582912.0f;",
    ),
    "a square that is too small is used": ("if (!(total >= SQUARE_MIN &&", "if (!(total > 0 &&"),
    "lanes are folded from the other end": (
        "lane[i] += lane[i + width];\n        return lane[0];\n    }\n};\n\n// use",
        "lane[i] += lane[2 * width - 1 - i];\n        return lane[0];\n    }\n};\n\n// use",
    ),
    "a product of doubles is one of floats": (
        "const double wide = number[i + j];\n                dots.lane[j] += wide * seed[at + i + j];",
        "const double wide = number[i + j];\n                dots.lane[j] += number[i + j] * static_cast<float>(seed[at + i + j]);",
    ),
}


@pytest.mark.parametrize("name", share(FAULTS, 4))
def test_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    right, wrong = FAULTS[name]
    assert (NATIVE / "vectors.hpp").read_text().count(right) == 1
    assert is_caught(
        "check_vectors", ("vectors.hpp", right, wrong), tmp_path, machine="any"
    )  # one level is enough, and quick
