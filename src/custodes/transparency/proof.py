"""A proof that an entry is in a log, in a file of its own: for whoever is offline (C2SP tlog-proof).

Promises: what parses prints to the same bytes; an entry is proven only by a checkpoint that counts. Whether the log went on honestly from
there is for who reads the log.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from custodes.errors import InputError
from custodes.transparency.merkle import PROOF_HASHES_MAX, leaf_hash, verify_inclusion
from custodes.transparency.notes import (
    NOTE_BYTES_MAX,
    Checkpoint,
    Seen,
    Trust,
    hash_text,
    parse_hash,
    parse_note,
    parse_size,
)

__all__ = ["PROOF_BYTES_MAX", "SUFFIX", "Proof"]

SUFFIX: Final = ".tlog-proof"
PROOF_BYTES_MAX: Final = 2 * NOTE_BYTES_MAX
_FIRST: Final = "c2sp.org/tlog-proof@v1"
_HEAD: Final = re.compile(r"(?:extra ([^\n]+)\n)?index ([0-9]+)\n((?:[^\n]+\n)*)")


@dataclass(frozen=True, slots=True)
class Proof:
    """The entry's number, the hashes from its sibling up, the checkpoint as it came. ``extra``: what an application adds; nothing vouches for it."""

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes = b""

    def __bytes__(self) -> bytes:
        extra = [f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else []
        lines = [_FIRST, *extra, f"index {self.index}", *map(hash_text, self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """Raises InputError unless it is exactly what ``bytes(proof)`` would write."""
        head, blank, note = data.partition(b"\n\n")
        try:
            first, _, rest = head.decode("ascii").partition("\n")
            found = _HEAD.fullmatch(rest + "\n")
            if len(data) > PROOF_BYTES_MAX or not blank or first != _FIRST or found is None:
                raise ValueError
            hashes = tuple(map(parse_hash, found[3].split("\n")[:-1]))
            extra = base64.b64decode(found[1] or "", validate=True)
        except ValueError as error:
            raise InputError("not a proof of a log: it was changed or cut off, or is something else") from error
        proof = cls(parse_size(found[2]), hashes, note, extra)
        if len(hashes) > PROOF_HASHES_MAX or bytes(proof) != data:
            raise InputError("the proof is not written in the one way that it may be")
        Checkpoint.parse(parse_note(note).text)
        return proof

    def verify(self, entry: bytes, trust: Trust) -> Seen:
        """The checkpoint, if it counts and the entry is in it. Raises InputError."""
        seen = trust.verify(self.note)
        verify_inclusion(leaf_hash(entry), self.index, self.hashes, seen.checkpoint.tree)
        return seen
