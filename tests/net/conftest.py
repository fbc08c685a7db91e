from __future__ import annotations

from collections.abc import Iterator

import pytest
from net_world import WAYS, HostileServer, Trap


@pytest.fixture
def server() -> Iterator[HostileServer]:
    server = HostileServer(WAYS)
    yield server
    server.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()
