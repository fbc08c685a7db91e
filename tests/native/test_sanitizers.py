"""Every kernel on odd sizes and hostile content under AddressSanitizer and UndefinedBehaviorSanitizer, against plain loops."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .toolchain import NATIVE, build, needs_compiler

PROGRAMS = sorted(path.stem for path in (NATIVE / "check").glob("check_*.cpp"))

pytestmark = needs_compiler()


def run(program: Path, rounds: int, seed: int) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(
        [program, str(rounds), str(seed)], capture_output=True, text=True, check=False, timeout=1500, env=environment
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_agree_with_plain_loops_and_touch_nothing_else(name: str, tmp_path: Path) -> None:
    done = run(build.Build(sanitize=True).check(name, tmp_path), 30, 1)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_agree_with_plain_loops_for_thousands_of_rounds(name: str, tmp_path: Path) -> None:
    program = build.Build(sanitize=True).check(name, tmp_path)
    for seed in range(2, 6):
        done = run(program, 500, seed)
        assert done.returncode == 0, done.stdout + done.stderr
