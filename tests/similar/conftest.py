"""Each test leaves the level of the kernels as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from custodes import native


@pytest.fixture
def level() -> Iterator[None]:
    before = native.level()
    yield
    native.use(before)
