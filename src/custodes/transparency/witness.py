"""A witness: it signs a log's checkpoint only if it goes on from the last that it signed (C2SP tlog-witness).

Promises: what is asked is checked against what was signed last, and kept, under one lock and durably, before anything is signed; so two
checkpoints that contradict each other never both get its signature, whoever asks at once and whenever it dies. Who may ask, and HTTP, are for
``witness_web``. What a witness's own disk forgets it cannot know: its folder is never restored from an old copy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from custodes.crypto.keys import Signer, VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import EMPTY_ROOT, PROOF_HASHES_MAX, Tree, verify_consistency
from custodes.transparency.notes import Checkpoint, Note, Trust, cosign, hash_text, parse_hash, parse_note, parse_size

__all__ = ["SIZE_TYPE", "Reply", "Witness", "request"]

SIZE_TYPE: Final = "text/x.tlog.size"
_TEXT: Final = "text/plain; charset=utf-8"
_OLD: Final = re.compile(r"old ([0-9]+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a witness answers: the HTTP status that the specification gives, and a body."""

    status: int
    body: bytes = b""
    content_type: str = _TEXT


@dataclass(frozen=True, slots=True)
class _Request:
    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint


def request(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """What a witness is sent: a checkpoint, and the proof from the last one that it signed."""
    lines = [f"old {old_size}", *map(hash_text, proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + note


class Witness:
    """One witness, for the logs that it was told of, by origin. ``time_s`` gives seconds since 1970."""

    def __init__(
        self,
        memory: Memory,
        key: Signer,
        logs: Mapping[str, tuple[VerifierKey, ...]],
        time_s: Callable[[], int],
    ) -> None:
        self._memory, self._key, self._time_s = memory, key, time_s
        self._logs = {origin: Trust(origin, keys) for origin, keys in logs.items()}
        if any(key.verifier.public == each.public for keys in logs.values() for each in keys):
            raise ConfigError("a log's own key cannot be its witness")

    def add_checkpoint(self, body: bytes) -> Reply:
        """Check, keep, sign. Raises StorageError where its memory cannot be read or written: then nothing was signed."""
        try:
            asked = _parsed(body)
        except InputError:
            return Reply(400)
        refusal = self._refusal(asked) or self._kept(asked)
        return refusal or Reply(200, str(cosign(asked.note.text, self._key, self._time_s())).encode())

    def _refusal(self, asked: _Request) -> Reply | None:
        """The answer to what no history makes right."""
        trust = self._logs.get(asked.checkpoint.origin)
        if trust is None:
            return Reply(404)
        try:
            trust.verify(bytes(asked.note))
        except InputError:
            return Reply(403)
        return Reply(400) if asked.old_size > asked.checkpoint.tree.size else None

    def _kept(self, asked: _Request) -> Reply | None:
        """Check what is asked against the last, and keep it, as one. None when it was kept."""
        tree = asked.checkpoint.tree
        with self._memory.held(asked.checkpoint.origin) as head:
            last = head.tree() or Tree(0, EMPTY_ROOT)
            if asked.old_size != last.size:
                return _conflict(last)
            if tree.size == last.size and tree.root != last.root:
                head.keep_fork(bytes(asked.note))  # signed by the log: a proof of what it did
                return _conflict(last)
            if not _goes_on(last, asked):
                return Reply(422)
            head.keep(bytes(asked.note))
        return None


def _goes_on(last: Tree, asked: _Request) -> bool:
    if last.size == 0:
        return not asked.proof
    try:
        verify_consistency(last, asked.checkpoint.tree, asked.proof)
    except InputError:
        return False
    return True


def _conflict(last: Tree) -> Reply:
    return Reply(409, b"%d\n" % last.size, SIZE_TYPE)


def _parsed(body: bytes) -> _Request:
    head, blank, note = body.partition(b"\n\n")  # the first empty line: the note has its own
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise InputError("a request to a witness begins in ASCII") from error
    old = _OLD.fullmatch(first)
    if not blank or old is None or len(lines) > PROOF_HASHES_MAX:
        raise InputError("not a request to a witness")
    parsed = parse_note(note)
    return _Request(parse_size(old[1]), tuple(map(parse_hash, lines)), parsed, Checkpoint.parse(parsed.text))
