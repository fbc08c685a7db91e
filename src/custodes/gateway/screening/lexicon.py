"""Lexicons: contexts by name, and the terms by which each is present. TOML as operators write it; encrypted where it lies.

Promises that a term is never in an error, a repr or a name: an error says the context, the language and the number of the entry. How terms
are found is for ``screen``; what follows from contexts is for the rules. Layout: docs/formats/lexicon.md.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import msgspec

from custodes.crypto import vault
from custodes.crypto.keys import ListsKey
from custodes.errors import InputError

__all__ = [
    "TERMS_MAX",
    "TERM_CHARACTERS_MAX",
    "Context",
    "Lexicon",
    "joined",
    "lock_lexicon",
    "open_lexicon",
    "read_lexicon",
    "shipped",
]

TERMS_MAX: Final = 200_000
TERM_CHARACTERS_MAX: Final = 80
_FORMAT: Final = "custodes lexicon 1"
_VAULT: Final = b"custodes/lexicon/1"
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")

Words = Mapping[str, tuple[str, ...]]
"""Language -> entries. The language is for readers: every entry is looked for in every text."""


class _Hidden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Nothing."""
        return []


class Context(_Hidden, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One context. It is present if a term is that no phrase of ``unless`` covers, or an age below the lexicon's ``adult_age``."""

    terms: dict[str, tuple[str, ...]] = {}
    unless: dict[str, tuple[str, ...]] = {}
    """Phrases in which a term means something else. They take away the term inside them and no other."""
    ages: dict[str, tuple[str, ...]] = {}
    """Phrases of age with ``#`` for the number."""
    things: dict[str, tuple[str, ...]] = {}
    """What has an age and is no person: directly after a phrase of age that starts with ``#``, or before another."""


class Lexicon(_Hidden, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A lexicon, as of when, and where it comes from."""

    format: str
    title: str
    as_of: datetime.date
    source: str
    contexts: dict[str, Context]
    adult_age: int = 18
    numbers: dict[str, tuple[str, ...]] = {}
    """Words for the numbers below the adult age, for ``#``."""

    @property
    def digest(self) -> str:
        """12 hex digits that name what the lexicon says."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]


def read_lexicon(content: bytes) -> Lexicon:
    """A lexicon from its TOML, checked. InputError names the place and never what stands there."""
    try:
        lexicon = msgspec.convert(tomllib.loads(content.decode("utf-8")), Lexicon)
    except UnicodeDecodeError:
        raise InputError("the lexicon is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at [^()]*\)\Z", str(error))
        raise InputError(f"the lexicon is not TOML {where[0] if where else ''}".rstrip()) from None
    except msgspec.ValidationError as error:
        raise InputError(f"the lexicon has a field that is not one: {error}", hint="docs/formats/lexicon.md") from None
    _check(lexicon)
    return lexicon


def shipped(name: str) -> Lexicon:
    """A lexicon that ships: ``starter``, or ``standins`` for demonstrations and tests."""
    return read_lexicon(resources.files("custodes.gateway.screening").joinpath(f"{name}.toml").read_bytes())


def joined(*lexicons: Lexicon) -> Lexicon:
    """Several as one. A context that two of them have is an error: which of them counts would be a guess."""
    contexts: dict[str, Context] = {}
    for lexicon in lexicons:
        if twice := contexts.keys() & lexicon.contexts.keys():
            raise InputError(
                f"two lexicons have the context {sorted(twice)[0]}",
                hint="rename one, or write their entries into one file",
            )
        contexts |= lexicon.contexts
    if len({lexicon.adult_age for lexicon in lexicons}) != 1:
        raise InputError("the lexicons differ in adult_age", hint="give them the same")
    numbers: dict[str, tuple[str, ...]] = {}
    for lexicon in lexicons:
        for language, words in lexicon.numbers.items():
            numbers[language] = tuple(dict.fromkeys(numbers.get(language, ()) + words))
    titles, sources = (
        " + ".join(dict.fromkeys(said)) for said in zip(*((one.title, one.source) for one in lexicons), strict=True)
    )
    latest = max(lexicon.as_of for lexicon in lexicons)
    made = Lexicon(
        format=_FORMAT,
        title=titles,
        as_of=latest,
        source=sources,
        contexts=contexts,
        adult_age=lexicons[0].adult_age,
        numbers=numbers,
    )
    _check(made)
    return made


def lock_lexicon(key: ListsKey, content: bytes) -> bytes:
    """The file to keep of a lexicon: checked, then encrypted under ``lists.key``."""
    read_lexicon(content)
    return vault.lock(key, content, _VAULT)


def open_lexicon(key: ListsKey, content: bytes) -> Lexicon:
    """A lexicon from its encrypted file."""
    return read_lexicon(vault.unlock(key, content, _VAULT))


def _check(lexicon: Lexicon) -> None:
    if lexicon.format != _FORMAT:
        raise InputError(f"the lexicon's format is not {_FORMAT!r}", hint=f'its first line is format = "{_FORMAT}"')
    if not 1 <= lexicon.adult_age <= 99:
        raise InputError("adult_age is not between 1 and 99")
    if not lexicon.contexts:
        raise InputError("the lexicon has no context", hint="a lexicon that finds nothing guards nothing")
    for name, context in lexicon.contexts.items():
        if not _NAME.fullmatch(name):
            raise InputError("a context's name is not 1 to 40 of a-z, 0-9 and -, with a letter first")
        if not any(context.terms.values()) and not any(context.ages.values()):
            raise InputError(f"context {name} has neither terms nor ages")
        _check_words(name, context)
    count = sum(
        len(words)
        for context in lexicon.contexts.values()
        for said in _tables(context).values()
        for words in said.values()
    )
    if count > TERMS_MAX:
        raise InputError(f"the lexicon has {count:,} entries, the limit is {TERMS_MAX:,}")


def _check_words(name: str, context: Context) -> None:
    for table, said in _tables(context).items():
        for language, words in said.items():
            for number, word in enumerate(words, start=1):
                if fault := _fault(word, ages=table == "ages"):
                    raise InputError(
                        f"context {name}, {table}.{language}, entry {number} {fault}", hint="docs/formats/lexicon.md"
                    )


def _fault(word: str, *, ages: bool) -> str | None:
    if len(word) > TERM_CHARACTERS_MAX:
        return f"is longer than {TERM_CHARACTERS_MAX} characters"
    letters = sum(char.isalpha() for char in word)
    if not letters or (letters == 1 and word.isascii() and not ages):
        return "has fewer than two letters"
    if any(char.isdecimal() for char in word):
        return "has a digit: ages are written with #"
    if word.count("#") != (1 if ages else 0):
        return "needs exactly one #" if ages else "has a #, which only phrases of age have"
    return "has a * inside: it may be first or last" if "*" in word[1:-1] else None


def _tables(context: Context) -> dict[str, dict[str, tuple[str, ...]]]:
    return {"terms": context.terms, "unless": context.unless, "ages": context.ages, "things": context.things}
