"""A stand-in for ComfyUI on loopback that leaks as the real one does: previews and broadcasts on every socket, the files of all, everybody's history."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.gateway.fakes import MARK, listening, picture

SECRET = MARK.decode()
PREVIEW = struct.pack(">II", 1, 1) + picture()
PREVIEW_WITH_METADATA = struct.pack(">II", 4, 2) + b"{}" + picture()
SLOW_S = 0.05


def frame(number: int = 0) -> bytes:
    """A whole picture, as SaveImageWebsocket sends it."""
    return struct.pack(">II", 1, 2) + picture(number)


@dataclass
class ComfyStandIn:
    """``behaves``: ok, error, early, garbage, rejected, no id, many, stuck, or no socket; ``batch``: pictures of each node that saves."""

    behaves: str = "ok"
    batch: int = 1
    prompts: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self.go = asyncio.Event()

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[ComfyStandIn]:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self.ws)
        app.router.add_post("/prompt", self.prompt)
        app.router.add_get("/object_info", self.object_info)
        app.router.add_post("/upload/{kind}", self.upload)
        app.router.add_post("/queue", self.queue)
        app.router.add_post("/interrupt", self.interrupt)
        app.router.add_route("*", "/{any:.*}", self.anything)
        async with listening(app) as self.address:
            try:
                yield self
            finally:
                for socket in list(self.sockets.values()):
                    await socket.close()

    async def ws(self, request: web.Request) -> web.StreamResponse:
        if self.behaves == "no socket":
            return web.Response(status=500, body=picture())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = socket
        await socket.send_json({"type": "status", "data": {"status": SECRET, "sid": sid}})
        async for _ in socket:
            pass
        return socket

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.prompts.append(body)
        if self.behaves == "rejected":
            error = {"type": "invalid_prompt", "message": SECRET, "details": SECRET, "extra_info": {}}
            return web.json_response({"error": error, "node_errors": {"3": {"errors": [error]}}}, status=400)
        name = str(uuid.uuid4())
        self.task = asyncio.ensure_future(self.run(body, name))
        if self.behaves == "no id":
            return web.json_response({"note": SECRET})
        return web.json_response({"prompt_id": name, "number": 1, "node_errors": {}})

    async def run(self, body: dict[str, Any], name: str) -> None:
        socket = self.sockets[body["client_id"]]

        async def say(kind: str, **data: Any) -> None:
            await socket.send_json({"type": kind, "data": {"prompt_id": name, "note": SECRET, **data}})

        async def broadcast(prompt_id: str) -> None:
            """What somebody else's run says to all."""
            for each in self.sockets.values():
                await each.send_json({"type": "executing", "data": {"node": "9", "prompt_id": prompt_id}})
                await each.send_json({"type": "executed", "data": {"output": SECRET, "prompt_id": prompt_id}})
                await each.send_bytes(PREVIEW)

        if self.behaves == "stuck":
            await self.go.wait()
        await broadcast("of-somebody-else")
        await say("execution_start")
        await say("execution_cached", nodes=["4", SECRET])
        for node, piece in body["prompt"].items():
            await say("executing", node=node, display_node=SECRET)
            await say("progress", value=1, max=2, node=node)
            await say("progress_state", nodes={node: {"value": SECRET, "max": 1, "state": "running"}, SECRET: {}})
            await socket.send_bytes(PREVIEW)
            await socket.send_bytes(PREVIEW_WITH_METADATA)
            if self.behaves == "running":
                await self.go.wait()
            if piece["class_type"] == "SaveImageWebsocket":
                for number in range(99 if self.behaves == "many" else self.batch):
                    await socket.send_bytes(frame(number))
            elif piece["class_type"] == "KSampler":  # the same bytes as a final picture has, before there is one
                await socket.send_bytes(frame(9))
            if self.behaves == "early":
                await socket.close()
                return
            if self.behaves == "garbage":
                await socket.send_str("{" + SECRET)
            await say("executed", node=node, output={"images": [{"filename": "a.png"}], "text": [SECRET]})
        if self.behaves == "error":
            await say(
                "execution_error", node_id="3", exception_message=SECRET, traceback=[SECRET], current_inputs=SECRET
            )
        elif self.behaves == "running":
            await say("execution_interrupted", node_id="3", executed=[SECRET])
        else:
            await say("execution_success")
        await broadcast("of-somebody-else")
        await say("executing", node=None)

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        content = form["image"].file.read()  # type: ignore[union-attr]
        name = form["image"].filename  # type: ignore[union-attr]
        if "original_ref" in form:
            content = self.uploads[json.loads(str(form["original_ref"]))["filename"]] + b" masked by " + content
        self.uploads[name] = content
        return web.json_response({"name": name, "subfolder": "", "type": "input"})

    async def object_info(self, _: web.Request) -> web.Response:
        loader = {
            "required": {"ckpt_name": [["demo", "somebodys.ckpt"]], "secret": [[SECRET]]},
            "hidden": {"x": SECRET},
        }
        load = {"required": {"image": [["of-somebody.png"], {"image_upload": True}]}}
        return web.json_response(
            {
                "CheckpointLoaderSimple": {"input": loader, "output": ["MODEL"], "python_module": SECRET},
                "LoadImage": {"input": load},
                "OpenAIDalle3": {"input": {}},
            }
        )

    async def queue(self, request: web.Request) -> web.Response:
        self.deleted += (await request.json()).get("delete", [])
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        self.interrupted.append((await request.json())["prompt_id"])
        self.go.set()
        return web.Response()

    async def anything(self, request: web.Request) -> web.Response:
        """All other routes show everything to everybody."""
        self.asked.append(request.path)
        name = request.query.get("filename", "")
        if request.path == "/view" and name in self.uploads:
            return web.Response(body=self.uploads[name])
        return web.Response(body=picture(), content_type="image/png")
