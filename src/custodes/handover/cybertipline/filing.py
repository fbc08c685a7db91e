"""From a report to NCMEC's receipt, once, whatever breaks on the way.

What is known is saved before each call that could make it untrue, so a process that ends anywhere leaves enough to go on. Three facts carry the rest:
a report that was never finished is none, and the service deletes it; only a report whose id is known here is ever finished; and ``/retract`` either
takes an open report back or says that it is filed. So nothing is filed twice, and nothing that was begun is forgotten.

    1. submit            saved before: submitting      a lost answer leaves a report that nobody can finish
    2. upload, fileinfo  saved before: open, its id    a lost answer, or any other: 4
    3. finish            saved before: finishing       a lost answer: 4
    4. retract           of what was open when we stopped: 0, 5101, 5001: again from 1; 5102: filed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec

from custodes.errors import InputError, InternalError
from custodes.handover.cybertipline.answers import Asked, NotAnsweredError, Reply
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.gateway import File, Submission
from custodes.handover.delivery import Progress
from custodes.handover.receipts import Receipt
from custodes.handover.words import Environment

__all__ = ["Dead", "Filed", "Filing", "Later"]

_REQUESTS: Final = tuple(f"request-{number}" for number in range(100))
"""The names under which calls are remembered: the last so many."""
_GONE: Final = frozenset({0, 5001, 5101})
"""What ``/retract`` says of a report that is not filed and never will be: retracted now, unknown (it expired), retracted before."""
_WHY: Final = {
    Asked.AGAIN: "service-error",
    Asked.ACCOUNT: "account-refused",
    Asked.AFRESH: "report-expired",
    Asked.FILED: "report-expired",
}


@dataclass(frozen=True, slots=True)
class Filed:
    """It is filed, in this environment: one of the test environment is no report.

    ``requests``: the calls with their codes and Request-IDs, for NCMEC's support; so those of ``Later`` and ``Dead``. ``files_agree``: NCMEC named the
    files that were sent.
    """

    environment: Environment
    report_id: str
    requests: tuple[str, ...]
    files_agree: bool = True


@dataclass(frozen=True, slots=True)
class Later:
    """Not now. ``why`` is a word for records; ``account``: nothing will go until somebody sees to the account."""

    environment: Environment
    why: str
    requests: tuple[str, ...] = ()
    after_s: float = 0.0
    account: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """It is not filed and will not be as it is: a person must look at it. ``report_id``: of a report whose fate NCMEC would not tell."""

    environment: Environment
    code: int
    requests: tuple[str, ...] = ()
    request_id: str = ""
    report_id: str = ""


Ended = Filed | Later | Dead


class _State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known. ``code``: why an open report is given up."""

    environment: Environment
    phase: Literal["new", "submitting", "open", "finishing", "retracting", "filed"] = "new"
    report_id: str = ""
    code: int = 0
    request_id: str = ""
    requests: tuple[str, ...] = ()
    files_agree: bool = True


@dataclass
class _StoppedError(Exception):
    """A reply that is not success."""

    reply: Reply


