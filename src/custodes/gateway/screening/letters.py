"""Letters as they look, sound or are meant: tables that turn one character into what matching compares, and what hides in a text.

Promises that each table works on single characters, so that reading a text costs its length, and that scripts which no Latin word is
written in (Han, kana, Hangul, Thai, Arabic, Indic ...) stay themselves. What is made of a whole text is for ``readings``.
Look-alikes are those of Unicode's UTS 39, and the few below it that readers take for one another.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final, Literal

from anyascii import anyascii
from confusable_homoglyphs.confusables import confusables_data

__all__ = [
    "LEET",
    "LETTERS_OF_LATIN",
    "Fold",
    "Looks",
    "Native",
    "Sounds",
    "Typed",
    "bidi_controls",
    "composed",
    "hidden_tags",
    "joins",
    "unspaced",
    "whole",
]

LEET: Final = dict(zip("4@3€1!|05$7+8692", "aaeelllossttbggz", strict=True))
"""Signs read as letters. ``1``, ``!`` and ``|`` stand for i and l alike: leet readings write both as l."""

_SCRIPTS: Final = (
    "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA HANGUL THAI LAO KHMER MYANMAR DEVANAGARI BENGALI GURMUKHI GUJARATI ORIYA TAMIL TELUGU "
    "KANNADA MALAYALAM SINHALA TIBETAN ARABIC HEBREW SYRIAC THAANA ETHIOPIC GEORGIAN"
)
_KEPT: Final = frozenset(_SCRIPTS.split())
_UNSPACED: Final = frozenset(["CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR"])
_ACCENTED: Final = frozenset(["COMBINING", "ARABIC", "HEBREW"])
"""Whose marks are left out, in texts and terms alike; those of Indic and Thai script are letters to their readers."""
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Seen as nothing, though Unicode calls them letters, marks or symbols."""
_JOINERS: Final = frozenset(" \t_-/'\u2019.\u2010\u2011\u00b7~*=\\^\"`#")
"""Between words of one clause; other signs end it."""
_LOOKS: Final = dict(zip("кмипбязьчцшщл" + "ηωλβεμθξπςστχκ", "kmunbrebyuwwn" + "nwlbeuoensotxk", strict=True))
LETTERS_OF_LATIN: Final = {
    "CYRILLIC": str.maketrans("abcehikmnoprtuxy", "авсенікмпоргтиху"),
    "GREEK": str.maketrans("aeiknoptuvwxy", "αεικηορτυνωχγ"),
}
"""For words of these scripts in which Latin letters stand in: the letter that each is taken for."""
_COMBINING_MAX: Final = 4
"""So many marks on one letter are kept: to sort a longer row of them takes normalising more than linear time."""


class Fold(dict[int, str]):
    """A table for ``str.translate`` that learns each character when it first meets it."""

    KEPT_MAX: Final = 65_536

    def __missing__(self, point: int) -> str:
        """What the character becomes; kept, unless somebody sends all of Unicode."""
        out = self._fold(chr(point))
        if len(self) < self.KEPT_MAX:
            self[point] = out
        return out

    def _fold(self, char: str) -> str:
        if _invisible(char):
            return ""
        if unicodedata.category(char) in {"Cn", "Co", "Cs", "Cc", "Zl", "Zp"}:
            return ","
        if char in LEET:
            return char
        return "".join(self._part(part) for part in _decomposed(char)).casefold()

    def _part(self, part: str) -> str:
        category = unicodedata.category(part)
        if part.isascii():
            return part if part.isalnum() else _separator(part)
        if category == "Nd":
            return str(unicodedata.digit(part))
        if category in {"Mn", "Me"} and _script(part) in _ACCENTED:
            return ""
        if category[0] in "LM" and _script(part) in _KEPT:
            return part
        return self.letter(part) if category[0] == "L" else _sign(part, category)

    def letter(self, char: str) -> str:
        """What a letter of an alphabet becomes."""
        return char


