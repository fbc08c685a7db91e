"""Statements of made-up runs, for tests of what they commit to; and documents with one thing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from custodes.attest.statement import Commitment, Statement
from custodes.cards import statement_of
from custodes.commitment.proofs import read_document
from custodes.commitment.runs import Committed
from custodes.errors import CustodesError
from tests.stored import Earlier

__all__ = ["accepted", "changes", "statement_with"]


def statement_with(past: Earlier, committed: Committed) -> Statement:
    """The run's statement, with this commitment."""
    statement = statement_of(past.run, past.site.run_key())
    commitment = Commitment(rows=committed.rows, root=committed.root.hex())
    predicate = msgspec.structs.replace(statement.predicate, commitment=commitment)
    return msgspec.structs.replace(statement, predicate=predicate)


def changes(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A document with one thing changed, for each thing in it: another digit, number, order, count, field."""

    def put(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
        copy: dict[str, Any] = json.loads(json.dumps(document))
        place: Any = copy
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        return copy

    def walk(value: Any, path: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield put((*path, name), None)
                yield (
                    put(path, {**{k: v for k, v in value.items() if k != name}})
                    if path
                    else {k: v for k, v in value.items() if k != name}
                )
                yield from walk(inner, (*path, name))
        elif isinstance(value, list):
            yield put(path, value[:-1])
            yield put(path, [*value, value[0]] if value else [0])
            for at in range(len(value) - 1):
                yield put(path, [*value[:at], value[at + 1], value[at], *value[at + 2 :]])
            for at, inner in enumerate(value):
                yield from walk(inner, (*path, at))
        elif isinstance(value, str):
            for at in range(0, len(value), 7):
                yield put(path, value[:at] + ("1" if value[at] != "1" else "2") + value[at + 1 :])
            yield put(path, value + "0")
            yield put(path, value.upper() if value.upper() != value else value + " ")
        else:
            yield from (put(path, each) for each in (value + 1, value - 1, -value - 1, str(value), value + 2**40))

    yield from walk(document, ())
    yield {**document, "more": 1}


def accepted(data: bytes, kind: Any, check: Callable[[Any], None]) -> bool:
    try:
        check(read_document(data, kind))
    except CustodesError:
        return False
    return True
