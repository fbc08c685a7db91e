"""The stand-in speaks ComfyUI: graphs, a queue, a websocket with previews, files that anybody may view, a history that everybody may read.

Promises the flow that ComfyUI's own example clients rely on. Of a graph it understands the few core nodes that lead to a picture; the others it takes for text.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import WSMsgType, web

from custodes.demo.generator.drawing import Wish, drawn
from custodes.demo.generator.studio import HUGE_BYTES, Fault, Studio, whole_number

__all__ = ["ComfyUI"]

OUTPUTS: Final = ("SaveImage", "PreviewImage", "SaveImageWebsocket")
_TEXTS: Final = ("text", "string", "string_a", "string_b", "value")
_NODES: Final = (
    "CheckpointLoaderSimple",
    "CLIPTextEncode",
    "EmptyLatentImage",
    "KSampler",
    "VAEDecode",
    "LoadImage",
    "StringConcatenate",
    *OUTPUTS,
)
_PREVIEW: Final = 1
_PNG: Final = 2
Graph = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Job:
    number: int
    id: str
    client: str
    graph: Graph


@dataclass
class ComfyUI:
    """The routes, and all that the server knows of its clients."""

    studio: Studio
    sockets: dict[str, web.WebSocketResponse] = field(default_factory=dict, repr=False)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    history: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    waiting: list[_Job] = field(default_factory=list, repr=False)
    running: _Job | None = None
    count: int = 0
    _bell: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def add_to(self, app: web.Application) -> None:
        """Its routes, under both prefixes."""
        app.cleanup_ctx.append(self._working)
        for prefix in ("", "/api"):
            app.router.add_get(f"{prefix}/ws", self._socket)
            app.router.add_post(f"{prefix}/prompt", self._prompt)
            app.router.add_get(f"{prefix}/prompt", self._remaining)
            app.router.add_get(f"{prefix}/queue", self._queue)
            app.router.add_post(f"{prefix}/queue", self._unqueue)
            app.router.add_post(f"{prefix}/interrupt", self._unqueue)
            app.router.add_get(f"{prefix}/history", self._history)
            app.router.add_get(f"{prefix}/history/{{id}}", self._history)
            app.router.add_post(f"{prefix}/history", self._unqueue)
            app.router.add_get(f"{prefix}/view", self._view)
            app.router.add_post(f"{prefix}/upload/{{what:image|mask}}", self._upload)
            for name in ("object_info", "object_info/{node}", "system_stats", "features", "models", "embeddings"):
                app.router.add_get(f"{prefix}/{name}", self._about)
            app.router.add_get(f"{prefix}/models/{{folder}}", self._about)

    # -- what clients ask

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        name = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[name] = socket  # who comes with the same name takes the session over
        with suppress(ConnectionError):
            await self._send(name, "status", {"status": {"exec_info": {"queue_remaining": self._left()}}, "sid": name})
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        if self.sockets.get(name) is socket:
            del self.sockets[name]
        return socket

    async def _prompt(self, request: web.Request) -> web.StreamResponse:
        if self.studio.manner.fault is Fault.REFUSES:
            return web.json_response(_wrong("moderation", "refused by the generator"), status=400)
        try:
            given = await request.json()
            graph = given["prompt"]
            outputs = [name for name, node in graph.items() if node["class_type"] in OUTPUTS]
        except (ValueError, KeyError, TypeError, AttributeError):
            return web.json_response(_wrong("no_prompt", "No prompt provided"), status=400)
        if not outputs:
            return web.json_response(_wrong("prompt_no_outputs", "Prompt has no outputs"), status=400)
        self.count += 1
        job = _Job(self.count, str(given.get("prompt_id") or uuid.uuid4()), str(given.get("client_id") or ""), graph)
        self.waiting.append(job)
        self._bell.set()
        return await self.studio.told(request, {"prompt_id": job.id, "number": job.number, "node_errors": {}})

    async def _remaining(self, _: web.Request) -> web.Response:
        return web.json_response({"exec_info": {"queue_remaining": self._left()}})

    async def _queue(self, _: web.Request) -> web.Response:
        running = [_row(self.running)] if self.running else []
        return web.json_response({"queue_running": running, "queue_pending": [_row(job) for job in self.waiting]})

    async def _unqueue(self, request: web.Request) -> web.Response:
        with suppress(ValueError, AttributeError, TypeError):
            gone = set((await request.json()).get("delete") or ())
            self.waiting = [job for job in self.waiting if job.id not in gone]
        return web.Response()

    async def _history(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("id")
        found = self.history if name is None else {name: self.history[name]} if name in self.history else {}
        return await self.studio.told(request, found, list(self.files.values())[:1])

    async def _view(self, request: web.Request) -> web.StreamResponse:
        picture = self.files.get((request.query.get("type", "output"), request.query.get("filename", "")))
        if picture is None:
            return web.Response(status=404)
        return await self.studio.reply(request, picture, "image/png", [picture])

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        image = form.get("image")
        if not isinstance(image, web.FileField):
            return web.Response(status=400)
        with image.file as file:
            self.files["input", image.filename] = file.read()
        return await self.studio.told(request, {"name": image.filename, "subfolder": "", "type": "input"})

    async def _about(self, request: web.Request) -> web.Response:
        if "object_info" in request.path:
            return web.json_response({name: _described(name) for name in _NODES})
        if "/models" in request.path:
            known = {"checkpoints": ["demo.safetensors"], "loras": ["hats.safetensors"]}
            folder = request.match_info.get("folder")
            return web.json_response(list(known) if folder is None else known.get(folder, []))
        if "system_stats" in request.path:
            return web.json_response({"system": {"comfyui_version": "0.3.64", "argv": ["main.py"]}, "devices": []})
        return web.json_response({"supports_preview_metadata": True} if "features" in request.path else [])

    # -- work

    async def _working(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._work())
        yield
        task.cancel()
        for socket in [*self.sockets.values()]:
            await socket.close()

    async def _work(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self.waiting:
                self.running = self.waiting.pop(0)
                await self._executed(self.running)
                self.running = None
                await self._send("", "status", {"status": {"exec_info": {"queue_remaining": self._left()}}})

    async def _executed(self, job: _Job) -> None:
        told = {"prompt_id": job.id}
        await self._send(job.client, "execution_start", told)
        await self._send(job.client, "execution_cached", {"nodes": [], **told})
        outputs: dict[str, Any] = {}
        try:
            for name, node in job.graph.items():
                await self._send(job.client, "executing", {"node": name, "display_node": name, **told})
                if node["class_type"] == "KSampler":
                    await self._preview(job, name)
                if node["class_type"] in OUTPUTS:
                    await self._misbehave(job)
                    outputs[name] = await self._output(job, name, node["class_type"])
                    await self._send(job.client, "executed", {"node": name, "output": outputs[name], **told})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            trouble = {"exception_message": str(error), "exception_type": "ValueError", "traceback": [str(job.graph)]}
            await self._send(
                job.client, "execution_error", {"node_id": "1", "node_type": "KSampler", **told, **trouble}
            )
        self.history[job.id] = {
            "prompt": _row(job),
            "outputs": outputs,
            "status": {"status_str": "success" if outputs else "error", "completed": bool(outputs), "messages": []},
            "meta": {},
        }
        await self._send(job.client, "execution_success", told)
        await self._send(job.client, "executing", {"node": None, **told})

    async def _output(self, job: _Job, name: str, kind: str) -> dict[str, Any]:
        wish, count = _wish(job.graph, name)
        pictures = await self.studio.pictures("/prompt", wish, count)
        if kind == "SaveImageWebsocket":
            for picture in pictures:
                await self._send_picture(job.client, picture)
            return {}
        folder = "output" if kind == "SaveImage" else "temp"
        images = []
        for number, picture in enumerate(pictures):
            file = f"{kind}_{job.number:05}_{number:02}_.png"
            self.files[folder, file] = picture
            images.append({"filename": file, "subfolder": "", "type": folder})
        return {"images": images}

    async def _preview(self, job: _Job, sampler: str) -> None:
        """What the sampler has so far, told to everybody, as where a request names no client."""
        wish, _ = _wish(job.graph, next(name for name, node in job.graph.items() if node["class_type"] in OUTPUTS))
        for step in range(2 if self.studio.manner.leaks else 0):
            progress = {"value": step + 1, "max": 2, "node": sampler, "prompt_id": job.id}
            await self._send(job.client, "progress", progress)
            await self._send_picture("", drawn(wish))

    async def _misbehave(self, job: _Job) -> None:
        """The faults that a websocket has room for."""
        socket = self.sockets.get(job.client)
        match self.studio.manner.fault:
            case Fault.SLOW:
                await asyncio.sleep(self.studio.manner.slow_s)
            case Fault.EARLY | Fault.DIES if socket is not None:
                await socket.close()
            case Fault.STATUS | Fault.NOTHING:
                raise ValueError("the sampler broke")
            case Fault.GARBAGE | Fault.WRONG_TYPE if socket is not None:
                await socket.send_str('{"type": "executed", "data": [')
                await socket.send_bytes(b"\xff" * 7)
            case Fault.HUGE if socket is not None:
                await socket.send_bytes(struct.pack(">II", _PREVIEW, _PNG) + bytes(HUGE_BYTES))

    # -- sockets

    async def _send(self, client: str, kind: str, data: Mapping[str, Any]) -> None:
        for socket in self._of(client):
            with suppress(ConnectionError):
                await socket.send_str(json.dumps({"type": kind, "data": data}))

    async def _send_picture(self, client: str, picture: bytes) -> None:
        for socket in self._of(client):
            with suppress(ConnectionError):
                await socket.send_bytes(struct.pack(">II", _PREVIEW, _PNG) + picture)

    def _of(self, client: str) -> list[web.WebSocketResponse]:
        """The client's socket; all sockets where no client is named."""
        found = [self.sockets[client]] if client in self.sockets else [] if client else [*self.sockets.values()]
        return [socket for socket in found if not socket.closed]

    def _left(self) -> int:
        return len(self.waiting) + (self.running is not None)


# -- graphs


def _wish(graph: Graph, output: str) -> tuple[Wish, int]:
    """What an output node shows: the words and sizes of all that leads to it, the negative prompt left out."""
    words: list[str] = []
    sizes: dict[str, int] = {}
    seen: set[str] = set()

    def follow(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        for key, value in graph[name]["inputs"].items():
            if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph:
                if key != "negative":
                    follow(str(value[0]))
            elif key in _TEXTS and isinstance(value, str):
                words.append(value)
            elif key in ("width", "height", "batch_size", "seed"):
                sizes[key] = whole_number(value, 512)

    follow(output)
    size = sizes.get("width", 512), sizes.get("height", 512)
    return Wish(" ".join(words), *size, sizes.get("seed", 0) % 2**31), sizes.get("batch_size", 1)


def _row(job: _Job) -> list[Any]:
    outputs = [name for name, node in job.graph.items() if node["class_type"] in OUTPUTS]
    return [job.number, job.id, job.graph, {"client_id": job.client}, outputs]


def _wrong(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "details": message, "extra_info": {}}, "node_errors": {}}


def _described(name: str) -> dict[str, Any]:
    return {"name": name, "input": {"required": {}}, "output": [], "output_node": name in OUTPUTS, "category": ""}
