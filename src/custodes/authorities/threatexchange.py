"""ThreatExchange: what changed in a privacy group (``/threat_updates``), and reactions to its descriptors.

A record is an indicator, which is one hash; its entries are the descriptors, one for each owner's opinion. Promises that a page's ``next``
address is used for its cursor alone, and that the access token is in no error. What a status means is for ``lists.meaning``.
Protocol: https://developers.facebook.com/docs/threat-exchange/reference/apis/threat-updates/
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from custodes.authorities.answers import hex_value, number_of, reason_of, text_of
from custodes.authorities.base import Environment, Feedback, Page, ResumeExpired, Verdict
from custodes.authorities.walking import going_on, stopped_walk
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.lists.records import Record
from custodes.model import Entry, Kind, Role
from custodes.services.calls import Caller

__all__ = ["ENVIRONMENTS", "ThreatExchange"]

ENVIRONMENTS: Final = {"production": Environment("https://graph.facebook.com/v21.0", True, "threatexchange")}
"""The one there is. Another version of the Graph API at the same host will do."""

KINDS: Final = {
    "HASH_MD5": Kind.MD5,
    "HASH_SHA1": Kind.SHA1,
    "HASH_SHA256": Kind.SHA256,
    "HASH_PDQ": Kind.PDQ,
}
VIDEO_TAG: Final = "media_type_video"
"""Marks a digest that was taken of a video; tags that begin with it name kinds of them."""

DISPUTES: Final = {
    "DISAGREE_WITH_TAGS": "reviewed: it is not what its tags say",
    "NOT_HELPFUL": "it leads to what is not harmful",
    "OUTDATED": "it is outdated or cannot be judged any more",
}
AGREES: Final = "HELPFUL"
DISAGREES: Final = ("DISAGREE_WITH_TAGS", "NON_MALICIOUS", "NOT_HELPFUL")

PAGE_RECORDS: Final = 500
CURSOR_CHARS_MAX: Final = 4096
OVERLAP_S: Final = 60
"""An update may appear a little after one that is later: the last minute is asked for again, which changes nothing that is known."""
RESUME_S_MAX: Final = 12 * 3600
WITHDRAWALS_S_MAX: Final = 85 * 86_400
"""Withdrawals are told for 90 days: who comes later would keep what was withdrawn. Five days early, for clocks and long walks."""

_FIELDS: Final = "id,indicator,type,last_updated,should_delete,descriptors{id,status,tags,reactions}"


class _Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The greatest update time that was seen, and when the walk that saw it began, in seconds since 1970."""

    newest: int = 0
    began: int = 0


