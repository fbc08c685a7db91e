"""What is committed to of each row, and the tree over it (RFC 6962 section 2.1). Pure: no I/O.

Promises that an entry tells nothing of its row's outcome to who has not its salt, that a salt tells nothing of another's, and that nothing here says whether a
row matched. Whole levels are hashed at once, because there may be billions of rows; ``transparency.merkle`` verifies. Format: docs/formats/row-proofs.md.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from custodes.crypto.keystream import keystream
from custodes.ledger.rows import fixed_bytes
from custodes.model import Kind, Reason

__all__ = [
    "BLOCK_ROWS",
    "HASH_BYTES",
    "OUTCOME_BYTES",
    "SALT_BYTES",
    "Outcomes",
    "block_hashes",
    "entry_of",
    "leaf_hashes",
    "levels_of",
    "outcome_of",
    "outcomes_of",
    "path_of",
    "read_outcome",
    "salts_of",
]

HASH_BYTES: Final = 32
SALT_BYTES: Final = 32
REASON_BYTES: Final = 24
OUTCOME_BYTES: Final = REASON_BYTES + 1 + 32
BLOCK_LEVEL: Final = 8
BLOCK_ROWS: Final = 1 << BLOCK_LEVEL
"""Rows under one hash that is kept: so many are read again to prove one of them."""

Outcomes = npt.NDArray[np.uint8]


def outcome_of(reason: str, digest: bytes) -> bytes:
    """The outcome of a row as it is committed to: its reason and the digest (SHA-256, else MD5, else none) of the bytes that were seen."""
    return reason.encode().ljust(REASON_BYTES, b"\0") + bytes([len(digest)]) + digest.ljust(32, b"\0")


def read_outcome(outcome: bytes) -> tuple[Reason, bytes]:
    """The reason and the digest of an outcome."""
    size_bytes = outcome[REASON_BYTES]
    return Reason(outcome[:REASON_BYTES].rstrip(b"\0").decode()), outcome[REASON_BYTES + 1 :][:size_bytes]


def outcomes_of(table: pa.Table) -> Outcomes:
    """``outcome_of`` for each row of a shard's table, as uint8[rows, 57]."""
    outcomes = np.zeros((table.num_rows, OUTCOME_BYTES), dtype=np.uint8)
    reasons = _joined(table["reason"].cast(pa.string())).dictionary_encode()
    names = b"".join(name.encode().ljust(REASON_BYTES, b"\0") for name in reasons.dictionary.to_pylist())
    outcomes[:, :REASON_BYTES] = np.frombuffer(names, np.uint8).reshape(-1, REASON_BYTES)[reasons.indices.to_numpy()]
    for kind in (Kind.MD5, Kind.SHA256):  # the better one last
        if kind.value not in table.column_names:
            continue
        column = _joined(table[kind.value])
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        outcomes[rows, REASON_BYTES] = kind.size_bytes
        at = REASON_BYTES + 1
        outcomes[rows, at : at + kind.size_bytes] = fixed_bytes(column.drop_null(), kind.size_bytes)
    return outcomes


def _joined(column: Any) -> Any:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def salts_of(key: bytes, first: int, rows: int) -> bytes:
    """The salts of ``rows`` rows from row ``first`` on, 32 bytes each."""
    return keystream(key, 2 * first, 2 * rows)


def entry_of(salt: bytes, outcome: bytes) -> bytes:
    """What stands in the tree for a row."""
    return sha256(salt + outcome).digest()


def leaf_hashes(salts: bytes, outcomes: Outcomes) -> bytes:
    """The tree's hashes of these rows' entries, one after the other."""
    salted = np.concatenate([np.frombuffer(salts, np.uint8).reshape(-1, SALT_BYTES), outcomes], axis=1)
    step = SALT_BYTES + OUTCOME_BYTES
    data = salted.tobytes()
    # ``leaf_hash(entry_of(...))`` without calls between: this is done for each of billions of rows
    return b"".join(
        [sha256(b"\0" + sha256(data[at : at + step]).digest()).digest() for at in range(0, len(data), step)]
    )


def block_hashes(leaves: bytes) -> bytes:
    """One hash for each 256 leaves, and one for what is left. The first leaf must begin a block."""
    for _ in range(BLOCK_LEVEL):
        leaves = _above(leaves)
    return leaves


def levels_of(hashes: bytes) -> list[bytes]:
    """All levels of the tree over these hashes, the given one first, the root alone last."""
    levels = [hashes]
    while len(levels[-1]) > HASH_BYTES:
        levels.append(_above(levels[-1]))
    return levels


def path_of(levels: list[bytes], index: int) -> list[bytes]:
    """The hashes beside the way from one of the first level to the root."""
    path = []
    for level in levels[:-1]:
        at = (index ^ 1) * HASH_BYTES
        if at < len(level):
            path.append(level[at : at + HASH_BYTES])
        index >>= 1
    return path


def _above(hashes: bytes) -> bytes:
    """The next level. An odd last one goes up as it is, which is the tree of RFC 6962."""
    pair = 2 * HASH_BYTES
    above = [sha256(b"\x01" + hashes[at : at + pair]).digest() for at in range(0, len(hashes) - HASH_BYTES, pair)]
    if len(hashes) % pair:
        above.append(hashes[-HASH_BYTES:])
    return b"".join(above)
