"""An OpenAPI document of every route of the gateway: what fuzzing makes requests from. Loose on purpose: most of what it describes is wrong in something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from tests.gateway.clients import graph

__all__ = ["NOT_FUZZED", "document", "path_of"]

Schema = dict[str, Any]
TEXT: Final[Schema] = {"type": "string", "maxLength": 60}
ANY: Final[Schema] = {"anyOf": [TEXT, {"type": "integer"}, {"type": "boolean"}, {"type": "number"}, {"type": "object"}]}
WHOLE: Final[Schema] = {"anyOf": [{"type": "integer", "minimum": -2, "maximum": 3}, ANY]}
SIZE: Final[Schema] = {"anyOf": [{"enum": ["64x64", "auto", "16x1024", "0x0", "9999x1"]}, TEXT]}
SIDE: Final[Schema] = {"anyOf": [{"enum": [64, 128, 0, -1, 5000]}, ANY]}
PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE: Final[Schema] = {
    "anyOf": [
        {"enum": [PIXEL, f"data:image/png;base64,{PIXEL}", PIXEL[:40], "http://127.0.0.1:9/a.png", "file:///etc"]},
        TEXT,
    ]
}
FILE: Final[Schema] = {"type": "string", "format": "binary"}
NOT_FUZZED: Final = {"/ws", "/api/ws"}
"""Sockets, which OpenAPI does not describe."""


def fields(required: Iterable[str] = (), **properties: Schema) -> Schema:
    """An object with these fields, and whatever else."""
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": ANY}


_MADE: Final = {
    "model": {"anyOf": [{"enum": ["demo"]}, TEXT]},
    "prompt": TEXT,
    "n": WHOLE,
    "size": SIZE,
    "stream": ANY,
    "partial_images": WHOLE,
    "output_format": {"anyOf": [{"enum": ["png", "gif", "svg", "webp", "jpeg"]}, TEXT]},
    "response_format": {"anyOf": [{"enum": ["url", "b64_json"]}, TEXT]},
    "user": TEXT,
    "negative_prompt": TEXT,
    "svg": ANY,
}
_A1111: Final = {
    "prompt": TEXT,
    "negative_prompt": TEXT,
    "width": SIDE,
    "height": SIDE,
    "steps": WHOLE,
    "batch_size": WHOLE,
    "n_iter": WHOLE,
    "styles": {"type": "array", "items": TEXT, "maxItems": 2},
    "override_settings": fields(sd_model_checkpoint=TEXT),
    "alwayson_scripts": fields(),
    "script_name": TEXT,
    "infotext": TEXT,
    "hr_prompt": TEXT,
}
_NODE: Final = fields(
    class_type={
        "anyOf": [{"enum": ["KSampler", "CLIPTextEncode", "SaveImage", "StringConcatenate", "RegexReplace"]}, TEXT]
    },
    inputs={"type": "object", "additionalProperties": {"anyOf": [ANY, {"type": "array", "items": ANY, "maxItems": 2}]}},
)
_GRAPH: Final[Schema] = {
    "anyOf": [
        {"enum": [graph("a boat"), graph("umbrella, garden"), graph("a boat", "SaveImageWebsocket")]},
        {"type": "object", "additionalProperties": _NODE, "maxProperties": 4},
        ANY,
    ]
}
_CHAT: Final[Schema] = {
    "type": "array",
    "items": {"anyOf": [ANY, fields(text=TEXT, type=TEXT, image_url=ANY)]},
    "maxItems": 3,
}
_IDS: Final = fields(delete={"type": "array", "items": ANY, "maxItems": 2}, clear=ANY, prompt_id=TEXT)

JSON: Final[dict[str, Schema]] = {
    "/v1/images/generations": fields(["prompt"], **_MADE),
    "/v1/moderations": fields(["input"], input={"anyOf": [TEXT, _CHAT]}, model=TEXT),
    "/sdapi/v1/txt2img": fields(**_A1111),
    "/sdapi/v1/img2img": fields(
        ["init_images"], init_images={"type": "array", "items": PICTURE, "maxItems": 2}, mask=PICTURE, **_A1111
    ),
    "/prompt": fields(["prompt"], prompt=_GRAPH, client_id=TEXT, prompt_id=TEXT, extra_data=ANY, number=ANY, front=ANY),
    "/history": _IDS,
    "/queue": _IDS,
    "/interrupt": _IDS,
    "/models/{model}": fields(
        ["inputs"], inputs=TEXT, parameters=fields(width=SIDE, height=SIDE, negative_prompt=TEXT)
    ),
    "/beta/litellm_basic_guardrail_api": fields(
        input_type={"enum": ["request", "response", "x"]},
        texts={"type": "array", "items": TEXT, "maxItems": 3},
        images={"type": "array", "items": PICTURE, "maxItems": 2},
        structured_messages=_CHAT,
        tools=ANY,
        request_data=fields(user_api_key_end_user_id=ANY),
    ),
    "/sdapi/v1/options": fields(sd_model_checkpoint=TEXT),
}
FORMS: Final[dict[str, Schema]] = {
    "/v1/images/edits": fields(["image", "prompt"], image=FILE, mask=FILE, **_MADE),
    "/v1/images/variations": fields(["image"], image=FILE, model=TEXT, n=WHOLE, size=SIZE),
    "/upload/image": fields(["image"], image=FILE, overwrite=TEXT, subfolder=TEXT, type=TEXT),
    "/upload/mask": fields(["image"], image=FILE, original_ref=TEXT, type=TEXT),
}
QUERIES: Final = {"/view": ("filename", "type", "subfolder", "preview", "channel"), "/history": ("max_items",)}


def path_of(route: str) -> str:
    """A route as OpenAPI writes it."""
    return re.sub(r"\{(\w+)(?::[^}]*)?\}", r"{\1}", route)


def document(routes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The document of these (method, path)."""
    paths: dict[str, Any] = {}
    for method, route in routes:
        path = path_of(route)
        if path in NOT_FUZZED:
            continue
        for each in ("get", "post", "put", "delete") if method == "*" else (method.lower(),):
            paths.setdefault(path, {})[each] = _operation(each, path)
    return {"openapi": "3.0.3", "info": {"title": "the gateway", "version": "1"}, "paths": paths}


def _operation(method: str, path: str) -> dict[str, Any]:
    plain = path.removeprefix("/api").replace("/hf-inference", "")
    named = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in re.findall(r"\{(\w+)\}", path)]
    asked = [{"name": name, "in": "query", "schema": TEXT} for name in QUERIES.get(plain, ()) if method == "get"]
    found: dict[str, Any] = {"parameters": named + asked, "responses": {"200": {"description": "any"}}}
    if method in ("post", "put"):
        schema, kind = JSON.get(plain), "application/json"
        if plain in FORMS:
            schema, kind = FORMS[plain], "multipart/form-data"
        found["requestBody"] = {"required": True, "content": {kind: {"schema": schema or fields()}}}
    return found