class Native(Fold):
    """Letters stay in their own script; Latin ones lose their accents."""

    def letter(self, char: str) -> str:
        """ø and ß have no accent to lose: they are spelled out."""
        return anyascii(char) if _script(char) == "LATIN" else char


class Typed(Fold):
    """Letters, accents and what is invisible stay: only signs between words are made alike."""

    def _fold(self, char: str) -> str:
        category = unicodedata.category(char)
        if category[0] in "LM" or category == "Cf":
            return char
        if char in LEET and not char.isdigit():
            return ","
        said = super()._fold(char)
        return "," if said.isalpha() else said  # a letter in a box is not how people type


class Looks(Fold):
    """Letters become the Latin letter that they look like, or else sound like."""

    def letter(self, char: str) -> str:
        """The Latin letter, if any is taken for this one."""
        if (own := _LOOKS.get(char.lower())) is not None:
            return own
        if _script(char) == "LATIN":
            return anyascii(char)
        others = [entry["c"] for entry in confusables_data.get(char, ())]
        for other in others:
            if len(other) == 1 and other.isascii() and other.isalpha():
                return str(other)
        spelled = [anyascii(other) for other in others if len(other) == 1]
        return next((said for said in spelled if len(said) == 1 and said.isalpha()), anyascii(char))


class Sounds(Fold):
    """Letters are transliterated."""

    def letter(self, char: str) -> str:
        """The letter as Latin spells it."""
        return anyascii(char)


def composed(text: str) -> str:
    """Compatibility forms resolved (full width, circled, mathematical), in linear time."""
    return _normal("NFKC", text)


def whole(text: str) -> str:
    """Letters and their marks as one character each, in linear time."""
    return _normal("NFC", text)


def hidden_tags(text: str) -> str:
    """What is written in tag characters, which no reader sees; flags of countries' parts are written with them and are left out."""
    return "".join(
        chr(ord(char) - 0xE0000) for char in _TAGS.sub(_not_a_flag, text) if "\U000e0020" <= char <= "\U000e007e"
    )


def bidi_controls(text: str) -> bool:
    """Whether characters are there that turn the order of others around."""
    return _BIDI.search(text) is not None


@cache
def joins(char: str) -> bool:
    """Whether a letter beside this character is in one word with it."""
    return unicodedata.category(char)[0] in "LM" and not unspaced(char) and not _invisible(char)


@cache
def unspaced(char: str) -> bool:
    """Whether the character's script is written without spaces: a term in it has no word boundary to stand at."""
    return _script(char) in _UNSPACED


_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TAGS: Final = re.compile("\U0001f3f4?[\U000e0020-\U000e007f]+")


def _normal(form: Literal["NFC", "NFKC"], text: str) -> str:
    return text if text.isascii() else unicodedata.normalize(form, _long_rows().sub(r"\1", text))


def _not_a_flag(match: re.Match[str]) -> str:
    flag = match[0][0] == "\U0001f3f4" and len(match[0]) <= 8 and match[0][-1] == "\U000e007f"
    return "" if flag else match[0]


def _invisible(char: str) -> bool:
    return (
        unicodedata.category(char) == "Cf"
        or char in _BLANK
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    )


def _decomposed(char: str) -> str:
    whole = unicodedata.normalize("NFKC", char)
    return whole if _script(whole[0]) in _KEPT else unicodedata.normalize("NFKD", char)


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]


def _separator(char: str) -> str:
    return " " if char in _JOINERS else ","


def _sign(char: str, category: str) -> str:
    """A squared letter is a letter; a pictogram is its name, as words."""
    if category[0] in "ZP":
        return " " if category == "Zs" or char in _JOINERS else ","
    said = anyascii(char)
    if said.startswith(":") and said.endswith(":"):
        return " " + re.sub(r"[^a-z]+", " ", said.casefold()) + " "
    return said if said.isalpha() and len(said) <= 2 else ","


@cache
def _long_rows() -> re.Pattern[str]:
    marks = "".join(chr(point) for point in range(0x300, 0x1E94B) if unicodedata.combining(chr(point)))
    return re.compile(f"([{marks}]{{{_COMBINING_MAX}}})[{marks}]+")
