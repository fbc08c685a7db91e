"""One schema of PostgreSQL for all tests of a worker."""

from __future__ import annotations

import pytest

from tests.gateway.people.sharing import Shared
from tests.postgres.server import Given, Server, new_schema


@pytest.fixture(scope="session")
def shared(postgres: Server | Given) -> Shared:
    return Shared(postgres, new_schema("gateway"))
