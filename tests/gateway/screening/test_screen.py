"""What is noticed of texts: contexts where their words are, obfuscation where there is some, and nothing where there is nothing."""

# ruff: noqa: RUF001 - letters that look alike

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from custodes.gateway.screening import screen as screen_module
from custodes.gateway.screening.forms import Automaton, Form
from custodes.gateway.screening.lexicon import joined, read_lexicon, shipped
from custodes.gateway.screening.screen import CHARACTERS_MAX, Screen
from custodes.gateway.vocabulary import Fact, Stage, Text, TextRole
from tests.gateway.screening.prompts import ORDINARY, STANDIN_NEGATIVES, STARTER_NEGATIVES, ordinary

BOTH = {"context:umbrella", "context:garden"}
SOFT_HYPHEN = "\u00ad"


@pytest.fixture(scope="module")
def standins() -> Screen:
    return Screen(shipped("standins"))


@pytest.fixture(scope="module")
def everything() -> Screen:
    return Screen(joined(shipped("standins"), shipped("starter")))


def names(screen: Screen, *texts: str, role: TextRole = TextRole.POSITIVE) -> set[str]:
    return {fact.name for fact in screen.facts([Text(role, text, "prompt") for text in texts])}


NOTICED = {
    "two contexts": ("an umbrella in the garden", BOTH),
    "one context": ("an umbrella", {"context:umbrella"}),
    "none": ("a boat", set()),
    "nothing": ("", set()),
    "capitals": ("UMBRELLA Garden", BOTH),
    "booru tags": ("1umbrella, rose_garden", BOTH),
    "possessives": ("the garden's umbrella's shade", BOTH),
    "accents left out": ("paraguas jardin", BOTH),
    "accents in two characters": ("jardi\u0301n, paraguas", BOTH),
    "an emoji is its name": ("☂ over tulips", {"context:umbrella"}),
    "no spaces between words": ("花园里的雨伞", BOTH),
    "endings without a space": ("정원에서 우산을", BOTH),
    "weights that split no word": ("(umbrella:1.2), [garden]", BOTH),
    "a word inside a word": ("an umbrellabird, a gardener", set()),
    "a phrase that means something else": ("an umbrella term", set()),
    "such a phrase takes away its own term only": ("an umbrella term, an umbrella", {"context:umbrella"}),
    "a letter hidden": (f"um{SOFT_HYPHEN}brella", {"context:umbrella", "obfuscation"}),
    "only obfuscation: what is turned around": ("a boat \u202eat sea", {"obfuscation"}),
    "only obfuscation: tags": ("a boat \U000e0061\U000e0062", {"obfuscation"}),
    "only obfuscation: two scripts in one word": ("a bоat", {"obfuscation"}),
    "a flag is no obfuscation": (
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f supporters",
        set(),
    ),
    "two scripts in two words": ("boat лодка", set()),
    "half a character": ("an umbrella \ud800", {"unreadable"}),
    "a disguised phrase takes its term away as well": ("umbrell4 term", set()),
}


@pytest.mark.parametrize("case", NOTICED)
def test_what_is_noticed(standins: Screen, case: str) -> None:
    text, expected = NOTICED[case]
    assert names(standins, text) == expected


AGES = {
    "a person's age": ("8 year old", True),
    "with hyphens": ("an 8-year-old", True),
    "short": ("8yo", True),
    "shorter": ("8 y/o", True),
    "in a word": ("an eight year old", True),
    "in full width": ("８ year old", True),
    "in other digits": ("٨ year old", True),
    "behind": ("aged 12", True),
    "a day before": ("17 years old", True),
    "grown up": ("18 years old", False),
    "old": ("1008 years old", False),
    "of a tree": ("an 8 year old oak tree", False),
    "of a wine, in a word": ("an eight year old red wine", False),
    "of a whisky, behind": ("whisky aged 12 years", False),
    "of a person beside a tree": ("an 8 year old near an oak", True),
    "of a person, a tree in the next clause": ("8 year old, oak tree", True),
    "in German": ("8 Jahre alt", True),
    "of a German tree": ("8 Jahre alte Eiche", False),
    "in Chinese": ("8岁", True),
    "disguised": ("8 уеаr оld", True),
    "a level": ("level 8, year 2020", False),
}


@pytest.mark.parametrize("case", AGES)
def test_ages_count_of_people_and_not_of_things(everything: Screen, case: str) -> None:
    text, expected = AGES[case]
    assert ("context:minor" in names(everything, text)) is expected


def test_the_adult_age_is_the_lexicons() -> None:
    head = 'format = "custodes lexicon 1"\ntitle = "t"\nas_of = 2026-11-23\nsource = "s"\nadult_age = 21\n'
    screen = Screen(read_lexicon((head + '[contexts.young.ages]\nen = ["# years old"]\n').encode()))
    assert names(screen, "20 years old") == {"context:young"}
    assert names(screen, "21 years old") == set()


def test_a_star_frees_one_end_of_a_term() -> None:
    head = 'format = "custodes lexicon 1"\ntitle = "t"\nas_of = 2026-11-23\nsource = "s"\n'
    screen = Screen(
        read_lexicon((head + '[contexts.a.terms]\nen = ["lantern*"]\n[contexts.b.terms]\nen = ["*lantern"]\n').encode())
    )
    assert names(screen, "lanterns") == {"context:a"}
    assert names(screen, "oillantern") == {"context:b"}
    assert names(screen, "oillanterns") == set()


def test_a_fact_says_where_and_by_which_lexicon(standins: Screen) -> None:
    by = f"screening/1 {shipped('standins').digest}"
    facts = standins.facts([Text(TextRole.POSITIVE, "umbrella", "prompt"), Text(TextRole.STYLE, "garden", "styles[0]")])
    assert facts == (
        Fact("context:umbrella", Stage.INPUT, by, where="prompt"),
        Fact("context:garden", Stage.INPUT, by, where="styles[0]"),
    )


