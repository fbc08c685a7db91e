"""An authority that keeps a truth, tells of it page by page in any order, and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator

from custodes.authorities.base import Feedback, Page, ResumeExpired
from custodes.errors import AuthorityError
from custodes.lists.records import Record
from custodes.model import Entry, Kind

PAGE_RECORDS = 3


def entries(own: str, numbers: tuple[int, ...]) -> tuple[Entry, ...]:
    return tuple(
        Entry(kind, hashlib.shake_256(b"pattern %d" % number).digest(kind.size_bytes), own, "A1")
        for number in numbers
        for kind in (Kind.MD5, Kind.PDQ)
    )


class FakeAuthority:
    """``at`` is its clock: every change happens at a moment of its own."""

    name = "fake"
    environment = "test"
    production = False
    scheme = "ncmec"

    def __init__(self, seed: int = 0, *, whole: bool = False) -> None:
        self.random = random.Random(seed)
        self.whole = whole
        self.at = 0
        self.truth: dict[str, tuple[int, tuple[int, ...]]] = {}  # id -> when, numbers (none: withdrawn)
        self.requests = 0
        self.fail_at: set[int] = set()  # requests that are not answered
        self.expire_at: set[int] = set()  # requests whose place in the walk is not taken any more
        self.during: list[tuple[str, tuple[int, ...]]] = []  # changes that happen while a walk is under way

    def say(self, own: str, *numbers: int) -> None:
        self.at += 1
        self.truth[own] = (self.at, numbers)

    def active(self) -> set[Entry]:
        return {entry for own, (_, numbers) in self.truth.items() for entry in entries(own, numbers)}

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        state = json.loads(resume) if resume else {"from": int(checkpoint or 0), "to": self.at, "left": None}
        while True:
            self.requests += 1
            if self.requests in self.fail_at:
                raise AuthorityError("fake GET /entries: status 503")
            if self.requests in self.expire_at and state["left"] is not None:
                raise ResumeExpired("the walk expired")
            if state["left"] is None:
                since = 0 if self.whole else state["from"]
                state["left"] = [own for own, (at, _) in self.truth.items() if since < at <= state["to"]]
                self.random.shuffle(state["left"])
            now, state["left"] = state["left"][:PAGE_RECORDS], state["left"][PAGE_RECORDS:]
            found = [self._record(own) for own in now if self.truth[own][0] <= state["to"]]
            found += self.random.sample(found, len(found) // 2)  # some come twice
            last = not state["left"]
            yield Page(tuple(found), json.dumps(state), str(state["to"]) if last else None, {"video": 1})
            if last:
                return
            if self.during:
                own, numbers = self.during.pop()
                self.say(own, *numbers)

    def _record(self, own: str) -> Record:
        at, numbers = self.truth[own]
        return Record(own, entries(own, numbers), at)

    async def status(self) -> str:
        return "fake (test): user demo"

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:
        return {}

    async def give(self, feedback: Feedback) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return None
