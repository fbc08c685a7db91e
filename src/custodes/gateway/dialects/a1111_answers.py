"""What AUTOMATIC1111 or Forge answers, and what of it a client gets: pictures that were released, and figures.

Promises that every picture of an answer (grids, control maps, drafts of scripts too) is named as one to be judged, that their number is bounded, and that no
string of the server's answer reaches a client but names of samplers and the like, which are letters and short. ``info`` and ``parameters`` are built anew.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from custodes.gateway.dialects.a1111_fields import COUNT_MAX, Wanted
from custodes.gateway.dialects.openai_answers import details
from custodes.gateway.dialects.words import FINAL, said
from custodes.gateway.door import GENERATOR, Denial, DeniedError
from custodes.gateway.guard import RefusedError, UnableError
from custodes.gateway.upstream import Answer

__all__ = ["LISTS", "Made", "denied", "embeddings", "failed", "info", "made", "progress", "refusal", "shown"]

EXTRA_MAX: Final = 2 * COUNT_MAX
"""Grids, control maps and what scripts add, beside the pictures that were asked for."""

_Seed = Annotated[int, Meta(ge=-1, le=(1 << 63) - 1)]
_Seeds = Annotated[list[_Seed], Meta(max_length=COUNT_MAX)]


class _Images(msgspec.Struct, frozen=True):
    images: Annotated[list[str], Meta(min_length=1, max_length=COUNT_MAX + EXTRA_MAX)]
    info: Any = ""


class _Info(msgspec.Struct, frozen=True):
    seed: _Seed = -1
    subseed: _Seed = -1
    all_seeds: _Seeds = []
    all_subseeds: _Seeds = []


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that can be looked at: pictures, still to be judged, and seeds. ``composed``: more than was asked for, so one may show the others."""

    images: tuple[bytes, ...] = field(repr=False)
    seeds: _Info
    composed: bool


def made(answer: Answer, wanted: Wanted) -> Made:
    """The pictures of an answer. Raises UnableError for anything that is not what was asked for; DeniedError where the server does not take it."""
    if answer.status in (400, 404, 422):
        raise DeniedError(Denial.MALFORMED, "the generator does not take this request")
    if answer.status != 200:
        raise UnableError(GENERATOR)
    try:
        found = msgspec.json.decode(answer.body, type=_Images)
        images = tuple(base64.b64decode(each, validate=True) for each in found.images)
    except (msgspec.MsgspecError, ValueError, RecursionError, binascii.Error):
        raise UnableError(GENERATOR) from None
    if not all(images) or len(images) > wanted.asked.count + EXTRA_MAX:
        raise UnableError(GENERATOR)
    return Made(images, _seeds(found.info), len(images) > wanted.asked.count)


def _seeds(told: object) -> _Info:
    try:
        return msgspec.json.decode(told, type=_Info) if isinstance(told, str) else _Info()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _Info()


def info(made: Made, told: Mapping[str, Any], wanted: Wanted, images: int) -> str:
    """The document that clients read seeds and prompts from: our own fields and the server's seeds. No infotext, which holds whatever the server did."""
    seeds = made.seeds
    kept = (
        "width",
        "height",
        "sampler_name",
        "steps",
        "cfg_scale",
        "batch_size",
        "denoising_strength",
        "restore_faces",
    )
    document = {
        "prompt": told.get("prompt", ""),
        "all_prompts": [told.get("prompt", "")] * images,
        "negative_prompt": told.get("negative_prompt", ""),
        "all_negative_prompts": [told.get("negative_prompt", "")] * images,
        **{name: told[name] for name in kept if name in told},
        "seed": seeds.seed,
        "all_seeds": seeds.all_seeds,
        "subseed": seeds.subseed,
        "all_subseeds": seeds.all_subseeds,
        "sd_model_name": wanted.model,
        "index_of_first_image": 0,
        "infotexts": [""] * images,
        "styles": [],
        "extra_generation_params": {},
    }
    return msgspec.json.encode(document).decode()


# -- what may be asked of the server


_Name = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9 +_.()\-]*$")]
_Names = Annotated[list[_Name], Meta(max_length=16)]


class _Sampler(msgspec.Struct, frozen=True):
    name: _Name
    aliases: _Names = []


class _Scheduler(msgspec.Struct, frozen=True):
    name: _Name
    label: _Name = ""
    aliases: _Names | None = None


class _Upscaler(msgspec.Struct, frozen=True):
    name: _Name
    scale: Annotated[float, Meta(ge=0, le=64)] | None = None


