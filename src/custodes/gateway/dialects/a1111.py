"""The API of AUTOMATIC1111 and Forge, for its clients as they are: txt2img, img2img, progress, and lists of what is offered. All its other paths are unknown.

Channels that could carry a picture to a client, and what becomes of each: ``images`` (only what the guard released; grids and control maps are judged like any
other, and go with the pictures that they show), ``current_image`` and live previews (never asked for, never passed on), ``info``, ``parameters`` and texts in
pictures (written anew), ``textinfo`` (dropped), error texts and headers (not passed on), files on the server's disk (nothing is saved, no path leads to them).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from custodes.gateway.dialects.a1111_answers import (
    LISTS,
    Made,
    denied,
    embeddings,
    failed,
    info,
    made,
    progress,
    refusal,
    shown,
)
from custodes.gateway.dialects.a1111_fields import Offer, Wanted, from_json
from custodes.gateway.dialects.bodies import OFFERED, acknowledged, basic, entered, json_object, known, visited, whole
from custodes.gateway.dialects.openai_answers import sole_verdict
from custodes.gateway.dialects.words import said
from custodes.gateway.door import DOOR, REQUEST_ID, Denial, DeniedError, Route
from custodes.gateway.guard import Passage, RefusedError, Released, UnableError, Withheld
from custodes.gateway.upstream import Upstream

__all__ = ["A1111"]

KEPT_S: Final = 60.0
_BASE: Final = "/sdapi/v1"


@dataclass(slots=True)
class _Installed:
    """The server's embeddings, asked for again when what is known of them is old."""

    names: frozenset[str] = frozenset()
    until: float = 0.0

    async def of(self, upstream: Upstream) -> frozenset[str]:
        """Their names. Raises UnableError, UpstreamError: without them no prompt is understood."""
        if time.monotonic() >= self.until:
            self.names = embeddings(await upstream.exchange("GET", f"{_BASE}/embeddings"))
            self.until = time.monotonic() + KEPT_S
        return self.names


@dataclass(frozen=True, slots=True)
class A1111:
    """The dialect."""

    offer: Offer = field(default_factory=Offer)
    name: str = "a1111"
    _installed: _Installed = field(default_factory=_Installed, init=False, repr=False)

    def routes(self) -> Sequence[Route]:
        """Every path that is known; the last is for all others beneath, so that their no is in this dialect's words."""
        asked = [Route("GET", f"{_BASE}/{which}", self._list) for which in LISTS]
        return (
            Route("POST", f"{_BASE}/txt2img", self._made),
            Route("POST", f"{_BASE}/img2img", self._made),
            Route("GET", f"{_BASE}/progress", self._progress),
            Route("GET", f"{_BASE}/options", self._offered),
            Route("GET", f"{_BASE}/sd-models", self._offered),
            Route("GET", f"{_BASE}/loras", self._offered),
            Route("GET", f"{_BASE}/embeddings", self._offered),
            Route("GET", f"{_BASE}/prompt-styles", self._offered),
            Route("GET", f"{_BASE}/scripts", self._offered),
            *asked,
            Route("*", "/sdapi/{rest:.*}", self._unknown),
        )

    # -- noes

    def refused(self, error: RefusedError) -> web.Response:
        """A refusal where no request is known; handlers that know one say it themselves."""
        return refusal(error, "")

    def unable(self, error: UnableError) -> web.Response:
        """503, and final."""
        return failed(error)

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away."""
        return denied(error)

    async def _unknown(self, request: web.Request) -> web.Response:
        _known(request)
        raise DeniedError(Denial.ROUTE, "there is no such route here")

    # -- what is offered

    async def _progress(self, request: web.Request) -> web.Response:
        await _visitor(request)
        params = {"skip_current_image": "true"}
        return said(progress(await request[DOOR].upstream.exchange("GET", f"{_BASE}/progress", params=params)))

    async def _list(self, request: web.Request) -> web.Response:
        await _visitor(request)
        return said(shown(await request[DOOR].upstream.exchange("GET", request.path), request.path.rpartition("/")[2]))

    async def _offered(self, request: web.Request) -> web.Response:
        """From what the operator says: the server is not asked, and its paths and hashes stay its own."""
        await _visitor(request)
        return said(self._offers(request.path.rpartition("/")[2], request[OFFERED]))

    def _offers(self, which: str, models: frozenset[str]) -> Any:
        offer = self.offer
        match which:
            case "options":
                return {"sd_model_checkpoint": offer.drawn_by(models), "samples_format": "png"}
            case "sd-models":
                blank = {"hash": None, "sha256": None, "filename": "", "config": None}
                return [{"title": name, "model_name": name, **blank} for name in sorted(models)]
            case "loras":
                names = sorted(offer.adapters)
                return [{"name": name, "alias": name, "path": "", "metadata": {}} for name in names]
            case "prompt-styles":
                styles = offer.styles.items()
                return [{"name": n, "prompt": s.prompt, "negative_prompt": s.negative_prompt} for n, s in styles]
            case "scripts":
                names = sorted(name.lower() for name in offer.scripts)
                return {"txt2img": names, "img2img": names}
        empty: dict[str, Any] = {
            "step": None,
            "sd_checkpoint": None,
            "sd_checkpoint_name": None,
            "shape": 0,
            "vectors": 0,
        }
        return {"loaded": dict.fromkeys(sorted(offer.embeddings), empty), "skipped": {}}

    # -- one request

    async def _made(self, request: web.Request) -> web.Response:
        user = _known(request)
        wanted = from_json(request.path, json_object(await whole(request)), self.offer, request[OFFERED])
        caller = await entered(request, user, wanted.asked)
        wanted = wanted.naming(await self._installed.of(request[DOOR].upstream))
        try:
            passage = await request[DOOR].guard.admit(caller, wanted.asked, acknowledged=acknowledged(request))
            return said(await _answer(request, wanted, passage))
        except RefusedError as error:
            return refusal(error, request[REQUEST_ID])


async def _answer(request: web.Request, wanted: Wanted, passage: Passage) -> dict[str, Any]:
    """The document that answers. Raises RefusedError, UnableError, DeniedError, UpstreamError."""
    door = request[DOOR]
    body = wanted.body(passage)
    answer = made(await door.upstream.exchange("POST", wanted.path, json=body), wanted)
    found = _whole_or_parts(answer, await door.guard.release(passage, answer.images))
    images = [base64.b64encode(each.content).decode() for each in found if isinstance(each, Released)]
    blocked = [number for number, each in enumerate(found) if not isinstance(each, Released)]
    told = wanted.told(passage)
    changes = {"revised": sorted(passage.texts)} if passage.texts else {}
    return {
        "images": images if wanted.send_images else [],
        "parameters": told,
        "info": info(answer, told, wanted, len(images)),
        **({"x_gateway": {"blocked": blocked, **changes}} if blocked or changes else {}),
    }


def _whole_or_parts(answer: Made, found: Sequence[Released | Withheld]) -> Sequence[Released | Withheld]:
    """What was judged, where some of it may leave. Raises RefusedError, also where a picture may show another that was withheld; UnableError."""
    withheld = [each for each in found if isinstance(each, Withheld)]
    error = sole_verdict(withheld if withheld and answer.composed else found)
    if error is not None:
        raise error
    return found


# -- who asks


def _known(request: web.Request) -> str:
    """The user's name as a hint; the key is the password. Raises DeniedError."""
    user, key = basic(request)
    known(request, key)
    return user[:512]


async def _visitor(request: web.Request) -> None:
    await visited(request, _known(request))
