"""The NEON level, which this machine may not have: compiled for aarch64 and run under an emulator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .test_sanitizers import PROGRAMS
from .toolchain import build

COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")


@pytest.mark.skipif(
    not (COMPILER and EMULATOR), reason="NOT TESTED: needs aarch64-linux-gnu-g++ and qemu-aarch64-static"
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_neon_agrees_with_plain_loops(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(COMPILER))
    program = build.Build(machine="aarch64").check(name, tmp_path)
    done = subprocess.run(
        [str(EMULATOR), "-L", "/usr/aarch64-linux-gnu", program, "20", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
