"""The native sources, compiled by the tests: with sanitizers, with planted faults, or for another machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NATIVE = Path(__file__).parents[2] / "native"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("native_build", NATIVE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build: Any = _loaded()


def needs_compiler() -> pytest.MarkDecorator:
    """Skips, and says so, where there is no compiler: the rest of the suite must pass there."""
    try:
        build.find_compiler()
    except build.BuildError as error:
        return pytest.mark.skip(reason=f"NOT TESTED: {error}")
    return pytest.mark.skipif(False, reason="")


def run(program: Path, rounds: int, seed: int) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(
        [program, str(rounds), str(seed)], capture_output=True, text=True, check=False, timeout=1500, env=environment
    )


def is_caught(program: str, fault: tuple[str, str, str], folder: Path, machine: str = "") -> bool:
    """Whether a check program, built of the sources with a fault (file, what stands there, what stands there instead), reports a difference."""
    file, right, wrong = fault
    source = folder / "native"
    shutil.copytree(NATIVE, source)
    text = (source / file).read_text()
    assert right in text
    (source / file).write_text(text.replace(right, wrong))
    try:
        faulty = build.Build(source=source, machine=machine, quick=True)
        return run(faulty.check(program, faulty.objects(folder)), 60, 1).returncode == 1
    except build.BuildError as error:
        pytest.fail(str(error))
