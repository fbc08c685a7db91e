"""A strict Coop, by roostorg/coop docs/api/items.md and errors.md. What stands in a media field it fetches, which must never happen."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from ada_url import URL
from aiohttp import web

from tests.handover.routes.making import Stand

API_KEY = "key-of-coop"
TYPE = "item-type-1"
MEDIA: Final = ("IMAGE", "VIDEO", "AUDIO")


class CoopServer(Stand):
    """``schema``: types of the fields of the item type; ``items``: by id; ``fetched``: what Coop would have opened, or shown to a reviewer."""

    def __init__(self, **schema: str) -> None:
        super().__init__()
        self.schema = schema
        self.items: dict[str, dict[str, Any]] = {}
        self.fetched: list[str] = []
        self.undocumented: list[str] = []

    def act(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        if request.headers.get("X-API-KEY") != API_KEY:
            return 401, _error(401, "Invalid API Key")
        if (request.method, request.path) != ("POST", "/api/v1/items/async/"):
            self.undocumented.append("path")
            return 404, b""
        if request.headers.get("Content-Type") != "application/json":
            self.undocumented.append("content type")
            return 400, _error(400, "type")
        document = json.loads(body)
        if set(document) != {"items"} or not document["items"]:
            self.undocumented.append("fields of the request")
            return 400, _error(400, "items")
        for item in document["items"]:
            if (wrong := self._wrong(item)) is not None:
                return 400, _error(400, wrong)
        for item in document["items"]:
            self.items[item["id"]] = item["data"]
        return 202, b""

    def _wrong(self, item: dict[str, Any]) -> str | None:
        if set(item) - {"id", "typeId", "data", "typeVersion", "typeSchemaVariant"} or not {
            "id",
            "typeId",
            "data",
        } <= set(item):
            self.undocumented.append("fields of the item")
            return "item"
        if not isinstance(item["id"], str) or item["typeId"] != TYPE:
            return "no such item type"
        for name, value in item["data"].items():
            if name == "images":
                self.fetched += value if isinstance(value, list) else [value]
            if name not in self.schema:
                return f"no field {name}"
            if not self._fits(self.schema[name], value):
                return f"{name} does not fit"
        return None

    def _fits(self, sort: str, value: Any) -> bool:
        if sort in (*MEDIA, "URL"):
            if not isinstance(value, str) or not is_url(value):
                return False
            self.fetched.append(value)
            return True
        if sort == "DATETIME":
            return isinstance(value, str) and datetime.fromisoformat(value) is not None
        return isinstance(value, {"STRING": str, "NUMBER": int, "BOOLEAN": bool}[sort])


def is_url(text: str) -> bool:
    """As browsers and servers read it."""
    try:
        URL(text)
    except ValueError:
        return False
    return True


def _error(status: int, title: str) -> bytes:
    error = {"status": status, "type": ["/errors/invalid-user-input"], "title": title}
    return json.dumps({"errors": [error]}).encode()
