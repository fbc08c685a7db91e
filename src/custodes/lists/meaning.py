"""What an authority's categories mean, in our classes: dated tables (``schemes.toml``), and what an operator adds to them.

Promises that what no table names is UNMAPPED, which is held and never acted on: an unknown scheme, a category that a scheme does not
have, a category of a list that states no scheme. What is done about a meaning is for ``policy``.
"""

from __future__ import annotations

import datetime
import hashlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

import msgspec

from custodes.model import Meaning

__all__ = ["Meanings", "Scheme", "meaning_of", "schemes", "schemes_digest"]

Meanings = Mapping[str, Mapping[str, Meaning]]
"""Scheme -> category -> meaning: what an operator adds to the tables, and what they say otherwise."""

_NONE: Final[Meanings] = MappingProxyType({})


class Scheme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The categories of one authority, as of when, and where that is written."""

    title: str
    as_of: datetime.date
    source: str
    note: str = ""
    default: Meaning = Meaning.UNMAPPED
    """Of categories that are not named."""
    categories: dict[str, Meaning] = {}


def meaning_of(scheme: str, category: str, own: Meanings = _NONE) -> Meaning:
    """What a category of this scheme means. The operator's own word counts before the table's."""
    if (said := own.get(scheme, {}).get(category)) is not None:
        return said
    table = schemes().get(scheme)
    return Meaning.UNMAPPED if table is None else table.categories.get(category, table.default)


@cache
def schemes() -> Mapping[str, Scheme]:
    """The tables, by the names of their schemes."""
    text = resources.files("custodes.lists").joinpath("schemes.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Scheme])


@cache
def schemes_digest() -> str:
    """12 hex digits that name what the tables say, for a run's identity: with other tables it would decide otherwise."""
    said = {name: (table.default, table.categories) for name, table in schemes().items()}
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:12]