class Filing:
    """One report on its way. ``make`` gives what is sent, from a time that has surely been by NCMEC's clock."""

    def __init__(self, service: CyberTipline, progress: Progress, make: Callable[[datetime], Submission]) -> None:
        self._service = service
        self._progress = progress
        self._make = make
        self._state = _State(environment=service.environment)

    async def run(self) -> Ended:
        """Go on, or begin; may be asked again after anything.

        Raises InputError for what cannot be reported, AuthorityError for clocks that differ, StorageError; then ask again when that is mended.
        """
        self._load()
        try:
            return await self._go_on()
        except NotAnsweredError as error:
            return self._later("no-answer", error.after_s)
        except _StoppedError as stopped:
            reply = stopped.reply
        if reply.asked is Asked.PERSON:
            return await self._give_up(reply)
        return self._later(_WHY[reply.asked], reply.after_s, account=reply.asked is Asked.ACCOUNT)

    async def _go_on(self) -> Ended:
        if self._state.phase == "filed":
            return self._filed()
        if self._state.report_id and (ended := await self._settle()):
            return ended
        return await self._file()

    async def _file(self) -> Ended:
        submission = self._make(await self._service.now())
        self._save(phase="submitting")
        reply = self._done(await self._service.submit(submission.report))
        self._keep(reply)
        self._save(phase="open", report_id=reply.report_id)
        sent = [await self._send(file) for file in submission.files]
        self._save(phase="finishing")
        return self._finished(self._done(await self._service.finish(self._state.report_id), Asked.FILED), sent)

    async def _send(self, file: File) -> str:
        reply = self._done(await self._service.upload(self._state.report_id, file.content))
        if reply.md5 != file.md5:  # changed on the way: the report as it is must not be finished
            raise NotAnsweredError("the service did not receive the file that was sent")
        details = file.details(self._state.report_id, reply.file_id)
        self._done(await self._service.file_info(self._state.report_id, details))
        return reply.file_id

    def _finished(self, reply: Reply, sent: list[str]) -> Filed:
        agree = reply.asked is Asked.FILED or sorted(reply.files) == sorted(sent)
        self._keep(reply)
        self._save(phase="filed", files_agree=agree)
        return self._filed()

    async def _settle(self) -> Ended | None:
        """What became of the report that was open when we stopped. None: it is not filed, and never will be."""
        reply = self._heard(await self._service.retract(self._state.report_id))
        state = self._state
        if reply.asked is Asked.FILED:
            return self._finished(reply, [])
        if reply.asked in (Asked.AGAIN, Asked.ACCOUNT):
            raise _StoppedError(reply)
        if reply.code not in _GONE:
            return self._dead(reply.code, reply.request_id, state.report_id)
        self._save(phase="new", report_id="", code=0, request_id="")
        return self._dead(state.code, state.request_id) if state.phase == "retracting" else None

    async def _give_up(self, reply: Reply) -> Ended:
        if not self._state.report_id:
            self._save(phase="new")
            return self._dead(reply.code, reply.request_id)
        self._save(phase="retracting", code=reply.code, request_id=reply.request_id)  # nothing is left open
        return await self.run()

    def _later(self, why: str, after_s: float, *, account: bool = False) -> Later:
        self._save()
        return Later(self._state.environment, why, self._state.requests, after_s, account)

    def _dead(self, code: int, request_id: str, report_id: str = "") -> Dead:
        self._save()
        return Dead(self._state.environment, code, self._state.requests, request_id, report_id)

    def _filed(self) -> Filed:
        state = self._state
        return Filed(state.environment, state.report_id, state.requests, state.files_agree)

    def _heard(self, reply: Reply) -> Reply:
        """Remember what NCMEC's support asks for. Saved with whatever is saved next."""
        requests = (*self._state.requests, f"{reply.call} {reply.code} {reply.request_id or '-'}")
        self._state = msgspec.structs.replace(self._state, requests=requests[-len(_REQUESTS) :])
        return reply

    def _done(self, reply: Reply, *more: Asked) -> Reply:
        """The reply, if it says that it is done."""
        if self._heard(reply).asked is Asked.NOTHING or reply.asked in more:
            return reply
        raise _StoppedError(reply)

    def _keep(self, reply: Reply) -> None:
        receipt = Receipt(step=reply.call, received=self._service.clock(), request_id=reply.request_id, body=reply.body)
        self._progress.keep(receipt)

    def _load(self) -> None:
        if not (known := self._progress.load()):
            return
        requests = [known[name] for name in _REQUESTS if name in known]
        fields = {name: text for name, text in known.items() if name not in _REQUESTS}
        try:
            self._state = msgspec.convert({**fields, "requests": requests}, _State, strict=False)
        except msgspec.ValidationError:
            raise InternalError("what was saved of a filing cannot be read back") from None
        if self._state.environment != self._service.environment:
            raise InputError(
                f"the report was begun in the environment {self._state.environment}, not {self._service.environment}",
                hint="go on where it was begun: reports of one are unknown to the other",
            )

    def _save(self, **changed: object) -> None:
        self._state = msgspec.structs.replace(self._state, **changed)
        fields = msgspec.structs.asdict(self._state)
        requests = zip(_REQUESTS, fields.pop("requests"), strict=False)
        told = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()}
        self._progress.save({**told, **dict(requests)})
