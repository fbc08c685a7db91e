"""ComfyUI's words for no: its error object, which its interface shows beside the node, and the event by which it tells that a run failed.

Promises that nothing here repeats what was asked or what the generator said, and that a refusal is a 400, which no client sends again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from custodes.gateway.dialects.comfyui.events import Event, event
from custodes.gateway.dialects.comfyui.graph import GraphError
from custodes.gateway.dialects.openai_answers import details
from custodes.gateway.dialects.words import FINAL, said
from custodes.gateway.door import Denial, DeniedError
from custodes.gateway.guard import RefusedError, UnableError

__all__ = ["FAULT", "REFUSED", "denied", "failed", "interrupted", "refused", "unable"]

REFUSED: Final = "moderation_blocked"
FAULT: Final = "gateway_fault"
_REJECTED: Final = "Your request was rejected by the safety system."
_STATUS: Final[Mapping[Denial, int]] = {
    Denial.KEY: 401,
    Denial.SUSPENDED: 403,
    Denial.RATE: 429,
    Denial.MODEL: 400,
    Denial.ROUTE: 404,
    Denial.MALFORMED: 400,
    Denial.TOO_LARGE: 413,
    Denial.DRAINING: 503,
}


def refused(error: RefusedError) -> web.Response:
    """A refusal: its stage and coarse category."""
    return _problem({"type": REFUSED, "message": _REJECTED, "extra_info": details(error)}, 400, {}, FINAL)


def unable(error: UnableError) -> web.Response:
    """503, and final."""
    return _problem({"type": FAULT, "message": _unable(error)}, 503, {}, FINAL)


def denied(error: DeniedError) -> web.Response:
    """Turned away; a graph with the node that it is about."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    if error.denial not in (Denial.RATE, Denial.DRAINING):
        headers |= FINAL
    if not isinstance(error, GraphError):
        return _problem({"type": error.denial, "message": error.message}, _STATUS[error.denial], {}, headers)
    nodes = _of_node(error) if error.node else {}
    return _problem({"type": error.problem, "message": error.message, "details": error.class_type}, 400, nodes, headers)


def _of_node(error: GraphError) -> dict[str, Any]:
    extra = {"input_name": error.field} if error.field else {}
    problem = {"type": error.problem, "message": error.message, "details": error.field, "extra_info": extra}
    return {error.node: {"errors": [problem], "dependent_outputs": [], "class_type": error.class_type}}


def _problem(
    error: Mapping[str, Any], status: int, nodes: Mapping[str, Any], headers: Mapping[str, str]
) -> web.Response:
    shape = {"type": "", "message": "", "details": "", "extra_info": {}}
    return said({"error": {**shape, **error}, "node_errors": nodes}, status, headers)


def _unable(error: UnableError) -> str:
    return f"{error.what} could not do its work: nothing was let through"


# -- events


def failed(prompt_id: str, node: tuple[str, str], error: RefusedError | UnableError) -> Event:
    """That a run failed at a node, of this class: refused, or by a fault."""
    refusal = isinstance(error, RefusedError)
    extra = {"extra_info": details(error)} if isinstance(error, RefusedError) else {}
    return event(
        "execution_error",
        prompt_id=prompt_id,
        node_id=node[0],
        node_type=node[1],
        executed=[],
        exception_message=_REJECTED if refusal else _unable(error) if isinstance(error, UnableError) else "",
        exception_type=REFUSED if refusal else FAULT,
        traceback=[],
        current_inputs={},
        current_outputs=[],
        **extra,
    )


def interrupted(prompt_id: str, node: tuple[str, str]) -> Event:
    """That a run was stopped."""
    return event("execution_interrupted", prompt_id=prompt_id, node_id=node[0], node_type=node[1], executed=[])
