"""Keys, logs and witnesses made of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.crypto.keys import SigningKey
from custodes.transparency.log import Log
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import Builder, Tree, leaf_hash, node_hash
from custodes.transparency.notes import Checkpoint, Cosigner, Trust, sign
from custodes.transparency.witness import Witness

ORIGIN = "log.example/1"
NOON = 1_772_366_400


def key(name: str) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


LOG_KEY = key(ORIGIN)
WITNESS_KEYS = [key(f"witness.example/{number}") for number in range(3)]
WITNESSES = tuple(Cosigner(each.verifier) for each in WITNESS_KEYS)
TRUST = Trust(ORIGIN, (LOG_KEY.verifier,))


def numbered(start: int, stop: int, fork: str = "") -> list[bytes]:
    return [sha256(b"entry %d" % number + fork.encode()).digest() for number in range(start, stop)]


def tree_of(entries: Sequence[bytes]) -> Tree:
    builder = Builder()
    for entry in entries:
        builder.append(leaf_hash(entry))
    return Tree(builder.size, builder.root())


def note_of(tree: Tree) -> bytes:
    return bytes(sign(Checkpoint(ORIGIN, tree), LOG_KEY))


def log_in(folder: Path, trust: Trust = TRUST) -> Log:
    return Log(folder, LOG_KEY, trust)


def new_log(folder: Path, *sizes: int) -> Log:
    """A log that was published at each of these sizes."""
    log = log_in(folder)
    log.create()
    at = 0
    for size in sizes:
        log.append(numbered(at, size))
        log.publish()
        at = size
    return log


def witness_in(folder: Path, number: int = 0) -> Witness:
    return Witness(Memory(folder), WITNESS_KEYS[number], {ORIGIN: (LOG_KEY.verifier,)}, lambda: NOON)


# the simple answers, as RFC 6962 writes them


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = _middle(leaves)
    return node_hash(naive_root(leaves[:middle]), naive_root(leaves[middle:]))


def naive_inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = _middle(leaves)
    if index < middle:
        return [*naive_inclusion(index, leaves[:middle]), naive_root(leaves[middle:])]
    return [*naive_inclusion(index - middle, leaves[middle:]), naive_root(leaves[:middle])]


def naive_consistency(old: int, leaves: Sequence[bytes], known: bool = True) -> list[bytes]:
    if old == len(leaves):
        return [] if known else [naive_root(leaves)]
    middle = _middle(leaves)
    if old <= middle:
        return [*naive_consistency(old, leaves[:middle], known), naive_root(leaves[middle:])]
    return [*naive_consistency(old - middle, leaves[middle:], False), naive_root(leaves[:middle])]


def _middle(leaves: Sequence[bytes]) -> int:
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return middle
