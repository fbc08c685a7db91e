"""``/v1/moderations``: the protocol's thirteen categories, from our own checks; links are not fetched, and nobody gets a strike."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from custodes.gateway.dialects.moderations import CATEGORIES, INPUTS_MAX, _result
from custodes.gateway.vocabulary import (
    Action,
    Asked,
    Category,
    Fact,
    Grade,
    Picture,
    PictureRole,
    Stage,
    Text,
    TextRole,
    Verdict,
)
from tests.gateway.fakes import World
from tests.gateway.openai.test_answers import Ask, meeting
from tests.gateway.upstream import Generator


def moderated(world: World, given: Any, **more: Any) -> tuple[int, Any]:
    async def then(ask: Ask) -> tuple[int, Any]:
        status, _, got = await ask("/v1/moderations", input=given, **more)
        return status, json.loads(got)

    return meeting(world, Generator(), then)  # type: ignore[no-any-return]


def data(content: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(content).decode()}}


FLAGGED: dict[str, tuple[Any, list[bool]]] = {
    "a text": ("a boat", [False]),
    "a text that is refused": ("umbrella garden", [True]),
    "a text that would be rewritten": ("mild", [True]),
    "texts, each by itself": (["umbrella", "garden", "umbrella garden"], [False, False, True]),
    "parts, together": ([{"type": "text", "text": "umbrella"}, {"type": "text", "text": "garden"}], [True]),
    "a picture": ([data(b"a picture")], [False]),
    "a known picture": ([data(b"KNOWN")], [True]),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_what_the_rules_would_stop_is_flagged(name: str) -> None:
    given, flagged = FLAGGED[name]
    world = World()
    status, document = moderated(world, given, model="omni-moderation-latest")
    assert (status, [result["flagged"] for result in document["results"]]) == (200, flagged)
    assert all(
        set(result["categories"]) == set(result["category_scores"]) == set(CATEGORIES) for result in document["results"]
    )
    assert {verdict.strikes for _, _, verdict in world.records.decisions} == {0}


def test_there_are_thirteen_categories() -> None:
    assert len(CATEGORIES) == 13


def test_a_known_picture_is_sealed_here_too() -> None:
    world = World()
    moderated(world, [data(b"KNOWN")])
    assert world.evidence.kept == [b"KNOWN"]


def url(text: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": text}}]


@pytest.mark.parametrize(
    "given",
    [
        url("http://127.0.0.1/a.png"),
        url("https://example.com/a.png"),
        url("file:///etc/hostname"),
        url("data:text/html;base64,YQ=="),
        url("data:image/png,a"),
        url("data:image/png;base64,%"),
        [],
        ["a"] * (INPUTS_MAX + 1),
        ["a", {"type": "text", "text": "b"}],
        [{"type": "audio", "text": "b"}],
        [{"type": "text", "text": "b", "more": 1}],
        [1],
        5,
        None,
    ],
    ids=str,
)
def test_what_cannot_be_judged_is_denied(given: Any) -> None:
    status, document = moderated(World(), given)
    assert (status, document["error"]["param"]) == (400, "input")


@pytest.mark.parametrize("check", ["screening", "inspecting", "ruling", "records", "remote"])
def test_a_broken_check_is_no_verdict(check: str) -> None:
    status, document = moderated(World().breaking(check, "raises"), [{"type": "text", "text": "a"}, data(b"a")])
    assert (status, document["error"]["code"]) == (503, "gateway_fault")


TEXT = Asked((Text(TextRole.POSITIVE, "a", "input"),))
PICTURE = Asked(pictures=(Picture(PictureRole.REFERENCE, b"a", "input"),))


def verdict(*facts: Fact | str, grade: Grade = Grade.SOFT, category: Category = Category.SAFETY) -> Verdict:
    named = tuple(Fact(f, Stage.INPUT, "a") if isinstance(f, str) else f for f in facts)
    return Verdict(Action.REFUSE, "rule", grade, category, facts=named)


NAMED: dict[str, tuple[Verdict, Asked, dict[str, float]]] = {
    "an explicit picture": (verdict(Fact("explicit", Stage.INPUT, "a", 0.9)), PICTURE, {"sexual": 0.9}),
    "a category of ours": (verdict(category=Category.SEXUAL), TEXT, {"sexual": 1.0}),
    "a model's category": (
        verdict(Fact("moderation:violence/graphic", Stage.INPUT, "a", 0.7)),
        TEXT,
        {"violence/graphic": 0.7},
    ),
    "a model's own category": (verdict("moderation:s4"), TEXT, {}),
    "of texts alone": (verdict("moderation:sexual/minors"), PICTURE, {}),
    "a known picture says nothing more": (verdict("known:report", grade=Grade.HARD), PICTURE, {}),
}


@pytest.mark.parametrize("name", NAMED)
def test_categories_are_what_the_rule_asked_for(name: str) -> None:
    given, asked, expected = NAMED[name]
    result = _result(given, asked)
    assert {category: score for category, score in result["category_scores"].items() if score} == expected
    assert {category for category, is_so in result["categories"].items() if is_so} == set(expected)


def test_two_contexts_together_are_the_category_of_minors_and_of_texts_only() -> None:
    both = verdict("context:minor", "context:sexual", grade=Grade.HARD)
    assert _result(both, TEXT)["categories"]["sexual/minors"]
    assert not _result(both, PICTURE)["categories"]["sexual/minors"]
    assert _result(both, TEXT)["x_gateway"] == {"category": "safety"}


def test_input_types_are_as_the_protocol_has_them() -> None:
    together = Asked(TEXT.texts, PICTURE.pictures)
    types = _result(Verdict(Action.ALLOW, ""), together)["category_applied_input_types"]
    assert types["sexual"] == ["text", "image"]
    assert types["sexual/minors"] == ["text"]
