"""Shared fixtures: where the public test vectors lie, a small world for scans; and soak tests: kept out of the ordinary run, their results stored."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from custodes.demo.links import DemoSettings
from tests.postgres import server as postgresql
from tests.soaked import PAGE, told
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
def postgres() -> Iterator[postgresql.Server | postgresql.Given]:
    """A PostgreSQL server for these tests: take a schema of your own (``new_schema``). Skips, loudly, where there is none."""
    postgresql.skip_without()
    if postgresql.given_url():
        yield postgresql.Given(postgresql.given_url())
        return
    with postgresql.running() as started:
        yield started


@pytest.fixture
def mortal_postgres() -> Iterator[postgresql.Server]:
    """A server of one test, which may kill it."""
    postgresql.skip_without(private=True)
    with postgresql.running() as started:
        yield started


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, server: Server) -> World:
    """400 links, a third of them dead."""
    home: Path = tmp_path_factory.mktemp("world")
    return make_world(home, server, DemoSettings(rows=400, hang_share=0.01, row_group_rows=50))


def pytest_configure() -> None:
    """A shell that runs the suite in the background has interrupts ignored, and so would every command that a test starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is made once for a module is made once: its tests run beside each other, and soak tests only when they are asked for."""
    for item in items:
        made = getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009 - not public
        if any(each[-1].scope == "module" for each in made) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.location[0]))
    if config.getoption("-m"):
        return
    kept = [item for item in items if "soak" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "soak" in item.keywords])
    items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The last results of the full fault and fuzz runs are kept beside the benchmarks."""
    if config.getoption("-m") != "soak":
        return
    ended = [
        (report.nodeid, word, report.duration)
        for word in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(word, [])
    ]
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors, {platform.python_version()}"
    PAGE.write_text(told(PAGE.read_text() if PAGE.exists() else "", ended, when))
