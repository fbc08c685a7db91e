"""``custodes check --remote``: files that the lists do not know, looked up with a detector at a third party's.

It is given only what the local match has passed, PDQ codes unless the configuration allows images, and whatever keeps it from an answer is
a reason why a file was not examined there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodes.authorities.shield import DETECTOR, FIELDS, Lookup, Shield
from custodes.carrier.protocol import Carried
from custodes.config import Site
from custodes.errors import AuthorityError, ConfigError
from custodes.lists.matcher import MatchSettings
from custodes.model import Content, Signal
from custodes.services.calls import Caller
from custodes.services.credentials import load_credentials

__all__ = ["Remote", "Said", "connected"]

NO_CODE = "no PDQ code of enough quality"
NO_IMAGE = "no image"
CHANGED = "changed since it was compared"
NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Said:
    """What the detector says of one file: of each of its codes, or (``why``) nothing."""

    detector: str
    production: bool
    lookups: tuple[Lookup, ...] = ()
    why: str = ""

    def signals(self) -> tuple[Signal, ...]:
        """For the policy, beside those of the lists."""
        return tuple(dict.fromkeys(signal for lookup in self.lookups for signal in lookup.signals()))

    def classifications(self) -> str:
        """As they were given; what was left out is unknown."""
        return ", ".join(sorted({lookup.classification or "unknown" for lookup in self.lookups}))

    def document(self) -> dict[str, Any]:
        """For JSON."""
        found = {"classification": self.classifications()} if self.lookups else {"reason": self.why}
        return {"detector": self.detector, "production": self.production, "examined": bool(self.lookups)} | found


@dataclass
class Remote:
    """The detector, and the error that ended its answers, if one did."""

    shield: Shield
    media: bool = False
    error: AuthorityError | None = None

    def ask(self, files: Sequence[tuple[Carried, str]]) -> dict[int, Said]:
        """What is said of each of these files, by key. No error: what has no answer says so."""
        return asyncio.run(self._ask(files))

    async def _ask(self, files: Sequence[tuple[Carried, str]]) -> dict[int, Said]:
        try:
            found = await (self._images(files) if self.media else self._codes(files))
        finally:
            await self.shield.close()
        return {key: self._said(each) for key, each in found.items()}

    def _said(self, found: tuple[Lookup, ...] | str) -> Said:
        why = found if isinstance(found, str) else ""
        return Said(DETECTOR, self.shield.production, () if isinstance(found, str) else found, why)

    async def _codes(self, files: Sequence[tuple[Carried, str]]) -> Mapping[int, tuple[Lookup, ...] | str]:
        """By the codes of all frames that say something of their image."""
        floor = MatchSettings().pdq_quality_min
        codes = {carried.key: [pdq.code for pdq in carried.pdq if pdq.quality >= floor] for carried, _ in files}
        try:
            answers = iter(await self.shield.look_up_pdq([code for each in codes.values() for code in each]))
        except AuthorityError as error:
            self.error = error
            return {key: NO_ANSWER if each else NO_CODE for key, each in codes.items()}
        return {key: tuple(next(answers) for _ in each) or NO_CODE for key, each in codes.items()}

    async def _images(self, files: Sequence[tuple[Carried, str]]) -> Mapping[int, tuple[Lookup, ...] | str]:
        return {carried.key: await self._image(carried, path) for carried, path in files}

    async def _image(self, carried: Carried, path: str) -> tuple[Lookup, ...] | str:
        if not carried.format or not carried.sha256:
            return NO_IMAGE
        if self.error is not None:
            return NO_ANSWER
        content = _read(path, carried)
        if content is None:
            return CHANGED
        try:
            return (await self.shield.look_up_media(content, f"image/{carried.format}"),)
        except AuthorityError as error:
            self.error = error
            return NO_ANSWER


def connected(site: Site) -> Remote:
    """The detector that is configured. Raises ConfigError where none is, or its credentials are not there."""
    settings = site.config.shield
    if not settings.enabled:
        hint = "agree with the Canadian Centre for Child Protection on its use, then set enabled = true there"
        raise ConfigError(f"{site.path} does not enable [shield]", hint=hint)
    where = str(site.home / settings.credentials) if settings.credentials else ""
    found = load_credentials(where, FIELDS, "shield", os.environ)
    caller = Caller(
        settings.url,
        "Arachnid Shield",
        basic=(found["username"], found["password"]),
        unsafe_allow_loopback=settings.unsafe_allow_loopback,
    )
    return Remote(Shield(caller, site.config.meaning), settings.media)


def _read(path: str, carried: Carried) -> Content | None:
    """The very bytes that were compared with the lists, or None: nothing else may go out."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(carried.size_bytes + 1)
    except OSError:
        return None
    return Content(data) if hashlib.sha256(data).digest() == carried.sha256 else None
