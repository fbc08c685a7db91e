"""What a request to OpenAI's image routes may hold: each field by name, its values, and what it is to the generator. Everything else is denied.

Promises that the body which goes to the generator is built anew from fields that are known here, that each of its strings is either one of this table's own
words or a ``Text`` that was screened, and that nothing in it lowers a check: ``moderation`` becomes ``auto``, and a stream is never asked for.
Sources: openai-python 3.54 and 1.109, types/image_generate_params, image_edit_params, image_create_variation_params.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import aiohttp

from custodes.gateway.dialects.bodies import Part
from custodes.gateway.dialects.texts import changed, strings
from custodes.gateway.door import Denial, DeniedError
from custodes.gateway.guard import Passage
from custodes.gateway.vocabulary import Asked, Name, NameKind, Picture, PictureRole, Text, TextRole
from custodes.sniff import format_of

__all__ = ["Wanted", "Work", "from_form", "from_json"]

PROMPT_CHARS_MAX: Final = 32_000
IMAGES_MAX: Final = 16
COUNT_MAX: Final = 10
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_SIZE: Final = re.compile(r"auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}")

Read = Callable[[object], Any]
"""The value as it is forwarded; ValueError where it is none."""


class Work(StrEnum):
    """A route."""

    GENERATIONS = "generations"
    EDITS = "edits"
    VARIATIONS = "variations"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that can be judged. ``fields``: what is forwarded, but for the pictures; ``user``: the hint of who the end user is."""

    work: Work
    asked: Asked
    fields: Mapping[str, Any] = field(repr=False)
    stream: bool = False
    as_url: bool = False
    user: str = field(default="", repr=False)
    user_field: str = "user"
    listed: bool = False
    """Pictures come as ``image[]``."""

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return str(self.fields["model"])

    def body(self, passage: Passage) -> dict[str, Any]:
        """What the generator is sent: as JSON, or as ``data`` of a form. An opaque name stands in place of the client's hint at its user."""
        fields = changed(self.fields, passage.texts)
        if passage.caller.user and self.user:
            fields[self.user_field] = passage.caller.user
        if self.work is Work.GENERATIONS:
            return {"json": fields}
        data = aiohttp.FormData(default_to_multipart=True)
        for name, value in _flat(fields):
            data.add_field(name, value)
        for number, picture in enumerate(self.asked.pictures):
            content = passage.pictures[picture.where]
            kind = format_of(content) or "octet-stream"
            name = {PictureRole.MASK: "mask", PictureRole.MARKUP: "markup"}.get(
                picture.role, "image[]" if self.listed else "image"
            )
            data.add_field(name, content, filename=f"{number}.{kind}", content_type=f"image/{kind}")
        return {"data": data}


# -- values


def _one_of(*words: str) -> Read:
    def read(value: object) -> str:
        if value not in words:
            raise ValueError
        return str(value)

    return read


def _whole(least: int, most: int) -> Read:
    def read(value: object) -> int:
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _matching(pattern: re.Pattern[str]) -> Read:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError
        return value

    return read


def _text(chars_max: int) -> Read:
    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > chars_max:
            raise ValueError
        return value

    return read


def _flag(value: object) -> bool:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value)
    if not isinstance(value, bool):
        raise ValueError
    return value


def _plain(value: object) -> object:
    """A value of a field that the operator added: nothing nested."""
    if isinstance(value, str):
        return _text(PROMPT_CHARS_MAX)(value)
    if not isinstance(value, bool | int | float):
        raise ValueError
    return value


def _svg(value: object) -> dict[str, Any]:
    """The author of a vector picture: a model too."""
    if not isinstance(value, Mapping) or not {"model"} <= set(value) <= {"model", "reasoning"}:
        raise ValueError
    found: dict[str, Any] = {"model": _matching(_NAME)(value["model"])}
    if (reasoning := value.get("reasoning")) is not None:
        if not isinstance(reasoning, Mapping) or not set(reasoning) <= {"effort"}:
            raise ValueError
        effort = reasoning.get("effort")
        efforts = _one_of("none", "minimal", "low", "medium", "high", "xhigh", "max")
        found["reasoning"] = {} if effort is None else {"effort": efforts(effort)}
    return found


_COMMON: Final[Mapping[str, Read]] = {
    "model": _matching(_NAME),
    "n": _whole(1, COUNT_MAX),
    "size": _matching(_SIZE),
    "response_format": _one_of("url", "b64_json"),
    "user": _text(512),
}
_MADE: Final[Mapping[str, Read]] = {
    **_COMMON,
    "prompt": _text(PROMPT_CHARS_MAX),
    "quality": _one_of("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"),
    "background": _one_of("transparent", "opaque", "auto"),
    "output_format": _one_of("png", "webp", "jpeg", "gif", "svg"),
    "output_compression": _whole(0, 100),
    "frame_count": _whole(2, 16),
    "frame_duration_ms": _whole(1, 655_350),
    "complexity": _one_of("low", "medium", "high"),
    "svg": _svg,
    "moderation": _one_of("low", "auto"),
    "stream": _flag,
    "partial_images": _whole(0, 3),
    "safety_identifier": _text(512),
}
FIELDS: Final[Mapping[Work, Mapping[str, Read]]] = {
    Work.GENERATIONS: {**_MADE, "style": _one_of("vivid", "natural")},
    Work.EDITS: {**_MADE, "input_fidelity": _one_of("high", "low")},
    Work.VARIATIONS: _COMMON,
}
_PICTURES: Final[Mapping[str, PictureRole]] = {
    "image": PictureRole.INIT,
    "image[]": PictureRole.INIT,
    "mask": PictureRole.MASK,
    "markup": PictureRole.MARKUP,
}
_KEPT: Final = frozenset({"stream", "partial_images", "user", "safety_identifier", "response_format"})
"""Fields that are for the gateway. The generator is not asked to stream, so that no unfinished picture is anywhere."""


