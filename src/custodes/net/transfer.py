"""One exchange on one reused libcurl handle: the options that make it safe, the guard at connect, the caps.

Promises: dials only what the guard allows, whatever a name resolved to; takes no more than the limits however long a
body or head claims to be; ends in exactly one Answer. Nothing of the environment (proxies, netrc, cookies) is used.
Leaves to others: which URL is asked for next, redirects and retries (fetch).
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pycurl

from custodes.errors import ConfigError
from custodes.model import Reason
from custodes.net.address import AddressGuard
from custodes.net.answer import REDIRECTS, Head, inflate, reason_of_code, reason_of_errno, reason_of_status
from custodes.net.limits import FetchLimits
from custodes.url import Url

__all__ = ["Answer", "Memory", "Transfer", "Wiring", "ca_file", "dial"]

_DISCARD_BYTES_MAX: Final = 16_384
"""A page that is not the image is read up to here, to keep its connection, and no further."""

_REFUSE: Final = -1  # any count but the one given makes libcurl stop


@dataclass(slots=True)
class Memory:
    """Bytes of bodies: ``held`` by exchanges in flight, ``kept`` by results that nobody took yet."""

    bytes_max: int
    held: int = 0
    kept: int = 0

    @property
    def is_roomy(self) -> bool:
        """Whether another exchange may start."""
        return self.held + self.kept < self.bytes_max // 2 or not (self.held or self.kept)

    def admits(self, more: int, own: int) -> bool:
        """Whether a body of ``own`` bytes may grow by ``more``. The last one always may: it has its own limit."""
        return self.held + more <= self.bytes_max or self.held == own


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all transfers of a fetcher share. ``found`` hears of each name that was looked up, ``dial`` makes a socket, ``tune`` is a test's."""

    limits: FetchLimits
    guard: AddressGuard
    memory: Memory
    found: Callable[[Transfer], None]
    dial: Callable[[Any], socket.socket]
    tune: Callable[[pycurl.Curl, Url], None]


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """How an exchange ended. ``reason`` is None for a body; ``location`` is set for a redirect, which has no reason."""

    reason: Reason | None
    status: int = 0
    body: bytes = b""
    content_type: str = ""
    location: str | None = None
    retry_after: str = ""
    is_evicted: bool = False


