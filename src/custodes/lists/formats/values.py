"""Names of kinds and values of hashes, as authorities and tools write them.

A value is read in hex, base64 or base32, and in no other way; which one it is follows from its length. What a name of a kind is not
ours to match (videos, text, plain addresses) is told from what is unknown. No message holds a value.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import Final

from custodes.model import Kind

__all__ = ["Decoder", "decode_value", "decoder_of", "fold", "parse_kind", "passed_over"]

_BASE32: Final = re.compile(r"[A-Z2-7]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+")


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """A column or kind name less its case, spaces and spelling."""
    return name.strip().lower().replace("normalized", "normalised").replace("_", "-")


def parse_kind(name: str) -> Kind | None:
    """The kind of this name or alias, whatever its case and spelling; None when there is none."""
    return _KINDS.get(fold(name))


def passed_over(name: str) -> str:
    """Why a kind of this name is none of ours, although it is well known; "" when it is not known."""
    bare = fold(name).removeprefix("hash-")
    if bare.startswith("video") or bare in {"vpdq", "tmk", "tmk-pdqf"}:
        return "video"
    if bare in {"uri", "url"}:
        return "plain url"
    return "text" if bare in {"raw-text", "trend-query"} or bare.startswith("text-") else ""


class Decoder:
    """Reads values of one kind."""

    __slots__ = ("_forms", "_hex_chars", "_size_bytes", "kind")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._size_bytes = kind.size_bytes
        self._hex_chars = 2 * kind.size_bytes
        self._forms = (-(-kind.size_bytes * 8 // 6), -(-kind.size_bytes * 8 // 5))

    def __call__(self, text: str) -> bytes:
        """The bytes. ValueError says why not."""
        if len(text) == self._hex_chars:
            try:
                return binascii.unhexlify(text)
            except ValueError:
                pass  # base32 of another length's hex, perhaps
        bare = text.rstrip("=")
        if len(bare) == self._forms[0] and _BASE64.fullmatch(folded := bare.replace("-", "+").replace("_", "/")):
            return _from_base64(folded)
        if len(bare) == self._forms[1] and _BASE32.fullmatch(folded := bare.upper()):
            return _from_base32(folded)
        raise ValueError(f"is not {self._size_bytes} bytes in hex, base64 or base32")


def decoder_of(name: str) -> Decoder | None:
    """The decoder of the kind of this name; None when there is none."""
    return _DECODERS.get(fold(name))


def decode_value(kind: Kind, text: str) -> bytes:
    """The bytes of a value. ValueError says why not."""
    return _DECODERS[kind.value](text)


def _from_base64(text: str) -> bytes:
    value = base64.b64decode(text + "=" * (-len(text) % 4))
    if base64.b64encode(value).rstrip(b"=") != text.encode():
        raise ValueError("ends in bits that belong to no byte")
    return value


def _from_base32(text: str) -> bytes:
    try:
        value = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        raise ValueError("is not valid base32") from None
    if base64.b32encode(value).rstrip(b"=") != text.encode():
        raise ValueError("ends in bits that belong to no byte")
    return value


def _kind_names() -> dict[str, Kind]:
    names = {kind.value: kind for kind in Kind}
    names |= {f"hash-{kind.value}": kind for kind in (Kind.MD5, Kind.SHA1, Kind.SHA256, Kind.PDQ)}
    names |= {"sha-1": Kind.SHA1, "sha-256": Kind.SHA256, "pdna": Kind.PHOTODNA}
    names["url-md5"] = Kind.URL_NORMALISED_MD5  # the exchange libraries digest a URL that they normalised
    for digest in ("md5", "sha1", "sha256"):
        # A URL digest that names no variant was made of the URL as it stands.
        for alias in (f"url/{digest}", f"url/{digest}-raw"):
            names[alias] = Kind(f"url/raw-{digest}")
        names[f"url/{digest}-normalised"] = Kind(f"url/normalised-{digest}")
    return names


_KINDS: Final = _kind_names()
_OF_KIND: Final = {kind: Decoder(kind) for kind in Kind}
_DECODERS: Final = {name: _OF_KIND[kind] for name, kind in _KINDS.items()}
