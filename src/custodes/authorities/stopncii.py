"""StopNCII's hash exchange: PDQ hashes of images that adults reported as shared without their consent, and what is said back of them.

Promises: every page of a walk is read before the checkpoint moves, and it never moves past the moment at which the walk began; withdrawn and
deleted records withdraw; a status that is not known keeps its name, which nothing is mapped to. Hashes of other kinds are counted, not kept.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

import msgspec

from custodes.authorities.answers import text_of
from custodes.authorities.base import Environment, Feedback, Page, Verdict
from custodes.authorities.walking import going_on, still_good, stopped_walk, unreadable
from custodes.errors import AuthorityError, InputError
from custodes.lists.records import Record
from custodes.model import Entry, Kind
from custodes.services.calls import Answer, Caller

__all__ = ["ENVIRONMENTS", "StopNcii", "record_id"]

ENVIRONMENTS: Final = {"production": Environment("https://api.stopncii.org/v1", True, "stopncii")}

_START: Final = 10  # the service's own first startTimestamp; not 0
_PAGE_SIZE: Final = 800
_OVERLAP_S: Final = (
    300  # how far a walk begins before the checkpoint: for clocks that differ, and records seen later than they say
)
_WITHDRAWN: Final = frozenset({"withdrawn", "deleted"})
_OTHERS: Final = frozenset({"VideoMD5", "VideoTMK", "Text", "URL", "Unknown"})
_PDQ: Final = re.compile(r"[0-9A-Fa-f]{64}")
_VALUES: Final = {Verdict.CONFIRM: "Blocked", Verdict.DISPUTE: "NotBlocked"}

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class _Answered(msgspec.Struct, frozen=True):
    """One page as it is sent; fields that are not named here are of no use to us."""

    hashRecords: list[Any]  # noqa: N815 - the service's names
    hasMoreRecords: bool  # noqa: N815
    nextSetTimestamp: _Seconds  # noqa: N815
    nextPageToken: str | None = None  # noqa: N815


class _HashRecord(msgspec.Struct, frozen=True):
    signalType: str  # noqa: N815
    hashValue: str  # noqa: N815
    hashStatus: str  # noqa: N815
    lastModtimestamp: _Seconds  # noqa: N815


class _Walk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A walk, and where it goes on. ``least``: the checkpoint that it began at; ``began`` and ``at``: seconds since 1970 by our clock."""

    least: int
    began: int
    token: str = ""
    at: float = 0.0