class Transfer:
    """A slot: one handle, used again and again. ``start`` sets it up, libcurl runs it, ``end`` says what came."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.handle = pycurl.Curl()
        self._reset()
        self._set_options()

    def start(self, url: Url, deadline: float) -> None:
        """Set up an exchange that must end by ``deadline`` (monotonic seconds). The caller adds the handle."""
        self._reset()
        self._url = url
        self._deadline = deadline
        self._started = monotonic()
        left_ms = max(1, int((deadline - monotonic()) * 1000))
        self.handle.setopt(pycurl.URL, url.href)
        self.handle.setopt(pycurl.TIMEOUT_MS, left_ms)
        self.handle.setopt(pycurl.CONNECTTIMEOUT_MS, min(left_ms, int(self._wiring.limits.connect_timeout_s * 1000)))
        self._wiring.tune(self.handle, url)

    @property
    def is_silent(self) -> bool:
        """Whether the request is out for ``slow_for_s`` and not one byte has come."""
        if self._head.size_bytes or not self.handle.getinfo(pycurl.REQUEST_SIZE):
            return False
        asked_s: float = monotonic() - self._started - self.handle.getinfo(pycurl.PRETRANSFER_TIME)
        return asked_s >= self._wiring.limits.slow_for_s

    def end(self, code: int) -> Answer:
        """The answer, from libcurl's code and what the callbacks saw. Gives the body's memory back."""
        self._wiring.memory.held -= self._kept_bytes
        head = self._head
        if self._is_evicted:
            return Answer(None, is_evicted=True)
        reason = self._stop or self._status_reason() or self._code_reason(code)
        if reason is None and head.status not in REDIRECTS:
            return self._body_answer()
        location = head.text(b"location") if reason is None else None
        return Answer(reason, head.status, location=location, retry_after=head.text(b"retry-after"))

    def close(self) -> None:
        """Free the handle, and the cycle that its callbacks make."""
        self.handle.close()

    def _reset(self) -> None:
        self._head = Head()
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._kept_bytes = 0
        self._stop: Reason | None = None
        self._is_discarded = False
        self._is_dialled = False
        self._is_blocked = False
        self._is_evicted = False

    def _body_answer(self) -> Answer:
        head = self._head
        arrived = b"".join(self._chunks)
        self._chunks.clear()
        encoding = head.text(b"content-encoding").lower()
        is_plain = not arrived or encoding in ("", "identity")
        body = arrived if is_plain else inflate(arrived, encoding, self._wiring.limits.body_bytes_max)
        if isinstance(body, Reason):
            return Answer(body, head.status)
        if not body:
            return Answer(Reason.EMPTY, head.status)
        return Answer(None, head.status, body, head.text(b"content-type"))

    def _status_reason(self) -> Reason | None:
        """What the status says, which holds however the rest of its page ended."""
        head = self._head
        if not head.complete or head.status in REDIRECTS:
            return None
        return reason_of_status(head.status)

    def _code_reason(self, code: int) -> Reason | None:
        is_redirect = self._head.complete and self._head.status in REDIRECTS
        if code == 0 or is_redirect:
            return None
        if code == pycurl.E_COULDNT_CONNECT:
            if self._is_blocked:
                return Reason.BLOCKED_ADDRESS
            return reason_of_errno(self.handle.getinfo(pycurl.OS_ERRNO))
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return self._timeout_reason()
        if code == pycurl.E_RECV_ERROR and self._head.complete and not self.handle.getinfo(pycurl.OS_ERRNO):
            return Reason.PROTOCOL  # not the connection failed but the framing of the body
        return reason_of_code(code)

    def _timeout_reason(self) -> Reason:
        """One code of libcurl stands for all clocks; how far the exchange came tells them apart."""
        if not self.handle.getinfo(pycurl.REQUEST_SIZE):
            return Reason.CONNECT_TIMEOUT if self._is_dialled or self._url.is_literal_ip else Reason.DNS
        is_over = monotonic() >= self._deadline - 0.02
        return Reason.TIMEOUT if is_over or not self._head.size_bytes else Reason.TOO_SLOW

    def _on_header(self, line: bytes) -> int | None:
        head = self._head
        head.take(line)
        limits = self._wiring.limits
        if head.size_bytes > limits.header_bytes_max:
            self._stop = self._stop or Reason.PROTOCOL
            return _REFUSE
        if head.complete and not self._bytes and not self._is_discarded:
            self._stop = head.complaint() or (Reason.NOAI if limits.noai and head.refuses_ai else None)
            self._is_discarded = head.status in REDIRECTS or reason_of_status(head.status) is not None
        return _REFUSE if self._stop else None

    def _on_body(self, chunk: bytes) -> int | None:
        size = len(chunk)
        if self._is_discarded:
            self._bytes += size
            return _REFUSE if self._bytes > _DISCARD_BYTES_MAX else None
        memory = self._wiring.memory
        if self._bytes + size > self._wiring.limits.body_bytes_max:
            self._stop = Reason.TOO_LARGE
            return _REFUSE
        if not memory.admits(size, self._kept_bytes):
            self._is_evicted = True
            return _REFUSE
        self._bytes += size
        self._kept_bytes += size
        memory.held += size
        self._chunks.append(chunk)
        return None

    def _on_open(self, _purpose: int, address: Any) -> socket.socket | int:
        """THE GUARD: every connect passes here with the address that it will use, whatever name led to it."""
        wiring = self._wiring
        is_ip = address.family in (socket.AF_INET, socket.AF_INET6)
        host, port = address.addr[:2] if is_ip else ("", 0)
        if not wiring.guard.allows(host) or not (port in wiring.limits.ports or wiring.guard.is_unsafe_loopback(host)):
            self._is_blocked = True
            return int(pycurl.SOCKET_BAD)
        self._is_dialled = True
        wiring.found(self)
        try:
            return wiring.dial(address)
        except OSError as error:
            # Out of descriptors is our trouble, not the server's; a missing address family is the network's.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._stop = Reason.INTERNAL
            return int(pycurl.SOCKET_BAD)

    def _set_options(self) -> None:
        limits = self._wiring.limits
        schemes = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        options = {
            pycurl.WRITEFUNCTION: self._on_body,
            pycurl.HEADERFUNCTION: self._on_header,
            pycurl.OPENSOCKETFUNCTION: self._on_open,
            pycurl.NOSIGNAL: 1,
            pycurl.PROTOCOLS: schemes,
            pycurl.REDIR_PROTOCOLS: schemes,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PATH_AS_IS: 1,  # the path is canonical already
            pycurl.PROXY: "",  # not None: an empty proxy overrides http_proxy and its kin
            pycurl.NOPROXY: "*",
            pycurl.NETRC: pycurl.NETRC_IGNORED,
            # One exchange per connection: less to attack, and per_host means what it says (libcurl tells nobody what it keeps).
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.FRESH_CONNECT: 1,
            pycurl.FORBID_REUSE: 1,
            pycurl.HTTP09_ALLOWED: 0,
            pycurl.HTTP_CONTENT_DECODING: 0,
            pycurl.HTTPHEADER: ["Accept: image/*, */*;q=0.5", "Accept-Encoding: identity"],
            pycurl.USERAGENT: limits.user_agent,
            pycurl.MAXFILESIZE_LARGE: limits.body_bytes_max,
            pycurl.LOW_SPEED_LIMIT: limits.slow_bytes_per_s,
            pycurl.LOW_SPEED_TIME: limits.slow_for_s,
            pycurl.DNS_CACHE_TIMEOUT: limits.dns_cache_s,
            pycurl.BUFFERSIZE: 131_072,
            pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
            pycurl.SSL_VERIFYPEER: int(limits.verify_tls),
            pycurl.SSL_VERIFYHOST: 2 if limits.verify_tls else 0,
        }
        if limits.verify_tls:
            options[pycurl.CAINFO] = ca_file(limits)  # a file, since libcurl keeps the parsed store of a file only
        for option, value in options.items():
            self.handle.setopt(option, value)


class _Lent(socket.socket):
    """A socket that closes its own descriptor when it is dropped: libcurl connects and closes a copy of it."""

    def __del__(self) -> None:
        self.close()


def dial(address: Any) -> socket.socket:
    """A socket for an address that the guard has allowed."""
    return _Lent(address.family, address.socktype, address.protocol)


def ca_file(limits: FetchLimits) -> str:
    """The certificates to trust. Raises ConfigError where there are none: every https row would be lost."""
    found = limits.ca_file or ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    if not Path(found).is_file():
        raise ConfigError("no file of trusted certificates", hint="install ca-certificates, or set fetch.ca_file")
    return found
