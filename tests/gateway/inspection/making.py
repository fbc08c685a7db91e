"""An inspector without processes of its own: the same tasks, done here; detectors of stand-ins: red is explicit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from custodes.decoder.views import view_content
from custodes.decoding import Recipe
from custodes.digests import crypto_digests
from custodes.errors import WorldError
from custodes.examine import Examiner
from custodes.gateway.guard import Looked
from custodes.gateway.inspection.inspector import LIMITS, Equipment, Inspector
from custodes.gateway.vocabulary import Stage
from custodes.lists.container import collect
from custodes.lists.matcher import Matcher
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import Content, Entry, Kind
from custodes.pictures import Pixels
from custodes.serving.images import Answer
from custodes.similar.models import Card, cards
from custodes.viewing import Task, Viewing, packed, unpacked
from tests.decoder.pictures import picture, saved

SMALL = Recipe(side=32, resize=32, fit="stretch")
VIEWING = Viewing(recipes=(SMALL,))


@dataclass
class Red:
    """Scores the share of red, and remembers how much it was shown."""

    name: str = "red@1"
    fact: str = "explicit"
    card: Card = field(default_factory=lambda: cards()["open-nsfw"])
    recipe: Recipe = SMALL
    shown: int = 0
    broken: bool = False
    said: float | None = None

    async def score(self, squares: Sequence[Pixels]) -> float:
        self.shown += len(squares)
        if self.broken:
            raise WorldError("the detector broke")
        if self.said is not None:
            return self.said
        return max(float(((each[..., 0] > 200) & (each[..., 1] < 60)).mean()) for each in squares)


class Here:
    """Decoders whose jail is this process."""

    def __init__(self, viewing: Viewing = VIEWING) -> None:
        self.viewing, self.tasks = viewing, list[Task]()

    async def do(self, content: Content, task: Task) -> Answer:
        self.tasks.append(task)
        viewed = view_content(content.reveal(), LIMITS, self.viewing, task)
        assert unpacked(packed(viewed), self.viewing, task) == viewed
        return Answer(crypto_digests(content), viewed)


def examiner(*entries: Entry, scheme: str = "") -> Examiner:
    listed = entries or (Entry(Kind.MD5, bytes(16), "nothing"),)
    loaded = LoadedList("demo", "1-demo", collect(listed)[0], *((scheme,) if scheme else ()))
    return Examiner(Matcher(LoadedLists((loaded,))))


def pdq_entry(image: Image.Image, **fields: Any) -> Entry:
    """An entry for a picture."""
    (code, *_) = view_content(saved(image, "PNG"), LIMITS, VIEWING, Task.JUDGE).examined.pdq
    return Entry(Kind.PDQ, code.code, "planted", **fields)


@dataclass
class World:
    """An inspector and what it is made of."""

    decoders: Here
    equipment: Equipment
    red: Red

    def look(self, content: bytes, stage: Stage = Stage.OUTPUT) -> Looked:
        return asyncio.run(Inspector(self.decoders, self.equipment).look(content, stage, "0"))  # type: ignore[arg-type]

    def with_(self, **changed: Any) -> World:
        return replace(self, equipment=replace(self.equipment, **changed))


def world(*entries: Entry, viewing: Viewing = VIEWING, scheme: str = "", red: Red | None = None) -> World:
    red = red or Red()
    return World(Here(viewing), Equipment(examiner(*entries, scheme=scheme), (red,)), red)


def names(looked: Looked) -> set[str]:
    return {fact.name for fact in looked.facts}


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(content)).convert("RGBA")).astype(int)


def photo(seed: int = 1, size: tuple[int, int] = (320, 256)) -> Image.Image:
    return picture(*size, seed=seed)


def moving(kind: str, *images: Image.Image, **options: Any) -> bytes:
    return saved(images[0], kind, save_all=True, append_images=list(images[1:]), **{"duration": 40, **options})


RED = Image.new("RGB", (320, 256), (250, 10, 10))
