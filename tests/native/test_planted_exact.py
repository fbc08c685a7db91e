"""Mistakes planted in the C++ source of the exact index are caught by the comparison that the suite makes of every level."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .test_sanitizers import run
from .toolchain import NATIVE, build, needs_compiler

pytestmark = needs_compiler()

# what stands in exact.hpp, what stands there instead
FAULTS: dict[str, tuple[str, str]] = {
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


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    right, wrong = FAULTS[name]
    source = tmp_path / "native"
    shutil.copytree(NATIVE, source)
    text = (source / "exact.hpp").read_text()
    assert text.count(right) == 1
    (source / "exact.hpp").write_text(text.replace(right, wrong))
    try:
        program = build.Build(source=source).check("check_exact", tmp_path)
    except build.BuildError as error:
        pytest.fail(str(error))
    assert run(program, 60, 1).returncode == 1
