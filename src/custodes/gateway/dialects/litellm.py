"""LiteLLM's Generic Guardrail API: the gateway beside a LiteLLM proxy, asked about texts and pictures that go by there.

Promises to fail closed in that protocol: whatever happens the answer is a 200 that says ``BLOCKED``, since there are settings with which LiteLLM lets pass what
another status answers. Links are not fetched: what cannot be looked at is blocked. Every string of messages and tools is screened, not ``texts`` alone; a
picture of an answer goes back as the inspection wrote it. Without messages nothing is rewritten but refused: LiteLLM 1.106 takes a rewritten prompt of its
image route and then sends the one that was asked. What LiteLLM does not hand over (it does not: pictures that its image routes make) nobody here sees.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from custodes.gateway.dialects.bodies import bearer, entered, known, whole
from custodes.gateway.dialects.openai_answers import details
from custodes.gateway.dialects.texts import strings
from custodes.gateway.dialects.words import FINAL, said
from custodes.gateway.door import DOOR, Denial, DeniedError, Route
from custodes.gateway.guard import Caller, Passage, RefusedError, Released, UnableError
from custodes.gateway.vocabulary import Action, Asked, Picture, PictureRole, Stage, Text, TextRole

__all__ = ["LiteLLM"]

PATH: Final = "/beta/litellm_basic_guardrail_api"
TEXTS_MAX: Final = 512
PICTURES_MAX: Final = 32
_HEAD: Final = re.compile(r"\Adata:image/[a-z0-9.+-]{1,20};base64,")
_PICTURED: Final = re.compile(r"\.(?:image_url|image|source)(?:\.(?:url|data))?\Z")
"""Where messages hold pictures, or links to some."""
_USERS: Final = ("user_api_key_end_user_id", "user_api_key_user_id", "user_api_key_hash")

_Texts = Annotated[list[str], Meta(max_length=TEXTS_MAX)]
_Pictures = Annotated[list[str], Meta(max_length=PICTURES_MAX)]


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """What decides. Fields that only describe the call are passed over: the protocol gains some with every version."""

    input_type: Literal["request", "response"]
    texts: _Texts | None = None
    images: _Pictures | None = None
    structured_messages: Any = None
    tools: Any = None
    tool_calls: Any = None
    request_data: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked about. ``pictures``: each as it was written, in the order of ``asked``; ``images``: those that LiteLLM wants back."""

    stage: Stage
    texts: tuple[str, ...] = field(repr=False)
    images: tuple[str, ...] = field(repr=False)
    pictures: tuple[str, ...] = field(repr=False)
    asked: Asked
    user: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """The dialect."""

    name: str = "litellm"

    def routes(self) -> Sequence[Route]:
        """The one path."""
        return (Route("POST", PATH, self._asked),)

    # -- noes: all of them are answers of the protocol

    def refused(self, error: RefusedError) -> web.Response:
        """The rules refuse."""
        told = details(error)
        reason = f"rejected by the safety system at the {told['moderation_stage']}: {', '.join(told['categories'])}"
        return _blocked(reason)

    def unable(self, error: UnableError) -> web.Response:
        """A check broke."""
        return _blocked(str(error))

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away: a wrong key too."""
        return _blocked(f"{error.message}: {error.field}" if error.field else error.message)

    # -- the route

    async def _asked(self, request: web.Request) -> web.Response:
        known(request, request.headers.get("x-api-key") or bearer(request))
        wanted = _wanted(await whole(request))
        caller = await entered(request, wanted.user, wanted.asked)
        answer = _of_request if wanted.stage is Stage.INPUT else _of_response
        return said(await answer(request, wanted, caller))


async def _of_request(request: web.Request, wanted: _Wanted, caller: Caller) -> dict[str, Any]:
    """What goes to a model: admitted, rewritten or refused. Raises RefusedError, UnableError."""
    passage = await request[DOOR].guard.admit(caller, wanted.asked)
    texts = [passage.texts.get(f"texts[{at}]", text) for at, text in enumerate(wanted.texts)]
    if texts == list(wanted.texts):
        return {"action": "NONE"}
    return {"action": "GUARDRAIL_INTERVENED", "texts": texts}


async def _of_response(request: web.Request, wanted: _Wanted, caller: Caller) -> dict[str, Any]:
    """What a model answers: its texts bring nobody strikes; they pass or not, and are not rewritten. Raises RefusedError, UnableError."""
    guard = request[DOOR].guard
    verdict = await guard.judge(caller, Asked(wanted.asked.texts))
    if verdict.action is not Action.ALLOW:
        raise RefusedError(verdict, Stage.OUTPUT)
    found = await guard.release(Passage(caller, Asked(), ()), [each.content for each in wanted.asked.pictures])
    written: dict[str, str] = {}
    for picture, each in zip(wanted.pictures, found, strict=True):
        if not isinstance(each, Released):
            raise RefusedError(each.verdict, Stage.OUTPUT)
        head = f"data:image/{each.format};base64," if picture.startswith("data:") else ""
        written[picture] = head + base64.b64encode(each.content).decode()
    if not wanted.images:
        return {"action": "NONE"}
    images = [written[picture] for picture in wanted.images]
    return {"action": "GUARDRAIL_INTERVENED", "texts": list(wanted.texts), "images": images}


def _wanted(body: bytes) -> _Wanted:
    """Raises DeniedError."""
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DeniedError(Denial.MALFORMED, "the body is not a request of LiteLLM's guardrail API") from None
    texts = tuple(found.texts or ())
    pictures = dict.fromkeys(found.images or ())  # the same picture stands in the messages again
    role = TextRole.POSITIVE if found.input_type == "request" else TextRole.OTHER
    screened = [Text(role, text, f"texts[{at}]") for at, text in enumerate(texts)]
    for where, value in _elsewhere(found):
        if _PICTURED.search(where) or value.lstrip().startswith("data:image/"):
            pictures.setdefault(value)
        elif value not in texts:
            screened.append(Text(TextRole.OTHER, value, where))
    if len(pictures) > PICTURES_MAX:
        raise DeniedError(Denial.TOO_LARGE, "more pictures than are looked at", field="images")
    stage = Stage.INPUT if found.input_type == "request" else Stage.OUTPUT
    asked = Asked(
        tuple(screened),
        tuple(Picture(PictureRole.REFERENCE, _read(value), f"images[{at}]") for at, value in enumerate(pictures)),
        count=len(pictures) if stage is Stage.OUTPUT else 0,
        fixed=not found.structured_messages,
    )
    user = next((each for name in _USERS if isinstance(each := (found.request_data or {}).get(name), str) and each), "")
    return _Wanted(stage, texts, tuple(found.images or ()), tuple(pictures), asked, user)


def _elsewhere(found: _Body) -> Iterator[tuple[str, str]]:
    """Every string of messages and tools; not the names of their fields."""
    for name in ("structured_messages", "tools", "tool_calls"):
        yield from strings(getattr(found, name), name)


def _read(value: str) -> bytes:
    """A picture's bytes. Raises DeniedError."""
    try:
        return base64.b64decode(_HEAD.sub("", value), validate=True)
    except (ValueError, binascii.Error):
        message = "an image cannot be looked at: links are not fetched, send base64"
        raise DeniedError(Denial.MALFORMED, message, field="images") from None


def _blocked(reason: str) -> web.Response:
    return said({"action": "BLOCKED", "blocked_reason": reason}, 200, FINAL)