# -- requests


def from_json(given: Mapping[str, Any], extra: frozenset[str], models: frozenset[str]) -> Wanted:
    """What the body of a generation asks for. Raises DeniedError."""
    return _wanted(Work.GENERATIONS, given, (), extra, models)


def from_form(work: Work, parts: Sequence[Part], extra: frozenset[str], models: frozenset[str]) -> Wanted:
    """What the form of an edit or a variation asks for. Raises DeniedError."""
    allowed = {"image"} if work is Work.VARIATIONS else set(_PICTURES)
    found = [part for part in parts if part.name in allowed]
    names = [part.name for part in found]
    if {"image", "image[]"} <= set(names) or any(names.count(name) > 1 for name in ("mask", "markup")):
        raise DeniedError(Denial.MALFORMED, "pictures are given twice: send image, or image[]", field="image")
    images = names.count("image") + names.count("image[]")
    if not 1 <= images <= (1 if work is Work.VARIATIONS else IMAGES_MAX):
        raise DeniedError(Denial.MALFORMED, "the number of images cannot be taken", field="image")
    counted = [f"{name}{names[:at].count(name) or ''}" for at, name in enumerate(names)]
    pictures = [Picture(_PICTURES[part.name], part.content, where) for part, where in zip(found, counted, strict=True)]
    return _wanted(work, _nested([part for part in parts if part.name not in allowed]), pictures, extra, models)


def _wanted(
    work: Work, given: Mapping[str, Any], pictures: Sequence[Picture], extra: frozenset[str], models: frozenset[str]
) -> Wanted:
    table = FIELDS[work]
    values: dict[str, Any] = {}
    for name, value in given.items():
        read = table.get(name) or (_plain if name in extra else None)
        if read is None:
            raise DeniedError(Denial.ROUTE, "a field of the request is not known here", field=_shown(name))
        if value is None:
            continue
        try:
            values[name] = read(value)
        except (ValueError, TypeError):
            raise DeniedError(Denial.MALFORMED, "a field has a value that it cannot have", field=name) from None
    values["model"] = _model(values, models)
    if work is not Work.VARIATIONS and not values.get("prompt"):
        raise DeniedError(Denial.MALFORMED, "a prompt is needed", field="prompt")
    fields = {name: value for name, value in values.items() if name not in _KEPT}
    if "moderation" in fields:
        fields["moderation"] = "auto"
    older = values["model"].startswith("dall-e")
    if older or "response_format" in values:
        fields["response_format"] = "b64_json"
    return Wanted(
        work,
        _asked(fields, pictures, table),
        fields,
        stream=values.get("stream", False),
        as_url=values.get("response_format", "url" if older else "b64_json") == "url" and not values.get("stream"),
        user=values.get("safety_identifier") or values.get("user") or "",
        user_field="safety_identifier" if values.get("safety_identifier") else "user",
        listed=sum(picture.role is PictureRole.INIT for picture in pictures) > 1
        or any(picture.where == "image[]" for picture in pictures),
    )


def _model(values: Mapping[str, Any], models: frozenset[str]) -> str:
    """The model. Where none is named and only one is offered, it is that one. Raises DeniedError."""
    named = [*([values["model"]] if "model" in values else []), *([values["svg"]["model"]] if "svg" in values else [])]
    if not set(named) <= models or ("model" not in values and len(models) != 1):
        raise DeniedError(Denial.MODEL, "this model is not offered here: see /v1/models", field="model")
    return str(values.get("model") or next(iter(models)))


def _asked(fields: Mapping[str, Any], pictures: Sequence[Picture], table: Mapping[str, Read]) -> Asked:
    """What is judged. Strings of the other fields are words of the table, or names that were held against the models on offer."""
    written = {name: value for name, value in fields.items() if name == "prompt" or name not in table}
    texts = tuple(Text(_role(where), value, where) for where, value in strings(written))
    names = [fields["model"], *([fields["svg"]["model"]] if "svg" in fields else [])]
    return Asked(texts, tuple(pictures), tuple(Name(NameKind.MODEL, name) for name in names), fields.get("n", 1))


def _role(where: str) -> TextRole:
    if where == "prompt":
        return TextRole.POSITIVE
    return TextRole.NEGATIVE if where.startswith("negative") else TextRole.OTHER


def _nested(parts: Sequence[Part]) -> dict[str, Any]:
    """The fields of a form; ``svg[model]`` is within ``svg``. Raises DeniedError."""
    found: dict[str, Any] = {}
    for part in parts:
        try:
            value = part.content.decode("utf-8")
        except UnicodeDecodeError:
            raise DeniedError(Denial.MALFORMED, "a field of the form is not UTF-8", field=_shown(part.name)) from None
        first, *rest = part.name.replace("]", "").split("[")
        place, name = found, first
        if rest and first == "svg":
            for name in rest:
                place = place.setdefault(first, {})
                if not isinstance(place, dict):
                    break
                first = name
        else:
            name = part.name
        if not isinstance(place, dict) or name in place:
            raise DeniedError(Denial.MALFORMED, "a field of the form is given twice", field=_shown(part.name))
        place[name] = value
    return found


def _flat(fields: Mapping[str, Any], within: str = "") -> list[tuple[str, str]]:
    """Fields as a form has them."""
    found: list[tuple[str, str]] = []
    for name, value in fields.items():
        key = f"{within}[{name}]" if within else name
        if isinstance(value, Mapping):
            found += _flat(value, key)
        else:
            found.append((key, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def _shown(name: str) -> str:
    """The name of a field that is not known: told only where it can be nothing but a name."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", name) else "?"
