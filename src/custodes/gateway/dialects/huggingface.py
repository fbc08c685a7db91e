"""Hugging Face's text-to-image, for its clients as they are: a prompt in, the bytes of one picture out. Any other task of a model is unknown.

Channels that could carry a picture to a client, and what becomes of each: the body (only what the guard released), headers (none of the generator's), error
texts (not passed on). Promises that no fault is a 503: older clients take that for a model that is loading, and ask without end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from custodes.gateway.dialects.bodies import OFFERED, acknowledged, bearer, entered, known, whole
from custodes.gateway.dialects.openai_answers import details, sole_verdict
from custodes.gateway.dialects.texts import changed, strings
from custodes.gateway.dialects.words import FINAL, said
from custodes.gateway.door import DOOR, GENERATOR, REQUEST_ID, Denial, DeniedError, Route
from custodes.gateway.guard import Caller, RefusedError, Released, UnableError
from custodes.gateway.upstream import Answer
from custodes.gateway.vocabulary import Asked, Name, NameKind, Text, TextRole
from custodes.sniff import format_of

__all__ = ["HuggingFace"]

_STATUS: Final[Mapping[Denial, int]] = {
    Denial.KEY: 401,
    Denial.SUSPENDED: 403,
    Denial.RATE: 429,
    Denial.MODEL: 404,
    Denial.ROUTE: 404,
    Denial.MALFORMED: 400,
    Denial.TOO_LARGE: 413,
    Denial.DRAINING: 500,
}
_ROLES: Final = {"inputs": TextRole.POSITIVE, "parameters.negative_prompt": TextRole.NEGATIVE}
_PLACE: Final = re.compile(r"(?:`\$\.|unknown field `)([A-Za-z0-9_.]{1,40})`")
_Prompt = Annotated[str, Meta(min_length=1, max_length=32_000)]
_Side = Annotated[int, Meta(ge=8, le=4096)]


class _Size(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    width: _Side
    height: _Side


class _Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    negative_prompt: Annotated[str, Meta(max_length=32_000)] | None = None
    width: _Side | None = None
    height: _Side | None = None
    target_size: _Size | None = None
    guidance_scale: Annotated[float, Meta(ge=-1000, le=1000)] | None = None
    num_inference_steps: Annotated[int, Meta(ge=1, le=200)] | None = None
    scheduler: Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_+ .\-]*$")] | None = None
    seed: Annotated[int, Meta(ge=-1, le=(1 << 63) - 1)] | None = None


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service of old was told about its queue. Read, and not passed on."""

    use_cache: bool | None = None
    wait_for_model: bool | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    inputs: _Prompt
    parameters: _Parameters | None = None
    options: _Options | None = None


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """The dialect. ``upstream_prefix``: what stands before ``/models/`` at the generator."""

    upstream_prefix: str = ""
    name: str = "huggingface"

    def routes(self) -> Sequence[Route]:
        """Every path that is known. A model's name has a slash in it."""
        return (
            Route("POST", "/models/{model:.+}", self._made),
            Route("POST", "/hf-inference/models/{model:.+}", self._made),
        )

    # -- noes

    def refused(self, error: RefusedError) -> web.Response:
        """A refusal where no request is known; the handler, that knows one, says it itself."""
        return _refusal(error, "")

    def unable(self, error: UnableError) -> web.Response:
        """500, and final: a 503 would be asked again."""
        return said({"error": str(error), "error_type": "gateway_fault"}, 500, FINAL)

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away."""
        headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
        status = 400 if error.denial is Denial.ROUTE and error.field else _STATUS[error.denial]
        if error.denial is not Denial.RATE:
            headers |= FINAL
        message = f"{error.message}: {error.field}" if error.field else error.message
        return said({"error": message, "error_type": str(error.denial)}, status, headers)

    # -- one request

    async def _made(self, request: web.Request) -> web.Response:
        known(request, bearer(request))
        wanted = _wanted(await whole(request), request.match_info["model"], request[OFFERED])
        _accepts(request.headers.get("Accept", "*/*"))
        caller = await entered(request, "", wanted.asked)
        try:
            return await self._answered(request, wanted, caller)
        except RefusedError as error:
            return _refusal(error, request[REQUEST_ID])

    async def _answered(self, request: web.Request, wanted: _Wanted, caller: Caller) -> web.Response:
        door = request[DOOR]
        passage = await door.guard.admit(caller, wanted.asked, acknowledged=acknowledged(request))
        path = f"{self.upstream_prefix}/models/{wanted.model}"
        body = changed(wanted.fields, passage.texts)
        answer = await door.upstream.exchange("POST", path, json=body, headers={"Accept": "image/png"})
        found = await door.guard.release(passage, [_picture(answer)])
        if (error := sole_verdict(found)) is not None:
            raise error
        image = found[0]
        assert isinstance(image, Released)
        kind = {"svg": "svg+xml", "jpg": "jpeg"}.get(image.format, image.format)
        told = {"x-gateway-revised": "true"} if passage.texts else {}
        return web.Response(body=image.content, content_type=f"image/{kind}", headers=told)


@dataclass(frozen=True, slots=True)
class _Wanted:
    model: str
    asked: Asked
    fields: Mapping[str, Any] = field(repr=False)


def _wanted(body: bytes, model: str, models: frozenset[str]) -> _Wanted:
    """What is asked for, with the fields that are forwarded. Raises DeniedError."""
    if model not in models:
        raise DeniedError(Denial.MODEL, "this model is not offered here")
    try:
        found = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        place = _PLACE.search(str(error))
        message = "a field is not known here, is missing, or has a value that it cannot have"
        raise DeniedError(Denial.MALFORMED, message, field=place[1] if place else "") from None
    except (ValueError, RecursionError):
        raise DeniedError(Denial.MALFORMED, "the body is not a JSON object") from None
    fields = {"inputs": found.inputs, "parameters": msgspec.to_builtins(found.parameters or _Parameters())}
    texts = tuple(Text(_ROLES.get(where, TextRole.OTHER), value, where) for where, value in strings(fields) if value)
    return _Wanted(model, Asked(texts, names=(Name(NameKind.MODEL, model),)), fields)


def _accepts(accept: str) -> None:
    if not any(part.split(";")[0].strip().startswith(("image/", "*/*")) for part in accept.split(",")):
        raise DeniedError(Denial.MALFORMED, "the answer is an image: accept one")


def _picture(answer: Answer) -> bytes:
    """The picture of an answer. Raises UnableError for anything else; DeniedError where the generator does not take the request."""
    if answer.status in (400, 404, 422):
        raise DeniedError(Denial.MALFORMED, "the generator does not take this request")
    if answer.status != 200 or format_of(answer.body) is None:
        raise UnableError(GENERATOR)
    return answer.body


def _refusal(error: RefusedError, request: str) -> web.Response:
    message = f"the request was rejected by the safety system; contact whoever runs this gateway: {request}"
    told = details(error)
    return said({"error": message, "error_type": "moderation_blocked", "moderation_details": told}, 400, FINAL)
