"""What may be asked over HTTP, by whom, and how answers look. Whatever is not in ``ROUTES`` does not exist.

Hold and ok have one status, one size and one set of headers, and leave at steps of time. Who may not ask by digest gets for those routes what any unknown
path gets. The routes under /m and /h are those of hasher-matcher-actioner 2, whose clients work unchanged and learn no more than hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

from custodes.model import Content, Kind, Reason
from custodes.serving.messages import ITEMS_MAX, Code, Item, Verdict
from custodes.serving.metrics import Metrics
from custodes.serving.rate import Rate
from custodes.serving.settings import ServeSettings, Tenant

__all__ = ["ROUTES", "Images", "Lookups", "Routes", "problem"]

BANK: Final = "CUSTODES"
UNEXAMINED: Final = "unexamined"
_PAD_IMAGE_BYTES: Final = 64
_PAD_HMA_BYTES: Final = 128
_DIGESTS_BYTES_MAX: Final = 1 << 20
_KINDS: Final = (Kind.MD5, Kind.SHA1, Kind.SHA256, Kind.PDQ)
_PARTS: Final = ("photo", "image", "file")
_QUALITY_MIN: Final = 50  # HMA gives no code below


class Lookups(Protocol):
    """What the routes need of the matcher."""

    @property
    def up(self) -> bool:
        """Whether it can answer."""
        ...

    async def look_up(self, tenant: str, items: list[Item]) -> list[Verdict] | None:
        """Verdicts, or None."""
        ...


class Images(Protocol):
    """What the routes need of the decoders."""

    async def look(self, content: Content) -> tuple[Item, Reason]:
        """Digests, and how far the image could be examined."""
        ...


class Digest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item of ``POST /v1/digests``, in hexadecimal."""

    md5: str = ""
    sha1: str = ""
    sha256: str = ""
    pdq: str = ""
    quality: int | None = None


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The request ends with this answer."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def said(body: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> web.Response:
    """An answer, with the same headers as every other."""
    fixed = {"Content-Type": kind, "Server": "custodes", "Cache-Control": "no-store"}
    return web.Response(body=body, status=status, headers=fixed | headers)


def padded(document: object, size_bytes: int) -> web.Response:
    """A verdict: JSON of one size, whatever it says."""
    return said(msgspec.json.encode(document).ljust(size_bytes))


def problem(status: int, what: str, **headers: str) -> web.Response:
    """An answer that is no verdict."""
    return said(msgspec.json.encode({"message": what}), status, **headers)


@dataclass(frozen=True)
class Request:
    """A request whose sender is known."""

    http: web.BaseRequest
    name: str
    tenant: Tenant

    def query(self, name: str) -> str:
        """A value of the query, the only one of its name; empty if there is none. Raises Refused."""
        _, _, text = self.http.raw_path.partition("?")
        try:
            found = parse_qs(text, keep_blank_values=True, max_num_fields=16, errors="strict").get(name, [""])
        except ValueError:
            raise Refused(problem(400, "the query cannot be read")) from None
        if len(found) > 1:
            raise Refused(problem(400, "a name stands twice in the query"))
        return found[0]


@dataclass(frozen=True)
class Route:
    """What a path answers to each method: to all, and to those who may ask by digest."""

    to_all: Mapping[str, str] = field(default_factory=dict)
    to_trusted: Mapping[str, str] = field(default_factory=dict)

    def of(self, tenant: Tenant) -> dict[str, str]:
        """Methods and the names of what answers them."""
        return {**self.to_all, **(self.to_trusted if tenant.trusted_digests else {})}


ROUTES: Final = {
    "/v1/images": Route({"POST": "image"}),
    "/v1/digests": Route(to_trusted={"POST": "digests"}),
    "/m/lookup": Route({"POST": "hma_image"}, {"GET": "hma_lookup"}),
    "/m/raw_lookup": Route(to_trusted={"GET": "hma_raw_lookup"}),
    "/m/index/status": Route({"GET": "hma_index"}),
    "/h/hash": Route(to_trusted={"POST": "hma_hash"}),
}
"""For tenants. Without a key there are ``/status``, ``/status/live`` and ``/healthz``."""