class _Walk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a walk stands: from when it asks, after which cursor, what it saw, when it began."""

    start: int
    after: str
    newest: int
    began: int


class ThreatExchange:
    """One privacy group. ``token`` is the access token of an app that is its member."""

    name = "threatexchange"
    scheme = "threatexchange"
    whole = False

    def __init__(
        self, caller: Caller, token: str, privacy_group: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        if number_of(privacy_group) is None:
            raise ConfigError("the privacy group of ThreatExchange is a number")
        self.production = urlsplit(caller.base).hostname == urlsplit(ENVIRONMENTS["production"].base).hostname
        if not self.production and not caller.unsafe_allow_loopback:
            raise ConfigError("the address is not that of ThreatExchange")
        self.environment = "production" if self.production else "other"
        self._caller = caller
        self._token = token
        self._group = privacy_group
        self._clock = clock

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """See ``Authority.pages``. Raises AuthorityError where withdrawals since the checkpoint are not told any more."""
        walk = self._resumed(resume) if resume else self._begun(checkpoint)
        seen = {walk.after}
        while True:
            answer = await self._updates(walk)
            after = _cursor(answer)
            page, newest = _read(answer, walk)
            walk = _Walk(walk.start, after, newest, walk.began)
            if not after:
                yield Page(page.records, checkpoint=_text(_Checkpoint(newest, walk.began)), skipped=page.skipped)
                return
            if after in seen:
                raise AuthorityError("ThreatExchange gives the same page again and again")
            seen.add(after)
            yield Page(page.records, resume=_text(walk), skipped=page.skipped)

    async def status(self) -> str:
        """The group's name. Raises AuthorityError, also where the group does not tell what changes in it."""
        query = {"access_token": self._token, "fields": "id,name,threat_updates_enabled"}
        group = (await self._caller.get(f"/{self._group}", query)).json()
        if not isinstance(group, dict) or number_of(group.get("id")) != self._group:
            raise AuthorityError("ThreatExchange answered for another privacy group")
        if group.get("threat_updates_enabled") is False:
            hint = "ask the ThreatExchange team to enable threat_updates for it"
            raise AuthorityError("this privacy group does not tell what changes in it", hint=hint)
        return f"ThreatExchange {self.environment}: privacy group {self._group} {text_of(group.get('name'))}".strip()

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:  # noqa: ARG002 - the same for all kinds
        """Reactions that say no."""
        return dict(DISPUTES)

    async def give(self, feedback: Feedback) -> None:
        """React to a descriptor: HELPFUL to confirm it, the reason (default DISAGREE_WITH_TAGS) to dispute it."""
        descriptor = number_of(feedback.id)
        reaction = AGREES if feedback.verdict is Verdict.CONFIRM else feedback.reason or next(iter(DISPUTES))
        if descriptor is None:
            raise InputError("the id of a descriptor of ThreatExchange is a number")
        if reaction not in DISPUTES and (reaction != AGREES or feedback.verdict is not Verdict.CONFIRM):
            raise InputError("ThreatExchange knows no such reason", hint=f"reasons are: {', '.join(DISPUTES)}")
        body = urlencode({"access_token": self._token, "reactions": reaction}).encode()
        answer = await self._caller.send("POST", f"/{descriptor}", body, "application/x-www-form-urlencoded")
        said = answer.json()
        if not isinstance(said, dict) or said.get("success") is not True:
            raise AuthorityError("ThreatExchange did not say that it took the reaction")

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    def __repr__(self) -> str:
        return f"<ThreatExchange {self.environment}>"

    def _begun(self, checkpoint: str) -> _Walk:
        now = int(self._clock())
        try:
            known = msgspec.json.decode(checkpoint, type=_Checkpoint) if checkpoint else _Checkpoint(began=now)
        except msgspec.DecodeError as error:
            message = "the checkpoint of this list is not one of ThreatExchange"
            raise AuthorityError(message, hint="custodes lists sync ID --afresh") from error
        if now - known.began > WITHDRAWALS_S_MAX:
            raise AuthorityError(
                f"ThreatExchange was last asked {(now - known.began) // 86_400} days ago, and tells withdrawals for 90",
                hint="what was withdrawn cannot be told any more: custodes lists sync ID --afresh",
            )
        return _Walk(max(0, known.newest - OVERLAP_S), "", known.newest, now)

    def _resumed(self, resume: str) -> _Walk:
        walk = stopped_walk(resume, _Walk)
        if not 0 <= self._clock() - walk.began <= RESUME_S_MAX:
            raise ResumeExpired("the walk over ThreatExchange stopped too long ago to go on")
        return walk

    async def _updates(self, walk: _Walk) -> dict[str, Any]:
        query = {
            "access_token": self._token,
            "start_time": str(walk.start),
            "limit": str(PAGE_RECORDS),
            "fields": _FIELDS,
        }
        path = f"/{self._group}/threat_updates/"
        if walk.after:
            with going_on("ThreatExchange's cursor"):
                answer = await self._caller.get(path, query | {"after": walk.after})
        else:
            answer = await self._caller.get(path, query)
        page = answer.json()
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise AuthorityError("a page of ThreatExchange has no list of updates")
        return page


