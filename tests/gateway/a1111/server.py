"""A server that speaks A1111's API, on loopback: it remembers what it was asked, answers as a test says, and leaks wherever a real one would."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from PIL import Image, PngImagePlugin

from tests.gateway.fakes import MARK, listening, picture

LEAK = base64.b64encode(picture(7)).decode()
"""Pixels as text, for every string that nobody looks at."""
GARBAGE = {
    "no json": picture,
    "not an object": lambda: json.dumps([LEAK]).encode(),
    "no images": lambda: json.dumps({"images": [], "parameters": {}, "info": LEAK}).encode(),
    "no base64": lambda: json.dumps({"images": ["%" + LEAK]}).encode(),
    "an empty picture": lambda: json.dumps({"images": [""]}).encode(),
    "far too many": lambda: json.dumps({"images": [LEAK] * 60}).encode(),
    "too long": lambda: json.dumps({"images": [LEAK]}).encode() + b" " * (1 << 20),
    "deep": lambda: b'{"images":' + b"[" * 100_000,
}


def real(number: int = 0, text: str = "") -> bytes:
    """A picture that can be decoded, with a text in it."""
    told, out = PngImagePlugin.PngInfo(), io.BytesIO()
    told.add_text("parameters", text or MARK.decode())
    Image.new("RGB", (8, 8), (number * 40 % 256, 90, 120)).save(out, "PNG", pnginfo=told)
    return out.getvalue()


@dataclass
class Server:
    """``behaves``: ok, status, garbage, early, slow or redirect; ``extra``: grids and maps beside what was asked for."""

    behaves: str = "ok"
    detail: Any = None
    extra: int = 0
    decodable: bool = False
    installed: Any = field(
        default_factory=lambda: {"loaded": {"bright-hands": {}, "Moss Style": {}}, "skipped": {"sand": {}}}
    )
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    address: str = ""

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Server]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{any:.*}", self.answer)
        async with listening(app) as self.address:
            yield self

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if request.method == "GET":
            return web.json_response(self._shown(request.path.rpartition("/")[2]), headers={"x-leak": LEAK})
        asked = await request.json()
        self.requests.append(asked)
        if self.behaves == "slow":
            await asyncio.sleep(self.detail)
        if self.behaves == "garbage":
            return web.Response(body=GARBAGE[self.detail](), content_type="application/json")
        if self.behaves == "redirect":
            return web.Response(status=302, headers={"Location": self.address + "/elsewhere"}, body=picture())
        if self.behaves == "status":
            return web.json_response({"error": LEAK, "detail": LEAK, "body": LEAK}, status=self.detail)
        body = json.dumps(self.made(asked)).encode()
        return await self._cut(request, body) if self.behaves == "early" else web.Response(body=body)

    def made(self, asked: dict[str, Any]) -> dict[str, Any]:
        count = asked.get("batch_size", 1) * asked.get("n_iter", 1) + self.extra
        images = [real(number) if self.decodable else picture(number) for number in range(count)]
        told = {"seed": 5, "all_seeds": [5, 6], "infotexts": [LEAK], "prompt": LEAK, "sd_model_name": LEAK}
        return {
            "images": [base64.b64encode(image).decode() for image in images] if asked.get("send_images") else [],
            "parameters": {"prompt": LEAK, "init_images": [LEAK]},
            "info": json.dumps(told),
            "html": LEAK,
        }

    def _shown(self, which: str) -> Any:
        if which == "progress":
            state = {"job": LEAK, "job_count": 1, "job_timestamp": LEAK, "sampling_step": 3, "sampling_steps": 20}
            told = {"textinfo": LEAK, "current_image": LEAK, "current_task": LEAK}
            return {"progress": 0.5, "eta_relative": 2.5, "state": state, **told}
        if which == "embeddings":
            return self.installed
        more = {"options": {"x": LEAK}, "model_path": LEAK, "aliases": []}
        return [{"name": "Euler a", **more}, {"name": LEAK + "/", **more}, {"name": {"deep": LEAK}}, LEAK]

    async def _cut(self, request: web.Request, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[:-5])
        assert request.transport is not None
        request.transport.close()
        return response
