"""Requests of every kind and none, on every route: the gateway never breaks, and never says more than it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from custodes.config import load_site
from custodes.gatehouse import dialects_of
from tests.gateway.clients import ask
from tests.gateway.fuzzing.document import FORMS, JSON, NOT_FUZZED, document, path_of
from tests.gateway.whole.standing import Demo, demonstrating

KEYS = {"Authorization": "Bearer demo"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demonstrating(tmp_path_factory.mktemp("demo")) as running:
        yield running


def routes(demo: Demo) -> list[tuple[str, str]]:
    """Every route that this gateway has."""
    site = load_site(str(demo.home / "site" / "custodes.toml"))
    every = msgspec.structs.replace(site.config.gateway)
    found = [(route.method, route.path) for dialect in dialects_of(site, every) for route in dialect.routes()]
    return [*found, ("GET", "/health"), ("GET", "/ready"), ("GET", "/nowhere"), ("POST", "/v1/responses")]


def fuzzed(demo: Demo, each: int) -> tuple[int, list[str]]:
    """So many requests for each operation. How many there were, and which were answered as they must not be."""
    wrong: list[str] = []
    count = 0
    with requests.Session() as session:
        session.trust_env = False
        for found in schemathesis.openapi.from_dict(document(routes(demo))).get_all_operations():
            operation = found.ok()

            @given(case=operation.as_strategy())
            @settings(
                max_examples=each,
                database=None,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def ask_once(case: Any) -> None:
                nonlocal count
                asked: dict[str, Any] = case.as_transport_kwargs(base_url=demo.url)
                asked["headers"] = {**dict(asked.get("headers") or {}), **KEYS}
                count += 1
                answer = session.request(**asked, timeout=20, allow_redirects=False)
                if answer.status_code >= 500 or not answer.headers.get("x-request-id"):
                    wrong.append(f"{case.method} {case.path} {answer.status_code}")

            ask_once()
    return count, wrong


def broken(demo: Demo) -> list[str]:
    """Exceptions that nobody foresaw."""
    lines = [json.loads(line) for line in demo.log.splitlines() if line.startswith("{")]
    return sorted({f"{line['route']} {line['fault']}" for line in lines if line["fault"]})


def test_no_request_breaks_the_gateway(demo: Demo) -> None:
    count, wrong = fuzzed(demo, 8)
    assert wrong == []
    assert broken(demo) == []
    assert count > 300
    assert asyncio.run(ask("openai", demo.url, "a boat")).pictures


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_requests_break_nothing(demo: Demo) -> None:
    count, wrong = fuzzed(demo, 300)
    assert wrong == []
    assert broken(demo) == []
    assert count > 10_000
    assert asyncio.run(ask("openai", demo.url, "a boat")).pictures


def test_the_document_has_every_route_and_a_schema_for_each_body(demo: Demo) -> None:
    known = routes(demo)
    paths = document(known)["paths"]
    for method, route in known:
        path = path_of(route)
        assert path in NOT_FUZZED or method == "*" or method.lower() in paths[path], route
        if method == "POST" and path != "/v1/responses":
            assert path.removeprefix("/api").replace("/hf-inference", "") in {**JSON, **FORMS}, route


def test_a_gateway_that_breaks_is_seen(demo: Demo, tmp_path: Path) -> None:
    """Planted: what the log says of an exception, and a status of 500."""
    (tmp_path / "log").write_text('{"route":"/prompt","fault":"KeyError at guard.py:1"}\n')
    assert broken(Demo("", tmp_path, demo.process)) == ["/prompt KeyError at guard.py:1"]
