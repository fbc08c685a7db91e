"""A generator that speaks OpenAI's dialect, on loopback: it remembers what it was asked, and answers as a test says, badly too."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.gateway.fakes import listening, picture

GARBAGE = {
    "no json": lambda image: image,
    "not an object": lambda image: json.dumps([base64.b64encode(image).decode()]).encode(),
    "no data": lambda image: json.dumps({"created": 1, "data": []}).encode(),
    "one too many": lambda image: document([image] * 2),
    "no base64": lambda image: json.dumps({"data": [{"b64_json": "%" + base64.b64encode(image).decode()}]}).encode(),
    "empty picture": lambda image: json.dumps({"data": [{"b64_json": ""}]}).encode(),
    "a link": lambda image: json.dumps(
        {"data": [{"url": "data:;base64," + base64.b64encode(image).decode()}]}
    ).encode(),
    "too long": lambda image: document([image]) + b" " * (1 << 20),
    "deep": lambda image: b'{"data":' + b"[" * 100_000,
}
"""Answers that are none, each with pixels in it where there is room."""


def document(images: list[bytes], **more: Any) -> bytes:
    """An answer as OpenAI gives it, with pixels in every string that nobody looks at."""
    text = base64.b64encode(picture()).decode()
    data = [
        {"b64_json": base64.b64encode(image).decode(), "revised_prompt": text, "url": f"data:;base64,{text}"}
        for image in images
    ]
    usage = {
        "input_tokens": 1,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 1, text: 5},
        "output_tokens": 2,
        "total_tokens": 3,
    }
    return json.dumps(
        {"created": 1700000000, "data": data, "quality": text, "size": "8x8", "usage": usage, "note": text} | more
    ).encode()


@dataclass
class Generator:
    """``behaves``: ok, status, garbage, early, slow, moderated or redirect; ``detail``: which."""

    behaves: str = "ok"
    detail: Any = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Generator]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{any:.*}", self.answer)
        async with listening(app) as self.address:
            yield self

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await self._asked(request)
        self.requests.append(asked)
        count = int(asked["fields"].get("n", 1))
        text = base64.b64encode(picture()).decode()
        if self.behaves == "slow":
            await asyncio.sleep(self.detail)
        if self.behaves == "garbage":
            return web.Response(body=GARBAGE[self.detail](picture()), content_type="application/json")
        if self.behaves == "early":
            return await self._cut(request, document([picture()]))
        if self.behaves == "redirect":
            return web.Response(status=302, headers={"Location": self.address + "/elsewhere"}, body=picture())
        if self.behaves == "status":
            status, error = self.detail
            return web.json_response(
                {"error": {"message": text, "type": text} | error}, status=status, headers={"x-leak": text}
            )
        return web.Response(
            body=document([picture(n) for n in range(count)]), content_type="application/json", headers={"x-leak": text}
        )

    async def _cut(self, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[:-5])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _asked(self, request: web.Request) -> dict[str, Any]:
        found: dict[str, Any] = {"path": request.path, "key": request.headers.get("Authorization"), "files": []}
        if request.content_type == "multipart/form-data":
            form = await request.post()
            found["fields"] = {name: value for name, value in form.items() if isinstance(value, str)}
            for name, value in form.items():
                if isinstance(value, web.FileField):
                    with value.file as file:
                        found["files"].append((name, file.read(), value.filename))
        else:
            found["fields"] = await request.json() if request.can_read_body else {}
        return found
