"""The guard: whatever breaks, nothing passes that was not judged; what matched is sealed although something else broke; no decision goes unrecorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from custodes.gateway import guard as module
from custodes.gateway.guard import (
    Caller,
    Guard,
    Looked,
    Passage,
    Patience,
    RefusedError,
    Released,
    UnableError,
    Withheld,
)
from custodes.gateway.vocabulary import (
    Action,
    Asked,
    Fact,
    Grade,
    Name,
    NameKind,
    Picture,
    PictureRole,
    Stage,
    Text,
    TextRole,
    Verdict,
)
from tests.gateway.fakes import World, picture

CALLER = Caller("tenant", "user", "request")
PATIENCE = Patience(0.2, 0.2, 0.2)
BROKEN = [  # screening and rules answer at once, ledger and evidence answer nothing
    ("screening", "raises"),
    ("screening", "garbage"),
    ("ruling", "raises"),
    ("ruling", "garbage"),
    ("inspecting", "raises"),
    ("inspecting", "hangs"),
    ("inspecting", "garbage"),
    ("records", "raises"),
    ("records", "hangs"),
]
ASKED = [*BROKEN, ("remote", "raises"), ("remote", "hangs"), ("remote", "garbage")]
MADE = [*BROKEN[2:], ("evidence", "raises"), ("evidence", "hangs")]


def asked(prompt: str, *pictures: bytes, names: Sequence[Name] = ()) -> Asked:
    given = tuple(Picture(PictureRole.INIT, content, f"image[{at}]") for at, content in enumerate(pictures))
    return Asked((Text(TextRole.POSITIVE, prompt, "prompt"),), given, tuple(names))


def admitted(world: World, what: Asked, **how: Any) -> Passage:
    return asyncio.run(Guard(world.checks, PATIENCE).admit(CALLER, what, **how))


def released(world: World, images: Sequence[bytes], guard: type[Guard] = Guard) -> list[Released | Withheld]:
    return asyncio.run(guard(world.checks, PATIENCE).release(Passage(CALLER, asked("a house"), ()), images))


def test_what_no_rule_minds_passes_as_it_is_and_is_recorded() -> None:
    world = World()
    assert admitted(world, asked("an umbrella")).texts == {}
    assert [(caller, stage, verdict.action) for caller, stage, verdict in world.records.decisions] == [
        (CALLER, Stage.INPUT, Action.ALLOW)
    ]


@pytest.mark.parametrize("prompt", ["a hat", "a mild hat"], ids=["as it is", "rewritten"])
def test_that_a_caller_acknowledged_is_recorded_of_the_request_and_of_nothing_else(prompt: str) -> None:
    world = World()
    passage = admitted(world, asked(prompt), acknowledged=True)
    guard = Guard(world.checks, PATIENCE)
    asyncio.run(guard.release(passage, [picture()]))
    asyncio.run(guard.judge(CALLER, asked("a boat")))
    assert world.records.acknowledged == [True, False, False]


def test_what_stands_together_is_refused_and_the_model_behind_an_endpoint_never_sees_it() -> None:
    world = World()
    with pytest.raises(RefusedError) as refusal:
        admitted(world, asked("an umbrella in a garden"), acknowledged=True)
    assert (refusal.value.stage, refusal.value.verdict.grade) == (Stage.INPUT, Grade.HARD)
    assert world.remote.asked == 0
    assert len(world.records.decisions) == 1


def test_what_is_soft_passes_where_it_is_acknowledged() -> None:
    with pytest.raises(RefusedError):
        admitted(World(), asked("a hat"))
    admitted(World(), asked("a hat"), acknowledged=True)


def test_a_rewritten_text_is_screened_again_and_shown_to_the_model() -> None:
    world = World()
    assert admitted(world, asked("a mild storm")).texts == {"prompt": "a wild storm"}
    assert world.remote.asked == 1
    world = World()
    world.checks = replace(world.checks, rewriting=Spoiling())
    with pytest.raises(RefusedError):
        admitted(world, asked("a mild storm"))


class Spoiling:
    """A rewriter that makes of a mild text a bad one."""

    async def rewrite(self, texts: Sequence[Text], verdict: Verdict) -> dict[str, str]:
        return {"prompt": "an umbrella in a garden"}


def test_a_rewriter_that_does_nothing_refuses() -> None:
    world = World().breaking("rewriting", "raises")
    with pytest.raises(RefusedError):
        admitted(world, asked("a mild storm"))


@pytest.mark.parametrize("kind", list(NameKind))
def test_a_name_that_is_not_offered_is_a_fact(kind: NameKind) -> None:
    world = World()
    world.checks = replace(world.checks, known={kind: frozenset({"known"})})
    guard = Guard(world.checks, PATIENCE)
    named = [Name(kind, "known"), Name(kind, "other")]
    passage = asyncio.run(guard.admit(CALLER, asked("a house", names=named)))
    assert [fact.name for fact in passage.facts if fact.name.startswith("unknown:")] == [f"unknown:{kind}"]
    bare = asyncio.run(Guard(World().checks, PATIENCE).admit(CALLER, asked("a house", names=named)))
    assert len([fact for fact in bare.facts if fact.name.startswith("unknown:")]) == 2


def test_a_known_picture_that_is_given_is_sealed() -> None:
    world = World()
    with pytest.raises(RefusedError):
        admitted(world, asked("a house", picture(), b"KNOWN"))
    assert world.evidence.kept == [b"KNOWN"]


@pytest.mark.parametrize(("check", "way"), ASKED)
def test_no_request_passes_a_broken_check(check: str, way: str) -> None:
    with pytest.raises(UnableError):
        admitted(World().breaking(check, way), asked("a house", picture()))


@pytest.mark.parametrize(("check", "way"), MADE)
def test_no_image_leaves_past_a_broken_check(check: str, way: str) -> None:
    world = World().breaking(check, way)
    world.inspecting.bad = {1}
    with pytest.raises(UnableError):
        released(world, [picture(0), picture(1)])


class Partly:
    """An inspection that knows one picture and breaks at the next."""

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        if where == "0":
            return Looked((Fact("known:report", stage, "fake"),), stage)
        raise OSError


def test_what_matched_is_sealed_although_the_next_look_breaks() -> None:
    world = World()
    world.checks = replace(world.checks, inspecting=Partly())
    with pytest.raises(UnableError):
        released(world, [picture(0), picture(1)])
    assert world.evidence.kept == [picture(0)]
    assert [verdict.rule for _, _, verdict in world.records.decisions] == ["known", "fault"]


def test_a_fault_hides_no_match_in_a_request() -> None:
    world = World().breaking("screening", "raises")
    with pytest.raises(RefusedError):
        admitted(world, asked("a house", b"KNOWN"))
    assert world.evidence.kept == [b"KNOWN"]


def test_an_image_leaves_only_as_the_inspection_wrote_it() -> None:
    (found,) = released(World(), [picture()])
    assert isinstance(found, Released)
    assert found.content.startswith(b"written again")


class Silent:
    """An inspection that allows and writes nothing."""

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        return Looked((), stage)


def test_an_image_of_which_nothing_was_written_does_not_leave() -> None:
    world = World()
    world.checks = replace(world.checks, inspecting=Silent())
    with pytest.raises(UnableError):
        released(world, [picture()])


def test_one_of_several_images_may_be_withheld() -> None:
    world = World()
    world.inspecting.bad = {1}
    found = released(world, [picture(0), picture(1), picture(2)])
    assert [type(each) for each in found] == [Released, Withheld, Released]
    assert world.evidence.kept == [picture(1)]


def test_long_texts_are_screened_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_THREAD_CHARACTERS", 10)
    with pytest.raises(RefusedError):
        admitted(World(), asked("an umbrella in a garden"))
    with pytest.raises(UnableError):
        admitted(World().breaking("screening", "raises"), asked("a house in the woods"))


# -- planted faults: the same checks see them


class Trusting(Guard):
    """A guard for which a fault is no fact."""

    def _decide(self, facts: Sequence[Fact], stage: Stage, caller: Caller, *, acknowledged: bool) -> Verdict:
        whole = tuple(fact for fact in facts if not fact.name.startswith("fault:"))
        return super()._decide(whole, stage, caller, acknowledged=acknowledged)


def test_the_check_of_broken_checks_sees_a_guard_that_ignores_them() -> None:
    world = World().breaking("screening", "raises")
    passage = asyncio.run(Trusting(world.checks, PATIENCE).admit(CALLER, asked("an umbrella in a garden")))
    assert passage.verdict.action is Action.ALLOW


class Forgetful(Guard):
    """A guard that goes on where the ledger does not."""

    async def _record(self, caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact]) -> None:
        return


def test_the_check_of_the_ledger_sees_a_guard_that_does_not_wait_for_it() -> None:
    assert released(World().breaking("records", "raises"), [picture()], Forgetful)
