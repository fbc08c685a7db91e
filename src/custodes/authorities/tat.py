"""Tech Against Terrorism's hash list, version 2: what changed since a checkpoint, in the order of its changes.

A record is one digest of one file. Pages are asked for by the checkpoint that stands on each, never by the address or offset of the next
page: entries that change while one reads move to the end, and counting from the front would pass over others. The service takes no
feedback. An ideology is none of our classes: ``lists.meaning`` holds such entries.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from custodes.authorities.answers import hex_value, number_of, reason_of, text_of
from custodes.authorities.base import Environment, Feedback, Page
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.lists.records import Record
from custodes.model import Entry, Kind
from custodes.services.calls import Caller, RefusedError

__all__ = ["ENVIRONMENTS", "Tat"]

ENVIRONMENTS: Final = {"production": Environment("https://app.terrorismanalytics.org", True, "tat")}

KINDS: Final = {"MD5": Kind.MD5, "SHA1": Kind.SHA1, "SHA256": Kind.SHA256, "PDQ": Kind.PDQ}
IMAGES: Final = frozenset(
    {"avif", "bmp", "gif", "heic", "heif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"}
)
VIDEOS: Final = frozenset({"3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "webm", "wmv"})

_SIGN_IN: Final = "/token-auth/tcap/"
_LIST: Final = "/api/hash-list/v2/all"
_CHECKPOINT_CHARS_MAX: Final = 200
_TOKEN: Final = re.compile(r"[!-~]{1,8000}")  # what may stand in a header


class Tat:
    """The whole list, of all ideologies. ``basic``: user and password of a TCAP account."""

    name = "tat"
    scheme = "tat"
    whole = False

    def __init__(self, caller: Caller, basic: tuple[str, str]) -> None:
        self.production = caller.base == ENVIRONMENTS["production"].base
        if not self.production and not caller.unsafe_allow_loopback:
            raise ConfigError("the address is not that of Tech Against Terrorism")
        self.environment = "production" if self.production else "other"
        self._caller = caller
        self._basic = basic
        self._signed: Caller | None = None

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """See ``Authority.pages``. A walk goes on after any time: where it stopped is a checkpoint like others."""
        after = resume or checkpoint
        asked = {after}
        while True:
            answer = await self._ask(after)
            after, more = _following(answer, after)
            records, skipped = _read(answer)
            if not more:
                yield Page(records, checkpoint=after, skipped=skipped)
                return
            if after in asked:
                raise AuthorityError("Tech Against Terrorism gives the same page again and again")
            asked.add(after)
            yield Page(records, resume=after, skipped=skipped)

    async def status(self) -> str:
        """See ``Authority.status``."""
        count = (await self._ask("")).get("count")
        held = f"{count:,}" if type(count) is int else "an unknown number of"
        return f"Tech Against Terrorism {self.environment}: signed in; the list has {held} digests"

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:  # noqa: ARG002
        """None: the service takes no feedback."""
        return {}

    async def give(self, feedback: Feedback) -> None:  # noqa: ARG002
        """Raises InputError: the service takes no feedback."""
        raise InputError("Tech Against Terrorism takes no feedback on its entries", hint="write to them")

    async def close(self) -> None:
        """See ``Authority.close``."""
        if self._signed is not None:
            await self._signed.close()
            self._signed = None
        await self._caller.close()

    def __repr__(self) -> str:
        return f"<Tat {self.environment}>"

    async def _ask(self, after: str) -> dict[str, Any]:
        """The page behind a checkpoint, signed in; once more where the token has run out."""
        for again in (False, True):
            if again or self._signed is None:
                await self._sign_in()
            assert self._signed is not None
            try:
                page = (await self._signed.get(_LIST, {"order": "asc", "after": after})).json()
            except RefusedError as error:
                if again or error.status != 401:
                    raise
                continue
            if not isinstance(page, dict) or not isinstance(page.get("results"), list):
                raise AuthorityError("a page of Tech Against Terrorism has no list of results")
            return page
        raise AssertionError("the second try returns or raises")

    async def _sign_in(self) -> None:
        if self._signed is not None:
            await self._signed.close()
        user, password = self._basic
        body = urlencode({"username": user, "password": password}).encode()
        answer = (await self._caller.send("POST", _SIGN_IN, body, "application/x-www-form-urlencoded")).json()
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise AuthorityError("Tech Against Terrorism gave no token", hint="check the credentials")
        self._signed = replace(self._caller, headers={**self._caller.headers, "Authorization": f"Bearer {token}"})


def _following(answer: dict[str, Any], after: str) -> tuple[str, bool]:
    """The checkpoint of a page, and whether there is more. A page without results has none of its own: the last one stays."""
    stands = answer.get("checkpoint")
    more = answer.get("next") is not None
    if stands in (None, "") and not more:
        return after, False
    if not isinstance(stands, str) or not 0 < len(stands) <= _CHECKPOINT_CHARS_MAX or not stands.isprintable():
        raise AuthorityError("a page of Tech Against Terrorism has no checkpoint")
    return stands, more


def _read(answer: dict[str, Any]) -> tuple[tuple[Record, ...], Counter[str]]:
    skipped: Counter[str] = Counter()
    found = [_record(each, skipped) for each in answer["results"]]
    return tuple(record for record in found if record is not None), skipped


def _record(given: Any, skipped: Counter[str]) -> Record | None:
    """What is said of one id. A withdrawal counts whatever else is wrong with it."""
    entry: dict[str, Any] = given if isinstance(given, dict) else {}
    name = number_of(entry.get("id"))
    modified = _milliseconds(entry.get("updated_on"))
    if name is None or modified is None:
        skipped["malformed"] += 1
        return None
    if entry.get("deleted") is True:
        return Record(name, (), modified)
    kind = KINDS.get(_word(entry.get("algorithm")).upper())
    value = hex_value(kind, entry.get("hash_digest")) if kind else None
    file_type = _word(entry.get("file_type")).lower()
    if file_type not in IMAGES:
        skipped["video" if file_type in VIDEOS else "other file type"] += 1
    elif kind is None:
        skipped[reason_of(entry.get("algorithm"))] += 1
    elif value is None or entry.get("deleted") is not False:
        skipped["malformed"] += 1
    else:
        return Record(name, (Entry(kind, value, name, text_of(entry.get("ideology"))),), modified)
    return None


def _milliseconds(given: Any) -> int | None:
    """Seconds since 1970 with a fraction, as milliseconds."""
    if not isinstance(given, int | float) or isinstance(given, bool) or not 0 <= given < 1 << 40:  # neither is NaN
        return None
    return round(given * 1000)


def _word(given: Any) -> str:
    return given.strip().lstrip(".").replace("-", "") if isinstance(given, str) else ""
