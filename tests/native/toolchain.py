"""The native sources, compiled by the tests: with sanitizers, with planted faults, or for another machine."""

from __future__ import annotations

import importlib.util
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
