"""Every kernel on odd sizes and hostile content under AddressSanitizer and UndefinedBehaviorSanitizer, against plain loops."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .toolchain import NATIVE, build, needs_compiler, run

PROGRAMS = sorted(path.stem for path in (NATIVE / "check").glob("check_*.cpp"))

pytestmark = needs_compiler()


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


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    shutil.which("clang++") is None, reason="NOT TESTED: libFuzzer comes with clang++, which is not here"
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fuzzer_finds_no_difference_and_no_fault(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "clang++")
    program = build.Build(sanitize=True, fuzz=True).check(name, tmp_path)
    done = subprocess.run(
        [program, "-max_total_time=60", "-max_len=4096", "-timeout=25", "-seed=1", f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
