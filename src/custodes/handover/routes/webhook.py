"""A receiver by HTTP: each incident is one POST, signed, under a key that every further attempt carries too.

The key stands in what is signed, so nobody can deliver an old post again under another. Whether the receiver took it is said by its receipt alone; what
was posted before an answer was lost is posted again, and the receiver, who knows the key, says the same as then. Format: docs/formats/webhook.md.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec

from custodes.crypto.dsse import sign
from custodes.crypto.seal import Recipient
from custodes.errors import AuthorityError, InputError
from custodes.handover.delivery import Delivered, Ended, Later, Progress, key_of
from custodes.handover.incident import Incident
from custodes.handover.package import Package, Reporter
from custodes.handover.parcel import Handed, Parcel, Takes
from custodes.handover.receipts import Receipt
from custodes.handover.routes.enclosed import check_enclosed, enclosed
from custodes.handover.routes.sending import Sender, check_real, not_delivered, opened, packed, plain_json
from custodes.handover.routes.settings import WebhookSettings
from custodes.handover.words import Environment, check_receipt
from custodes.services.calls import Answer, Caller

__all__ = ["PAYLOAD_TYPE", "Post", "Sealed", "Webhook"]

PAYLOAD_TYPE: Final = "application/vnd.custodes.incident+json"
CONTENT_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
_KEY: Final = re.compile(r"[A-Za-z0-9._/-]{1,256}")


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The two files of a package."""

    sealed: bytes
    envelope: bytes


class Post(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed: the incident itself, or a package of it; of a withheld image always the sealed file, whose envelope is of another payload type."""

    format: Literal["custodes-post/1"] = "custodes-post/1"
    key: str
    environment: Environment
    reporter: Reporter
    incident: Incident | None = None
    package: Sealed | None = None

    def __repr__(self) -> str:
        return f"<Post {self.environment}>"


@dataclass(frozen=True, repr=False)
class Webhook:
    """One receiver. Without ``caller``: for checks and previews. ``recipients``: to whom incidents are sealed, if to anybody."""

    takes: ClassVar[Takes] = "sealed"
    name: str
    settings: WebhookSettings
    caller: Caller | None
    sender: Sender
    recipients: Sequence[Recipient] = ()

    @property
    def environment(self) -> Environment:
        """The receiver's."""
        return self.settings.environment

    def check(self, of: Handed) -> None:
        """Raises InputError for a demonstration where it would be taken for real."""
        if isinstance(of, Parcel):
            check_enclosed(of, self.environment)
        else:
            check_real(of, self.environment)

    def preview(self, of: Handed, now: datetime) -> str:  # noqa: ARG002
        """The request and what is signed. What would be sealed is shown open; what is sealed already, by its length."""
        self.check(of)
        key = key_of(self, of.id)
        lines = [
            f"POST {self.settings.url}",
            f'Idempotency-Key: "{key}"',
            f"Content-Type: {CONTENT_TYPE}",
            "",
        ]
        lines.append(f"signed by {self.sender.key.verifier}:")
        if isinstance(of, Parcel):
            return "\n".join([*lines, f"a withheld image, sealed: {len(of.sealed):,} bytes"])
        lines += [f"its incident sealed to {recipient}" for recipient in self.recipients]
        return "\n".join([*lines, plain_json(self._post(key, incident=of)).decode()])

    async def deliver(self, of: Handed, key: str, progress: Progress) -> Ended:
        """Post it, once."""
        self.check(of)
        if not _KEY.fullmatch(key):
            raise InputError("the key of this delivery does not fit into a header")
        try:
            answer = await self._posted(self._body(of, key), key)
        except AuthorityError:  # it may have been received
            return Later("no-answer")
        requests = (f"post {answer.status}",)
        if not 200 <= answer.status < 300:
            return not_delivered(answer, requests)
        if not (receipt := _receipt(answer)):
            return Later("no-receipt", answer.after_s, requests=requests)
        progress.keep(Receipt(step="post", received=self.sender.clock(), body=answer.body))
        return Delivered(receipt, requests)

    async def close(self) -> None:
        """Nothing stays open between deliveries."""

    def _body(self, of: Handed, key: str) -> bytes:
        post = self._post(key, incident=of) if (package := self._package(of)) is None else self._sealed(key, package)
        return sign(PAYLOAD_TYPE, plain_json(post), self.sender.key)

    def _package(self, of: Handed) -> Package | None:
        if isinstance(of, Parcel):
            return enclosed(of, self.environment, self.sender)
        return packed(of, self.recipients, self.environment, self.sender) if self.recipients else None

    def _sealed(self, key: str, package: Package) -> Post:
        return self._post(key, package=Sealed(sealed=package.sealed, envelope=package.envelope))

    def _post(self, key: str, **content: Any) -> Post:
        return Post(key=key, environment=self.environment, reporter=self.sender.reporter, **content)

    async def _posted(self, body: bytes, key: str) -> Answer:
        # A connection of its own, because a caller's headers are those of all its calls. RFC 9651: a string stands in quotes.
        caller = opened(self.caller)
        caller = dataclasses.replace(caller, headers={**caller.headers, "Idempotency-Key": f'"{key}"'})
        path = urlsplit(self.settings.url).path or "/"
        try:
            return await caller.exchange(
                "POST", path, body, CONTENT_TYPE, shown="/\u2026"
            )  # a part of it may be a secret
        finally:
            await caller.close()


def _receipt(answer: Answer) -> str:
    """The id that the receiver gave; "" where it gave none that can be recorded."""
    try:
        told = answer.json()
        receipt = told.get("receipt") if isinstance(told, dict) else None
        if not isinstance(receipt, str):
            return ""
        check_receipt(receipt)
    except (AuthorityError, ValueError):
        return ""
    return receipt
