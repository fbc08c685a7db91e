"""The evasion grid: harmless words in every disguise, one by one and two by two, in every language; and that each view is there for something."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from custodes.gateway.screening import forms, letters, readings
from custodes.gateway.screening import screen as screen_module
from custodes.gateway.screening.lexicon import shipped
from custodes.gateway.screening.screen import Screen
from custodes.gateway.vocabulary import Text, TextRole
from tests.gateway.screening.disguises import DISGUISES, LANGUAGES, Disguise, both, pairs, prompt, words_of

LEXICON = shipped("standins")
FEW = ("en", "de", "ru", "tr", "ar", "zh")
BY_NAME = {disguise.name: disguise for disguise in DISGUISES}
MISSED = {"spelled in Latin letters": 3, "leet, digits": 1, "base64": 2}
"""Words that a class hides, of all languages: "sad" and "zont" are too short to be looked for in Latin letters, 84hç3 has more signs
than letters, and a single kanji in base64 is four letters."""


def walk(
    screen: Screen, one: Disguise, other: Disguise | None = None, languages: Iterable[str] = LANGUAGES
) -> tuple[int, int, int]:
    """How many words the disguise changes, how many of them are found, and how many of those with the obfuscation noticed."""
    tried = found = noticed = 0
    for language in languages:
        for context, word in zip(("umbrella", "garden"), words_of(LEXICON, language), strict=True):
            disguised = both(word, one, other)
            if disguised == word:
                continue
            names = {fact.name for fact in screen.facts([Text(TextRole.POSITIVE, prompt(disguised))])}
            tried += 1
            found += f"context:{context}" in names
            noticed += {f"context:{context}", "obfuscation"} <= names
    return tried, found, noticed


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen(LEXICON)


@pytest.mark.parametrize("name", BY_NAME)
def test_one_disguise_in_every_language(screen: Screen, name: str) -> None:
    tried, found, noticed = walk(screen, BY_NAME[name])
    assert tried >= 4
    assert tried - found == MISSED.get(name, 0)
    # Not noticed: single kanji between which nothing has to be joined, hyphens left out, and what is spelled as another language spells it.
    assert noticed >= found - 5 or name == "spelled in Latin letters"


def test_two_disguises_in_some_languages(screen: Screen) -> None:
    rows = [walk(screen, one, other, FEW) for one, other in pairs()]
    tried, found = sum(row[0] for row in rows), sum(row[1] for row in rows)
    assert tried > 2_500
    assert found >= 0.96 * tried


@pytest.mark.soak
def test_two_disguises_in_every_language(screen: Screen) -> None:
    rows = [walk(screen, one, other) for one, other in pairs()]
    tried, found = sum(row[0] for row in rows), sum(row[1] for row in rows)
    assert tried > 10_000
    assert found >= 0.97 * tried


# --- each view is there for something: without it, its class falls ----------------------------------------------------


def _without_invisible(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(letters, "_invisible", lambda char: False)


def _without_tags(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "HIDDEN", tuple(finder for finder in readings.HIDDEN if finder is not readings._tags))


def _without_turning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "HIDDEN", tuple(finder for finder in readings.HIDDEN if finder is not readings._turned))


def _without_base64(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "_base64", lambda text: [])


def _without_looks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(letters.Looks, "letter", lambda table, char: char)
    patch.setattr(readings, "LATIN_AMONG", ())


def _without_sounds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(letters.Sounds, "letter", lambda table, char: char)


def _without_compatibility(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "composed", lambda text: text)
    patch.setattr(letters, "_decomposed", lambda char: char)
    patch.setattr(letters, "anyascii", lambda char: char)


def _without_signs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(letters, "_sign", lambda char, category: ",")


def _without_marks_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(letters, "_ACCENTED", frozenset())


def _without_leet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "_DIGITS_READ", readings._NOTHING)
    patch.setattr(readings, "_ALL_READ", readings._NOTHING)


def _without_leet_signs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "_ALL_READ", readings._NOTHING)


def _without_repeats(patch: pytest.MonkeyPatch) -> None:
    same = re.compile(r"(\Z)")
    patch.setattr(forms, "REPEATED", same)
    patch.setattr(screen_module, "REPEATED", same)


def _without_joining(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(screen_module._Runs, "_whole", lambda *rest: False)


def _without_joining_halves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(screen_module, "JOINED_MIN", 10**6)


def _without_grammar(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(readings, "moments", lambda text: ())


def _without_codes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forms, "CODES", ())


def _without_words(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Screen, "_word_hits", lambda screen, words: iter(()))


FALLS = {
    "tags not read": (_without_tags, ["written in tags"]),
    "turned runs not turned": (_without_turning, ["right to left", "spaced letters"]),
    "base64 not read": (_without_base64, ["base64"]),
    "look-alikes not read, Cyrillic": (_without_looks, ["Cyrillic look-alikes"]),
    "look-alikes not read, Greek": (_without_looks, ["Greek look-alikes"]),
    "nothing transliterated": (_without_sounds, ["spelled in Latin letters"]),
    "no compatibility forms, wide": (_without_compatibility, ["full width"]),
    "no compatibility forms, bold": (_without_compatibility, ["mathematical bold"]),
    "no compatibility forms, circled": (_without_compatibility, ["circled"]),
    "letters in boxes not read": (_without_signs, ["regional indicators"]),
    "small capitals not read": (_without_compatibility, ["small capitals"]),
    "leet not read": (_without_leet, ["leet, digits"]),
    "leet's signs not read": (_without_leet_signs, ["leet, signs"]),
    "repeats kept": (_without_repeats, ["repeated letters"]),
    "spaced letters not joined": (_without_joining, ["spaced letters"]),
    "dotted letters not joined": (_without_joining, ["dotted letters"]),
    "halves not joined": (_without_joining_halves, ["split in two"]),
    "schedules kept": (_without_grammar, ["schedule"]),
    "alternations kept": (_without_grammar, ["alternation"]),
    "weights kept": (_without_grammar, ["leet, digits", "weight"]),
    "no pig latin": (_without_codes, ["pig latin"]),
    "nothing reversed": (_without_codes, ["letters reversed"]),
    "pairs of letters not seen as one": (_without_codes, ["rn for m"]),
}
TWICE_FOUND = {
    "zero-width characters kept": (_without_invisible, ["zero-width"]),
    "soft hyphens kept": (_without_invisible, ["soft hyphen"]),
    "variation selectors kept": (_without_invisible, ["variation selectors"]),
    "invisible tags kept": (_without_invisible, ["tags between letters"]),
    "controls kept": (_without_invisible, ["bidi controls"]),
    "struck letters kept": (_without_marks_dropped, ["struck through"]),
    "weights kept": (_without_grammar, ["weight"]),
    "brackets kept": (_without_grammar, ["brackets"]),
    "escapes kept": (_without_grammar, ["escapes"]),
}
"""Classes that joining pieces finds as well: each view alone carries the class, and without both it falls."""


@pytest.mark.parametrize("fault", FALLS)
def test_without_a_view_its_class_falls(screen: Screen, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, names = FALLS[fault]
    put = [BY_NAME[name] for name in names]
    _, before, _ = walk(screen, *put)
    plant(monkeypatch)
    _, after, _ = walk(Screen(LEXICON), *put)
    assert after < before


@pytest.mark.parametrize("fault", TWICE_FOUND)
def test_without_both_views_a_class_falls_that_two_find(
    screen: Screen, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, names = TWICE_FOUND[fault]
    put = [BY_NAME[name] for name in names]
    _, before, _ = walk(screen, *put)
    _without_joining(monkeypatch)
    _, alone, _ = walk(Screen(LEXICON), *put)
    assert alone == before
    plant(monkeypatch)
    _, after, _ = walk(Screen(LEXICON), *put)
    assert after < before


def test_words_are_not_only_found_by_views_of_the_disguised(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phrases of age stand in readings of words alone."""
    starter = shipped("starter")
    said = [Text(TextRole.POSITIVE, "8 years old")]
    assert Screen(starter).facts(said)
    _without_words(monkeypatch)
    assert not Screen(starter).facts(said)
