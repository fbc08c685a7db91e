"""Each native level forced in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from custodes import native

from .shapes import LEVELS


@pytest.fixture(autouse=True)
def chosen_level() -> Iterator[None]:
    """Whatever a test chooses, the next one starts with the level that it would have had."""
    before = native.level()
    yield
    native.use(before)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    native.use(request.param)
    return str(request.param)