class Routes:
    """Answers requests."""

    def __init__(self, settings: ServeSettings, lookups: Lookups, images: Images, metrics: Metrics) -> None:
        self._settings = settings
        self._lookups = lookups
        self._images = images
        self._metrics = metrics
        self._rates = {name: Rate(each.requests_per_minute, time.monotonic) for name, each in settings.tenants.items()}
        self._in_hand = 0
        self._content_id = 1 + secrets.randbelow(1 << 31)
        self._built_to = int(time.time())

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request, at its step of time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        path = http.raw_path.partition("?")[0]
        try:
            response = await self._answer(http, path)
        except Refused as refused:
            response = refused.response
        self._metrics.answered(path if path in ROUTES or path in self._open else "other", response.status)
        step_s = self._settings.latency_step_ms / 1000
        if step_s and path not in self._open:
            await asyncio.sleep(began + math.ceil((loop.time() - began) / step_s) * step_s - loop.time())
        return response

    async def _answer(self, http: web.BaseRequest, path: str) -> web.Response:
        if path in self._open:
            return self._open[path]() if http.method == "GET" else problem(405, "method not allowed", Allow="GET")
        name = self._sender(http)
        if name is None:
            return problem(401, "a key is needed", **{"WWW-Authenticate": "Bearer"})
        tenant = self._settings.tenants[name]
        methods = ROUTES[path].of(tenant) if path in ROUTES else {}
        if not methods:
            return problem(404, "not found")
        if http.method not in methods:
            return problem(405, "method not allowed", Allow=", ".join(sorted(methods)))
        answer: Callable[[Request], Awaitable[web.Response]] = getattr(self, f"_{methods[http.method]}")
        return await answer(Request(http, name, tenant))

    def _sender(self, http: web.BaseRequest) -> str | None:
        """The tenant whose key came with the request. All keys are compared, each in constant time."""
        if "Authorization" not in http.headers:
            return self._settings.keyless_tenant or None
        scheme, _, key = http.headers.get("Authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for name, tenant in self._settings.tenants.items():
            if hmac.compare_digest(given, tenant.key_sha256) and scheme.lower() == "bearer":
                found = name
        return found

    # -- without a key

    @property
    def _open(self) -> dict[str, Callable[[], web.Response]]:
        return {"/status": self._status, "/status/live": self._alive, "/healthz": self._health}

    def _status(self) -> web.Response:
        return self._alive() if self._lookups.up else said(b"INDEX-NOT-LOADED", 503, "text/plain")

    def _alive(self) -> web.Response:
        return said(b"I-AM-ALIVE", kind="text/plain")

    def _health(self) -> web.Response:
        return said(b'{"status":"ok"}') if self._lookups.up else problem(503, "the lists are not loaded")

    # -- ours

    async def _image(self, request: Request) -> web.Response:
        verdict, reason = await self._image_judged(request)
        return padded({"verdict": verdict, "reason": reason}, _PAD_IMAGE_BYTES)

    async def _digests(self, request: Request) -> web.Response:
        body = await self._body(request, min(self._settings.body_bytes_max, _DIGESTS_BYTES_MAX))
        try:
            parsed = msgspec.json.decode(body, type=list[Digest] | Digest)
        except msgspec.MsgspecError:
            raise Refused(problem(400, "the body is not a JSON array of digests")) from None
        given = parsed if isinstance(parsed, list) else [parsed]
        if not 0 < len(given) <= ITEMS_MAX:
            raise Refused(problem(400, f"1 to {ITEMS_MAX} items may be asked for at once"))
        verdicts = await self._judged(request, [_item(each) for each in given], counted=True)
        words = [verdict.name.lower() for verdict in verdicts]
        self._metrics.judged(words)
        return padded({"verdicts": words}, 16 + 7 * len(words))

    # -- those of hasher-matcher-actioner

    async def _hma_lookup(self, request: Request) -> web.Response:
        held = await self._hma_judged(request)
        return padded({BANK: [self._match]} if held else {}, _PAD_HMA_BYTES)

    async def _hma_raw_lookup(self, request: Request) -> web.Response:
        held = await self._hma_judged(request)
        with_distance = request.query("include_distance").lower() in ("1", "true")
        found = self._match if with_distance else self._content_id
        return padded({"matches": [found] if held else []}, _PAD_HMA_BYTES)

    async def _hma_image(self, request: Request) -> web.Response:
        if request.query("url"):
            raise Refused(problem(400, "links are not fetched: send the image"))
        verdict, reason = await self._image_judged(request)
        if verdict == UNEXAMINED:
            return problem(422, f"not examined: {reason}")
        return padded({"pdq": {BANK: [self._match]} if verdict == "hold" else {}}, _PAD_HMA_BYTES)

    async def _hma_index(self, _: Request) -> web.Response:
        present = self._lookups.up
        return said(
            msgspec.json.encode({"pdq": {"built_to": self._built_to, "present": present, "size": int(present)}})
        )

    async def _hma_hash(self, request: Request) -> web.Response:
        item, reason = await self._looked(request)
        if reason is not Reason.FULL:
            return problem(422, f"not examined: {reason.value}")
        first = item.pdq[0]
        code = first.code[: Kind.PDQ.size_bytes].hex() if first.quality >= _QUALITY_MIN else ""
        return said(msgspec.json.encode({"pdq": code}))

    async def _hma_judged(self, request: Request) -> bool:
        """Whether the signal of a query is held."""
        if request.query("url"):
            raise Refused(problem(400, "links are not fetched: send the image"))
        if (banks := request.query("banks")) and BANK not in banks.split(","):
            raise Refused(problem(400, f"the only bank is {BANK}"))
        name = request.query("signal_type")
        if name not in {kind.value for kind in _KINDS}:
            raise Refused(problem(400, f"signal_type must be one of {', '.join(_KINDS)}"))
        digest = Digest(**{name: request.query("signal")}, quality=100 if name == Kind.PDQ else None)
        (verdict,) = await self._judged(request, [_item(digest)], counted=True)
        self._metrics.judged([verdict.name.lower()])
        return verdict is Verdict.HOLD

    @property
    def _match(self) -> dict[str, Any]:
        return {"bank_content_id": self._content_id, "distance": "0"}

    # -- steps

    async def _looked(self, request: Request) -> tuple[Item, Reason]:
        """The image of a request, decoded in the jail. Raises Refused."""
        self._count(request, 1)
        if self._in_hand >= self._settings.images_waiting_max:
            raise Refused(_hanging_up(problem(503, "too many images at once", **{"Retry-After": "1"})))
        self._in_hand += 1
        try:
            body = await self._body(request, self._settings.body_bytes_max)
            kind = request.http.headers.get("Content-Type", "")
            data = await _only_part(body, kind) if kind.lower().startswith("multipart/") else body
            return await self._images.look(Content(data))
        finally:
            self._in_hand -= 1

    async def _image_judged(self, request: Request) -> tuple[str, str]:
        """The verdict on the image of a request, and for ``unexamined`` its reason. Raises Refused."""
        item, reason = await self._looked(request)
        (verdict,) = await self._judged(request, [item])
        # Only what was seen whole is ok; of a part of a picture nothing follows for the rest.
        word = "hold" if verdict is Verdict.HOLD else "ok" if reason is Reason.FULL else UNEXAMINED
        self._metrics.judged([word])
        return word, reason.value if word == UNEXAMINED else ""

    async def _judged(self, request: Request, items: list[Item], *, counted: bool = False) -> list[Verdict]:
        """The matcher's verdicts on items that were compared, each of them. Raises Refused."""
        if counted:
            self._count(request, len(items))
        verdicts = await self._lookups.look_up(request.name, items)
        if verdicts is None:
            raise Refused(problem(503, "the lists are not loaded", **{"Retry-After": "1"}))
        if Verdict.BUSY in verdicts:
            raise Refused(problem(429, "too many requests"))
        return verdicts

    def _count(self, request: Request, count: int) -> None:
        """The matcher counts too, and is the one that is believed; here it saves the decoders the work."""
        if not self._rates[request.name].take(count):
            raise Refused(problem(429, "too many requests", **{"Retry-After": "1"}))

    async def _body(self, request: Request, most: int) -> bytes:
        """The whole body, within its limits of size and time. Raises Refused."""
        http = request.http
        if http.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refused(problem(415, "compressed requests are not read"))
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                while (
                    (http.content_length or 0) <= most and len(body) <= most and (part := await http.content.readany())
                ):
                    body += part
        except TimeoutError:
            raise Refused(_hanging_up(problem(408, "the request did not arrive in time"))) from None
        except web.RequestPayloadError:
            raise Refused(_hanging_up(problem(400, "the request was cut short"))) from None
        if (http.content_length or 0) > most or len(body) > most:
            raise Refused(_hanging_up(problem(413, f"a request may have {most} bytes")))
        return bytes(body)


def _hanging_up(response: web.Response) -> web.Response:
    response.force_close()
    return response


async def _only_part(body: bytes, content_type: str) -> bytes:
    """The one part of a form that is an image. It is read from memory: nothing of a request is ever put in a file. Raises Refused."""
    stream = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 30)
    stream.feed_data(body)
    stream.feed_eof()
    wrong = Refused(problem(400, f"a form must have one part, an image, named {', '.join(_PARTS)}"))
    try:
        form = aiohttp.MultipartReader({"Content-Type": content_type}, stream)
        part = await form.next()
        if not isinstance(part, aiohttp.BodyPartReader) or part.name not in _PARTS:
            raise wrong
        data = bytes(await part.read(decode=False))
        if not part.at_eof() or await form.next() is not None:
            raise wrong
    except (ValueError, RuntimeError, aiohttp.http.HttpProcessingError):
        raise wrong from None
    return data


def _item(digest: Digest) -> Item:
    """Digests in bytes. Raises Refused."""
    values: dict[Kind, bytes] = {}
    for kind in _KINDS:
        text = getattr(digest, kind.value)
        if text:
            values[kind] = _bytes(text, kind)
    if not values:
        raise Refused(problem(400, "an item has no digest"))
    if (Kind.PDQ in values) != (digest.quality is not None) or not 0 <= (digest.quality or 0) <= 100:
        raise Refused(problem(400, "pdq needs its quality, 0 to 100, and nothing else has one"))
    codes = [Code(values[Kind.PDQ], digest.quality or 0)] if Kind.PDQ in values else []
    return Item(values.get(Kind.MD5, b""), values.get(Kind.SHA1, b""), values.get(Kind.SHA256, b""), codes)


def _bytes(text: str, kind: Kind) -> bytes:
    try:
        value = bytes.fromhex(text) if len(text) == 2 * kind.size_bytes else b""
    except ValueError:
        value = b""
    if len(value) != kind.size_bytes:
        raise Refused(problem(400, f"{kind.value} must be {2 * kind.size_bytes} hexadecimal digits"))
    return value
