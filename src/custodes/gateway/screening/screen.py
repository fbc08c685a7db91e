"""Texts of a request in, facts out: which contexts of the lexicon are present, where, and whether somebody took pains to hide them.

Promises to be pure, safe for threads, and linear in the length of the texts, and that no fact holds a word of a text or of the lexicon.
A context is present if one of its terms is, in any reading, at the boundaries of words, and not covered by a phrase in which it means
something else. That contexts stand together is for the rules: a context alone says nothing against anybody.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from custodes.gateway.screening.forms import REPEATED, Automaton, Form, letter_forms, word_forms
from custodes.gateway.screening.letters import LEET, bidi_controls, hidden_tags, joins, unspaced
from custodes.gateway.screening.lexicon import Lexicon
from custodes.gateway.screening.readings import MIXED, Readings, letter_readings
from custodes.gateway.vocabulary import Fact, Stage, Text, TextRole

__all__ = ["CHARACTERS_MAX", "Screen"]

CHARACTERS_MAX: Final = 100_000
JOINED_MIN: Final = 6
"""Pieces of words are one word from so many letters on; shorter ones only if most pieces are single letters ("pen is" is two words)."""
CODED_MIN: Final = 8
"""As ``JOINED_MIN``, for words in code, which say nothing and so more often come about by chance."""
_VERSION: Final = "screening/1"
_BROKEN: Final = re.compile("[\ud800-\udfff]")
"""Halves of characters: no generator says what it reads there."""
_SEPARATORS: Final = re.compile("[ ,]+")


class Screen:
    """A lexicon made ready. Make it once: loading costs more than a thousand prompts."""

    def __init__(self, lexicon: Lexicon, *, characters_max: int = CHARACTERS_MAX) -> None:
        self.by = f"{_VERSION} {lexicon.digest}"
        self.characters_max = characters_max
        self._contexts = frozenset(lexicon.contexts)
        self._readings = Readings(lexicon.adult_age)
        self._words = Automaton(word_forms(lexicon, self._readings))
        self._letters = Automaton(letter_forms(lexicon, self._readings, leet=False))
        self._leet = Automaton(letter_forms(lexicon, self._readings, leet=True))

    def facts(self, texts: Sequence[Text]) -> tuple[Fact, ...]:
        """What was noticed, each with the field that it was noticed in."""
        return tuple(
            dict.fromkeys(
                Fact(name, Stage.INPUT, self.by, where=text.where) for text in texts for name in self._names(text)
            )
        )

    def _names(self, text: Text) -> Iterator[str]:
        if len(text.value) > self.characters_max or _BROKEN.search(text.value):
            yield "unreadable"
            return
        typed = self._readings.plain(text.value)
        plain = _present(self._word_hits(typed))
        found = plain | self._disguised(text.value, typed, self._contexts - plain)
        kind = "negative" if text.role is TextRole.NEGATIVE else "context"
        yield from (f"{kind}:{context}" for context in sorted(found))
        if found != plain or _obfuscated(text.value):
            yield "obfuscation"

    def _disguised(self, text: str, typed: str, sought: frozenset[str]) -> frozenset[str]:
        """Contexts that only other readings than the typed one show."""
        found: set[str] = set()
        seen = {typed}
        for folded in self._readings.folded(text):
            words = self._readings.words(folded)
            if words not in seen:
                seen.add(words)
                found |= _present(self._word_hits(words)) & sought
            for number, letters in enumerate(letter_readings(folded)):
                found |= self._in_letters(_Letters.read(folded, letters, leet=number > 0), sought - found)
        return frozenset(found)

    def _word_hits(self, words: str) -> Iterator[_Hit]:
        for first, last, form in self._words.hits(words):
            if _stands(words, first, last, form):
                yield _Hit(first, last, form)

    def _in_letters(self, reading: _Letters, sought: frozenset[str]) -> frozenset[str]:
        hits = [
            hit
            for hit in (self._leet if reading.leet else self._letters).hits(reading.compact)
            if hit[2].context in sought
        ]
        if not hits or (reading.leet and not reading.signs):
            return frozenset()
        runs = _Runs(reading)
        return _present(_Hit(first, last, form) for first, last, form in hits if runs.carry(first, last, form))


@dataclass(frozen=True, slots=True)
class _Hit:
    first: int
    last: int
    form: Form


def _present(hits: Iterable[_Hit]) -> frozenset[str]:
    """The contexts of terms that no phrase covers."""
    terms: dict[str, list[_Hit]] = {}
    covers: dict[str, list[tuple[int, int]]] = {}
    for hit in hits:
        if hit.form.unless:
            covers.setdefault(hit.form.context, []).append((hit.first, hit.last))
        else:
            terms.setdefault(hit.form.context, []).append(hit)
    return frozenset(name for name, found in terms.items() if _uncovered(found, sorted(covers.get(name, ()))))


def _uncovered(terms: list[_Hit], covers: list[tuple[int, int]]) -> bool:
    starts, reach = [first for first, _ in covers], [0] * len(covers)
    furthest = -1
    for number, (_, last) in enumerate(covers):
        reach[number] = furthest = max(furthest, last)
    for term in terms:
        before = bisect_right(starts, term.first)
        if not before or reach[before - 1] < term.last:
            return True
    return False


def _stands(words: str, first: int, last: int, form: Form) -> bool:
    left = form.left_free or first == 0 or not (joins(words[first - 1]) and joins(words[first]))
    return left and (form.right_free or last + 1 == len(words) or not (joins(words[last + 1]) and joins(words[last])))


def _obfuscated(text: str) -> bool:
    return not text.isascii() and (bidi_controls(text) or bool(hidden_tags(text)) or MIXED.search(text) is not None)


@dataclass(frozen=True, slots=True)
class _Letters:
    """A reading of letters, place by place that of its folded text. ``compact``: without separators and repeats."""

    folded: str
    letters: str
    compact: str
    leet: bool

    @classmethod
    def read(cls, folded: str, letters: str, *, leet: bool) -> _Letters:
        if leet:
            letters = letters.replace("i", "l")
        return cls(folded, letters, REPEATED.sub(r"\1", letters.replace(" ", "").replace(",", "")), leet)

    @property
    def signs(self) -> bool:
        return any(sign in self.folded for sign in LEET)


class _Runs:
    """Where the letters of a compact reading stand in its folded text."""

    def __init__(self, reading: _Letters) -> None:
        self._reading = reading
        points = np.frombuffer(reading.letters.encode("utf-32-le"), np.uint32)
        self._places = np.flatnonzero((points != ord(" ")) & (points != ord(",")))
        kept = points[self._places]
        self._starts = [0, *(np.flatnonzero(kept[1:] != kept[:-1]) + 1).tolist(), len(kept)]

    def carry(self, first: int, last: int, form: Form) -> bool:
        """Whether the form stands here: letters repeated at least as often as in it, at the boundaries of words, and not put together by chance."""
        runs = [self._places[self._starts[unit] : self._starts[unit + 1]].tolist() for unit in range(first, last + 1)]
        if any(len(run) < need for run, (_, need) in zip(runs, form.runs, strict=True)):
            return False
        start = next(
            (place for place in reversed(runs[0][: len(runs[0]) - form.runs[0][1] + 1]) if self._opens(place, form)),
            None,
        )
        end = next((place for place in runs[-1][form.runs[-1][1] - 1 :] if self._closes(place, form)), None)
        if start is None or end is None or end < start:
            return False
        return self._whole(start, end, form) and (not self._reading.leet or self._meant(runs, start, end, form))

    def _opens(self, place: int, form: Form) -> bool:
        return (
            form.left_free
            or place == 0
            or not joins(self._reading.folded[place - 1])
            or unspaced(self._reading.letters[place])
        )

    def _closes(self, place: int, form: Form) -> bool:
        after = place + 1
        return (
            form.right_free
            or after == len(self._reading.folded)
            or not joins(self._reading.folded[after])
            or unspaced(self._reading.letters[place])
        )

    def _whole(self, start: int, end: int, form: Form) -> bool:
        pieces = len(_SEPARATORS.split(self._reading.letters[start : end + 1]))
        letters = len(form.text)
        return pieces == 1 or letters >= (CODED_MIN if form.coded else JOINED_MIN) or letters < 2 * pieces

    def _meant(self, runs: list[list[int]], start: int, end: int, form: Form) -> bool:
        """Whether signs stand for letters here, in a short word no more than half of them ("A55" is no word); what is typed are the term's own letters."""
        folded = self._reading.folded
        signs = letters = 0
        for run, (allowed, _) in zip(runs, form.runs, strict=True):
            for place in (place for place in run if start <= place <= end):
                if folded[place] in LEET:
                    signs += 1
                elif folded[place] in allowed:
                    letters += 1
                else:
                    return False
        return 0 < signs <= letters or (letters > 0 and signs + letters >= JOINED_MIN)
