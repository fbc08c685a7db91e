"""The readings of a text: as it was typed, and as whoever wants to be understood by the generator and not by us may have meant it.

Promises that all readings of a text together are at most a fixed number of times as long as it is. A reading is either *words* (signs
between words made alike, numbers below the adult age made one sign) or *letters* (only separators left beside letters and what may
stand for one). What is found in them is for ``screen``.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

from custodes.gateway.screening.grammar import moments
from custodes.gateway.screening.letters import (
    LEET,
    LETTERS_OF_LATIN,
    Fold,
    Looks,
    Native,
    Sounds,
    Typed,
    bidi_controls,
    composed,
    hidden_tags,
    whole,
)

__all__ = ["AGE", "HIDDEN", "MIXED", "Readings", "hidden", "letter_readings"]

AGE: Final = "\ue000"
"""A number below the adult age. No text brings it: private characters become separators before."""
_NUMBER: Final = "\ue001"
_ENDS: Final = re.compile(r"\.(?=\s|$)")
_DIGITS: Final = re.compile(r"\d+")
_SPACES: Final = re.compile(r"[ ,]{2,}")
_NOTHING: Final = str.maketrans(dict.fromkeys(LEET, " "))
_DIGITS_READ: Final = _NOTHING | {ord(sign): letter for sign, letter in LEET.items() if sign.isdigit()}
_ALL_READ: Final = str.maketrans(LEET)
_I_AS_L: Final = {ord("i"): "l"}
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}|[A-Za-z0-9+/_-]{6,7}={1,2}")
_CODED_DEPTH_MAX: Final = 2
_CAMEL: Final = re.compile(r"[a-z][A-Z]")
_TURNED: Final = re.compile("[\u202b\u202e\u2067]([^\u202c\u2069\n]*)")
MIXED: Final = re.compile("[a-zA-Z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-zA-Z]")
"""Latin beside Greek or Cyrillic in one word."""


LATIN_AMONG: Final = tuple(
    (re.compile(f"[a-z][ ,]?[{letters}]|[{letters}][ ,]?[a-z]"), LETTERS_OF_LATIN[script])
    for script, letters in (("GREEK", "\u0370-\u03ff"), ("CYRILLIC", "\u0400-\u052f"))
)


class Readings:
    """All readings of texts, for one adult age. Threads may share it: its tables only ever gain entries that any of them would add alike."""

    def __init__(self, adult_age: int) -> None:
        self.adult_age = adult_age
        self._tables: tuple[Fold, ...] = (Native(), Looks(), Sounds())
        self._typed = Typed()

    def plain(self, text: str) -> str:
        """The words as they were typed: case, width and the signs between words are nothing to notice."""
        return self.words(whole(_ENDS.sub(",", text)).casefold().translate(self._typed))

    def folded(self, text: str) -> tuple[str, ...]:
        """Every text behind this one, each with its characters read three ways: in their own script, by look, by sound."""
        return tuple(dict.fromkeys(said for one in self._behind(text) for said in self._ways(one)))

    def spelled(self, term: str) -> tuple[str, str, str]:
        """A term in its own script, by look, by sound."""
        native, look, sound = (composed(term).translate(table) for table in self._tables)
        return native, look, sound

    def words(self, folded: str) -> str:
        """The words of a folded text, with a sign for ages."""
        return _SPACES.sub(_gap, _DIGITS.sub(self._number, folded))

    def _number(self, match: re.Match[str]) -> str:
        return f" {AGE} " if len(match[0]) <= 3 and int(match[0]) < self.adult_age else f" {_NUMBER} "

    def _ways(self, text: str) -> Iterator[str]:
        text = composed(_ENDS.sub(",", text))
        if text.isascii():  # all three tables say the same of it
            yield text.translate(self._tables[0])
            return
        ways = [text.translate(table) for table in self._tables]
        yield from ways
        yield from (ways[0].translate(table) for mixed, table in LATIN_AMONG if mixed.search(ways[0]))

    def _behind(self, text: str) -> Iterator[str]:
        """The text; what its grammar makes of it; what is hidden in it; what that makes."""
        for one in [text, *hidden(text)]:
            yield one
            yield from moments(composed(one))


def letter_readings(folded: str) -> tuple[str, ...]:
    """A folded text with signs as separators, with digits as letters, with signs too: the first is what it says without leet."""
    plain = folded.translate(_NOTHING)
    return (
        plain,
        *dict.fromkeys(said for said in (folded.translate(_DIGITS_READ), folded.translate(_ALL_READ)) if said != plain),
    )


def hidden(text: str) -> tuple[str, ...]:
    """Texts that a text holds and does not show, as one: what is in base64, what tags say, turned runs, escapes, names written in one word."""
    found = _base64(text)
    found += [said for finder in HIDDEN for one in (text, *found) for said in finder(one)]
    return ("\n".join(found),) if found else ()


def _tags(text: str) -> list[str]:
    """Tag characters by themselves, and where they stand."""
    if not (said := hidden_tags(text)):
        return []
    inline = "".join(chr(ord(char) - 0xE0000) if "\U000e0020" <= char <= "\U000e007e" else char for char in text)
    return [said, inline]


def _turned(text: str) -> list[str]:
    """Runs that are shown from right to left though they are Latin, as they are shown."""
    return [match[1][::-1] for match in _TURNED.finditer(text)] if bidi_controls(text) else []


def _escaped(text: str) -> list[str]:
    """Entities, percent signs and escapes."""
    if not re.search(r"&#?\w|%[0-9a-fA-F]{2}|\\[ux]", text):
        return []
    said = re.sub(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})", lambda match: chr(int(match[1] or match[2], 16)), text)
    said = unquote(html.unescape(said))
    return [said] if said != text else []


def _base64(text: str) -> list[str]:
    """What stands in base64, twice over."""
    said, left = [], text
    for _ in range(_CODED_DEPTH_MAX):
        left = "\n".join(filter(None, map(_decoded, _BASE64.findall(left))))
        if not left:
            break
        said.append(left)
    return said


def _names(text: str) -> list[str]:
    """Names written in one word with capitals, and words in which a capital I stands for an l."""
    mixed = [word for word in text.split() if _CAMEL.search(word)] if _CAMEL.search(text) else []
    split = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word) for word in mixed]
    return split + [
        re.sub(r"(?<=[a-z])I+", lambda match: "l" * len(match[0]), word) for word in mixed if re.search(r"[a-z]I", word)
    ]


HIDDEN: tuple[Callable[[str], list[str]], ...] = (_tags, _turned, _escaped, _names)
"""What finds hidden texts, also in what was in base64."""


def _decoded(word: str) -> str | None:
    try:
        raw = base64.b64decode(
            word.rstrip("=").translate({45: "+", 95: "/"}) + "=" * (-len(word.rstrip("=")) % 4), validate=True
        )
        said = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return (
        said if all(char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cn", "Co"} for char in said) else None
    )


def _gap(match: re.Match[str]) -> str:
    return "," if "," in match[0] else " "
