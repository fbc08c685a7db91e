"""One server for all scans of a test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import Server, World, make_world, running_server
from custodes.demo.links import DemoSettings


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = tmp_path_factory.getbasetemp().parent / "gallery"  # one for all workers of a parallel run
    shared.mkdir(exist_ok=True)
    with running_server(shared) as running:
        yield running


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, server: Server) -> World:
    """400 links, a third of them dead."""
    home: Path = tmp_path_factory.mktemp("world")
    return make_world(home, server, DemoSettings(rows=400, hang_share=0.01, row_group_rows=50))
