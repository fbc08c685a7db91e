"""What a generator that speaks OpenAI's dialect answers, and what of it a client gets: pictures that were released, and figures.

Promises that no string of the generator's answer reaches a client unless it is one of a few words; its own ``revised_prompt``, its links and the texts of its
errors do not. A link in a picture's place is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from custodes.gateway.dialects.openai_fields import COUNT_MAX, FIELDS, Work
from custodes.gateway.door import GENERATOR, Denial, DeniedError
from custodes.gateway.guard import RefusedError, Released, UnableError, Withheld
from custodes.gateway.upstream import Answer
from custodes.gateway.vocabulary import Category, Grade, Stage

__all__ = ["Made", "Turned", "details", "made_by", "refusal", "sole_verdict", "turned_away"]

_BLOCKED: Final = ("moderation_blocked", "content_policy_violation")
_SIZE: Final = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")


class _Image(msgspec.Struct, frozen=True):
    b64_json: bytes | None = None


class _Images(msgspec.Struct, frozen=True):
    data: Annotated[tuple[_Image, ...], Meta(min_length=1, max_length=COUNT_MAX)]
    created: int = 0
    background: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: dict[str, Any] | None = None


class _Details(msgspec.Struct, frozen=True):
    moderation_stage: str | None = None


class _Error(msgspec.Struct, frozen=True):
    code: str | int | None = None
    param: str | None = None
    moderation_details: _Details | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: _Error


@dataclass(frozen=True, slots=True)
class Made:
    """An answer that can be looked at: pictures, still to be judged, and what is told of them."""

    images: tuple[bytes, ...]
    created: int
    told: Mapping[str, Any]


def made_by(answer: Answer, count: int) -> Made:
    """The pictures of an answer. Raises UnableError for anything that is not what was asked for."""
    try:
        found = msgspec.json.decode(answer.body, type=_Images)
        images = tuple(image.b64_json or b"" for image in found.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise UnableError(GENERATOR) from None
    if len(images) > count or not all(images):
        raise UnableError(GENERATOR)
    told: dict[str, Any] = {}
    if found.background in ("transparent", "opaque"):
        told["background"] = found.background
    if found.quality in ("low", "medium", "high", "xhigh", "max"):
        told["quality"] = found.quality
    if found.size is not None and _SIZE.fullmatch(found.size):
        told["size"] = found.size
    if found.usage is not None:
        told["usage"] = _figures(found.usage)
    return Made(images, max(0, min(found.created, 1 << 40)), told)


def _figures(given: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Counts, two levels deep. Their names are words of a protocol; small whole numbers hold no picture."""
    found: dict[str, Any] = {}
    for name in ("input_tokens", "output_tokens", "total_tokens", "image_tokens", "text_tokens"):
        if isinstance(value := given.get(name), int) and 0 <= value < 1 << 31:
            found[name] = int(value)
    for name in ("input_tokens_details", "output_tokens_details"):
        if depth == 0 and isinstance(value := given.get(name), dict):
            found[name] = _figures(value, 1)
    return found


# -- the generator's noes


@dataclass(frozen=True, slots=True)
class Turned:
    """The generator refused, as a moderation of its own."""

    stage: Stage


def turned_away(answer: Answer, work: Work) -> Turned | DeniedError | UnableError | None:
    """What a status other than 200 means; None for 200. A refusal is one only where it says so in the words of the protocol."""
    if answer.status == 200:
        return None
    try:
        error = msgspec.json.decode(answer.body, type=_Problem).error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        error = _Error()
    if answer.status in (400, 403, 451) and error.code in _BLOCKED:
        stage = error.moderation_details.moderation_stage if error.moderation_details else None
        return Turned(Stage.OUTPUT if stage == "output" else Stage.INPUT)
    if answer.status == 429:
        after = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
        wait_s = min(int(after), 3600) if re.fullmatch("[0-9]{1,6}", after) else 1
        return DeniedError(Denial.RATE, "the generator has too much to do: ask again", retry_after_s=wait_s)
    if answer.status in (400, 413, 422):
        field = error.param if error.param in FIELDS[work] or error.param in ("image", "mask", "markup") else None
        return DeniedError(Denial.MALFORMED, "the generator does not take this request", field=field or "")
    return UnableError(GENERATOR)


# -- our noes


def refusal(error: RefusedError, model: str, work: Work, request: str) -> dict[str, Any]:
    """The error object of a refusal, in the words of the model's generation."""
    if model.startswith("dall-e"):
        return {
            "message": _OLDER[error.stage, work is Work.VARIATIONS],
            "type": "invalid_request_error",
            "param": None,
            "code": "content_policy_violation",
        }
    told = details(error)
    message = (
        "Your request was rejected by the safety system. If you believe this is an error, contact whoever runs this gateway "
        f"and include the request ID {request}. safety_violations=[{', '.join(told['categories'])}]."
    )
    return {
        "message": message,
        "type": "image_generation_user_error",
        "param": None,
        "code": "moderation_blocked",
        "moderation_details": told,
    }


_REJECTED: Final = "Your request was rejected as a result of our safety system."
_OLDER: Final = {
    (Stage.INPUT, False): f"{_REJECTED} Your prompt may contain text that is not allowed by our safety system.",
    (Stage.INPUT, True): "Your input image may contain content that is not allowed by our safety system.",
    (
        Stage.OUTPUT,
        False,
    ): f"{_REJECTED} Image descriptions generated from your prompt may contain text that is not allowed by our safety system.",
    (Stage.OUTPUT, True): _REJECTED,
}


def details(error: RefusedError) -> dict[str, Any]:
    """Stage and coarse category. Of anything hard: that it is for safety, and no more."""
    hard = error.verdict.grade is Grade.HARD
    return {
        "moderation_stage": str(error.stage),
        "categories": [str(Category.SAFETY if hard else error.verdict.category)],
    }


def sole_verdict(found: Sequence[Released | Withheld]) -> RefusedError | None:
    """What is said where all pictures were withheld; None where one was not."""
    withheld = [each.verdict for each in found if isinstance(each, Withheld)]
    if len(withheld) < len(found):
        return None
    return RefusedError(next((v for v in withheld if v.grade is Grade.HARD), withheld[0]), Stage.OUTPUT)