class StopNcii:
    """The service, by one ``Caller`` for each endpoint, since each has its own key. Without ``feedback`` nothing can be said back."""

    name = "stopncii"
    scheme = "stopncii"
    whole = False

    def __init__(self, fetch: Caller, feedback: Caller | None = None, clock: Callable[[], float] = time.time) -> None:
        self.production = fetch.base == ENVIRONMENTS["production"].base
        self.environment = "production" if self.production else "other"
        self._fetch = fetch
        self._feedback = feedback
        self._clock = clock

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """See ``Authority.pages``. The checkpoint is the service's own next timestamp, but never later than the walk's beginning."""
        walk = _stopped(resume) if resume else self._begin(checkpoint)
        asked = {walk.token}
        while True:
            answer = await self._ask(walk)
            page = _page_of(answer)
            records, skipped = _records(page.hashRecords)
            if not page.hasMoreRecords:
                reached = max(walk.least, min(page.nextSetTimestamp, walk.began))
                yield Page(records, checkpoint=str(reached), skipped=skipped)
                return
            token = page.nextPageToken or ""
            if token in asked:
                raise AuthorityError(f"the answer to {answer.path} says that there is more, and not where")
            asked.add(token)
            walk = _Walk(least=walk.least, began=walk.began, token=token, at=self._clock())
            yield Page(records, resume=msgspec.json.encode(walk).decode(), skipped=skipped)

    async def status(self) -> str:
        """See ``Authority.status``. The service has no call for it: a fetch of what changed just now shows that the keys are taken."""
        now = int(self._clock())
        _page_of(await self._ask(_Walk(least=now, began=now)))
        return f"StopNCII ({self.environment}): the keys for FetchHashes are taken"

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:  # noqa: ARG002 - of the seam
        """See ``Authority.feedback_reasons``. The service takes none."""
        return {}

    async def give(self, feedback: Feedback) -> None:
        """See ``Authority.give``. The service knows a hash by its value alone; confirmed is ``Blocked``, disputed ``NotBlocked``."""
        if self._feedback is None:
            raise InputError(
                "no key for StopNCII's SubmitFeedback is known", hint="ask StopNCII for the key of that endpoint"
            )
        if feedback.kind is not Kind.PDQ or len(feedback.value) != Kind.PDQ.size_bytes:
            raise InputError("StopNCII takes feedback on PDQ hashes of images, with their value")
        if feedback.id != record_id("ImagePDQ", feedback.value.hex()):
            raise InputError("the value is not that of the entry")
        if feedback.reason:
            raise InputError("StopNCII takes no reasons")
        said = {"hashValue": feedback.value.hex(), "feedbackValue": _VALUES[feedback.verdict], "tags": []}
        body = json.dumps({"count": 1, "hashFeedbacks": [said]}).encode()
        await self._feedback.send("POST", "/SubmitFeedback", body, "application/json")

    async def close(self) -> None:
        """See ``Authority.close``."""
        await self._fetch.close()
        if self._feedback is not None:
            await self._feedback.close()

    def _begin(self, checkpoint: str) -> _Walk:
        if checkpoint and not re.fullmatch(r"[0-9]{1,12}", checkpoint):
            raise AuthorityError("the checkpoint of this list is not a time", hint="fetch the list from the beginning")
        return _Walk(least=int(checkpoint or _START), began=int(self._clock()))

    async def _ask(self, walk: _Walk) -> Answer:
        query = {"startTimestamp": str(max(_START, walk.least - _OVERLAP_S)), "pageSize": str(_PAGE_SIZE)}
        if not walk.token:
            return await self._fetch.get("/FetchHashes", query)
        still_good("the page token", self._clock() - walk.at)
        with going_on("the page token"):
            return await self._fetch.get("/FetchHashes", {**query, "nextPageToken": walk.token})


def record_id(signal_type: str, value: str) -> str:
    """The id of what StopNCII knows by type and value alone: the same for the same pair, and not the value."""
    return hashlib.sha256(f"{signal_type}\n{value.lower()}".encode()).hexdigest()[:32]


def _page_of(answer: Answer) -> _Answered:
    try:
        return msgspec.convert(answer.json(), _Answered)
    except msgspec.ValidationError:
        raise AuthorityError(f"the answer to {answer.path} is not a page of hash records") from None


def _records(found: list[Any]) -> tuple[tuple[Record, ...], Counter[str]]:
    skipped: Counter[str] = Counter()
    records = [_record(raw, skipped) for raw in found]
    return tuple(record for record in records if record is not None), skipped


def _record(raw: Any, skipped: Counter[str]) -> Record | None:
    """What is said of one hash, or None and why."""
    try:
        said = msgspec.convert(raw, _HashRecord)
    except msgspec.ValidationError:
        skipped["malformed"] += 1
        return None
    if said.signalType != "ImagePDQ":
        skipped[said.signalType if said.signalType in _OTHERS else "other"] += 1
        return None
    if not _PDQ.fullmatch(said.hashValue):
        skipped["malformed"] += 1
        return None
    name = record_id(said.signalType, said.hashValue)
    entry = Entry(Kind.PDQ, bytes.fromhex(said.hashValue), name, text_of(said.hashStatus.strip()))
    withdrawn = said.hashStatus.strip().casefold() in _WITHDRAWN
    return Record(name, () if withdrawn else (entry,), said.lastModtimestamp * 1000)


def _stopped(resume: str) -> _Walk:
    walk = stopped_walk(resume, _Walk)
    if not walk.token:
        raise unreadable()
    return walk
