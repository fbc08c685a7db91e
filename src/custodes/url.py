"""Reading URLs, once, by the WHATWG standard, so that the host that is judged is the host that is dialled.

Promises: what ``parse`` accepts is http or https, without userinfo, and its ``href`` is canonical; a ``Url`` never
prints itself.
Leaves to others: which ports and addresses may be dialled (net), and which kinds a list holds (lists).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from ada_url import URL, HostType

from custodes.model import Kind, Reason

__all__ = ["URL_CHARS_MAX", "Url", "normalise", "parse", "url_digest"]

URL_CHARS_MAX: Final = 65_536
"""Longer texts are no URLs. Browsers and servers stop far below; the limit keeps one row from costing megabytes."""

_DEFAULT_PORT: Final = {"http:": 80, "https:": 443}


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A URL that may be asked for.

    ``href`` is canonical and has no fragment; ``host`` is lower-case ASCII, IPv6 in brackets.
    """

    href: str
    scheme: str
    host: str
    port: int
    is_literal_ip: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port: what robots.txt and connections are kept by."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Url {self.scheme}>"


def parse(text: str, base: Url | None = None) -> Url | Reason:
    """The URL that ``text`` (resolved against ``base``, for a redirect) names, or why it may not be asked for.

    The reasons are ``BAD_URL``, ``BLOCKED_SCHEME`` and ``BLOCKED_USERINFO``.
    """
    found = _read(text, base.href if base else None)
    if found is None:
        return Reason.BAD_URL
    protocol = found.protocol
    if protocol not in _DEFAULT_PORT:
        return Reason.BLOCKED_SCHEME
    if found.username or found.password:
        return Reason.BLOCKED_USERINFO
    port = found.port
    return Url(
        href=_without_fragment(found.href),
        scheme=protocol[:-1],
        host=found.hostname,
        port=int(port) if port else _DEFAULT_PORT[protocol],
        is_literal_ip=found.host_type != HostType.DEFAULT,
    )


def normalise(text: str) -> str | None:
    """The text that ``url/normalised-*`` kinds digest, or None where ``text`` is no absolute URL.

    It is the WHATWG serialisation (URL Standard, section 4.5) with *exclude fragment*: scheme and host in lower case,
    host in Punycode, numeric IPv4 in dotted form, default port gone, dot segments resolved, percent-encoding as that
    standard sets it. Nothing else changes: userinfo stays, path and query keep their case, order, trailing slash and
    tracking parameters, and any scheme is taken.
    """
    found = _read(text, None)
    return None if found is None else _without_fragment(found.href)


def url_digest(kind: Kind, text: str) -> bytes | None:
    """The value of a URL kind for ``text``: 16, 20 or 32 bytes, or None where the kind cannot be taken of it.

    ``url/raw-*`` digests the UTF-8 bytes of the text exactly as given; ``url/normalised-*`` those of
    ``normalise(text)``.
    """
    variant, _, algorithm = kind.value.removeprefix("url/").partition("-")
    if variant not in ("raw", "normalised"):
        raise ValueError("kind must be one of URL_KINDS")
    chosen = text if variant == "raw" else normalise(text)
    if chosen is None:
        return None
    try:
        data = chosen.encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
        return None
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


def _read(text: str, base: str | None) -> URL | None:
    if len(text) > URL_CHARS_MAX:
        return None
    try:
        return URL(text, base)
    except ValueError:  # invalid, or not encodable
        return None


def _without_fragment(href: str) -> str:
    # In a serialised URL "#" stands only before the fragment: everywhere else it is percent-encoded.
    return href.partition("#")[0]
