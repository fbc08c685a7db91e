"""Pictures that clients uploaded: under what name each tenant knows them, and under what name the generator holds them.

Promises that a picture goes to the generator only after the guard admitted it, under a name that is the gateway's own; that no tenant can name another's; and
that a run which uses it has it looked at again, as the same bytes, together with its texts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from custodes.gateway.dialects.bodies import Part, json_object
from custodes.gateway.door import GENERATOR, Denial, DeniedError, Door
from custodes.gateway.guard import Caller, UnableError
from custodes.gateway.vocabulary import Asked, Picture, PictureRole
from custodes.sniff import format_of

__all__ = ["Upload", "Uploads", "uploaded"]

UPLOADS_MAX: Final = 1024
NAME_CHARS_MAX: Final = 255
_ENDINGS: Final = {"png": "png", "jpeg": "jpg", "webp": "webp", "gif": "gif", "bmp": "bmp"}
_FIELDS: Final = frozenset({"image", "type", "subfolder", "overwrite", "original_ref"})


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture at the generator. ``theirs``: its name there."""

    theirs: str
    sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An upload as it was asked for. ``original``: the picture that a mask is for."""

    name: str = field(repr=False)
    content: bytes = field(repr=False)
    overwrite: bool
    original: str = field(default="", repr=False)

    @property
    def asked(self) -> Asked:
        """What is judged of it before it goes anywhere."""
        role = PictureRole.MASK if self.original else PictureRole.INIT
        return Asked(pictures=(Picture(role, self.content, "image"),), count=0)


@dataclass(slots=True)
class Uploads:
    """Names of each tenant; the oldest are forgotten first."""

    _held: dict[str, OrderedDict[str, Upload]] = field(default_factory=dict, repr=False)

    def find(self, tenant: str, name: str) -> Upload | None:
        """A picture of this tenant's."""
        return self._held.get(tenant, OrderedDict()).get(name.removesuffix(" [input]"))

    def put(self, tenant: str, wanted: Wanted, upload: Upload) -> str:
        """The name that it got: another, where one is there and is not to be replaced, as at ComfyUI."""
        held = self._held.setdefault(tenant, OrderedDict())
        stem, dot, ending = wanted.name.rpartition(".")
        name, number = wanted.name, 0
        while not wanted.overwrite and name in held and held[name].sha256 != upload.sha256:
            number += 1
            name = f"{stem} ({number}){dot}{ending}"
        held[name] = upload
        held.move_to_end(name)
        if len(held) > UPLOADS_MAX:
            held.popitem(last=False)
        return name

    def names(self, tenant: str) -> Sequence[str]:
        """All that this tenant uploaded."""
        return sorted(self._held.get(tenant, ()))

    async def content(self, door: Door, tenant: str, name: str) -> tuple[Upload, bytes]:
        """A picture as the generator holds it. Raises DeniedError; UnableError where it is not what was uploaded."""
        upload = self.find(tenant, name)
        if upload is None:
            raise DeniedError(Denial.MALFORMED, "there is no such picture: upload it first")
        content = await _fetched(door, upload.theirs)
        if hashlib.sha256(content).digest() != upload.sha256:
            raise UnableError(GENERATOR)
        return upload, content

    async def store(self, door: Door, caller: Caller, wanted: Wanted) -> str:
        """Judge it, then give it to the generator. Returns the name for the client. Raises RefusedError, UnableError, DeniedError, UpstreamError."""
        kind = format_of(wanted.content)
        if kind not in _ENDINGS:
            raise DeniedError(Denial.MALFORMED, "this is not a picture that can be taken", field="image")
        passage = await door.guard.admit(caller, wanted.asked)
        written = passage.pictures["image"]
        name = f"{secrets.token_hex(16)}.{_ENDINGS.get(format_of(written) or '', 'png')}"
        if not wanted.original:
            await _given(door, "/upload/image", name, written)
            return self.put(caller.tenant, wanted, Upload(name, hashlib.sha256(written).digest()))
        original, _ = await self.content(door, caller.tenant, wanted.original)
        reference = json.dumps({"filename": original.theirs, "subfolder": "", "type": "input"})
        await _given(door, "/upload/mask", name, written, original_ref=reference)
        both = await _fetched(door, name)  # the generator put the mask on the picture: judged before anybody can use it
        await door.guard.admit(caller, Asked(pictures=(Picture(PictureRole.INIT, both, "image"),)))
        return self.put(caller.tenant, wanted, Upload(name, hashlib.sha256(both).digest()))


def uploaded(parts: Sequence[Part], *, mask: bool) -> Wanted:
    """What a form uploads. Raises DeniedError."""
    if not {part.name for part in parts} <= _FIELDS or len({part.name for part in parts}) < len(parts):
        raise DeniedError(Denial.MALFORMED, "a field of the form is not known here, or given twice")
    given = {part.name: part for part in parts}
    fields = {name: part.content.decode("utf-8", "replace") for name, part in given.items() if name != "image"}
    if "image" not in given or fields.get("type", "input") != "input" or mask != ("original_ref" in fields):
        raise DeniedError(Denial.MALFORMED, "the form is not one that can be taken", field="image")
    name = _name(given["image"].filename or "image.png", fields.get("subfolder", ""))
    overwrite = fields.get("overwrite", "") in ("true", "1")
    return Wanted(name, given["image"].content, overwrite, _original(fields["original_ref"]) if mask else "")


def _name(filename: str, subfolder: str) -> str:
    """The client's name of a file. It is a word of the gateway's and is no path."""
    name = f"{subfolder}/{filename}" if subfolder else filename
    if not name.isprintable() or len(name) > NAME_CHARS_MAX or name.endswith("]"):
        raise DeniedError(Denial.MALFORMED, "the name of the file is not one that can be taken", field="image")
    return name


def _original(text: str) -> str:
    reference = json_object(text.encode())
    filename, subfolder = reference.get("filename"), reference.get("subfolder") or ""
    if not isinstance(filename, str) or not isinstance(subfolder, str) or reference.get("type", "input") != "input":
        raise DeniedError(Denial.MALFORMED, "only an uploaded picture can be masked", field="original_ref")
    return _name(filename, subfolder)


async def _given(door: Door, path: str, name: str, content: bytes, **fields: Any) -> None:
    form = aiohttp.FormData({"type": "input", "overwrite": "true", **fields})
    form.add_field("image", content, filename=name)
    answer = await door.upstream.exchange("POST", path, data=form)
    if answer.status != 200:
        raise UnableError(GENERATOR)


async def _fetched(door: Door, name: str) -> bytes:
    answer = await door.upstream.exchange("GET", "/view", params={"filename": name, "type": "input"})
    if answer.status != 200:
        raise UnableError(GENERATOR)
    return answer.body