def test_what_shall_not_be_in_the_picture_is_a_fact_of_its_own(standins: Screen) -> None:
    assert names(standins, "umbr3lla", role=TextRole.NEGATIVE) == {"negative:umbrella", "obfuscation"}


@pytest.mark.parametrize("role", [role for role in TextRole if role is not TextRole.NEGATIVE])
def test_every_other_role_counts_as_asked_for(standins: Screen, role: TextRole) -> None:
    assert names(standins, "umbrella", role=role) == {"context:umbrella"}


def test_a_text_over_the_limit_is_not_read_and_said_to_be_unread(standins: Screen) -> None:
    at_limit = "umbrella " + "x" * (CHARACTERS_MAX - 9)
    assert names(standins, at_limit) == {"context:umbrella"}
    assert names(standins, at_limit + "x") == {"unreadable"}
    assert names(standins, at_limit + "x", "garden") == {"unreadable", "context:garden"}


def test_threads_may_share_a_screen(standins: Screen) -> None:
    texts = [f"{text} {number}" for number in range(40) for text, _ in NOTICED.values()]
    expected = [names(standins, text) for text in texts]
    fresh = Screen(shipped("standins"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: names(fresh, text), texts)) == expected


# --- false refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", STANDIN_NEGATIVES)
def test_hard_negatives_of_the_stand_ins(everything: Screen, case: str) -> None:
    assert not names(everything, STANDIN_NEGATIVES[case]) >= BOTH


@pytest.mark.parametrize("case", STARTER_NEGATIVES)
def test_hard_negatives_of_the_starter(everything: Screen, case: str) -> None:
    found = names(everything, STARTER_NEGATIVES[case])
    assert not found >= {"context:minor", "context:sexual"}
    assert "obfuscation" not in found


def test_a_phrase_is_not_a_pardon_for_the_rest_of_the_prompt(everything: Screen) -> None:
    """Topics take nothing away: only the term inside the phrase is another word."""
    assert "context:sexual" in names(everything, "naked eye, medical school museum, art history, nude")


def _refused(screen: Screen, count: int) -> tuple[int, int]:
    """Ordinary prompts that a rule of two contexts would refuse, and those with any word of a context that they do not have."""
    found = [names(screen, text) for text in ordinary(count)]
    rules = (
        {"context:umbrella", "context:garden"},
        {"context:minor", "context:sexual"},
        {"context:real-person", "context:sexual"},
    )
    return sum(any(rule <= one for rule in rules) for one in found), sum(bool(one - {"context:minor"}) for one in found)


def test_ordinary_prompts_pass(everything: Screen) -> None:
    assert _refused(everything, 4_000) == (0, 0)


@pytest.mark.soak
def test_fifty_thousand_ordinary_prompts_pass(everything: Screen) -> None:
    refused, strange = _refused(everything, ORDINARY)
    assert refused < ORDINARY / 1000
    assert strange < ORDINARY / 1000


# --- linear time ------------------------------------------------------------------------------------------------------

HOSTILE = {
    "one letter": "u",
    "spaces": " ",
    "brackets": "[",
    "groups": "[a|b:0.1]",
    "nested groups": "[a:[b|",
    "weights": "(a:1.1)",
    "beginnings of a term": "umbrell",
    "terms": "umbrella term ",
    "spaced terms": "u m b r e l l a ",
    "leet": "um8r3ll",
    "marks without end": "a\u0300\u0316\u0334",
    "zero-width": "a\u200b",
    "tags": "\U000e0061",
    "base64 of base64": "ZFcxaWNtVnNiR0U9",
    "two scripts": "uа",
    "one sign that is eighteen letters": "\ufdfa",
    "names": "aB",
    "digits": "1",
    "dots": ".a",
    "comments": "/*",
    "networks": "<a:",
    "escapes": "&#117;%75",
}


class Steps:
    """Characters searched, hits looked at, places mapped."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        hits, carry, mapped = Automaton.hits, screen_module._Runs.carry, screen_module._Runs.__init__

        def counted_hits(automaton: Automaton, reading: str) -> Iterator[tuple[int, int, Form]]:
            self.count += len(reading)
            for hit in hits(automaton, reading):
                self.count += 1
                yield hit

        def counted_carry(runs: screen_module._Runs, first: int, last: int, form: Form) -> bool:
            self.count += runs._starts[last + 1] - runs._starts[first]
            return carry(runs, first, last, form)

        def counted_map(runs: screen_module._Runs, reading: screen_module._Letters) -> None:
            self.count += len(reading.letters)
            mapped(runs, reading)

        patch.setattr(Automaton, "hits", counted_hits)
        patch.setattr(screen_module._Runs, "carry", counted_carry)
        patch.setattr(screen_module._Runs, "__init__", counted_map)

    def of(self, screen: Screen, text: str) -> int:
        self.count = 0
        names(screen, text)
        return self.count


@pytest.mark.parametrize("case", HOSTILE)
def test_twice_the_text_is_at_most_about_twice_the_steps(
    standins: Screen, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    unit = HOSTILE[case]
    some, twice = (steps.of(standins, (unit * (size // len(unit) + 1))[:size]) for size in (10_000, 20_000))
    assert 0 < twice <= 2.2 * some


@pytest.mark.soak
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hundred_thousand_hostile_characters(everything: Screen, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    unit = HOSTILE[case]
    assert steps.of(everything, (unit * CHARACTERS_MAX)[:CHARACTERS_MAX]) < 400 * CHARACTERS_MAX