class _Mode(msgspec.Struct, frozen=True):
    name: _Name


LISTS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "samplers": _Sampler,
    "schedulers": _Scheduler,
    "upscalers": _Upscaler,
    "latent-upscale-modes": _Mode,
}
"""Lists that the server is asked for, and what of each entry is passed on. Paths, addresses and free texts are not."""
_ADDED: Final[Mapping[str, dict[str, Any]]] = {
    "samplers": {"options": {}},
    "upscalers": {"model_name": None, "model_path": None, "model_url": None},
}


def shown(answer: Answer, which: str) -> list[dict[str, Any]]:
    """A list of the server. An entry that is not as it should be is left out. Raises UnableError."""
    if answer.status != 200:
        raise UnableError(GENERATOR)
    try:
        entries = msgspec.json.decode(answer.body, type=Annotated[list[Any], Meta(max_length=512)])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnableError(GENERATOR) from None
    found = []
    for entry in entries:
        try:
            found.append(msgspec.to_builtins(msgspec.convert(entry, LISTS[which])) | _ADDED.get(which, {}))
        except msgspec.MsgspecError:
            continue
    return found


_Installed = Annotated[dict[Annotated[str, Meta(max_length=256)], Any], Meta(max_length=20_000)]


class _Embeddings(msgspec.Struct, frozen=True):
    loaded: _Installed
    skipped: _Installed = {}


def embeddings(answer: Answer) -> frozenset[str]:
    """The names of the embeddings that the server has: for us alone. Raises UnableError."""
    if answer.status != 200:
        raise UnableError(GENERATOR)
    try:
        found = msgspec.json.decode(answer.body, type=_Embeddings)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnableError(GENERATOR) from None
    return frozenset(name for name in (*found.loaded, *found.skipped) if name)


class _State(msgspec.Struct, frozen=True):
    skipped: bool = False
    interrupted: bool = False
    job_count: int = 0
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0


class _Progress(msgspec.Struct, frozen=True):
    progress: float = 0
    eta_relative: float = 0
    state: _State = _State()


def progress(answer: Answer) -> dict[str, Any]:
    """How far the server is: numbers. ``current_image`` was judged by nobody; ``textinfo`` and ``job`` are of whoever is served. Raises UnableError."""
    if answer.status != 200:
        raise UnableError(GENERATOR)
    try:
        found = msgspec.json.decode(answer.body, type=_Progress)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnableError(GENERATOR) from None
    state = {name: min(int(each), 1 << 20) for name, each in msgspec.structs.asdict(found.state).items()}
    return {
        "progress": max(0.0, min(found.progress, 1.0)),
        "eta_relative": max(0.0, min(found.eta_relative, 1e6)),
        "state": {**state, "skipped": found.state.skipped, "interrupted": found.state.interrupted, "job": ""},
        "current_image": None,
        "textinfo": None,
    }


# -- noes, in a form that holds both that of A1111's own middleware and that of FastAPI


_DENIALS: Final[Mapping[Denial, int]] = {
    Denial.KEY: 401,
    Denial.SUSPENDED: 403,
    Denial.RATE: 429,
    Denial.MODEL: 404,
    Denial.ROUTE: 404,
    Denial.MALFORMED: 422,
    Denial.TOO_LARGE: 413,
    Denial.DRAINING: 503,
}


def _no(status: int, code: str, message: str, headers: Mapping[str, str], **more: Any) -> web.Response:
    document = {"error": code, "detail": message, "body": "", "errors": message, **more}
    return said(document, status, headers)


def refusal(error: RefusedError, request: str) -> web.Response:
    """A 400: final, and no more than stage and coarse category."""
    message = f"the request was rejected by the safety system; if this is an error, contact whoever runs this gateway: {request}"
    return _no(400, "moderation_blocked", message, FINAL, moderation_details=details(error))


def failed(error: UnableError) -> web.Response:
    """A fault."""
    return _no(503, "gateway_fault", str(error), FINAL)


def denied(error: DeniedError) -> web.Response:
    """Turned away."""
    status = 422 if error.denial is Denial.ROUTE and error.field else _DENIALS[error.denial]
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    if error.denial is Denial.KEY:
        headers["WWW-Authenticate"] = "Basic"
    if error.denial not in (Denial.RATE, Denial.DRAINING):
        headers |= FINAL
    message = f"{error.message}: {error.field}" if error.field else error.message
    return _no(status, str(error.denial), message, headers)
