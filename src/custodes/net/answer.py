"""What a server's answer means: response heads, statuses, libcurl's codes and content encodings, each as a Reason.

Promises: pure; every status and every code has exactly one meaning, and lies about length are refused, not repaired.
Leaves to others: the transfer that it judges (transfer), and whether to ask again (fetch).
"""

from __future__ import annotations

import errno
import zlib
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import pycurl

from custodes.model import Reason

__all__ = ["REDIRECTS", "Head", "inflate", "reason_of_code", "reason_of_errno", "reason_of_status", "retry_after_s"]

REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))

_NAMED: Final = {number: Reason(f"http_{number}") for number in (401, 403, 404, 410, 429, 451)}
_WITH_BODY: Final = frozenset((200, 203))
_KEPT: Final = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"transfer-encoding",
        b"location",
        b"retry-after",
        b"x-robots-tag",
    )
)
_NOAI: Final = frozenset(("noai", "noimageai"))


class Head:
    """A response head, taken in line by line as libcurl hands it over, interim (1xx) responses and trailers included.

    ``size_bytes`` counts all of them. Only the fields that something here reads are kept.
    """

    __slots__ = ("_fields", "complete", "size_bytes", "status")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.status = 0
        self.complete = False
        self._fields: dict[bytes, list[bytes]] = {}

    def take(self, line: bytes) -> None:
        """One line with its end. A status line after an interim response starts anew; trailers are only counted."""
        self.size_bytes += len(line)
        if self.complete:
            return
        if line.startswith(b"HTTP/"):
            self._fields.clear()
            status = line.split(None, 2)[1:2]
            self.status = int(status[0]) if status and status[0].isdigit() else 0
        elif line in (b"\r\n", b"\n"):
            self.complete = self.status >= 200
        else:
            name, _, value = line.partition(b":")
            name = name.strip().lower()
            if name in _KEPT:
                self._fields.setdefault(name, []).append(value.strip())

    def text(self, name: bytes) -> str:
        """The first value of a field as text, '' where it is absent."""
        values = self._fields.get(name)
        return _text(values[0]) if values else ""

    def complaint(self) -> Reason | None:
        """PROTOCOL for a head that leaves the length of its body open to two readings (RFC 9112 section 6.3)."""
        lengths = self._fields.get(b"content-length")
        if not lengths:
            return None
        if b"transfer-encoding" in self._fields or len(set(lengths)) > 1 or not lengths[0].isdigit():
            return Reason.PROTOCOL
        return None

    @property
    def refuses_ai(self) -> bool:
        """True where X-Robots-Tag says noai or noimageai, to all or to custodes by name."""
        return any(_says_noai(_text(value).lower()) for value in self._fields.get(b"x-robots-tag", ()))


def reason_of_status(status: int) -> Reason | None:
    """None for a status that brings a body to look at (200, 203); EMPTY for 204 and 205, which announce none."""
    if status in _WITH_BODY:
        return None
    if status in (204, 205):
        return Reason.EMPTY
    if 400 <= status < 500:
        return _NAMED.get(status, Reason.HTTP_4XX)
    return Reason.HTTP_5XX if 500 <= status < 600 else Reason.HTTP_OTHER


_ERRNO: Final = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
    errno.ECONNRESET: Reason.RESET,
}

# Every code that a transfer by http or https can end with, but for 28 (transfer tells the phases apart). libcurl's own
# names; a bare number has none in pycurl.
_CODES: Final = {
    pycurl.E_UNSUPPORTED_PROTOCOL: Reason.PROTOCOL,  # HTTP/0.9, too
    pycurl.E_URL_MALFORMAT: Reason.BAD_URL,
    pycurl.E_COULDNT_RESOLVE_PROXY: Reason.DNS,
    pycurl.E_COULDNT_RESOLVE_HOST: Reason.DNS,
    8: Reason.PROTOCOL,  # CURLE_WEIRD_SERVER_REPLY
    pycurl.E_HTTP2: Reason.PROTOCOL,
    pycurl.E_PARTIAL_FILE: Reason.TRUNCATED,
    pycurl.E_SSL_CONNECT_ERROR: Reason.TLS,
    pycurl.E_TOO_MANY_REDIRECTS: Reason.REDIRECT_LIMIT,
    pycurl.E_GOT_NOTHING: Reason.RESET,
    pycurl.E_SSL_ENGINE_NOTFOUND: Reason.TLS,
    pycurl.E_SSL_ENGINE_SETFAILED: Reason.TLS,
    pycurl.E_SSL_ENGINE_INITFAILED: Reason.TLS,
    pycurl.E_SEND_ERROR: Reason.RESET,
    pycurl.E_RECV_ERROR: Reason.RESET,
    pycurl.E_SSL_CERTPROBLEM: Reason.TLS,
    pycurl.E_SSL_CIPHER: Reason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Reason.TLS,
    pycurl.E_BAD_CONTENT_ENCODING: Reason.ENCODED,
    pycurl.E_FILESIZE_EXCEEDED: Reason.TOO_LARGE,
    pycurl.E_USE_SSL_FAILED: Reason.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Reason.TLS,
    pycurl.E_SSL_SHUTDOWN_FAILED: Reason.TLS,
    pycurl.E_SSL_CRL_BADFILE: Reason.TLS,
    pycurl.E_SSL_ISSUER_ERROR: Reason.TLS,
    pycurl.E_SSL_PINNEDPUBKEYNOTMATCH: Reason.TLS,
    pycurl.E_SSL_INVALIDCERTSTATUS: Reason.TLS,
    92: Reason.PROTOCOL,  # CURLE_HTTP2_STREAM
    100: Reason.PROTOCOL,  # CURLE_TOO_LARGE: a head beyond libcurl's own limit
}


def reason_of_code(code: int) -> Reason:
    """What a libcurl code other than 0, 7 and 28 means. INTERNAL is for codes that would be our own mistake."""
    return _CODES.get(code, Reason.INTERNAL)


def reason_of_errno(number: int) -> Reason:
    """What a failed connect means (libcurl's code 7)."""
    return _ERRNO.get(number, Reason.UNREACHABLE)


def retry_after_s(value: str, now_s: float) -> float | None:
    """Seconds to wait by a Retry-After field (RFC 9110 section 10.2.3) at ``now_s`` Unix time; None if unreadable."""
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s)


def inflate(data: bytes, encoding: str, bytes_max: int) -> bytes | Reason:
    """One layer of gzip or deflate undone, for servers that encode though asked not to. Never more than ``bytes_max``.

    The reasons are TOO_LARGE, TRUNCATED and ENCODED (another encoding, several layers, or no such stream).
    """
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return Reason.ENCODED
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = stream.decompress(data, bytes_max + 1)
    except zlib.error:
        return Reason.ENCODED
    if len(plain) > bytes_max:
        return Reason.TOO_LARGE
    return plain if stream.eof else Reason.TRUNCATED


def _says_noai(value: str) -> bool:
    # "noai", "otherbot: noai, noindex", "max-snippet:20, noai": a name before the first colon is an agent's unless it
    # is one of the rules that take a value.
    first, *others = value.split(",")
    agent, colon, rule = first.partition(":")
    if colon and agent.strip() not in ("custodes", "unavailable_after") and not agent.strip().startswith("max-"):
        return False
    return bool(_NOAI & {part.strip() for part in (rule if colon else first, *others)})


def _text(value: bytes) -> str:
    """A field as text: UTF-8 as browsers take a Location, else byte for byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
