"""A small gallery for the session, a site that is not there, and the table built for it."""

from __future__ import annotations

import os

import pytest
from tests.world import painted

from custodes.demo.gallery import CACHE_NAME, Gallery
from custodes.demo.links import DemoSet, DemoSettings, build
from custodes.demo.server import Site

SITE = Site(port=5001, closed_port=5002)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    base = tmp_path_factory.getbasetemp()
    # Workers of one xdist run share the parent folder, so they paint once.
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return painted(folder / CACHE_NAME, 120, 7)


@pytest.fixture(scope="session")
def demo(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    return build(tmp_path_factory.mktemp("demo"), gallery, SITE, DemoSettings())


@pytest.fixture(scope="session")
def small_demo(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> DemoSet:
    return build(tmp_path_factory.mktemp("small"), gallery, SITE, DemoSettings(rows=200))
