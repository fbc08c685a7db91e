"""Rewriting: plain words in positive prompts, at word boundaries, in linear time; what does not help is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from custodes.errors import ConfigError
from custodes.gateway.rules import rewriting
from custodes.gateway.rules.policy import Change, embedded
from custodes.gateway.rules.rewriting import Rewriter, changed, swaps_of
from custodes.gateway.rules.rulebook import Rulebook
from custodes.gateway.vocabulary import Action, Grade, Text, TextRole, Verdict

SWAPS = swaps_of(
    [
        Change(terms=("fountain", "Water Feature"), by="tree"),
        Change(terms=("feature",), by="thing"),
        Change(terms=("noisy",)),
    ],
    {},
)
TEXTS = {
    "a plain word": ("a fountain here", "a tree here"),
    "a word in capitals": ("FOUNTAIN", "tree"),
    "a word inside another": ("fountains and afountain", "fountains and afountain"),
    "the longest term": ("a water feature", "a tree"),
    "the longest term with a hyphen": ("a water-feature.", "a tree."),
    "words that stand apart": ("water, feature", "water, thing"),
    "a word that is dropped": ("a noisy street", "a  street"),
    "two beside each other": ("fountain fountain", "tree tree"),
    "in the grammar of weights": ("(fountain:1.2), [fountain|rock]", "(tree:1.2), [tree|rock]"),
    "nothing": ("", ""),
    "the end of a term alone": ("water", "water"),
    "hidden, so not found": ("f o u n t a i n f0untain", "f o u n t a i n f0untain"),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_what_is_changed(text: str, expected: str) -> None:
    assert changed(text, SWAPS) == expected


def test_what_is_added_is_added_once() -> None:
    assert changed(changed("a fountain", SWAPS, "in daylight"), SWAPS, "in daylight") == "a tree, in daylight"


def test_the_work_grows_with_the_text_and_not_faster() -> None:
    swaps = swaps_of([Change(terms=("a a a a a a a b",), by="c")], {})
    looked = [lookups(swaps, "a " * words) for words in (1_000, 2_000, 50_000)]
    assert looked[1] < 2.05 * looked[0]
    assert looked[2] < 51 * looked[0]


def lookups(swaps: Mapping[tuple[str, ...], str], text: str) -> int:
    class Counting(dict[tuple[str, ...], str]):
        count = 0

        def get(self, key: tuple[str, ...], default: object = None) -> object:  # type: ignore[override]
            self.count += 1
            return super().get(key)

    counting = Counting(swaps)
    assert changed(text, counting) == text
    return counting.count


REFUSED = [Change(context="nowhere", by="x"), Change(terms=("...",), by="x")]


@pytest.mark.parametrize("change", REFUSED, ids=["a context that the lexicon lacks", "a term without a word"])
def test_a_change_that_can_never_work_is_refused(change: Change) -> None:
    with pytest.raises(ConfigError):
        swaps_of([change], {"garden": ["garden"]})


# -- as the guard asks

RULES = Rulebook(embedded("demo")).rewriting()
FOUNTAIN = Verdict(Action.REWRITE, "a fountain becomes a tree")
PROMPT = Text(TextRole.POSITIVE, "a fountain", "prompt")


class Model:
    """Says what it is told to, and counts."""

    def __init__(self, answer: str | None) -> None:
        self.answer, self.asked = answer, 0

    async def rewrite(self, text: str) -> str | None:
        self.asked += 1
        return self.answer


def rewritten(texts: Sequence[Text], verdict: Verdict = FOUNTAIN, model: Model | None = None) -> object:
    made = Rewriter(RULES, {"fountain": ["fountain"]}, model)
    return asyncio.run(made.rewrite(texts, verdict))


def test_positive_prompts_change_and_no_others() -> None:
    texts = [PROMPT, *(Text(role, "a fountain", role) for role in TextRole if role is not TextRole.POSITIVE)]
    assert rewritten(texts) == {"prompt": "a tree"}
    assert rewritten(texts[1:]) is None


NOTHING = {
    "a hard verdict": Verdict(Action.REWRITE, FOUNTAIN.rule, Grade.HARD),
    "a refusal": Verdict(Action.REFUSE, FOUNTAIN.rule, Grade.SOFT),
    "a rule that is not one of ours": Verdict(Action.REWRITE, "another rule"),
}


@pytest.mark.parametrize("verdict", NOTHING.values(), ids=NOTHING)
def test_nothing_is_done_for_what_is_refused_and_no_model_is_asked(verdict: Verdict) -> None:
    model = Model("a tree")
    assert rewritten([PROMPT], verdict, model) is None
    assert model.asked == 0


def test_two_texts_of_one_field_are_not_rewritten() -> None:
    assert rewritten([PROMPT, PROMPT]) is None


def test_a_model_is_asked_where_the_rules_change_nothing() -> None:
    model = Model("a tree")
    assert rewritten([PROMPT], model=model) == {"prompt": "a tree"}
    assert model.asked == 0
    hidden = Text(TextRole.POSITIVE, "a f0untain", "prompt")
    assert rewritten([hidden], model=model) == {"prompt": "a tree"}
    assert rewritten([hidden], model=Model(None)) is None
    assert rewritten([hidden]) is None


def test_a_text_that_is_too_long_is_not_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "TEXT_CHARS_MAX", len(PROMPT.value))
    assert rewritten([PROMPT]) is not None
    monkeypatch.setattr(rewriting, "TEXT_CHARS_MAX", len(PROMPT.value) - 1)
    assert rewritten([PROMPT]) is None


def test_nothing_of_rules_and_terms_is_printed() -> None:
    assert "fountain" not in repr(Rewriter(RULES, {"fountain": ["fountain"]}))


def test_planted_a_model_asked_for_what_is_hard_would_be_seen() -> None:
    class Careless(Rewriter):
        async def rewrite(self, texts: Sequence[Text], verdict: Verdict) -> Mapping[str, str] | None:
            return await self._by_model(texts)

    model = Model("a tree")
    asyncio.run(Careless(RULES, {"fountain": ["fountain"]}, model).rewrite([PROMPT], NOTHING["a hard verdict"]))
    assert model.asked == 1
