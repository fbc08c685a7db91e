"""The page that verifies a card in a browser: one file, put together from the parts beside this module.

Promises that the page asks nobody for anything but the files beside it, that no other script or style runs in it (each is named by its
SHA-256), and that it holds the same tables of reasons and the same shape of a statement as the program. What is checked, and in which order, stands
in ``custodes.attest.verification``: the page does the same, and tests hold the two against each other.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

import msgspec

from custodes.attest.statement import PAYLOAD_TYPE, SUBJECTS_MAX, Statement
from custodes.crypto.dsse import ENVELOPE_BYTES_MAX, SIGNATURES_MAX
from custodes.model import REASONS

__all__ = ["PAGE_NAME", "page_bytes"]

PAGE_NAME: Final = "verify.html"

_SCRIPTS: Final = ("bytes", "canonical", "keys", "card", "notes", "tiles", "logged", "told", "page")
"""In this order: each needs only what stands before it."""


@cache
def page_bytes() -> bytes:
    """The page, the same bytes each time."""
    style = _part("page.css")
    script = f"const TABLES = {_tables()};\n" + "".join(_part(f"{name}.js") for name in _SCRIPTS)
    page = _part("page.html")
    for mark, text in (
        ("@style-hash@", _named(style)),
        ("@script-hash@", _named(script)),
        ("@style@", style),
        ("@script@", script),  # last: what stands in a part is not looked at again
    ):
        page = page.replace(mark, text, 1)
    return page.encode()


def _part(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _tables() -> str:
    """What the page knows of a card from the program itself, as JSON that ends no script."""
    tables = {
        "schema": msgspec.json.schema(Statement),
        "reasons": REASONS,
        "payloadType": PAYLOAD_TYPE,
        "subjectsMax": SUBJECTS_MAX,
        "envelopeBytesMax": ENVELOPE_BYTES_MAX,
        "signaturesMax": SIGNATURES_MAX,
    }
    return msgspec.json.encode(tables).decode().replace("<", "\\u003c")


def _named(text: str) -> str:
    """How a content security policy names a script or a style."""
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()
