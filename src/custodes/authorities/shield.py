"""Project Arachnid's Shield: a detector at a third party's, asked for one image or for codes of images. It is no list.

Promises that only look-ups are made: what is sent is compared and, by the service's word, not kept for analysts. Whatever is answered that
is not understood, or not answered at all, is held, never "no known match". When it may be asked is for the caller: it is told of images.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from custodes.authorities.answers import text_of
from custodes.errors import AuthorityError, ConfigError, InternalError
from custodes.lists.meaning import Meanings, meaning_of
from custodes.model import Content, Kind, Meaning, Role, Signal

if TYPE_CHECKING:  # whoever reads the settings alone needs no client
    from custodes.services.calls import Answer, Caller

__all__ = ["DETECTOR", "Lookup", "Shield", "ShieldSettings"]

DETECTOR: Final = "arachnid-shield"
FIELDS: Final = ("username", "password")
NO_MATCH: Final = "no-known-match"

_ORIGIN: Final = "https://shield.projectarachnid.com"
_CODES: Final = "/v1/pdq/"
_MEDIA: Final = "/v1/media/"
_VERSION: Final = "/v1/version"
_BATCH_CODES: Final = 100
_MIME: Final = re.compile(r"image/[a-z0-9.+-]{1,40}")


class ShieldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[shield]``: asking Arachnid Shield, which tells the Canadian Centre for Child Protection of your images."""

    enabled: bool = False  # whether it may be asked at all: agree with its terms first
    url: str = _ORIGIN  # its address
    credentials: str = ""  # file with username and password; "": CUSTODES_SHIELD_USERNAME and CUSTODES_SHIELD_PASSWORD
    media: bool = False  # whether images themselves may be sent; else their PDQ codes alone
    unsafe_allow_loopback: bool = False  # allow a url on this machine, without TLS: for tests and demonstrations


@dataclass(frozen=True, slots=True, repr=False)
class Lookup:
    """What was said of one image. ``classification`` is as given; ``meaning`` None: no known match, and nothing else."""

    classification: str
    match_type: str
    meaning: Meaning | None
    kind: Kind

    def signals(self) -> tuple[Signal, ...]:
        """What the policy decides on; empty where there is no known match."""
        if self.meaning is None:
            return ()
        said = (DETECTOR, "", "", self.kind, self.classification, self.match_type)
        return (Signal(*said, Role.CONFIRMED, meaning=self.meaning),)

    def __repr__(self) -> str:
        return "<Lookup>"


class Shield:
    """The detector. The caller has its address and credentials; ``own`` are the operator's words for classifications."""

    def __init__(self, caller: Caller, own: Meanings | None = None) -> None:
        self.production = urlsplit(caller.base).hostname == urlsplit(_ORIGIN).hostname
        if not self.production and not caller.unsafe_allow_loopback:
            raise ConfigError("the address is not that of Arachnid Shield")
        self._caller = caller
        self._own = own or {}

    async def look_up_pdq(self, codes: Sequence[bytes]) -> list[Lookup]:
        """What is known of images with these PDQ codes, in their order. Raises AuthorityError: then nothing is known."""
        if any(len(code) != Kind.PDQ.size_bytes for code in codes):
            raise InternalError("a PDQ code has 32 bytes")
        texts = [base64.b64encode(code).decode() for code in codes]
        distinct = list(dict.fromkeys(texts))
        said: dict[str, Any] = {}
        for first in range(0, len(distinct), _BATCH_CODES):
            said |= await self._ask_codes(distinct[first : first + _BATCH_CODES])
        return [self._lookup(said.get(text), exact=Kind.PDQ) for text in texts]

    async def look_up_media(self, content: Content, mime: str) -> Lookup:
        """What is known of an image, which is sent. Raises AuthorityError: then nothing is known."""
        if not _MIME.fullmatch(mime) or not len(content):
            raise InternalError("only an image is sent")
        answer = await self._caller.send("POST", _MEDIA, content.reveal(), mime)
        return self._lookup(_object(answer), exact=Kind.SHA1)

    async def status(self) -> str:
        """One line that says with whom one speaks. Raises AuthorityError."""
        told = _object(await self._caller.get(_VERSION)).get("last_updated_at")
        return f"{self}: its hashes are of {text_of(told) or 'an unknown time'}"

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    def __str__(self) -> str:
        return f"{DETECTOR}, {'production' if self.production else 'not production'}"

    def __repr__(self) -> str:
        return f"<Shield {self}>"

    async def _ask_codes(self, texts: list[str]) -> dict[str, Any]:
        body = msgspec.json.encode({"hashes": texts})
        scanned = _object(await self._caller.send("POST", _CODES, body, "application/json")).get("scanned_hashes")
        if not isinstance(scanned, dict):
            raise AuthorityError("Arachnid Shield answered without scanned_hashes")
        return {text: scanned.get(text) for text in texts}

    def _lookup(self, given: Any, *, exact: Kind) -> Lookup:
        """``exact``: the kind of what was compared for equality. Equal PDQ codes are no equal images."""
        said: dict[str, Any] = given if isinstance(given, dict) else {}
        classification = text_of(said.get("classification"))
        match_type = text_of(said.get("match_type"))
        kind = exact if match_type == "exact" else Kind.PDQ
        if classification == NO_MATCH and said.get("match_type") is None and not said.get("near_match_details"):
            return Lookup(classification, "", None, kind)
        unsure = classification in ("", NO_MATCH)  # nothing said, or two things at once
        meaning = Meaning.UNMAPPED if unsure else meaning_of("shield", classification, self._own)
        return Lookup(classification, match_type, meaning, kind)


def _object(answer: Answer) -> dict[str, Any]:
    found = answer.json()
    if not isinstance(found, dict):
        raise AuthorityError("Arachnid Shield answered with something else than an object")
    return found
