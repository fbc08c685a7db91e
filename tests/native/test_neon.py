"""The NEON level, which this machine may not have: compiled for aarch64 and run under an emulator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_sanitizers import PROGRAMS
from .toolchain import build

COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
NEON = build.Build(machine="aarch64")

pytestmark = [
    pytest.mark.xdist_group("neon"),
    pytest.mark.skipif(
        not (COMPILER and EMULATOR), reason="NOT TESTED: needs aarch64-linux-gnu-g++ and qemu-aarch64-static"
    ),
]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """The kernels, compiled once for all programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(COMPILER))
        yield NEON.objects(tmp_path_factory.mktemp("neon"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_neon_agrees_with_plain_loops(name: str, objects: list[Path]) -> None:
    program = NEON.check(name, objects)
    done = subprocess.run(
        [str(EMULATOR), "-L", "/usr/aarch64-linux-gnu", program, "20", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
