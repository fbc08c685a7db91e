"""A strict stand-in for Arachnid Shield. It knows made-up codes and bytes, and remembers whoever would submit an image to its analysts."""

from __future__ import annotations

import base64
import binascii
import json
from hashlib import sha1, sha256
from typing import Any

from tests.authorities.service import Seen, UndocumentedError
from tests.authorities.simulator import SECRET, JsonService, RefusedError

USER, PASSWORD = "somebody", SECRET


class ShieldServer(JsonService):
    """``codes`` and ``contents`` are known, by their classification and match type; ``left_out`` codes get no answer."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: dict[bytes, dict[str, Any]] = {}
        self.contents: dict[bytes, dict[str, Any]] = {}
        self.left_out: set[bytes] = set()
        self.submitted = 0

    def know(self, code: bytes, classification: Any, match_type: Any = "near", details: Any = ()) -> None:
        said = {"classification": classification, "match_type": match_type, "near_match_details": list(details)}
        self.codes[code] = said

    def asked_codes(self) -> list[bytes]:
        """All codes that a client sent."""
        bodies = [json.loads(seen.body) for seen in self.requests if seen.path == "/v1/pdq/"]
        return [base64.b64decode(text) for body in bodies for text in body["hashes"]]

    def told(self, seen: Seen, query: dict[str, str]) -> Any:
        if "submit" in seen.path:
            self.submitted += 1
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if seen.headers.get("Authorization") != expected:
            raise RefusedError(401)
        if query:
            raise UndocumentedError("no query")
        if (seen.method, seen.path) == ("POST", "/v1/pdq/"):
            return self._codes(seen)
        if (seen.method, seen.path) == ("POST", "/v1/media/"):
            return self._media(seen)
        if (seen.method, seen.path) == ("GET", "/v1/version"):
            return {"last_updated_at": "2026-11-01T00:00:00Z"}
        raise UndocumentedError("no such path")

    def _codes(self, seen: Seen) -> Any:
        body = json.loads(seen.body)
        if seen.headers.get("Content-Type") != "application/json" or set(body) != {"hashes"}:
            raise UndocumentedError("JSON with hashes")
        answers = {}
        for text in body["hashes"]:
            try:
                code = base64.b64decode(text, validate=True)
            except binascii.Error as error:
                raise UndocumentedError("base64") from error
            if len(code) != 32:
                raise UndocumentedError("32 bytes")
            nothing = {"classification": "no-known-match", "match_type": None, "near_match_details": []}
            if code not in self.left_out:
                answers[text] = self.codes.get(code, nothing) | {"a field of the future": 1}
        if len(set(body["hashes"])) != len(body["hashes"]) or not 0 < len(body["hashes"]) <= 100:
            raise UndocumentedError("each code once, 100 at most")
        return {"scanned_hashes": answers}

    def _media(self, seen: Seen) -> Any:
        if not seen.headers.get("Content-Type", "").startswith("image/") or not seen.body:
            raise UndocumentedError("an image with its type")
        nothing = {"classification": "no-known-match", "match_type": None, "near_match_details": []}
        return {
            "size_bytes": len(seen.body),
            "sha1_base32": base64.b32encode(sha1(seen.body).digest()).decode(),
            "sha256_hex": sha256(seen.body).hexdigest(),
            **self.contents.get(seen.body, nothing),
        }
