"""Every kernel on odd sizes and hostile content under AddressSanitizer and UndefinedBehaviorSanitizer, against plain loops."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .toolchain import NATIVE, build, needs_compiler, run

PROGRAMS = sorted(path.stem for path in (NATIVE / "check").glob("check_*.cpp"))
SANITIZED = build.Build(sanitize=True)

pytestmark = [needs_compiler(), pytest.mark.xdist_group("sanitized")]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The kernels, compiled once for all programs."""
    compiled: list[Path] = SANITIZED.objects(tmp_path_factory.mktemp("sanitized"))
    return compiled


@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_agree_with_plain_loops_and_touch_nothing_else(name: str, objects: list[Path]) -> None:
    done = run(SANITIZED.check(name, objects), 30, 1)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PROGRAMS)
def test_kernels_agree_with_plain_loops_for_thousands_of_rounds(name: str, objects: list[Path]) -> None:
    program = SANITIZED.check(name, objects)
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
    fuzzed = build.Build(sanitize=True, fuzz=True)
    program = fuzzed.check(name, fuzzed.objects(tmp_path))
    done = subprocess.run(
        [program, "-max_total_time=60", "-max_len=4096", "-timeout=25", "-seed=1", f"-artifact_prefix={tmp_path}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
