"""The calls of NCMEC's CyberTipline, one function each, at a measured pace.

Promises: each call is made once; its answer belongs to the report that it was about, and says what was received; test and production have addresses
and credentials of their own, and every reply names its environment. In which order calls are made, and what is done when one fails, is for ``filing``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from custodes.errors import AuthorityError, ConfigError
from custodes.handover.cybertipline.answers import Asked, NotAnsweredError, Reply, reply_of
from custodes.handover.cybertipline.report import AHEAD_MAX
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.words import Environment
from custodes.services.calls import Answer, Caller
from custodes.services.credentials import load_credentials

__all__ = ["BASES", "BEHIND", "CyberTipline", "connect"]

BASES: Final[Mapping[Environment, str]] = {
    "test": "https://exttest.cybertip.org/ispws",
    "production": "https://report.cybertip.org/ispws",
}
BEHIND: Final = timedelta(minutes=1)
"""How far behind the earlier of both clocks our times stay: NCMEC refuses what is still to come."""

_XML: Final = "text/xml; charset=utf-8"


@dataclass
class CyberTipline:
    """One environment of the service. ``clock`` is this machine's, in UTC."""

    caller: Caller
    environment: Environment
    calls_per_minute: int = 60
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    _ahead: timedelta | None = field(default=None, init=False)  # how far our clock is ahead of theirs
    _next_s: float = field(default=0.0, init=False)  # when a further call may be made, by the loop's clock

    async def now(self) -> datetime:
        """A time that has surely been, by their clock and ours. Asks for theirs, once. Raises AuthorityError where ours is far ahead."""
        if self._ahead is None:
            await self.status()
        ahead = max(self._ahead or timedelta(), timedelta())
        if ahead > AHEAD_MAX:
            hint = "set this machine's clock: the times of detection that it gave may be wrong"
            raise AuthorityError("this machine's clock is more than an hour ahead of the CyberTipline's", hint=hint)
        return self.clock() - ahead - BEHIND

    async def status(self) -> Reply:
        """Who the service takes us for: proof that address and credentials are right. Raises AuthorityError."""
        return await self._call("status", "GET")

    async def submit(self, report: bytes) -> Reply:
        """Open a report. A reply of success has its id."""
        reply = await self._call("submit", "POST", report, _XML)
        if reply.asked is Asked.NOTHING and not reply.report_id:
            raise NotAnsweredError("the answer to submit has no id of a report")
        return reply

    async def upload(self, report_id: str, content: bytes) -> Reply:
        """Add a file. A reply of success has its id, and the MD5 of what was received."""
        reply = await self._form("upload", report_id, content)
        if reply.asked is Asked.NOTHING and not reply.file_id:
            raise NotAnsweredError("the answer to upload has no id of a file")
        return reply

    async def file_info(self, report_id: str, details: bytes) -> Reply:
        """Say of a file what is known: once, after its upload."""
        return _about(report_id, await self._call("fileinfo", "POST", details, _XML))

    async def finish(self, report_id: str) -> Reply:
        """File the report. After this nothing can be added, and nothing taken back."""
        return await self._form("finish", report_id)

    async def retract(self, report_id: str) -> Reply:
        """Take an open report back; or hear what became of it."""
        return await self._form("retract", report_id)

    async def close(self) -> None:
        """Close the connections."""
        await self.caller.close()

    async def _form(self, call: str, report_id: str, file: bytes | None = None) -> Reply:
        return _about(report_id, await self._call(call, "POST", *_multipart(report_id, file)))

    async def _call(self, call: str, method: str, body: bytes | None = None, content_type: str = "") -> Reply:
        await self._in_turn()
        try:
            answer = await self.caller.exchange(method, f"/{call}", body, content_type)
        except AuthorityError as error:  # what was sent may have come through
            raise NotAnsweredError(str(error)) from None
        self._compare_clocks(answer)
        return reply_of(call, self.environment, answer)

    async def _in_turn(self) -> None:
        """Wait until this call may be made."""
        now_s = asyncio.get_running_loop().time()
        wait_s = max(self._next_s - now_s, 0.0)
        self._next_s = now_s + wait_s + 60 / self.calls_per_minute
        if wait_s:
            await self.sleep(wait_s)

    def _compare_clocks(self, answer: Answer) -> None:
        try:
            theirs = parsedate_to_datetime(answer.headers.get("Date", ""))
            self._ahead = self.clock() - theirs
        except (TypeError, ValueError, OverflowError):
            self._ahead = self._ahead or timedelta()


def connect(settings: CyberTiplineSettings, home: Path, environ: Mapping[str, str]) -> CyberTipline:
    """The service of the settings' environment, with the credentials of that environment. Raises ConfigError."""
    service = f"cybertipline-{settings.environment}"
    if settings.credentials:
        path = home / settings.credentials
        found = load_credentials(str(path), ("environment", "username", "password"), service, environ)
        if found["environment"] != settings.environment:
            raise ConfigError(
                f"{path} holds credentials of another environment than {settings.environment}",
                hint="test and production have credentials of their own: name the file of the one that is meant",
            )
    else:
        found = load_credentials("", ("username", "password"), service, environ)
    caller = Caller(
        settings.url or BASES[settings.environment],
        f"CyberTipline {settings.environment}",
        basic=(found["username"], found["password"]),
        limits=settings.calls,
        unsafe_allow_loopback=settings.unsafe_allow_loopback,
    )
    return CyberTipline(caller, settings.environment, settings.calls_per_minute)


def _about(report_id: str, reply: Reply) -> Reply:
    """The reply, unless it is about another report."""
    if reply.report_id not in ("", report_id) or (reply.asked is Asked.NOTHING and not reply.report_id):
        raise NotAnsweredError(f"the answer to {reply.call} is about another report")
    return reply


def _multipart(report_id: str, file: bytes | None) -> tuple[bytes, str]:
    """A form with the report's id, and a file if there is one; and its type (RFC 7578)."""
    boundary = secrets.token_hex(16)  # 128 random bits: in no file by chance
    parts = [(b'name="id"', report_id.encode())]
    if file is not None:
        parts.append((b'name="file"; filename="file"\r\nContent-Type: application/octet-stream', file))
    line = f"--{boundary}".encode()
    body = b"".join(
        b"%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (line, head, content) for head, content in parts
    )
    return body + line + b"--\r\n", f"multipart/form-data; boundary={boundary}"
