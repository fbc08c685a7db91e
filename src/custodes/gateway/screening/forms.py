"""The forms of a lexicon's terms that readings are searched for, and the automata that find all of them in one pass.

Promises time linear in the reading, whatever is in it: Aho-Corasick without backtracking. Encodings that turn single words (pig latin, letters
reversed, ROT13) are forms of the term, so that they are found under any other disguise. Whether what is found stands at the boundaries of
words is for ``screen``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import ahocorasick

from custodes.gateway.screening.letters import unspaced
from custodes.gateway.screening.lexicon import Context, Lexicon
from custodes.gateway.screening.readings import AGE, Readings

__all__ = ["CODES", "REPEATED", "Automaton", "Form", "letter_forms", "word_forms"]

SPELLED_MIN: Final = 5
"""A term is looked for without its accents, or in Latin letters, from so many on: shorter ones are words of other languages."""
CODED_MIN: Final = 4
TURNED_MIN: Final = 6
REPEATED: Final = re.compile(r"(.)\1+")
_VOWELS: Final = re.compile(r"([^aeiou]{0,4}?(?:qu)?)([aeiou].*)")
_ROT13: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")
_LOOSE_SCRIPTS: Final = re.compile("[\uac00-\ud7af]\\Z")
"""Korean words take their endings without a space."""


@dataclass(frozen=True, slots=True, repr=False)
class Form:
    """One form of one entry. ``unless``: it takes terms of its context away; ``coded``: only whole words and single letters count."""

    context: str
    text: str
    unless: bool
    left_free: bool
    right_free: bool
    coded: bool = False
    runs: tuple[tuple[str, int], ...] = ()
    """Of a form of letters: each letter (or i and l, which leet does not tell apart) and how often it stands in a row."""


class Automaton:
    """Finds every form in a reading: (first, last, form), by where it ends."""

    def __init__(self, forms: Iterable[tuple[str, Form]]) -> None:
        patterns: dict[str, dict[Form, None]] = {}
        for pattern, form in forms:
            patterns.setdefault(pattern, {})[form] = None
        self._automaton = ahocorasick.Automaton()
        for pattern, same in patterns.items():
            self._automaton.add_word(pattern, (len(pattern), tuple(same)))
        if patterns:
            self._automaton.make_automaton()
        self._empty = not patterns

    def hits(self, reading: str) -> Iterator[tuple[int, int, Form]]:
        """All of them, overlapping ones too."""
        if self._empty:
            return
        for last, (length, forms) in self._automaton.iter(reading):
            for form in forms:
                yield last - length + 1, last, form


def word_forms(lexicon: Lexicon, readings: Readings) -> Iterator[tuple[str, Form]]:
    """Forms for readings of words: as typed, without accents, and in Latin letters."""
    for name, context in lexicon.contexts.items():
        for entry, unless in _entries(context, lexicon.numbers):
            yield from _word_forms(name, entry, readings, unless=unless)


def letter_forms(lexicon: Lexicon, readings: Readings, *, leet: bool) -> Iterator[tuple[str, Form]]:
    """Forms for readings of letters, where a letter that repeats stands once: spelled, by look-alike pairs, and encoded."""
    for name, context in lexicon.contexts.items():
        for unless, table in ((False, context.terms), (True, context.unless)):
            for entry in (entry for words in table.values() for entry in words):
                for form in _letter_forms(name, entry, readings, unless=unless):
                    text = form.text.replace("i", "l") if leet else form.text
                    yield REPEATED.sub(r"\1", text), _with_runs(form, leet=leet)


def _entries(context: Context, numbers: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, bool]]:
    for table, unless in ((context.terms, False), (context.unless, True)):
        yield from ((entry, unless) for words in table.values() for entry in words)
    for language, phrases in context.ages.items():
        counts = (AGE, *numbers.get(language, ()))
        for phrase in (phrase.replace("#", f" {count} ") for phrase in phrases for count in counts):
            yield phrase, False
            for thing in context.things.get(language, ()):
                yield (f"{phrase} {thing}" if phrase.startswith(" ") else f"{thing} {phrase}"), True


def _word_forms(name: str, entry: str, readings: Readings, *, unless: bool) -> Iterator[tuple[str, Form]]:
    left, right = _free(entry)
    typed = _words(readings.plain(_bare(entry).replace(AGE, "0")))
    texts = {typed: None}
    native, _, sound = readings.spelled(_bare(entry).replace(AGE, "0"))
    for said in (native, sound):
        if _worth(said):
            texts[_words(readings.words(said))] = None
    for text in filter(None, texts):
        yield text, Form(name, text, unless, left, right)


def _letter_forms(name: str, entry: str, readings: Readings, *, unless: bool) -> Iterator[Form]:
    left, right = _free(entry)
    native, _, sound = (said.replace(" ", "").replace(",", "") for said in readings.spelled(_bare(entry)))
    same = _bare(entry).casefold().replace(" ", "")
    for text in dict.fromkeys(said for said in (native, sound) if said and (said == same or _worth(said))):
        yield Form(name, text, unless, left, right)
        if text.isascii() and text.isalpha() and not unless:
            once = {said: None for code in CODES for said in code(text)}
            twice = {said: None for one in once for code in CODES for said in code(one)}
            yield from (Form(name, said, unless, False, False, coded=True) for said in once | twice if said != text)


def _look_alike_pairs(text: str) -> Iterator[str]:
    """Two letters that are seen as one."""
    for single, pair in (("m", "rn"), ("w", "vv"), ("d", "cl")):
        if single in text and len(text) >= TURNED_MIN:
            yield text.replace(single, pair)


def _pig_latin(text: str) -> Iterator[str]:
    if len(text) < CODED_MIN or not (match := _VOWELS.fullmatch(text)):
        return
    head, tail = match.groups()
    yield from (f"{tail}{head}ay",) if head else (f"{tail}{end}" for end in ("way", "yay", "hay", "ay"))


def _reversed(text: str) -> Iterator[str]:
    if len(text) >= TURNED_MIN:
        yield text[::-1]


def _rot13(text: str) -> Iterator[str]:
    if len(text) >= TURNED_MIN:
        yield text.translate(_ROT13)


CODES = (_look_alike_pairs, _pig_latin, _reversed, _rot13)
"""What a word may be turned into before any other disguise, once or twice."""


def _worth(text: str) -> bool:
    """Whether a spelling that the lexicon does not have is looked for: "nina" is a name, and "sad" is not a garden."""
    return not text.isascii() or len(text) >= SPELLED_MIN


def _with_runs(form: Form, *, leet: bool) -> Form:
    runs = []
    for _, group in groupby(form.text, key=lambda char: "l" if leet and char == "i" else char):
        letters = "".join(group)
        runs.append(("".join(sorted(set(letters))), len(letters)))
    return Form(form.context, form.text, form.unless, form.left_free, form.right_free, form.coded, tuple(runs))


def _free(entry: str) -> tuple[bool, bool]:
    bare = _bare(entry).strip()
    left = entry.startswith("*") or unspaced(bare[0])
    return left, entry.endswith("*") or unspaced(bare[-1]) or _LOOSE_SCRIPTS.search(bare) is not None


def _bare(entry: str) -> str:
    return entry.strip("*")


def _words(text: str) -> str:
    """One phrase, with no clause ending in it."""
    return text.replace(",", " ").strip()
