"""Each test that takes a ``home`` runs in a folder and in a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from custodes.postgres.database import Database
from tests.handover.homes import FolderHome, Home, TableHome
from tests.postgres.server import Given, Server, new_schema


@pytest.fixture(scope="session")
def tables(postgres: Server | Given) -> Iterator[Database]:
    """One schema for all tests of a worker."""
    database = postgres.database(schema=new_schema("handover"))
    yield database
    database.close()


@pytest.fixture(params=["folder", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return FolderHome(tmp_path) if request.param == "folder" else TableHome(tmp_path, request.getfixturevalue("tables"))
