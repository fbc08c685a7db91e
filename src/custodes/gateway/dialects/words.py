"""Answers in OpenAI's form of an error, which the gateway itself speaks as well: so far as a client reads only that, it reads all of them.

Promises that a refusal is a 400, which no client sends again, and that a fault says so with ``x-should-retry: false``. Nothing here repeats what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from custodes.gateway.door import Denial, DeniedError

__all__ = ["FINAL", "denial", "denied", "failed", "failure", "problem", "said"]

FINAL: Final = {"x-should-retry": "false"}
"""For answers that another try would not change, or should not."""

_INVALID: Final = "invalid_request_error"
_DENIALS: Final[Mapping[Denial, tuple[int, str, str]]] = {
    Denial.KEY: (401, _INVALID, "invalid_api_key"),
    Denial.SUSPENDED: (403, _INVALID, "user_suspended"),
    Denial.RATE: (429, "rate_limit_error", "rate_limit_exceeded"),
    Denial.MODEL: (404, _INVALID, "model_not_found"),
    Denial.ROUTE: (404, _INVALID, "unknown_url"),
    Denial.MALFORMED: (400, _INVALID, "invalid_value"),
    Denial.TOO_LARGE: (413, _INVALID, "request_too_large"),
    Denial.DRAINING: (503, "server_error", "draining"),
}


def said(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON document."""
    body = msgspec.json.encode(document)
    return web.Response(body=body, status=status, content_type="application/json", headers=dict(headers or {}))


def problem(error: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error object."""
    return said({"error": error}, status, headers)


def denied(error: DeniedError) -> web.Response:
    """Turned away."""
    status, document = denial(error)
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    if error.denial not in (Denial.RATE, Denial.DRAINING):
        headers |= FINAL
    return problem(document, status, headers)


def denial(error: DeniedError) -> tuple[int, dict[str, Any]]:
    """The status and the error object of one who is turned away."""
    status, kind, code = _DENIALS[error.denial]
    if error.denial is Denial.ROUTE and error.field:  # the path is known, and a field is not
        status, code = 400, "unknown_parameter"
    return status, {"message": error.message, "type": kind, "param": error.field or None, "code": code}


def failed(what: str) -> web.Response:
    """A fault: nothing was let through, and the same request is not to be sent again at once."""
    return problem(failure(what), 503, FINAL)


def failure(what: str) -> dict[str, Any]:
    """The error object of a fault."""
    message = f"{what} could not do its work: nothing was let through"
    return {"message": message, "type": "server_error", "param": None, "code": "gateway_fault"}
