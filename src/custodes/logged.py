"""Whether a card stands in a transparency log, for whoever verifies it: by a proof in a file, offline, or by the log itself.

Promises a check in a line for each thing that was looked at; that what the log's folder says of itself decides nothing; and that a fork or a
rollback fails, with both notes kept where there are two. A first checkpoint is taken on trust, and said
to be. Whether the card itself is good is for ``attest``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from custodes.attest.verification import Check
from custodes.errors import ConfigError, InputError
from custodes.services.calls import Caller, CallLimits
from custodes.transparency.entries import card_entry, entry_bytes
from custodes.transparency.finding import NEWEST, index_of
from custodes.transparency.memory import Memory, accept
from custodes.transparency.merkle import leaf_hash, verify_inclusion
from custodes.transparency.notes import Seen
from custodes.transparency.policy import Policy
from custodes.transparency.proof import Proof
from custodes.transparency.reading import FILE_BYTES_MAX, Folder, Reader, Source, Web, audit, consistency, inclusion

__all__ = ["Evidence", "Logged", "audited", "checks_of_log", "default_memory"]

_WEB: Final = ("https://", "http://")


@dataclass(frozen=True)
class Evidence:
    """What there is of a log: its folder or address, or a proof's bytes, or both."""

    source: str = ""
    proof: bytes | None = None
    unsafe_allow_loopback: bool = False

    def __post_init__(self) -> None:
        if not self.source and self.proof is None:
            raise ConfigError("there is neither a log nor a proof to look at")


@dataclass(frozen=True)
class Logged:
    """All checks, in order. ``by_s``: by when enough witnesses had seen the entry, in seconds since 1970; None where none vouches for that."""

    checks: tuple[Check, ...]
    by_s: int | None = None

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.state != "failed" for check in self.checks)


