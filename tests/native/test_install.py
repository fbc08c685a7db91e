"""A plain installation has the kernels where there is a compiler, and works and says what it lacks where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from custodes import native

from .toolchain import build, needs_compiler

PROJECT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

pytestmark = pytest.mark.skipif(not UV.exists(), reason="NOT TESTED: uv is not in this environment")

ANSWER = """
import numpy as np
from custodes import native
from custodes.index import HammingIndex
from custodes.pdq import pdq
codes = np.random.default_rng(1).integers(0, 256, (5000, 32), dtype=np.uint8)
found = HammingIndex.build(codes).search(codes[:3] ^ np.uint8(1), 31)
luma = np.random.default_rng(2).integers(0, 256, (90, 70), dtype=np.uint8)
print(found.rows, found.ids, found.distances, pdq(luma, 70, 90).code.hex())
print(native.level(), native.missing())
"""


def wheel(folder: Path, **environment: str) -> Path:
    for name in ("src", "native"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_custodes.*"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder)
    done = subprocess.run(
        [UV, "build", "--wheel", "--out-dir", folder / "dist", folder],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ) | environment,
    )
    assert done.returncode == 0, done.stderr
    if "CXX" in environment:
        assert "installed without its native kernels" in done.stderr
    (path,) = (folder / "dist").glob("*.whl")
    return path


def answer(path: Path, folder: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    environment = dict(os.environ) | {"PYTHONPATH": str(folder / "site")}
    program = [sys.executable, "-c", ANSWER]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment, cwd=folder)
    return done.stdout.splitlines()


@needs_compiler()
def test_with_a_compiler_the_wheel_has_the_kernels_and_without_one_the_same_answers(tmp_path: Path) -> None:
    (with_one := tmp_path / "with").mkdir()
    (without := tmp_path / "without").mkdir()
    fast, slow = wheel(with_one), wheel(without, CXX=str(tmp_path / "no-such-compiler"))
    assert "-py3-none-" in fast.name
    assert not fast.name.endswith("-any.whl")
    assert slow.name.endswith("-py3-none-any.whl")
    library = f"custodes/{build.library_name()}"
    assert library in zipfile.ZipFile(fast).namelist()
    assert library not in zipfile.ZipFile(slow).namelist()
    quick, plain = answer(fast, with_one), answer(slow, without)
    assert quick[0] == plain[0]
    assert quick[1] != plain[1]
    assert plain[1] == "None the native library was not built: no C++17 compiler was found when custodes was installed"


@needs_compiler()
def test_the_library_that_this_suite_tests_is_there_and_of_these_sources() -> None:
    """Without it every test of a level would pass over NumPy alone. ``make setup`` builds it."""
    assert native.missing() == ""
    assert set(native.levels()) >= {"baseline"}
