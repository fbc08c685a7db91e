"""``POST /v1/moderations``, for its clients as they are: answered by our own checks, of texts and of pictures that come within the request.

Promises that nothing is sent to anybody else by this route but what the guard asks, that links are not fetched, and that what is asked here brings no strikes:
who asks is looking after others. ``sexual/minors`` is of texts alone. A hard rule flags; which rule it was is not told.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from custodes.gateway.dialects.bodies import bearer, entered, known, whole
from custodes.gateway.dialects.words import said
from custodes.gateway.door import DOOR, REQUEST_ID, Denial, DeniedError
from custodes.gateway.vocabulary import Action, Asked, Category, Fact, Picture, PictureRole, Text, TextRole, Verdict

__all__ = ["CATEGORIES", "moderated"]

MODEL: Final = "custodes-gateway"
INPUTS_MAX: Final = 32
_OF_PICTURES: Final = frozenset(
    {"self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic"}
)
_OF_TEXTS: Final = frozenset(
    {"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "sexual/minors"}
)
CATEGORIES: Final = tuple(sorted(_OF_TEXTS | _OF_PICTURES))
_BY_CATEGORY: Final[Mapping[Category, str]] = {Category.SEXUAL: "sexual"}
_BY_FACT: Final[Mapping[str, str]] = {"explicit": "sexual", "context:sexual": "sexual"}
_DATA: Final = re.compile(r"data:image/[a-z.+-]{1,20};base64,(.*)", re.DOTALL)


class _TextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text"):
    text: str


class _Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class _PictureInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image_url"):
    image_url: _Link


_Texts = Annotated[list[str], Meta(min_length=1, max_length=INPUTS_MAX)]
_Parts = Annotated[list[_TextInput | _PictureInput], Meta(min_length=1, max_length=INPUTS_MAX)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input: str | list[Any]
    model: Annotated[str, Meta(max_length=128)] | None = None


async def moderated(request: web.Request) -> web.Response:
    """The route."""
    known(request, bearer(request))
    asked = _asked(await whole(request))
    door = request[DOOR]
    texts, pictures = (t for each in asked for t in each.texts), (p for each in asked for p in each.pictures)
    together = Asked(tuple(texts), tuple(pictures), count=0)
    caller = await entered(request, "", together)
    results = [_result(await door.guard.judge(caller, each), each) for each in asked]
    return said({"id": f"modr-{request[REQUEST_ID]}", "model": MODEL, "results": results})


def _asked(body: bytes) -> list[Asked]:
    """What is to be judged, each by itself. Raises DeniedError."""
    wrong = DeniedError(
        Denial.MALFORMED, "input must be a text, texts, or parts of type text and image_url", field="input"
    )
    try:
        given = msgspec.json.decode(body, type=_Body).input
        if isinstance(given, str):
            return [_of_text(given)]
        if all(isinstance(each, str) for each in given):
            return [_of_text(each) for each in msgspec.convert(given, _Texts)]
        parts = msgspec.convert(given, _Parts)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise wrong from None
    texts = [
        Text(TextRole.POSITIVE, each.text, f"input[{at}]")
        for at, each in enumerate(parts)
        if isinstance(each, _TextInput)
    ]
    pictures = [
        Picture(PictureRole.REFERENCE, _content(each.image_url.url), f"input[{at}]")
        for at, each in enumerate(parts)
        if isinstance(each, _PictureInput)
    ]
    return [Asked(tuple(texts), tuple(pictures))]


def _of_text(text: str) -> Asked:
    return Asked((Text(TextRole.POSITIVE, text, "input"),))


def _content(url: str) -> bytes:
    """A picture that comes with the request. Raises DeniedError."""
    found = _DATA.fullmatch(url)
    try:
        if found is None:
            raise ValueError
        return base64.b64decode(found[1], validate=True)
    except (ValueError, binascii.Error):
        message = "links are not fetched: send the image as data:image/…;base64,…"
        raise DeniedError(Denial.MALFORMED, message, field="input") from None


def _result(verdict: Verdict, asked: Asked) -> dict[str, Any]:
    flagged = verdict.action is not Action.ALLOW
    kinds = ["text"] * bool(asked.texts) + ["image"] * bool(asked.pictures)
    scores = _scores(verdict, texts=bool(asked.texts)) if flagged else {}
    told = {"x_gateway": {"category": str(Category.SAFETY if verdict.grade == "hard" else verdict.category)}}
    return {
        "flagged": flagged,
        "categories": {name: name in scores for name in CATEGORIES},
        "category_scores": {name: scores.get(name, 0.0) for name in CATEGORIES},
        "category_applied_input_types": {
            name: [kind for kind in kinds if kind == "text" or name in _OF_PICTURES] for name in CATEGORIES
        },
        **(told if flagged else {}),
    }


def _scores(verdict: Verdict, *, texts: bool) -> dict[str, float]:
    """The protocol's categories that what the rule asked for speaks of. May be none: then it is flagged, and that is all."""
    found: dict[str, float] = {}
    for fact in verdict.facts:
        if (name := _category(fact)) is not None and (texts or name in _OF_PICTURES):
            found[name] = max(found.get(name, 0.0), 1.0 if fact.score is None else fact.score)
    if (name := _BY_CATEGORY.get(verdict.category)) is not None:
        found.setdefault(name, 1.0)
    named = {fact.name for fact in verdict.facts}
    if texts and {"context:minor", "context:sexual"} <= named:
        found["sexual/minors"] = 1.0
    return found


def _category(fact: Fact) -> str | None:
    kind, _, name = fact.name.partition(":")
    return name if kind == "moderation" and name in CATEGORIES else _BY_FACT.get(fact.name)
