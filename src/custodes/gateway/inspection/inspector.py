"""One image of a request or of an answer: known or not, explicit or not, and the copy of it that may leave.

Promises, in this order:

1. Lists first and alone. What they know is shown to no detector, and is not released.
2. What could not be seen whole (a frame too many, a byte too few, an unknown format) is ``unreadable``, and is not released.
3. Only what this package wrote is released: the pixels in a new file. That file is judged as if a stranger had sent it, by lists, and by detectors, which
   are shown nothing else. So what is judged is what leaves. It is read by decoders that never see a stranger's bytes: who writes does not judge.
4. A check that cannot do its work raises. It never says that there was nothing.

What follows from facts is for ``rules``; that a raised error withholds, for ``guard``. All parsing of images is done in the jail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np

from custodes.decoding import Examined, ImageLimits, JailSettings, Recipe
from custodes.errors import ConfigError, WorldError
from custodes.examine import Evidence, Examiner
from custodes.gateway.guard import Looked
from custodes.gateway.inspection.detectors import Detector
from custodes.gateway.inspection.provenance import Stamp
from custodes.gateway.inspection.register import Register
from custodes.gateway.vocabulary import Fact, Stage
from custodes.handover.finding import Match, match_of
from custodes.model import Action, Content, Decision, Digests, Pdq, Reason, Role
from custodes.pictures import Pixels
from custodes.serving.images import Answer, Decoders
from custodes.viewing import Task, Viewed, Viewing

__all__ = ["LIMITS", "Equipment", "FaceMatcher", "Inspector", "decoders_for", "jail_settings"]

LIMITS: Final = ImageLimits(pixels_max=25_000_000, frame_pixels_max=100_000_000)
"""A generator's pictures are smaller than the web's greatest, and more is held of each while it is written."""

FLOOR: Final = 0.2

_AT_ONCE_CODES: Final = 32
"""Of a still picture and its tiles: about a millisecond, and a thread costs half of that. More are looked up beside the loop."""

_CUT_SHORT: Final = (Reason.DECODE_MEMORY, Reason.DECODE_TIMEOUT, Reason.DECODER_DIED)


class FaceMatcher(Protocol):
    """Tells whether a picture shows somebody of the register by the face. None is shipped. Raises CustodesError where it cannot say."""

    @property
    def name(self) -> str:
        """What facts say they come from."""

    @property
    def recipe(self) -> Recipe:
        """How a picture is prepared for it."""

    async def shows_one(self, squares: Sequence[Pixels]) -> bool:
        """Whether any of these does."""


@dataclass(frozen=True)
class Equipment:
    """What images are judged with. ``floor``: protected persons are looked for only in pictures whose score is at least that."""

    examiner: Examiner
    detectors: tuple[Detector, ...]
    register: Register | None = None
    faces: FaceMatcher | None = None
    floor: float = FLOOR
    stamp: Stamp | None = None

    def __post_init__(self) -> None:
        if not self.detectors:
            raise ConfigError("no detector is configured: an explicit picture could not be told", hint="name open-nsfw")
        if not 0 <= self.floor <= 1:
            raise ConfigError("the floor of the register must be from 0 to 1")

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """How pictures are prepared, for each model in turn."""
        models: tuple[Detector | FaceMatcher, ...] = (*self.detectors, *((self.faces,) if self.faces else ()))
        return tuple(model.recipe for model in models)


def jail_settings(decoders: int) -> JailSettings:
    """Room and time for what is written as well as read."""
    return JailSettings(decoders=decoders, cpu_timeout_s=20.0, wall_timeout_s=50.0, memory_bytes_max=1 << 30)


def decoders_for(equipment: Equipment, decoders: int = 2, viewing: Viewing | None = None) -> Decoders:
    """Decoders that prepare pictures for these detectors. Raises JailError where they cannot be confined."""
    wanted = msgspec.structs.replace(viewing or Viewing(), recipes=equipment.recipes)
    return Decoders(LIMITS, jail_settings(decoders), wanted, failed=lambda: None)


class Inspector:
    """``Inspecting`` of the guard. Decoders are those that ``decoders_for`` made, started in the loop that asks."""

    def __init__(self, decoders: Decoders, equipment: Equipment) -> None:
        self._decoders, self._equipment = decoders, equipment

    def use(self, equipment: Equipment) -> None:
        """Judge by these lists and this register from now on. Images in hand are judged by what they began with."""
        if equipment.recipes != self._equipment.recipes:
            raise ConfigError("other detectors need other decoders", hint="start anew")
        self._equipment = equipment

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        """What there is to say of an image, and what may be released. Raises CustodesError where a check could not do its work."""
        return await _Look(self._decoders, self._equipment, stage, where).at(content)


@dataclass(frozen=True)
class _Look:
    """One image being looked at."""

    decoders: Decoders
    equipment: Equipment
    stage: Stage
    where: str

    async def at(self, content: bytes) -> Looked:
        if not content:
            return Looked((self._fact("unreadable", "decoder"),), self.stage)
        first = await self._seen(Content(content))
        copy = first.viewed.written
        # 1. Lists first and alone: what came, while the copy is read; and what would leave.
        second, came = await asyncio.gather(self._shown(copy), self._known(first))
        left = await self._known(second) if second else None
        if known := _gravest(came, left):
            return self._withheld(known, first)
        # 2. Seen whole, or not at all.
        if second is None or not _is_the_same(first.viewed, second.viewed):
            return self._unreadable(first)
        # 3. Shown to detectors is what was written, and that is released.
        facts = await self._detected(second.viewed, first.viewed.examined)
        released = await self._stamped(first.viewed, second) if self.stage is Stage.OUTPUT else copy
        return Looked(facts, self.stage, released, first.viewed.form, first.exact[2])

    async def _seen(self, content: Content) -> Answer:
        """All of it from one look; where that could not be done, at least what lists are asked about."""
        first = await self.decoders.do(content, Task.WRITE)
        if first.viewed.examined.reason in _CUT_SHORT:
            return await self.decoders.do(content, Task.JUDGE)
        return first

    async def _shown(self, copy: bytes) -> Answer | None:
        """The copy, by who did not write it."""
        return await self.decoders.do(Content(copy), Task.SHOW) if copy else None

    # -- lists

    async def _known(self, answer: Answer) -> Decision | None:
        """What lists say of it."""
        digests = Digests(*answer.exact, answer.viewed.examined.pdq)
        evidence = Evidence.from_digests([(0, digests)])
        if len(digests.pdq) <= _AT_ONCE_CODES:
            found = self.equipment.examiner.judge(evidence)
        else:
            found = await asyncio.to_thread(self.equipment.examiner.judge, evidence)
        return _gravest(*found.values())

    def _withheld(self, known: Decision, first: Answer) -> Looked:
        name = "known:report" if known.action is Action.REPORT else "known:hold"
        spoke = [signal for signal in known.signals if signal.role is Role.CONFIRMED] or known.signals
        lists = dict.fromkeys(f"{signal.list_id}@{signal.list_version}" for signal in spoke)
        facts = tuple(self._fact(name, by) for by in lists)
        matches: tuple[Match, ...] = tuple(match_of(signal) for signal in known.signals)
        return Looked(facts, self.stage, format=first.viewed.examined.format, sha256=first.exact[2], matches=matches)

    def _unreadable(self, first: Answer) -> Looked:
        examined = first.viewed.examined
        return Looked((self._fact("unreadable", "decoder"),), self.stage, format=examined.format, sha256=first.exact[2])

    # -- detectors

    async def _detected(self, viewed: Viewed, original: Examined) -> tuple[Fact, ...]:
        shown = _squares(viewed.views, self.equipment.recipes)
        facts, highest = [], 0.0
        for detector, squares in zip(self.equipment.detectors, shown, strict=False):
            score = await detector.score(squares)
            if not 0 <= score <= 1:
                raise WorldError(f"the detector {detector.name} gave no score")
            highest = max(highest, score)
            facts.append(self._fact(detector.fact, detector.name, score))
        if highest >= self.equipment.floor:
            facts += await self._persons([*original.pdq, *viewed.examined.pdq], shown[-1])
        return tuple(facts)

    async def _persons(self, codes: Sequence[Pdq], squares: Sequence[Pixels]) -> Iterable[Fact]:
        """Only of pictures above the floor: of others nobody here learns whom they show."""
        register, faces, facts = self.equipment.register, self.equipment.faces, []
        if register is not None and await asyncio.to_thread(register.shows_one, codes):
            facts.append(self._fact("person:protected", "register"))
        if faces is not None and await faces.shows_one(squares):
            facts.append(self._fact("person:protected", faces.name))
        return facts

    # -- what leaves

    async def _stamped(self, copy: Viewed, judged: Answer) -> bytes:
        """With where it comes from, if that is wanted; and then looked at again: a stamp changes no pixel."""
        if self.equipment.stamp is None:
            return copy.written
        stamped = await self.equipment.stamp.stamped(copy.written, copy.form)
        again = (await self.decoders.do(Content(stamped), Task.SHOW)).viewed.examined
        if again != judged.viewed.examined:
            raise WorldError("the stamp changed the picture")
        return stamped

    def _fact(self, name: str, by: str, score: float | None = None) -> Fact:
        return Fact(name, self.stage, by, score, self.where)


def _gravest(*decisions: Decision | None) -> Decision | None:
    known = [decision for decision in decisions if decision is not None and decision.action is not Action.NONE]
    return min(known, key=lambda decision: decision.action is not Action.REPORT, default=None)


def _is_the_same(seen: Viewed, again: Viewed) -> bool:
    """Whether the copy is whole, of the original's size, and of the format that it is said to be."""
    original, copy = seen.examined, again.examined
    return (
        copy.reason is Reason.FULL
        and (copy.width, copy.height) == (original.width, original.height)
        and copy.format == seen.form
        and bool(again.views)
    )


def _squares(views: Sequence[bytes], recipes: Sequence[Recipe]) -> list[list[Pixels]]:
    """For each recipe, the squares of all views."""
    found: list[list[Pixels]] = [[] for _ in recipes]
    for view in views:
        at = 0
        for recipe, squares in zip(recipes, found, strict=True):
            end = at + recipe.square_bytes
            squares.append(np.frombuffer(view[at:end], np.uint8).reshape(recipe.side, recipe.side, 3))
            at = end
    return found
