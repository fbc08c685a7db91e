"""The stand-in speaks OpenAI's Images API: both generations of it, forms, streams with partial pictures, links."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from aiohttp import web

from custodes.demo.generator.drawing import FORMATS, Wish
from custodes.demo.generator.studio import Fault, Studio, base64_of, whole_number

__all__ = ["OpenAI"]

MODELS: Final = ("demo", "gpt-image-2", "dall-e-2")


@dataclass
class OpenAI:
    """The routes, and the pictures that links lead to."""

    studio: Studio
    linked: dict[str, bytes] = field(default_factory=dict, repr=False)

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        for work in ("generations", "edits", "variations"):
            app.router.add_post(f"/v1/images/{work}", self._images)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/linked/{name}", self._linked)

    async def _models(self, _: web.Request) -> web.Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "stand-in"} for name in MODELS]
        return web.json_response({"object": "list", "data": listed})

    async def _linked(self, request: web.Request) -> web.Response:
        picture = self.linked.get(request.match_info["name"])
        return web.Response(body=picture or b"", status=200 if picture else 404, content_type="image/png")

    async def _images(self, request: web.Request) -> web.StreamResponse:
        fields = await _fields(request)
        if self.studio.manner.fault is Fault.REFUSES:
            return web.json_response({"error": _refusal()}, status=400)
        try:
            wish, count = _wish(fields), whole_number(fields.get("n"), 1)
            pictures = await self.studio.pictures(request.path, wish, count)
        except ValueError as error:
            return web.json_response({"error": _problem(str(error))}, status=400)
        if fields.get("stream") in (True, "true"):
            return await self._streamed(request, fields, pictures)
        data = [self._given(request, fields, picture) for picture in pictures]
        document = {"created": int(time.time()), "data": data, "size": f"{wish.width}x{wish.height}"}
        return await self.studio.told(request, document | {"usage": _usage()}, pictures)

    def _given(self, request: web.Request, fields: Mapping[str, Any], picture: bytes) -> dict[str, str]:
        found = {"revised_prompt": str(fields.get("prompt", ""))} if self.studio.manner.leaks else {}
        if fields.get("response_format") != "url":
            return found | {"b64_json": base64_of(picture)}
        name = hashlib.sha256(picture).hexdigest()[:24]
        self.linked[name] = picture
        return found | {"url": f"{request.url.origin()}/linked/{name}"}

    async def _streamed(
        self, request: web.Request, fields: Mapping[str, Any], pictures: list[bytes]
    ) -> web.StreamResponse:
        kind = "image_edit" if request.path.endswith("edits") else "image_generation"
        events = []
        for picture in pictures:
            told = {"b64_json": base64_of(picture), "created_at": int(time.time()), "size": "512x512"}
            told |= {"quality": "low", "background": "opaque", "output_format": "png"}
            partials = whole_number(fields.get("partial_images"), 0) if self.studio.manner.leaks else 0
            events += [(f"{kind}.partial_image", told | {"partial_image_index": at}) for at in range(partials)]
            events.append((f"{kind}.completed", told | {"usage": _usage()}))
        body = b"".join(_event(name, told) for name, told in events) + b"data: [DONE]\n\n"
        return await self.studio.reply(request, body, "text/event-stream", pictures)


async def _fields(request: web.Request) -> dict[str, Any]:
    if request.content_type == "multipart/form-data":
        form = await request.post()
        return {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"n": "none"}


def _wish(fields: Mapping[str, Any]) -> Wish:
    size = str(fields.get("size") or "auto")
    width, _, height = ("512x512" if size == "auto" else size).partition("x")
    made = str(fields.get("output_format") or "png")
    if made not in FORMATS:
        raise ValueError("this format is not drawn")
    frames = whole_number(fields.get("frame_count"), 9) if made == "gif" else 1
    return Wish(str(fields.get("prompt", "")), int(width), int(height), format=made, frames=frames)


def _usage() -> dict[str, Any]:
    return {
        "input_tokens": 1,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 1},
        "output_tokens": 1,
        "total_tokens": 2,
    }


def _event(name: str, told: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **told}) + b"\n\n"


def _problem(message: str) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None}


def _refusal() -> dict[str, Any]:
    return {
        "message": "Your request was rejected by the safety system.",
        "type": "image_generation_user_error",
        "param": None,
        "code": "moderation_blocked",
        "moderation_details": {"moderation_stage": "output", "categories": []},
    }
