"""The books of a long load agree: every refusal is one strike, everything withheld is sealed, whatever was killed meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.gateway.soak.load import Books, soak


def test_the_books_of_a_few_seconds_agree(tmp_path: Path) -> None:
    books = asyncio.run(soak(tmp_path / "site", 4.0, clients=4))
    assert books.wrong() == []
    assert sum(books.answered.values()) > 10


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_books_of_five_minutes_agree(tmp_path: Path) -> None:
    books = asyncio.run(soak(tmp_path / "site", 300.0))
    assert books.wrong() == []
    assert books.kills > 3


WHOLE = {"answered": Counter({"refused: a refusal": 3}), "strikes": 3, "sealed": 2, "sealed_at_least": 2}


@pytest.mark.parametrize(
    "planted",
    [
        {"strikes": 2},
        {"strikes": 4},
        {"sealed": 1},
        {"leaked": 1},
        {"without_end": 1},
        {"answered": Counter({"refused: a refusal": 3, "withheld: pictures": 1})},
        {"answered": Counter({"refused: a refusal": 3, "passed: pictures": 1000}), "passed_on": {"openai"}},
        {"rss_mib": [100.0] * 8 + [130.0] * 4},
    ],
    ids=str,
)
def test_books_that_do_not_agree_are_seen(planted: dict[str, object]) -> None:
    assert Books(**WHOLE).wrong() == []  # type: ignore[arg-type]
    assert len(Books(**(WHOLE | planted)).wrong()) == 1  # type: ignore[arg-type]
