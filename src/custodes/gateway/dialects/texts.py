"""Every string of a JSON value, by its place; and the value again with some of them changed. What a body is screened by and rewritten by.

Promises that the two agree: a string is found under exactly the name that it is changed by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["changed", "strings"]


def strings(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Places and strings. Names of fields are no strings here: a dialect knows each of them, or denies it."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from strings(each, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from strings(each, f"{where}[{number}]")


def changed(value: Any, texts: Mapping[str, str], where: str = "") -> Any:
    """The value with the strings at these places changed."""
    if isinstance(value, str):
        return texts.get(where, value)
    if isinstance(value, Mapping):
        return {name: changed(each, texts, f"{where}.{name}" if where else str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [changed(each, texts, f"{where}[{number}]") for number, each in enumerate(value)]
    return value
