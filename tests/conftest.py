"""Shared fixtures: where the public test vectors lie, and keeping soak tests out of the ordinary run."""

from __future__ import annotations

from pathlib import Path

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of vectors by others that stands beside the checkout. Skips, loudly, where it is absent."""
    if not VECTORS.is_dir():
        pytest.skip(f"NO VECTORS: {VECTORS} is absent, conformance with files by others was not tested")
    return VECTORS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("-m"):
        return
    kept = [item for item in items if "soak" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "soak" in item.keywords])
    items[:] = kept
