"""Runs of graphs: each on a socket of its own at the generator, heard to its end, its pictures judged, and only then told.

Promises that a run is known to its tenant alone; that a picture is kept only as the guard released it; and that a run which breaks in any way ends, for its
client, as an error without pictures. What became of runs is kept in memory, without what was asked.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp

from custodes.gateway.dialects.bodies import json_object
from custodes.gateway.dialects.comfyui import words
from custodes.gateway.dialects.comfyui.asking import WITNESS, Plan
from custodes.gateway.dialects.comfyui.catalogue import Saves
from custodes.gateway.dialects.comfyui.events import End, Event, Run, binary, event
from custodes.gateway.dialects.comfyui.sessions import Sessions
from custodes.gateway.dialects.openai_answers import sole_verdict
from custodes.gateway.dialects.shelf import Shelf
from custodes.gateway.door import GENERATOR, Denial, DeniedError, Door
from custodes.gateway.guard import Passage, RefusedError, Released, UnableError, Withheld
from custodes.gateway.upstream import UpstreamError
from custodes.gateway.vocabulary import Asked

__all__ = ["Job", "JobLimits", "Jobs"]

_PREFIX: Final = re.compile(r"(?:[\w \-]{1,64}/){0,4}[\w \-]{1,64}", re.ASCII)
_FORMATS: Final = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif"}


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What runs may cost. ``active_max``: of one tenant, queued or running; ``kept_max``: ended runs of one tenant that are remembered."""

    active_max: int = 16
    kept_max: int = 256
    files_max: int = 4096
    run_s: float = 3600.0
    bytes_max: int = 256 << 20
    pictures_max: int = 64


