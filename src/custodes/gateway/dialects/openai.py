"""OpenAI's Images API, for its clients as they are: generations, edits, variations, models. Both generations of the API; all its other paths are unknown.

Channels that could carry a picture to a client, and what becomes of each: ``b64_json`` and links (only what the guard released), partial images (never asked
for), ``revised_prompt`` (only our own), links of the generator (not followed), error texts (not passed on), headers (none of the generator's).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import web

from custodes.gateway.dialects.bodies import (
    OFFERED,
    acknowledged,
    bearer,
    entered,
    form,
    json_object,
    known,
    visited,
    whole,
)
from custodes.gateway.dialects.moderations import moderated
from custodes.gateway.dialects.openai_answers import Made, Turned, made_by, refusal, sole_verdict, turned_away
from custodes.gateway.dialects.openai_fields import Wanted, Work, from_form, from_json
from custodes.gateway.dialects.shelf import Shelf
from custodes.gateway.dialects.words import FINAL, denial, denied, failed, failure, problem, said
from custodes.gateway.door import DOOR, GENERATOR, REQUEST_ID, Denial, DeniedError, Route
from custodes.gateway.guard import Passage, RefusedError, Released, UnableError
from custodes.gateway.upstream import UpstreamError

__all__ = ["OpenAI", "OpenAISettings"]

_FORMATS: Final = {"jpg": "jpeg", "svg+xml": "svg"}
_NO_USAGE: Final[dict[str, Any]] = {  # clients that read events expect figures
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
_KINDS: Final = {"svg": "svg+xml"}


@dataclass(frozen=True, slots=True)
class OpenAISettings:
    """``extra``: further fields that this generator takes, such as ``negative_prompt``. ``public_url``: how clients reach the gateway,
    for links; without it images come in the answer itself.
    """

    extra: frozenset[str] = frozenset()
    public_url: str = ""
    heartbeat_s: float = 10.0


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The dialect."""

    settings: OpenAISettings = OpenAISettings()
    shelf: Shelf = field(default_factory=Shelf)
    name: str = "openai"

    def routes(self) -> Sequence[Route]:
        """Every path that is known."""
        return (
            Route("POST", "/v1/images/generations", self._generations),
            Route("POST", "/v1/images/edits", self._edits),
            Route("POST", "/v1/images/variations", self._variations),
            Route("POST", "/v1/moderations", moderated),
            Route("GET", "/v1/models", self._models),
            Route("GET", "/v1/models/{model}", self._model),
            Route("GET", "/images/released/{name}", self._released),
        )

    # -- noes

    def refused(self, error: RefusedError) -> web.Response:
        """A refusal where no model is known; handlers that know one say it themselves."""
        return problem(refusal(error, "", Work.GENERATIONS, "of this answer"), 400, FINAL)

    def unable(self, error: UnableError) -> web.Response:
        """503, and final."""
        return failed(error.what)

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away."""
        return denied(error)

    # -- routes

    async def _generations(self, request: web.Request) -> web.StreamResponse:
        known(request, bearer(request))
        if request.content_type != "application/json":
            raise DeniedError(Denial.MALFORMED, "the body must be application/json")
        given = json_object(await whole(request))
        return await self._answered(request, from_json(given, self.settings.extra, request[OFFERED]))

    async def _edits(self, request: web.Request) -> web.StreamResponse:
        return await self._of_form(request, Work.EDITS)

    async def _variations(self, request: web.Request) -> web.StreamResponse:
        return await self._of_form(request, Work.VARIATIONS)

    async def _of_form(self, request: web.Request, work: Work) -> web.StreamResponse:
        known(request, bearer(request))
        if request.content_type != "multipart/form-data":
            raise DeniedError(Denial.MALFORMED, "the body must be multipart/form-data")
        parts = await form(await whole(request), request.headers["Content-Type"])
        return await self._answered(request, from_form(work, parts, self.settings.extra, request[OFFERED]))

    async def _models(self, request: web.Request) -> web.Response:
        known(request, bearer(request))
        await visited(request)
        names: frozenset[str] = request[OFFERED]
        return said({"object": "list", "data": [_model(name) for name in sorted(names)]})

    async def _model(self, request: web.Request) -> web.Response:
        known(request, bearer(request))
        await visited(request)
        name = request.match_info["model"]
        if name not in request[OFFERED]:
            raise DeniedError(Denial.MODEL, "this model is not offered here: see /v1/models", field="model")
        return said(_model(name))

    async def _released(self, request: web.Request) -> web.Response:
        image = self.shelf.get(request.match_info["name"])
        if image is None:
            raise DeniedError(Denial.ROUTE, "there is no such image, or no more")
        headers = {"Content-Security-Policy": "default-src 'none'; sandbox"}  # an SVG is a document to a browser
        return web.Response(
            body=image.content, content_type=f"image/{_KINDS.get(image.format, image.format)}", headers=headers
        )

    # -- one request

    async def _answered(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        caller = await entered(request, wanted.user, wanted.asked)
        try:
            passage = await request[DOOR].guard.admit(caller, wanted.asked, acknowledged=acknowledged(request))
            if wanted.stream:
                return await _Stream(self, request, wanted).answered(passage)
            return said(await self.made(request, wanted, passage))
        except RefusedError as error:
            return problem(refusal(error, wanted.model, wanted.work, request[REQUEST_ID]), 400, FINAL)

    async def made(self, request: web.Request, wanted: Wanted, passage: Passage) -> dict[str, Any]:
        """The document that answers: what the generator made, so far as it was released. Raises RefusedError, UnableError, DeniedError, UpstreamError."""
        answer = await self._generated(request, wanted, passage)
        found = await request[DOOR].guard.release(passage, answer.images)
        if (error := sole_verdict(found)) is not None:
            raise error
        revised = {"revised_prompt": passage.texts["prompt"]} if "prompt" in passage.texts else {}
        released = [each for each in found if isinstance(each, Released)]
        data = [{**self._given(wanted, each), **revised} for each in released]
        blocked = [number for number, each in enumerate(found) if not isinstance(each, Released)]
        format_name = released[0].format
        return {
            "created": answer.created,
            "data": data,
            **answer.told,
            "output_format": _FORMATS.get(format_name, format_name),
            **({"x_gateway": {"blocked": blocked}} if blocked else {}),
        }

    async def _generated(self, request: web.Request, wanted: Wanted, passage: Passage) -> Made:
        door, path = request[DOOR], f"/v1/images/{wanted.work}"
        answer = await door.upstream.exchange("POST", path, **wanted.body(passage))
        no = turned_away(answer, wanted.work)
        if isinstance(no, Turned):
            raise await door.guard.refused_by_generator(passage, no.stage)
        if no is not None:
            raise no
        return made_by(answer, wanted.asked.count)

    def _given(self, wanted: Wanted, image: Released) -> dict[str, str | bytes]:
        base = self.settings.public_url.rstrip("/")
        if wanted.as_url and base:
            return {"url": f"{base}/images/released/{self.shelf.put(image)}"}
        return {"b64_json": image.content}  # which JSON has in base64


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


# -- streams


@dataclass(frozen=True, slots=True)
class _Stream:
    """An answer as events: comments while there is nothing to tell, then what was released, or one error."""

    dialect: OpenAI
    request: web.Request
    wanted: Wanted

    async def answered(self, passage: Passage) -> web.StreamResponse:
        """The refusal of a request is no stream; what comes later is told in it."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(self.request)
        events = asyncio.ensure_future(self._events(passage))
        try:
            await self._waited(events, response)
        finally:
            events.cancel()
        for event in events.result():
            await response.write(event)
        await response.write_eof()
        return response

    async def _waited(self, events: asyncio.Future[list[bytes]], response: web.StreamResponse) -> None:
        """Until there are events. A client that leaves does not end the judging: what is withheld is recorded and sealed."""
        here = True
        while not events.done():
            await asyncio.wait([events], timeout=self.dialect.settings.heartbeat_s if here else None)
            if not events.done() and here:
                try:
                    await response.write(b": the picture is being made and looked at\n\n")
                except ConnectionError:
                    here = False

    async def _events(self, passage: Passage) -> list[bytes]:
        try:
            document = await self.dialect.made(self.request, self.wanted, passage)
        except RefusedError as error:
            return [_error(refusal(error, self.wanted.model, self.wanted.work, self.request[REQUEST_ID]))]
        except UnableError as error:
            return self._unable(error.what)
        except UpstreamError:
            return self._unable(GENERATOR)
        except DeniedError as error:
            self.request[DOOR].counts.denied(error.denial)
            return [_error(denial(error)[1])]
        return [self._completed(document, image) for image in document["data"]]

    def _unable(self, what: str) -> list[bytes]:
        self.request[DOOR].failed(what)
        return [_error(failure(what))]

    def _completed(self, document: dict[str, Any], image: dict[str, str | bytes]) -> bytes:
        kind = "image_edit.completed" if self.wanted.work is Work.EDITS else "image_generation.completed"
        told: dict[str, Any] = {name: document[name] for name in ("output_format", "x_gateway") if name in document}
        event: dict[str, Any] = {
            "type": kind,
            **image,
            "created_at": document["created"],
            "size": document.get("size", "auto"),
            "quality": document.get("quality", "auto"),
            "background": document.get("background", "auto"),
            "usage": document.get("usage", _NO_USAGE),
            **told,
        }
        return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _error(error: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode({"type": "error", "error": error}) + b"\n\n"