def default_memory() -> Path:
    """Where a verifier keeps what it has seen of logs, unless told otherwise."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "custodes" / "logs"


def checks_of_log(card: bytes, evidence: Evidence, policy: Policy, memory: Memory) -> Logged:
    """Whether this very card is in a log of the policy, and the log is the one that was seen before. Raises AuthorityError where it cannot be read."""
    return asyncio.run(_Looking(policy, memory).card(entry_bytes(card_entry(card)), evidence))


def audited(evidence: Evidence, policy: Policy, memory: Memory) -> Logged:
    """Every file of a log, and that it is the one that was seen before."""
    return asyncio.run(_Looking(policy, memory).log(evidence))


class _FailedError(Exception):
    """A check failed: what comes after it would say nothing."""


@dataclass
class _Looking:
    policy: Policy
    memory: Memory
    checks: list[Check] = field(default_factory=list)

    async def card(self, entry: bytes, evidence: Evidence) -> Logged:
        by_s, current = None, None
        with suppress(_FailedError):
            proven = self._proven(entry, evidence.proof) if evidence.proof is not None else None
            if proven is not None and not evidence.source:
                self._met(proven)
            if evidence.source:
                async with _opened(evidence) as source:
                    current = await self._followed(source)
                    if proven is None:
                        await self._found(source, current, entry)
                    else:
                        await self._joined(source, current, proven)
            if (seen := proven or current) is not None:
                by_s = self.policy.trust(seen.checkpoint.origin).by_s(seen.witnesses)
        return Logged(tuple(self.checks), by_s)

    async def log(self, evidence: Evidence) -> Logged:
        with suppress(_FailedError):
            async with _opened(evidence) as source:
                seen = await self._followed(source)
                tree = seen.checkpoint.tree
                with self._check("files"):
                    await Reader(source).read(audit(tree))
                self._tell("files", f"every file leads to the root of {tree.size:,} entries")
        return Logged(tuple(self.checks))

    def _proven(self, entry: bytes, data: bytes) -> Seen:
        """What the proof's file shows."""
        with self._check("entry"):
            proof = Proof.parse(data)
        seen = self._trusted(proof.note)
        size = seen.checkpoint.tree.size
        with self._check("entry"):
            proof.verify(entry, self.policy.trust(seen.checkpoint.origin))
        self._tell("entry", f"this card is entry {proof.index:,} of {size:,}")
        return seen

    def _met(self, seen: Seen) -> None:
        """The proof's checkpoint, beside the one that was seen last: without the log no more can be said."""
        before, size = self.memory.last(seen.checkpoint.origin), seen.checkpoint.tree.size
        with self._check("history"):
            last = self.memory.meet(seen)
        if before is None:
            self._tell("history", _FIRST, "note")
        elif last.size == size:
            self._tell("history", f"the same {size:,} entries as were seen before")
        else:
            told = f"{last.size:,} entries were seen before, and this proof is of {size:,}"
            self._tell("history", f"{told}: only the log itself can show that they are of one history", "note")

    def _trusted(self, note: bytes) -> Seen:
        with self._check("log"):
            trust = self.policy.trust_of(note)
            seen = trust.verify(note)
        self._tell("log", f"{trust.origin} signed a checkpoint of {seen.checkpoint.tree.size:,} entries")
        by_s = trust.by_s(seen.witnesses)
        if by_s is None:
            told = "the policy asks for no witness: the log could show another history to others"
            self._tell("witnesses", told, "note")
        else:
            time = datetime.fromtimestamp(by_s, UTC).isoformat(timespec="seconds")
            names = ", ".join(sorted(seen.witnesses))
            self._tell("witnesses", f"{names} saw this and nothing that contradicts it; enough of them by {time}")
        return seen

    async def _followed(self, source: Source) -> Seen:
        """The log as it is now: the one that was seen before, grown."""
        reader = Reader(source)
        with self._check("log"):
            note = await reader.checkpoint()
        seen = self._trusted(note)
        before = self.memory.last(seen.checkpoint.origin)
        with self._check("history"):
            await accept(reader, seen, self.memory)
        if before is None:
            self._tell("history", _FIRST, "note")
        else:
            self._tell("history", f"it begins with the {before.size:,} entries that were seen before")
        return seen

    async def _found(self, source: Source, seen: Seen, entry: bytes) -> None:
        tree = seen.checkpoint.tree
        with self._check("entry"):
            index = await index_of(source, tree, entry)
            if index is None:
                raise InputError(
                    f"this card is not among the newest {min(NEWEST, tree.size):,} entries, nor where the log says",
                    hint="ask the signer for its proof, a file that ends with .tlog-proof",
                )
            hashes = await Reader(source).read(inclusion(index, tree))
            verify_inclusion(leaf_hash(entry), index, hashes, tree)
        self._tell("entry", f"this card is entry {index:,} of {tree.size:,}")

    async def _joined(self, source: Source, seen: Seen, proven: Seen) -> None:
        """That the log goes on from where the proof was made."""
        old, tree = proven.checkpoint.tree, seen.checkpoint.tree
        with self._check("proof"):
            if proven.checkpoint.origin != seen.checkpoint.origin:
                raise InputError("the proof is of another log", hint="give the log that the proof is of")
            if tree.size < old.size:
                raise InputError(f"the log shows {tree.size:,} entries, and had {old.size:,}: it was put back")
            await Reader(source).read(consistency(old, tree))
        self._tell("proof", f"the log goes on from the {old.size:,} entries of the proof")

    def _tell(self, name: str, means: str, state: Literal["passed", "note"] = "passed") -> None:
        self.checks.append(Check(name, state, means))

    @contextmanager
    def _check(self, name: str) -> Iterator[None]:
        """What is wrong with the log or the proof fails the check; what is wrong with this machine or the network is raised."""
        try:
            yield
        except InputError as error:
            means = f"{error}: {error.hint}" if error.hint else str(error)
            self.checks.append(Check(name, "failed", means))
            raise _FailedError from error


_FIRST: Final = "the first that is seen of this log: taken on trust, and kept"


@asynccontextmanager
async def _opened(evidence: Evidence) -> AsyncIterator[Source]:
    if not evidence.source.startswith(_WEB):
        yield Folder(Path(evidence.source))
        return
    limits = CallLimits(body_bytes_max=FILE_BYTES_MAX)
    caller = Caller(evidence.source, "the log", limits=limits, unsafe_allow_loopback=evidence.unsafe_allow_loopback)
    try:
        yield Web(caller)
    finally:
        await caller.close()