def _cursor(answer: dict[str, Any]) -> str:
    """Where the next page begins; "" on the last. Of the address of the next page nothing else is believed."""
    paging = answer.get("paging") or {}
    following: Any = paging.get("next") if isinstance(paging, dict) else 0
    if following is None:
        return ""
    found: list[str] = []
    if isinstance(following, str):
        with suppress(ValueError):
            found = parse_qs(urlsplit(following).query, max_num_fields=32).get("after", [])
    if len(found) != 1 or not 0 < len(found[0]) <= CURSOR_CHARS_MAX:
        raise AuthorityError("a page of ThreatExchange names a next page without a cursor")
    return found[0]


def _read(answer: dict[str, Any], walk: _Walk) -> tuple[Page, int]:
    """The page's records, and the greatest update time so far: never later than the walk began, or what comes would be passed over."""
    skipped: Counter[str] = Counter()
    records = []
    newest = walk.newest
    for update in answer["data"]:
        changed = update.get("last_updated") if isinstance(update, dict) else None
        if type(changed) is not int or not 0 <= changed < 1 << 40 or (name := number_of(update.get("id"))) is None:
            skipped["malformed"] += 1
            continue
        newest = max(newest, min(changed, walk.began))
        if (entries := _entries(update, skipped)) is not None:
            records.append(Record(name, entries, changed * 1000))
    return Page(tuple(records), skipped=skipped), newest


def _entries(update: dict[str, Any], skipped: Counter[str]) -> tuple[Entry, ...] | None:
    """All opinions on one indicator, none where it was withdrawn; ``None``: it is of no use, and never was, as its type and value never change."""
    named = update.get("type")
    kind = KINDS.get(named) if isinstance(named, str) else None
    if kind is None and named is not None:
        skipped[reason_of(named)] += 1
        return None
    if update.get("should_delete") is True:
        return ()
    value = hex_value(kind, update.get("indicator")) if kind else None
    if kind is None or value is None or update.get("should_delete") is not False:
        skipped["malformed"] += 1
        return None
    found = [_entry(kind, value, each, skipped) for each in _descriptors(update, skipped)]
    return tuple(entry for entry in found if entry is not None)


def _descriptors(update: dict[str, Any], skipped: Counter[str]) -> list[Any]:
    """The opinions that the group sees. An indicator without any is withdrawn, whatever else the update says."""
    held = update.get("descriptors")
    if not isinstance(held, dict) or not isinstance(held.get("data"), list):
        return []
    if isinstance(held.get("paging"), dict) and held["paging"].get("next") is not None:
        skipped["further opinions"] += 1
    found: list[Any] = held["data"]
    return found


def _entry(kind: Kind, value: bytes, descriptor: Any, skipped: Counter[str]) -> Entry | None:
    identity = number_of(descriptor.get("id")) if isinstance(descriptor, dict) else None
    if identity is None:
        skipped["malformed"] += 1
        return None
    if kind is not Kind.PDQ and any(tag.startswith(VIDEO_TAG) for tag in _tags(descriptor.get("tags"))):
        skipped["video"] += 1
        return None
    status = text_of(descriptor.get("status"))
    role = Role.NEGATIVE if status == "NON_MALICIOUS" else Role.CONFIRMED
    said = _reactions(descriptor.get("reactions"))
    return Entry(kind, value, identity, status, ",".join(name for name in DISAGREES if name in said), role)


def _tags(given: Any) -> list[str]:
    """Tags stand as texts, or as objects with an id and a text."""
    found = given.get("data") if isinstance(given, dict) else given
    texts = [tag.get("text") if isinstance(tag, dict) else tag for tag in found] if isinstance(found, list) else []
    return [text for text in texts if isinstance(text, str)]


def _reactions(given: Any) -> set[str]:
    """The names of the reactions: keys of a list of pairs, or of one object."""
    if isinstance(given, dict):
        return {key for key in given if isinstance(key, str)}
    keys = [pair.get("key") for pair in given if isinstance(pair, dict)] if isinstance(given, list) else []
    return {key for key in keys if isinstance(key, str)}


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
