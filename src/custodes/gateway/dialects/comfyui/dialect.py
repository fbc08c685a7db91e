"""ComfyUI, for its interface and for programs that use its routes and its socket, under both of its prefixes. What it does not know by name is denied.

Channels that could carry a picture to a client, and what becomes of each: saved and previewed files (made by the generator on the gateway's own socket, kept
here as the guard released them, and served by ``/view`` from here only), frames of ``SaveImageWebsocket`` (sent when the run is over and they were released),
pictures that the graph changes after they were drawn (judged as they were drawn, too), previews (dropped), broadcasts (dropped), ``/view`` of the generator's
folders (never passed on), history and queue (the gateway's own, of the tenant alone), errors with ``current_inputs`` and tracebacks (said anew), metadata in
pictures (written again), uploads (never served).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from custodes.gateway.dialects.bodies import (
    OFFERED,
    acknowledged,
    basic,
    entered,
    form,
    json_object,
    known,
    visited,
    whole,
)
from custodes.gateway.dialects.comfyui import words
from custodes.gateway.dialects.comfyui.asking import Offer, Plan, check_embeddings, planned
from custodes.gateway.dialects.comfyui.catalogue import MODELS, Catalogue, core
from custodes.gateway.dialects.comfyui.events import event
from custodes.gateway.dialects.comfyui.graph import GraphError
from custodes.gateway.dialects.comfyui.jobs import Job, JobLimits, Jobs
from custodes.gateway.dialects.comfyui.nodes import described
from custodes.gateway.dialects.comfyui.sessions import Sessions
from custodes.gateway.dialects.comfyui.uploads import Uploads, uploaded
from custodes.gateway.dialects.words import said
from custodes.gateway.door import DOOR, GENERATOR, Denial, DeniedError, Handler, Route
from custodes.gateway.guard import Caller, RefusedError, UnableError
from custodes.gateway.vocabulary import Asked, Picture

__all__ = ["ComfySettings", "ComfyUI"]

PREFIXES: Final = ("", "/api")
MESSAGE_BYTES_MAX: Final = 1 << 16
_FIELDS: Final = frozenset(
    {"prompt", "client_id", "prompt_id", "number", "front", "extra_data", "partial_execution_targets", "workflow_id"}
)
"""Of a prompt. Places in the queue, ``extra_data`` (workflows, keys of other companies) and the client's ids are not passed on."""
_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_FEATURES: Final = {"supports_preview_metadata": False}


@dataclass(frozen=True, slots=True)
class ComfySettings:
    """``nodes``: what may stand in a graph; ``folders``: names that may be loaded, by ComfyUI's folder: ``loras``, ``vae``, ``embeddings`` and others."""

    nodes: Catalogue = field(default_factory=core)
    folders: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: JobLimits = field(default_factory=JobLimits)


