"""The words that every record of the hand-over is made of: narrow enough that no link and no sentence of a stranger fits into them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, Literal

__all__ = [
    "Environment",
    "check_digest",
    "check_incident",
    "check_person",
    "check_receipt",
    "check_word",
    "text_of",
    "time_of",
]

Environment = Literal["test", "production"]
"""Which of an authority's environments. It stands in every record and every output."""

_INCIDENT: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PERSON: Final = re.compile(r"(?![0-9A-Fa-f]{32})[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_RECEIPT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_word(text: str) -> None:
    """A coarse word: of a route, a reason, a sort of error. Raises ValueError, which repeats nothing."""
    _check(_WORD, text, "a word has 1 to 32 characters of a-z, 0-9, _ and -, and begins with a letter")


def check_incident(text: str) -> None:
    """The id of an incident. Raises ValueError."""
    _check(_INCIDENT, text, "an incident is named by 32 lower-case hex digits")


def check_digest(text: str) -> None:
    """SHA-256 of what was sent, sealed or signed. Raises ValueError."""
    _check(_DIGEST, text, "a digest has 64 lower-case hex digits")


def check_person(text: str) -> None:
    """Who did it: an operator, an authority or a route. Raises ValueError."""
    _check(_PERSON, text, "a name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '@' and '-', and is no digest")


def check_receipt(text: str) -> None:
    """An id that an authority gave. Raises ValueError."""
    _check(_RECEIPT, text, "the id of a receipt has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'")


def _check(pattern: re.Pattern[str], text: str, rule: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(rule)


def text_of(time: datetime) -> str:
    """A time as records have it: RFC 3339, UTC, whole seconds."""
    return time.astimezone(UTC).isoformat(timespec="seconds")


def time_of(text: str) -> datetime:
    """A time as it stands in a record. Raises ValueError for any other spelling."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or text_of(time) != text:
        raise ValueError("a time is in UTC and in whole seconds")
    return time
