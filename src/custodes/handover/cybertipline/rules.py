"""What may stand in a field: the rules that NCMEC's service has and its schema does not say.

A rule is given the text and the time, and answers with what is wrong, in words without the text; "" where nothing is. Lengths, words and forms are
those of NCMEC's documentation. Which field has which rule is for ``tables``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from typing import Final

from custodes.url import normalise

__all__ = [
    "TRUE",
    "URL_CHARS_MAX",
    "YES_NO",
    "Rule",
    "email",
    "file_id",
    "ip_address",
    "number",
    "past",
    "port",
    "text",
    "url",
    "words",
]

Rule = Callable[[str, datetime], str]

URL_CHARS_MAX: Final = 2083
_EMAIL_CHARS_MAX: Final = 255
_LOCAL_CHARS_MAX: Final = 64
_EMAIL: Final = re.compile(r"[^@\s\x00-\x20\x7f]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]+")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_LONG: Final = re.compile(r"[1-9][0-9]{0,18}")
_LONG_MAX: Final = (1 << 63) - 1
_TOKEN: Final = re.compile(r"[0-9a-fA-F]{32}")
_PORTS: Final = range(1, 65_536)


def text(chars_max: int) -> Rule:
    """Any text with something in it, up to this length."""

    def rule(given: str, _: datetime) -> str:
        if not given.strip():
            return "is empty"
        return f"has more than {chars_max} characters" if len(given) > chars_max else ""

    return rule


def words(*allowed: str) -> Rule:
    """One of these words."""
    return lambda given, _: "" if given in allowed else "is none of the words that stand there"


def past(given: str, now: datetime) -> str:
    """A time with its offset from UTC, which was."""
    try:
        told = datetime.fromisoformat(given) if _TIME.fullmatch(given) else None
        if told is None:
            return "is no time with its offset from UTC"
        return "is still to come" if told > now else ""
    except (ValueError, OverflowError):
        return "is no time with its offset from UTC"


def url(given: str, _: datetime) -> str:
    """A web address in canonical form."""
    if len(given) > URL_CHARS_MAX:
        return f"has more than {URL_CHARS_MAX} characters"
    if not given.startswith(("http://", "https://")) or not given.isascii() or normalise(given) is None:
        return "is no web address"
    return ""


def email(given: str, _: datetime) -> str:
    """An e-mail address."""
    if len(given) > _EMAIL_CHARS_MAX or given.find("@") > _LOCAL_CHARS_MAX:
        return f"has more than {_EMAIL_CHARS_MAX} characters, or {_LOCAL_CHARS_MAX} before the @"
    return "" if _EMAIL.fullmatch(given) else "is no e-mail address"


def ip_address(given: str, _: datetime) -> str:
    """An IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(given)
    except ValueError:
        return "is no IP address"
    return "has a zone" if "%" in given else ""


def number(given: str, _: datetime) -> str:
    """A positive number of 64 bits."""
    return "" if _LONG.fullmatch(given) and int(given) <= _LONG_MAX else "is no number of a report"


def port(given: str, _: datetime) -> str:
    """A port of TCP or UDP."""
    return "" if _LONG.fullmatch(given) and int(given) in _PORTS else "is no port"


def file_id(given: str, _: datetime) -> str:
    """The service's name of an uploaded file."""
    return "" if _TOKEN.fullmatch(given) else "is no id of a file"


TRUE: Final[Rule] = words("true")
"""An annotation: to say no is to leave it out."""
YES_NO: Final[Rule] = words("true", "false")