class ComfyUI:
    """The dialect. It holds who listens, what runs, and what was released, in memory."""

    name = "comfyui"

    def __init__(self, settings: ComfySettings | None = None) -> None:
        self.settings = settings or ComfySettings()
        self.sessions, self.uploads = Sessions(), Uploads()
        self.jobs = Jobs(self.sessions, self.settings.limits)

    def routes(self) -> Sequence[Route]:
        """Every path that is known, under both prefixes."""
        known: tuple[tuple[str, str, Handler], ...] = (
            ("POST", "/prompt", self._prompt),
            ("GET", "/prompt", self._waiting),
            ("GET", "/ws", self._ws),
            ("GET", "/view", self._view),
            ("GET", "/history", self._history),
            ("GET", "/history/{id}", self._history),
            ("POST", "/history", self._forget),
            ("GET", "/queue", self._queue),
            ("POST", "/queue", self._unqueue),
            ("POST", "/interrupt", self._interrupt),
            ("POST", "/upload/image", self._upload_image),
            ("POST", "/upload/mask", self._upload_mask),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{node}", self._object_info),
            ("GET", "/models", self._folders),
            ("GET", "/models/{folder}", self._folder),
            ("GET", "/embeddings", self._embeddings),
            ("GET", "/system_stats", self._system_stats),
            ("GET", "/features", self._features),
        )
        return [
            Route(method, prefix + path, handler, listens=path == "/ws")
            for prefix in PREFIXES
            for method, path, handler in known
        ]

    async def close(self) -> None:
        """The gateway stops: runs end without pictures, and sockets are closed."""
        await self.jobs.close()
        await self.sessions.close()

    # -- noes

    def refused(self, error: RefusedError) -> web.Response:
        """A refusal, as ComfyUI says that a graph cannot be run."""
        return words.refused(error)

    def unable(self, error: UnableError) -> web.Response:
        """503, and final."""
        return words.unable(error)

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away."""
        return words.denied(error)

    # -- prompts

    async def _prompt(self, request: web.Request) -> web.Response:
        _known(request)
        given = json_object(await whole(request))
        if not set(given) <= _FIELDS:
            raise GraphError("invalid_prompt", "a field of the request is not known here")
        offer = self._offer(request)
        plan = planned(given.get("prompt"), self.settings.nodes, offer)
        names = (_id(given, "prompt_id") or secrets.token_hex(16), _id(given, "client_id"))
        # What the request is known by has pictures by their names: whose they are is known only with the caller.
        files = tuple(Picture(each.role, each.name.encode(), f"{each.node}.{each.input}") for each in plan.loaded)
        caller = await entered(request, _user(request), Asked(plan.texts, files, plan.names, plan.count))
        self.jobs.room(caller.tenant, names[0])
        job = await self._begun(request, caller, plan, (names, _targets(given, plan)))
        await self.sessions.tell(caller.tenant, names[1], self.jobs.status(caller.tenant))
        return said({"prompt_id": job.id, "number": job.number, "node_errors": {}})

    async def _begun(
        self, request: web.Request, caller: Caller, plan: Plan, wanted: tuple[tuple[str, str], Mapping[str, Any]]
    ) -> Job:
        """Judged with its pictures, and queued."""
        door, files, pictures = request[DOOR], {}, []
        for each in plan.loaded:
            upload, content = await self.uploads.content(door, caller.tenant, each.name)
            files[each.node, each.input] = upload.theirs
            pictures.append(Picture(each.role, content, f"{each.node}.{each.input}"))
        asked = Asked(plan.texts, tuple(pictures), plan.names, plan.count)
        passage = await door.guard.admit(caller, asked, acknowledged=acknowledged(request))
        check_embeddings(passage.texts, self._offer(request))  # a rewriter, too, may name one
        names, targets = wanted
        body = {"prompt": plan.forwarded(passage.texts, files), **targets}
        return await self.jobs.begin(door, passage, plan, body, names)

    def _offer(self, request: web.Request) -> Offer:
        return Offer(request[OFFERED], self.settings.folders)

    # -- the socket

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        caller = await _visited(request, query=True)
        client = request.query.get("clientId") or secrets.token_hex(16)
        if not _ID.fullmatch(client):
            raise DeniedError(Denial.MALFORMED, "this clientId cannot be taken", field="clientId")
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_BYTES_MAX, heartbeat=30.0)
        await socket.prepare(request)
        await self.sessions.opened(caller.tenant, client, socket)
        status = self.jobs.status(caller.tenant)
        try:
            await self.sessions.tell(caller.tenant, client, {**status, "data": {**status["data"], "sid": client}})
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and '"feature_flags"' in message.data:
                    await self.sessions.tell(caller.tenant, client, event("feature_flags", **_FEATURES))
        finally:
            self.sessions.closed(caller.tenant, client, socket)
        return socket

    # -- what a tenant has

    async def _view(self, request: web.Request) -> web.Response:
        """A picture as it was released. ``preview`` and ``channel`` change nothing: nothing here makes a picture of a picture."""
        caller = await _visited(request)
        query = request.query
        filename, subfolder = query.get("filename", ""), query.get("subfolder", "")
        image = self.jobs.file(caller.tenant, query.get("type", "output"), subfolder, filename)
        if image is None:
            raise DeniedError(Denial.ROUTE, "there is no such picture, or no more")
        return web.Response(body=image.content, content_type=f"image/{image.format}")

    async def _history(self, request: web.Request) -> web.Response:
        caller = await _visited(request)
        name = request.match_info.get("id")
        ended = {each: job.history() for each, job in self.jobs.of(caller.tenant).items() if job.last is not None}
        return said(ended if name is None else {each: ended[each] for each in ended if each == name})

    async def _forget(self, request: web.Request) -> web.Response:
        caller, names = await self._named(request)
        for name in names:
            self.jobs.forget(caller.tenant, name)
        return web.Response()

    async def _queue(self, request: web.Request) -> web.Response:
        caller = await _visited(request)
        jobs = self.jobs.active(caller.tenant)
        running = [job.queued() for job in jobs if job.run.started]
        return said({"queue_running": running, "queue_pending": [job.queued() for job in jobs if not job.run.started]})

    async def _unqueue(self, request: web.Request) -> web.Response:
        caller, names = await self._named(request)
        for job in self.jobs.active(caller.tenant):
            if job.id in names and not job.run.started:
                await self.jobs.stop(request[DOOR], job)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        caller = await _visited(request)
        body = await whole(request)
        name = json_object(body).get("prompt_id") if body else None
        for job in self.jobs.active(caller.tenant):
            if job.run.started and name in (None, job.id):
                await self.jobs.stop(request[DOOR], job)
        return web.Response()

    async def _waiting(self, request: web.Request) -> web.Response:
        caller = await _visited(request)
        return said({"exec_info": {"queue_remaining": len(self.jobs.active(caller.tenant))}})

    async def _named(self, request: web.Request) -> tuple[Caller, Sequence[str]]:
        """The runs that a request is about: some, or all. Raises DeniedError."""
        caller = await _visited(request)
        given = json_object(await whole(request))
        names = given.get("delete", [])
        if not set(given) <= {"delete", "clear"} or not isinstance(names, list):
            raise DeniedError(Denial.MALFORMED, "only clear and delete are known here")
        if given.get("clear"):
            return caller, list(self.jobs.of(caller.tenant))
        return caller, [name for name in names if isinstance(name, str)]

    # -- uploads

    async def _upload_image(self, request: web.Request) -> web.Response:
        return await self._uploaded(request, mask=False)

    async def _upload_mask(self, request: web.Request) -> web.Response:
        return await self._uploaded(request, mask=True)

    async def _uploaded(self, request: web.Request, *, mask: bool) -> web.Response:
        _known(request)
        if request.content_type != "multipart/form-data":
            raise DeniedError(Denial.MALFORMED, "the body must be multipart/form-data")
        wanted = uploaded(await form(await whole(request), request.headers["Content-Type"]), mask=mask)
        caller = await entered(request, _user(request), wanted.asked)
        subfolder, _, name = (await self.uploads.store(request[DOOR], caller, wanted)).rpartition("/")
        return said({"name": name, "subfolder": subfolder, "type": "input"})

    # -- what is offered

    async def _object_info(self, request: web.Request) -> web.Response:
        caller = await _visited(request)
        answer = await request[DOOR].upstream.exchange("GET", "/object_info")
        if answer.status != 200:
            raise UnableError(GENERATOR)
        try:
            given = json_object(answer.body)
        except DeniedError:
            raise UnableError(GENERATOR) from None
        offer, uploads = self._offer(request), self.uploads.names(caller.tenant)
        found = described(given, self.settings.nodes, offer, uploads)
        name = request.match_info.get("node")
        return said(found if name is None else {node: each for node, each in found.items() if node == name})

    async def _folders(self, request: web.Request) -> web.Response:
        await _visited(request)
        return said(sorted({"checkpoints", "embeddings", *self.settings.folders}))

    async def _folder(self, request: web.Request) -> web.Response:
        await _visited(request)
        folder = request.match_info["folder"]
        if folder not in MODELS | self.settings.folders.keys():
            raise DeniedError(Denial.ROUTE, "there is no such folder here")
        return said(sorted(self._offer(request).of(folder)))

    async def _embeddings(self, request: web.Request) -> web.Response:
        await _visited(request)
        return said(sorted(name.rsplit(".", 1)[0] for name in self._offer(request).of("embeddings")))

    async def _system_stats(self, request: web.Request) -> web.Response:
        """So much as an interface needs to begin: nothing of the machine."""
        await _visited(request)
        system = {"os": "", "python_version": "", "comfyui_version": "", "embedded_python": False, "argv": []}
        return said({"system": system, "devices": []})

    async def _features(self, request: web.Request) -> web.Response:
        await _visited(request)
        return said(_FEATURES)


# -- requests


def _known(request: web.Request, *, query: bool = False) -> None:
    """A bearer's key, the password of Basic or its name alone; on the socket, where clients can send no headers, ``?token=``. Raises DeniedError."""
    if query and not request.headers.get("Authorization") and "token" in request.query:
        return known(request, request.query["token"])
    name, password = basic(request)
    return known(request, password or name)


async def _visited(request: web.Request, *, query: bool = False) -> Caller:
    _known(request, query=query)
    return await visited(request, _user(request))


def _user(request: web.Request) -> str:
    """ComfyUI's own word for which user it is: a hint."""
    return request.headers.get("Comfy-User", "")[:512]


def _id(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name) or ""
    if not isinstance(value, str) or (value and not _ID.fullmatch(value)):
        raise GraphError("invalid_prompt", f"this {name} cannot be taken")
    return value


def _targets(given: Mapping[str, Any], plan: Plan) -> Mapping[str, Any]:
    """The part of the graph that is wanted, if only a part is."""
    targets = given.get("partial_execution_targets")
    if targets is None:
        return {}
    if not isinstance(targets, list) or not all(isinstance(each, str) and each in plan.saves for each in targets):
        raise GraphError("invalid_prompt", "partial_execution_targets must be nodes that save pictures")
    return {"partial_execution_targets": [*targets, *sorted(plan.showing - plan.saves.keys())]}
