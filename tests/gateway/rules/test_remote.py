"""Models behind an endpoint: asked once and within bounds; what is not wholly understood raises; nothing of a text is in an error."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from custodes.errors import WorldError
from custodes.gateway import remote
from custodes.gateway.remote import INSTRUCTION, REMOTE_LIMITS, ChatGuard, ChatRewriter, Moderations
from custodes.gateway.upstream import Upstream, UpstreamLimits
from custodes.gateway.vocabulary import Asked, Text, TextRole
from tests.authorities.service import Fault, Reply, Seen, Service

T = TypeVar("T")
SECRET = "umbrella-in-a-text"
ASKED = Asked(
    texts=(
        Text(TextRole.POSITIVE, f"an {SECRET}", "prompt"),
        Text(TextRole.NEGATIVE, "unwanted", "negative_prompt"),
        Text(TextRole.STYLE, "", "style"),
        Text(TextRole.METADATA, "a caption", "caption"),
    )
)


class Model(Service):
    """Answers everything alike."""

    body: Any = None

    def answer(self, seen: Seen) -> Reply:
        assert seen.method == "POST"
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return Reply(body, "application/json")


def with_model(
    body: object, ask: Callable[[Upstream], Awaitable[T]], limits: UpstreamLimits = REMOTE_LIMITS
) -> tuple[T, list[Seen]]:
    async def main() -> tuple[T, list[Seen]]:
        async with Model() as server:
            server.body = body
            async with Upstream(server.base, limits=limits) as upstream:
                return await ask(upstream), server.requests

    return asyncio.run(main())


def result(**categories: bool) -> dict[str, Any]:
    scores = dict.fromkeys(categories, 0.75)
    return {"flagged": any(categories.values()), "categories": categories, "category_scores": scores}


def chat(content: object, finish: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}]}


def test_what_a_moderation_model_flags_are_facts_with_their_field() -> None:
    body = {"results": [result(violence=True, hate=False), result(hate=False)]}
    found, seen = with_model(body, lambda up: Moderations(up, "judge").facts(ASKED))
    assert [(fact.name, fact.score, fact.where) for fact in found] == [("moderation:violence", 0.75, "prompt")]
    assert [each.path for each in seen] == ["/v1/moderations"]
    assert json.loads(seen[0].body) == {"model": "judge", "input": [f"an {SECRET}", "a caption"]}


def test_what_is_flagged_without_a_name_is_flagged() -> None:
    body = {"results": [{"flagged": True, "categories": {}}, result(hate=False)]}
    found, _ = with_model(body, lambda up: Moderations(up, "judge").facts(ASKED))
    assert [fact.name for fact in found] == ["moderation:flagged"]
    body = {"results": [{"flagged": False, "categories": {"ODD name\n": True}}, result(hate=False)]}
    found, _ = with_model(body, lambda up: Moderations(up, "judge").facts(ASKED))
    assert [fact.name for fact in found] == ["moderation:unnamed"]


def test_a_guard_model_says_safe_or_codes() -> None:
    assert with_model(chat("\n\nsafe"), lambda up: ChatGuard(up, "guard").facts(ASKED))[0] == ()
    found, seen = with_model(chat("unsafe\nS4, S12"), lambda up: ChatGuard(up, "guard").facts(ASKED))
    assert [fact.name for fact in found] == ["moderation:s4", "moderation:s12"] * 2
    assert {each.path for each in seen} == {"/v1/chat/completions"}
    assert json.loads(seen[0].body)["messages"] == [{"role": "user", "content": f"an {SECRET}"}]


def test_nothing_to_ask_is_not_asked() -> None:
    for kind in (Moderations, ChatGuard):
        found, seen = with_model({}, lambda up, kind=kind: kind(up, "judge").facts(Asked()))  # type: ignore[misc]
        assert (found, seen) == ((), [])


def test_a_rewriting_model_is_given_the_fixed_instruction_and_the_prompt_apart_from_it() -> None:
    found, seen = with_model(chat(" a tree \n"), lambda up: ChatRewriter(up, "writer").rewrite(SECRET))
    assert found == "a tree"
    messages = json.loads(seen[0].body)["messages"]
    assert messages == [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": SECRET}]
    assert with_model(chat("NO"), lambda up: ChatRewriter(up, "writer").rewrite(SECRET))[0] is None


WHOLE = {"results": [result(hate=False)] * 2}
MODERATIONS = {
    "fewer results than texts": {"results": [result(hate=False)]},
    "more results than texts": {"results": [result(hate=False)] * 3},
    "no results": {"results": []},
    "an empty document": {},
    "no flag": {"results": [{"categories": {}}] * 2},
    "a flag that is no flag": {"results": [{"flagged": 0, "categories": {}}] * 2},
    "no JSON": b"safe",
    "JSON cut off": json.dumps(WHOLE).encode()[:-1],
    "nothing": b"",
    "no UTF-8": b'"\xff"',
    "nested deeply": b"[" * 100_000,
}
GUARDS = {
    "empty": chat(""),
    "a sentence": chat(f"This is safe: {SECRET}"),
    "unsafe without a code": chat("unsafe"),
    "codes without unsafe": chat("S4"),
    "safe and more": chat("safe\nunsafe\nS4"),
    "cut off": chat("safe", "length"),
    "filtered": chat("safe", "content_filter"),
    "no text": chat(None),
    "two choices": {"choices": chat("safe")["choices"] * 2},
    "no choices": {"choices": []},
}
WRITERS = {
    "empty": chat(" \n"),
    "too long": chat("x" * (remote.REWRITTEN_CHARS_MAX + 1)),
    "control characters": chat("a\x00tree"),
    "cut off": chat("a tree", "length"),
    "no text": chat(None),
}
CASES = [
    *(
        (f"moderations: {name}", body, lambda up: Moderations(up, "m").facts(ASKED))
        for name, body in MODERATIONS.items()
    ),
    *((f"guard: {name}", body, lambda up: ChatGuard(up, "m").facts(ASKED)) for name, body in GUARDS.items()),
    *((f"writer: {name}", body, lambda up: ChatRewriter(up, "m").rewrite(SECRET)) for name, body in WRITERS.items()),
]


@pytest.mark.parametrize(("body", "ask"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_an_answer_that_is_not_wholly_understood_raises_and_tells_nothing_of_it(
    body: object, ask: Callable[[Upstream], Awaitable[object]]
) -> None:
    with pytest.raises(WorldError) as caught:
        with_model(body, ask)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


FAULTS = {
    "busy": Fault(status=429),
    "broken": Fault(status=500),
    "refused": Fault(status=401),
    "elsewhere": Fault(status=302, headers={"Location": "/elsewhere"}),
    "half an answer": Fault(sent_bytes=5),
    "no answer": Fault(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_service_that_fails_is_asked_once_and_raises(fault: Fault) -> None:
    seen: list[Seen] = []

    async def main() -> None:
        async with Model() as server:
            server.body, server.faults = WHOLE, {1: fault}
            async with Upstream(server.base, limits=REMOTE_LIMITS) as upstream:
                with pytest.raises(WorldError):
                    await Moderations(upstream, "judge").facts(ASKED)
            seen.extend(server.requests)

    asyncio.run(main())
    assert len(seen) == 1


def test_an_answer_at_its_bound_is_read_and_one_beyond_it_raises() -> None:
    size = len(json.dumps(WHOLE))

    def ask(upstream: Upstream) -> Awaitable[object]:
        return Moderations(upstream, "judge").facts(ASKED)

    assert with_model(WHOLE, ask, UpstreamLimits(body_bytes_max=size))[0] == ()
    with pytest.raises(WorldError):
        with_model(WHOLE, ask, UpstreamLimits(body_bytes_max=size - 1))


def test_a_text_at_its_bound_is_asked_about_and_a_longer_one_raises_unasked() -> None:
    def ask(size: int) -> Callable[[Upstream], Awaitable[object]]:
        asked = Asked(texts=(Text(TextRole.POSITIVE, "a" * size, "prompt"),))
        return lambda up: Moderations(up, "judge").facts(asked)

    one = {"results": [result(hate=False)]}
    assert with_model(one, ask(remote.TEXT_CHARS_MAX))[0] == ()
    with pytest.raises(WorldError, match="was not asked"):
        with_model(one, ask(remote.TEXT_CHARS_MAX + 1))


def test_a_rewriting_at_its_bound_is_taken() -> None:
    whole = "x" * remote.REWRITTEN_CHARS_MAX
    assert with_model(chat(whole), lambda up: ChatRewriter(up, "writer").rewrite("a"))[0] == whole
