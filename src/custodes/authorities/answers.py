"""Parts of answers that more than one service has: digests in hex, numbers in text, words that may be counted and shown.

What does not fit is ``None`` or a common word, never an error that quotes it: what to do without it is for the adapter.
"""

from __future__ import annotations

import re
from typing import Any, Final

from custodes.model import Kind

__all__ = ["hex_value", "number_of", "reason_of", "text_of"]

TEXT_CHARS_MAX: Final = 200

_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_/ -]{0,39}")


def hex_value(kind: Kind, given: Any) -> bytes | None:
    """A digest of this kind in hex of either case."""
    if not isinstance(given, str) or not _HEX.fullmatch(text := given.strip()):
        return None
    value = bytes.fromhex(text)
    return value if len(value) == kind.size_bytes else None


def number_of(given: Any) -> str | None:
    """An id that is a number, given as a number or as text; as text, so that it can stand in a path."""
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    return text if isinstance(text, str) and _NUMBER.fullmatch(text) else None


def text_of(given: Any) -> str:
    """A word of the service's own, such as a category, as it is given; "" where there is none.

    What could not be shown is "unreadable", which no table of categories has.
    """
    if given is None:
        return ""
    return given if isinstance(given, str) and len(given) <= TEXT_CHARS_MAX and given.isprintable() else "unreadable"


def reason_of(given: Any) -> str:
    """The name of a type, as the reason why it was passed over: a plain word, for what stands there may be anything."""
    return given if isinstance(given, str) and _REASON.fullmatch(given) else "unknown type"
