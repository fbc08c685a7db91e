"""Shared fixtures: where the public test vectors lie, and keeping soak tests out of the ordinary run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from custodes.demo.links import DemoSettings
from tests.world import Server, World, make_world, running_server

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of vectors by others that stands beside the checkout. Skips, loudly, where it is absent."""
    if not VECTORS.is_dir():
        pytest.skip(f"NO VECTORS: {VECTORS} is absent, conformance with files by others was not tested")
    return VECTORS


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    kept = [item for item in items if "soak" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "soak" in item.keywords])
    items[:] = kept