@dataclass(slots=True)
class Job:
    """One run, from its admission on."""

    id: str
    client: str = field(repr=False)
    number: int
    passage: Passage = field(repr=False)
    plan: Plan = field(repr=False)
    run: Run = field(repr=False)
    outputs: dict[str, list[Released]] = field(default_factory=dict, repr=False)
    files: dict[str, list[dict[str, str]]] = field(default_factory=dict, repr=False)
    last: Event | None = field(default=None, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.passage.caller.tenant

    def queued(self) -> list[Any]:
        """As a queue lists it: its number and id; what was asked is not repeated."""
        return [self.number, self.id, {}, {}, list(self.plan.saves)]

    def history(self) -> dict[str, Any]:
        """As a history lists it."""
        last = self.last or {"type": "", "data": {}}
        good = last["type"] == "execution_success"
        status = {
            "status_str": "success" if good else "error",
            "completed": good,
            "messages": [[last["type"], last["data"]]],
        }
        outputs = {node: {"images": files} for node, files in self.files.items()}
        return {"prompt": self.queued(), "outputs": outputs, "status": status, "meta": {}}


@dataclass(slots=True)
class Jobs:
    """All runs of all tenants."""

    sessions: Sessions
    limits: JobLimits = JobLimits()
    shelf: Shelf = field(default_factory=Shelf)
    _jobs: dict[str, OrderedDict[str, Job]] = field(default_factory=dict)
    _files: dict[str, OrderedDict[tuple[str, str, str], str]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    # -- what a tenant has

    def of(self, tenant: str) -> Mapping[str, Job]:
        """Runs of this tenant, the oldest first."""
        return self._jobs.get(tenant, {})

    def active(self, tenant: str) -> Sequence[Job]:
        """Those that are not over."""
        return [job for job in self.of(tenant).values() if job.last is None]

    def forget(self, tenant: str, name: str) -> None:
        """An ended run is no longer listed."""
        job = self.of(tenant).get(name)
        if job is not None and job.last is not None:
            del self._jobs[tenant][name]

    def file(self, tenant: str, kind: str, subfolder: str, filename: str) -> Released | None:
        """A picture that was released to this tenant under this name, while it is kept."""
        name = self._files.get(tenant, OrderedDict()).get((kind, subfolder, filename))
        return self.shelf.get(name) if name is not None else None

    def room(self, tenant: str, name: str) -> None:
        """That one more run may begin. Raises DeniedError."""
        if name in self.of(tenant):
            raise DeniedError(Denial.MALFORMED, "this prompt_id is taken", field="prompt_id")
        if len(self.active(tenant)) >= self.limits.active_max:
            raise DeniedError(Denial.RATE, "too many prompts are queued: ask again", retry_after_s=2)

    # -- running

    async def begin(
        self, door: Door, passage: Passage, plan: Plan, body: Mapping[str, Any], names: tuple[str, str]
    ) -> Job:
        """Queue it at the generator. ``names``: its id and its client's. Raises DeniedError, UnableError, UpstreamError."""
        self.room(passage.caller.tenant, names[0])
        ours = secrets.token_hex(16)  # the generator knows this run by nothing that a client chose
        socket = await self._socket(door, ours)
        async with AsyncExitStack() as opened:
            opened.push_async_callback(socket.close)
            theirs = await _queued(door, {**body, "client_id": ours})
            shape = plan.shape()
            run = Run(
                theirs, names[0], shape.graph.pieces, shape.showing, self.limits.bytes_max, self.limits.pictures_max
            )
            job = Job(names[0], names[1], next(self._numbers), replace(passage, asked=Asked(), texts={}), shape, run)
            self._remember(job)
            opened.pop_all()
        job.task = asyncio.create_task(self._followed(job, door, socket))
        door.people.flights.goes_on(passage.caller, job.task)
        job.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return job

    async def _socket(self, door: Door, ours: str) -> aiohttp.ClientWebSocketResponse:
        try:
            return await door.upstream.session.ws_connect(
                door.upstream.address + "/ws",
                params={"clientId": ours},
                max_msg_size=self.limits.bytes_max,
                heartbeat=30.0,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamError(f"the generator opened no socket: {type(error).__name__}") from error

    def _remember(self, job: Job) -> None:
        jobs = self._jobs.setdefault(job.tenant, OrderedDict())
        jobs[job.id] = job
        ended = [name for name, each in jobs.items() if each.last is not None]
        for name in ended[: max(0, len(jobs) - self.limits.kept_max)]:
            del jobs[name]

    async def _followed(self, job: Job, door: Door, socket: aiohttp.ClientWebSocketResponse) -> None:
        """To the end, whatever that is."""
        error: RefusedError | UnableError | None = UnableError("the gateway")
        try:
            async with asyncio.timeout(self.limits.run_s):
                await self._heard(job, socket)
            error = await self._judged(job, door)
        except (TimeoutError, ValueError, aiohttp.ClientError, ConnectionError):
            error = UnableError(GENERATOR)
        except UnableError as unable:
            error = unable
        finally:
            if isinstance(error, UnableError):
                door.failed(error.what)
            await socket.close()
            await self._told(job, error)

    async def _heard(self, job: Job, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Until the generator says that it is over. Raises ValueError."""
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                for each in job.run.text(message.data):
                    await self.sessions.tell(job.tenant, job.client, each)
            elif message.type is aiohttp.WSMsgType.BINARY:
                job.run.frame(message.data)
            if job.run.over:
                return
        raise ValueError("the socket was closed")

    async def _judged(self, job: Job, door: Door) -> RefusedError | UnableError | None:
        """Keep what is released; and say what was not, if anything. Raises UnableError: then nothing is."""
        if job.run.end is not End.SUCCESS:
            return None if job.run.end is End.INTERRUPTED else UnableError(GENERATOR)
        found = await door.guard.release(job.passage, [content for _, content in job.run.pictures])
        shown = [(node, each) for (node, _), each in zip(job.run.pictures, found, strict=True)]
        withheld = [(node, each) for node, each in shown if isinstance(each, Withheld)]
        if not withheld or not (job.plan.derived or any(node not in job.plan.saves for node, _ in withheld)):
            for node, each in shown:
                if isinstance(each, Released) and node in job.plan.saves:
                    self._kept(job, node, each)
        if not withheld:
            return None
        job.run.failed_at = withheld[0][0].removeprefix(WITNESS)
        return sole_verdict([each for _, each in withheld])

    def _kept(self, job: Job, node: str, image: Released) -> None:
        if image.format not in _FORMATS:
            raise UnableError("the inspection")
        job.outputs.setdefault(node, []).append(image)
        saves = job.plan.saves[node]
        if saves is Saves.FRAMES:
            return
        subfolder, name = _named(job.plan.prefixes.get(node, ""))
        files = self._files.setdefault(job.tenant, OrderedDict())
        filename = (
            f"{name}_{job.number:05}_{len(job.outputs[node]):02}_{node.replace(':', '-')}.{_FORMATS[image.format]}"
        )
        files[saves, subfolder, filename] = self.shelf.put(image)
        if len(files) > self.limits.files_max:
            files.popitem(last=False)
        job.files.setdefault(node, []).append({"filename": filename, "subfolder": subfolder, "type": str(saves)})

    # -- telling

    async def _told(self, job: Job, error: RefusedError | UnableError | None) -> None:
        """What became of it: first for those who ask, then to the socket, pictures before the end."""
        job.last = _last(job, error)
        for node, saves in job.plan.saves.items():
            for each in _shown(job, node, saves):
                await self.sessions.tell(job.tenant, job.client, each)
        job.outputs.clear()
        job.run.pictures.clear()
        await self.sessions.tell(job.tenant, job.client, job.last)
        await self.sessions.tell(
            job.tenant, job.client, event("executing", node=None, display_node=None, prompt_id=job.id)
        )
        await self.sessions.tell(job.tenant, job.client, self.status(job.tenant))

    def status(self, tenant: str) -> Event:
        """How much of this tenant's is not over."""
        return event("status", status={"exec_info": {"queue_remaining": len(self.active(tenant))}})

    # -- stopping

    async def stop(self, door: Door, job: Job) -> None:
        """Take it from the queue, or stop it where it runs: nothing of anybody else's. Raises UpstreamError."""
        if job.last is not None or job.task is None:
            return
        if job.run.started:
            await door.upstream.exchange("POST", "/interrupt", json={"prompt_id": job.run.theirs})
            return
        await door.upstream.exchange("POST", "/queue", json={"delete": [job.run.theirs]})
        job.run.end = End.INTERRUPTED
        job.task.cancel()

    async def close(self) -> None:
        """The gateway stops: what is not judged by now never leaves."""
        tasks = [job.task for jobs in self._jobs.values() for job in jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _queued(door: Door, body: Mapping[str, Any]) -> str:
    """The generator's id of the run. Raises UnableError; DeniedError where it does not take the graph, whose words are not passed on."""
    answer = await door.upstream.exchange("POST", "/prompt", json=body)
    if answer.status == 400:
        raise DeniedError(Denial.MALFORMED, "the generator does not take this graph: see /object_info", field="prompt")
    try:
        theirs = json_object(answer.body).get("prompt_id") if answer.status == 200 else None
    except DeniedError:
        theirs = None
    if not isinstance(theirs, str) or not theirs:
        raise UnableError(GENERATOR)
    return theirs


def _last(job: Job, error: RefusedError | UnableError | None) -> Event:
    node = job.run.failed_at or next(iter(job.plan.saves))
    where = (node, job.plan.graph.pieces[node].class_type)
    if job.run.end is End.INTERRUPTED:
        return words.interrupted(job.id, where)
    if error is not None:
        return words.failed(job.id, where, error)
    return event("execution_success", prompt_id=job.id)


def _shown(job: Job, node: str, saves: Saves) -> Iterator[Event | bytes]:
    """What a node that saves gives: frames, or names of files."""
    if saves is Saves.FRAMES:
        if node in job.outputs:
            yield job.run.at(node)
        yield from (binary(image.content, png=image.format == "png") for image in job.outputs.get(node, ()))
    elif any(name == node for name, _ in job.run.pictures):
        output = {"images": job.files.get(node, [])}
        yield event("executed", node=node, display_node=node, output=output, prompt_id=job.id)


def _named(prefix: str) -> tuple[str, str]:
    """Subfolder and beginning of the names of files. They are the client's and mean nothing but themselves."""
    if not _PREFIX.fullmatch(prefix):
        prefix = "ComfyUI"
    subfolder, _, name = prefix.rpartition("/")
    return subfolder, name
