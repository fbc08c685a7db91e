"""Withheld images: sealed to the authority the moment they are withheld, or destroyed where the law says so. Nobody here can open them, and none is ever shown.

Promises that what it returns from is durable, and that no plain byte of an image touches a disk. What leads to withholding is
for ``rules``; which files go to whom, for ``handover``. Format: docs/formats/withheld.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from custodes import __version__
from custodes.crypto.keys import RunKey
from custodes.crypto.seal import Recipient, seal, unseal
from custodes.durable import make_folder, replace_file
from custodes.errors import ConfigError, InputError
from custodes.gateway.guard import Caller, Looked
from custodes.gateway.vocabulary import Stage, Verdict
from custodes.handover.cybertipline.withheld import ReportedUser, Withheld, WithheldFile
from custodes.handover.finding import Match
from custodes.handover.parcel import SEALED_SUFFIX as SUFFIX
from custodes.model import Kind, Meaning

__all__ = [
    "FORMAT",
    "SUFFIX",
    "ByPolicy",
    "Header",
    "Keeps",
    "Notes",
    "Sealed",
    "open_withheld",
    "read_withheld",
    "withheld_files",
]

FORMAT: Final = "custodes-withheld/1"
_ROOM_MIN: Final = 1 << 16


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What led to it: the rule that decided, and where."""

    format: Literal["custodes-withheld/1"] = FORMAT
    rule: str
    stage: str


class Notes(Protocol):
    """Who sees to it that what was sealed is handed over."""

    def note(self, told: Withheld, rule: str, sealed: Path) -> None:
        """It is durable that this is to be handed over, if it is. Raises StorageError."""


@dataclass(frozen=True, repr=False)
class Sealed:
    """Evidence that keeps: one file for each image, sealed to all recipients. ``notes``: None where files are handed over by hand."""

    folder: Path
    recipients: Sequence[Recipient]
    key: RunKey
    service: str
    demo: bool = False
    notes: Notes | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ConfigError("there is no authority to seal withheld images to", hint="set [authority] recipients")

    async def keep(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        """Seal one. Raises StorageError where it cannot be made durable."""
        await asyncio.to_thread(self._keep, caller, verdict, content, looked)

    def _keep(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        now = self.clock()
        told = self._told(caller, verdict, content, looked, now=now.isoformat(timespec="seconds"))
        # A request that is sent again, after a kill before it was answered: what lies there is the same image of the same request.
        days = (each.astimezone(UTC).date().isoformat() for each in (now, now - timedelta(days=1)))
        today, yesterday = (self.folder / day / f"{told.id}{SUFFIX}" for day in days)
        path = yesterday if yesterday.exists() else today
        if not path.exists():
            self._seal(path, Header(rule=verdict.rule, stage=looked.stage), told)
        if self.notes is not None:
            self.notes.note(told, verdict.rule, path)

    def _seal(self, path: Path, header: Header, told: Withheld) -> None:
        plain = msgspec.json.encode(header) + b"\n" + msgspec.json.encode(told)
        room = max(_ROOM_MIN, 1 << (len(plain) - 1).bit_length())
        make_folder(path.parent)
        replace_file(path, seal(plain.ljust(room, b" "), self.recipients))

    def _told(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked, *, now: str) -> Withheld:
        digest = looked.sha256 or hashlib.sha256(content).digest()
        named = self.key.name("withheld", caller.tenant.encode(), caller.request.encode(), digest)
        return Withheld(
            id=named.hex()[:32],
            decision="report" if verdict.report else "hold",
            meaning=gravest(looked.matches),
            exact=any(match.kind != Kind.PDQ for match in looked.matches),
            matches=looked.matches,
            digests={"sha256": digest.hex(), "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()},
            found_at=now,
            tool=f"custodes {__version__}",
            service=self.service,
            demo=self.demo,
            user=ReportedUser(identifier=caller.user, service=caller.tenant) if caller.user else None,
            file=WithheldFile(content=content, generated=looked.stage is Stage.OUTPUT),
        )


def gravest(matches: Sequence[Match]) -> str:
    """What the gravest of the matched entries means; ``unmapped`` where a detector and no list spoke."""
    told = {match.meaning for match in matches}
    return next((meaning.value for meaning in Meaning if meaning in told), Meaning.UNMAPPED.value)


class Keeps(Protocol):
    """Which verdicts are sealed; images of all others are destroyed."""

    def keeps(self, verdict: Verdict, tenant: str) -> bool:
        """By the policy of the tenant."""


@dataclass(frozen=True)
class ByPolicy:
    """Sealed or destroyed, as the policy says."""

    rulebook: Keeps
    sealed: Sealed

    async def keep(self, caller: Caller, verdict: Verdict, content: bytes, looked: Looked) -> None:
        """What is not sealed is kept nowhere: what was withheld stands in the ledger alone."""
        if self.rulebook.keeps(verdict, caller.tenant):
            await self.sealed.keep(caller, verdict, content, looked)


def withheld_files(folder: Path) -> list[Path]:
    """All that were sealed, in the order of their names."""
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def open_withheld(sealed: bytes, identity: str) -> Withheld:
    """What the authority reads. Raises InputError for another key, tampering or another format."""
    return read_withheld(sealed, identity)[1]


def read_withheld(sealed: bytes, identity: str) -> tuple[Header, Withheld]:
    """The same, with what led to it."""
    head, _, body = unseal(sealed, identity).rstrip(b" ").partition(b"\n")
    try:
        return msgspec.json.decode(head, type=Header), msgspec.json.decode(body, type=Withheld)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # cut: its text may quote what is sealed
        raise InputError("not a withheld image, or of another version") from None
