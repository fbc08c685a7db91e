"""All dialects of the stand-in on one port: ``python -m custodes.demo.generator.server`` prints its address and draws until it is ended.

Promises to listen where it is told and nowhere else, to keep nothing on disk, and to answer only with its key where it has one.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from custodes.demo.generator.a1111 import A1111
from custodes.demo.generator.comfyui import ComfyUI
from custodes.demo.generator.huggingface import HuggingFace
from custodes.demo.generator.openai import OpenAI
from custodes.demo.generator.studio import Manner, Studio

__all__ = ["application", "listening"]

BODY_BYTES_MAX: Final = 64 << 20


def application(studio: Studio) -> web.Application:
    """The generator as a web application."""

    @web.middleware
    async def keyed(request: web.Request, handler: Handler) -> web.StreamResponse:
        if studio.manner.key and request.headers.get("Authorization") != f"Bearer {studio.manner.key}":
            return web.json_response({"error": {"message": "a key is needed"}}, status=401)
        return await handler(request)

    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[keyed])
    for dialect in (OpenAI(studio), A1111(studio), ComfyUI(studio), HuggingFace(studio)):
        dialect.add_to(app)
    return app


@asynccontextmanager
async def listening(studio: Studio, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """The generator's address, while it draws."""
    runner = web.AppRunner(application(studio), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _stand(manner: Manner, port: int) -> None:
    async with listening(Studio(manner), port=port) as address:
        print(address, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Stand on loopback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="", help="answer only with this key")
    parser.add_argument("--draw-s", type=float, default=0.0, help="seconds that a drawing takes")
    options = parser.parse_args()
    asyncio.run(_stand(Manner(key=options.key, draw_s=options.draw_s), options.port))


if __name__ == "__main__":
    main()
