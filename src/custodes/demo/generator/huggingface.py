"""The stand-in speaks Hugging Face's text-to-image: a text in, the bytes of a picture out."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from custodes.demo.generator.drawing import Wish
from custodes.demo.generator.studio import Fault, Studio, whole_number

__all__ = ["HuggingFace"]


@dataclass(frozen=True)
class HuggingFace:
    """The routes."""

    studio: Studio

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        for path in ("/models/{model:.+}", "/hf-inference/models/{model:.+}"):
            app.router.add_post(path, self._made)

    async def _made(self, request: web.Request) -> web.StreamResponse:
        if self.studio.manner.fault is Fault.REFUSES:
            return web.json_response({"error": "content policy"}, status=400)
        try:
            given = await request.json()
            more = given.get("parameters") or {}
            size = whole_number(more.get("width"), 512), whole_number(more.get("height"), 512)
            wish = Wish(str(given.get("inputs", "")), *size, max(0, whole_number(more.get("seed"), 0)))
            pictures = await self.studio.pictures(request.path, wish, 1)
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        if self.studio.manner.fault is Fault.GARBAGE:
            return web.json_response({"error": None, "image": pictures[0].hex()})
        return await self.studio.reply(request, b"".join(pictures), "image/png", pictures)
