"""A strict receiver of webhooks: it takes what is signed by a key that it knows, under a key of delivery, once. It shares no parser with the sender."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from aiohttp import web

from custodes.crypto.dsse import verify
from custodes.crypto.keys import VerifierKey
from custodes.errors import InputError
from custodes.handover.package import Package, open_package
from tests.handover.making import KEYS, SECRET
from tests.handover.routes.making import Stand

PATH = "/in/secret-part"
TOKEN = "token-of-one"
TYPE = "application/vnd.custodes.incident+json"


class Refused(Exception):  # noqa: N818
    """With this status."""


class WebhookReceiver(Stand):
    """``got``: by key, the findings that were told; ``posts``: how often each key came."""

    def __init__(self, environment: str = "test", token: str = "") -> None:
        super().__init__()
        self.environment = environment
        self.token = token
        self.got: dict[str, list[str]] = {}
        self.posts: list[str] = []
        self.bodies: list[bytes] = []
        self.refused: list[str] = []
        self.keys: list[VerifierKey] = KEYS

    @property
    def url(self) -> str:
        return self.base + PATH

    def wrongs(self) -> list[str]:
        """What must not be."""
        told = [finding for findings in self.got.values() for finding in findings]
        twice = len(told) - len(set(told))
        return [f"{twice} findings were received twice"] * bool(twice) + self.refused

    def act(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        self.bodies.append(body)
        try:
            key, findings = self._read(request, body)
        except Refused as refused:
            status, why = refused.args
            self.refused.append(why)
            return status, json.dumps({"error": why}).encode()
        self.posts.append(key)
        before = self.got.setdefault(key, findings)
        if before != findings:
            self.refused.append("another incident under the same key")
            return 422, b"{}"
        number = list(self.got).index(key) + 1
        return 200 if self.posts.count(key) > 1 else 201, json.dumps({"receipt": f"R-{number}", "more": 1}).encode()

    def _read(self, request: web.Request, body: bytes) -> tuple[str, list[str]]:
        self._head(request)
        header = re.fullmatch(r'"([A-Za-z0-9._/-]{1,256})"', request.headers.get("Idempotency-Key", ""))
        if header is None:
            raise Refused(400, "no key")
        try:
            post = json.loads(verify(body, TYPE, self.keys).payload)
        except InputError:
            raise Refused(403, "not signed by a key that is known here") from None
        if set(post) != {"format", "key", "environment", "reporter", "incident", "package"}:
            raise Refused(400, "fields")
        if post["format"] != "custodes-post/1" or post["key"] != header[1]:
            raise Refused(400, "the key in the header is not the one that was signed")
        if post["environment"] != self.environment:
            raise Refused(400, "environment")
        return header[1], [place["finding"] for place in self._incident(post)["places"]]

    def _head(self, request: web.Request) -> None:
        if request.method != "POST" or request.path != PATH:
            raise Refused(404, "path")
        if request.headers.get("Content-Type") != "application/vnd.dsse.envelope.v1+json":
            raise Refused(415, "type")
        if request.headers.get("Authorization", "") != (f"Bearer {self.token}" if self.token else ""):
            raise Refused(401, "token")

    def _incident(self, post: dict[str, Any]) -> dict[str, Any]:
        if (post["incident"] is None) == (post["package"] is None):
            raise Refused(400, "an incident, or a package of it")
        if post["package"] is None:
            found: dict[str, Any] = post["incident"]
            return found
        package = Package(*(base64.b64decode(post["package"][name]) for name in ("sealed", "envelope")))
        opened = open_package(package, SECRET, self.keys)
        if opened.header.about.environment != self.environment:
            raise Refused(400, "environment of the package")
        (one,) = opened.incidents
        return {"places": [{"finding": place.finding} for place in one.places]}
