"""What NCMEC's service answers: its codes, and what each asks for. The body is read whatever the HTTP status, and kept as it came.

An answer that says nothing that can be relied on is no answer: whether the service acted is then not known, and is for ``filing`` to find out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from xml.etree.ElementTree import Element

from custodes.errors import AuthorityError
from custodes.handover.words import Environment
from custodes.services.calls import Answer
from custodes.services.xml import read_xml

__all__ = ["Asked", "NotAnsweredError", "Reply", "asked_by", "reply_of"]

_ROOTS: Final = ("reportResponse", "reportDoneResponse")
_CODE: Final = re.compile(r"[0-9]{1,6}")
_REPORT: Final = re.compile(r"[1-9][0-9]{0,18}")
_FILE: Final = re.compile(r"[0-9a-fA-F]{32}")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_UNAUTHENTICATED: Final = {401: 2000, 403: 3000}


class Asked(Enum):
    """What an answer asks of us."""

    NOTHING = "it is done"
    AGAIN = "the service could not: later"
    ACCOUNT = "the account may not: somebody must see to it, and then again"
    AFRESH = "there is no such report any more: from the beginning"
    FILED = "the report is finished"
    PERSON = "as it is, it will never be taken: somebody must look at it"


_CODES: Final = {
    0: Asked.NOTHING,
    **dict.fromkeys((1000, 1100, 1110, 1111, 1300), Asked.AGAIN),
    **dict.fromkeys((2000, 3000, 3100, 3300), Asked.ACCOUNT),
    **dict.fromkeys((5001, 5002, 5101), Asked.AFRESH),
    5102: Asked.FILED,
}


def asked_by(code: int) -> Asked:
    """What a response code asks for. One that is not documented, or says that what was sent is wrong (1210, 4000 to 4200), asks for a person."""
    return _CODES.get(code, Asked.PERSON)


class NotAnsweredError(AuthorityError):
    """No answer, or none that says anything. ``after_s``: how long the service asked to be left alone."""

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """One answer. ``body`` is as it came; ids are "" where the answer has none."""

    call: str
    environment: Environment
    code: int
    body: bytes
    request_id: str = ""
    description: str = ""
    report_id: str = ""
    file_id: str = ""
    md5: str = ""
    files: tuple[str, ...] = ()
    after_s: float = 0.0

    @property
    def asked(self) -> Asked:
        """What it asks for."""
        return asked_by(self.code)

    def __repr__(self) -> str:
        return f"<Reply {self.environment} {self.call} {self.code}>"


def reply_of(call: str, environment: Environment, answer: Answer) -> Reply:
    """The answer to a call. Raises NotAnsweredError."""
    request_id = _matching(_REQUEST_ID, answer.headers.get("Request-ID", ""))
    try:
        root = read_xml(answer, _ROOTS)
        code = _CODE.fullmatch(_text(root, "responseCode"))
    except AuthorityError as error:
        if (known := _UNAUTHENTICATED.get(answer.status)) is None:
            raise NotAnsweredError(f"{error} (status {answer.status})", after_s=answer.after_s) from None
        return Reply(call, environment, known, answer.body, request_id, after_s=answer.after_s)
    if code is None or (int(code[0]) == 0 and not 200 <= answer.status < 300):
        raise NotAnsweredError(
            f"the answer to {answer.path} has no code that fits status {answer.status}", after_s=answer.after_s
        )
    return Reply(
        call,
        environment,
        int(code[0]),
        answer.body,
        request_id,
        description=_text(root, "responseDescription"),
        report_id=_matching(_REPORT, _text(root, "reportId")),
        file_id=_matching(_FILE, _text(root, "fileId")),
        md5=_text(root, "hash").lower(),
        files=tuple((each.text or "").strip() for each in root.findall("files/fileId")),
        after_s=answer.after_s,
    )


def _text(root: Element, name: str) -> str:
    """The text of a child that stands there once; else ""."""
    found = root.findall(name)
    return (found[0].text or "").strip() if len(found) == 1 else ""


def _matching(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else ""
