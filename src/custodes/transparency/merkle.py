"""Merkle trees as RFC 6962 section 2.1 has them, with SHA-256: roots, proofs, and what proofs prove.

Promises: a proof is accepted only if it has exactly the shape that its sizes ask for and every hash in it counts. A consistency
proof from the empty tree proves nothing and is refused. Where hashes come from is for the caller: this module names the nodes that a
proof needs (``inclusion_path``, ``consistency_path``, ``whole_nodes``) and puts them together (``folded``). No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from custodes.errors import InputError

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "PROOF_HASHES_MAX",
    "SIZE_MAX",
    "Builder",
    "Node",
    "Span",
    "Tree",
    "consistency_path",
    "folded",
    "inclusion_path",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
    "whole_nodes",
]

HASH_BYTES: Final = 32
SIZE_MAX: Final = 2**63 - 1
PROOF_HASHES_MAX: Final = (
    63  # tlog-witness: no more lines in a consistency proof; no path in a tree of SIZE_MAX is longer
)
EMPTY_ROOT: Final = sha256(b"").digest()


class Tree(NamedTuple):
    """A tree as its head states it."""

    size: int
    root: bytes


class Span(NamedTuple):
    """The leaves from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


class Node(NamedTuple):
    """The root of the ``2 ** level`` leaves from ``number * 2 ** level`` on: it never changes once they are all there."""

    level: int
    number: int


def leaf_hash(entry: bytes) -> bytes:
    """What stands for an entry. The prefix keeps an entry from being taken for two hashes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """What stands for two subtrees."""
    return sha256(b"\x01" + left + right).digest()


class Builder:
    """The root of a tree that grows, in memory for one hash a level.

    >>> builder = Builder()
    >>> builder.append(leaf_hash(b"entry 1"))
    >>> builder.root() == leaf_hash(b"entry 1")
    True
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # the roots of the whole subtrees that make up the tree, the greatest first

    def append(self, node: bytes, level: int = 0) -> None:
        """Add a leaf's hash, or that of the next ``2 ** level`` leaves, which must begin at a multiple of their number."""
        if self.size % (1 << level):
            raise InputError(f"a node of level {level} cannot follow {self.size} leaves")
        peaks, above = self._peaks, self.size >> level
        while above & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            above >>= 1
        peaks.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        """The root of what was appended so far."""
        return folded(self._peaks)


def folded(nodes: Sequence[bytes]) -> bytes:
    """The root over whole subtrees that lie side by side, each greater than the next (or over equal ones, at the end, two)."""
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for node in reversed(nodes[:-1]):
        root = node_hash(node, root)
    return root


def whole_nodes(span: Span) -> list[Node]:
    """The fewest nodes that cover these leaves, from left to right."""
    found, at = [], span.start
    while at < span.stop:
        level = (span.stop - at).bit_length() - 1
        if at:
            level = min(level, (at & -at).bit_length() - 1)
        found.append(Node(level, at >> level))
        at += 1 << level
    return found


def inclusion_path(index: int, size: int) -> list[Span]:
    """The spans whose roots prove that a leaf is in a tree, from the leaf up. Raises InputError where it is not (RFC 6962 section 2.1.1)."""
    if not 0 <= index < size <= SIZE_MAX:
        raise InputError(f"there is no entry {index} in a log of {size}")
    path, (start, stop) = [], Span(0, size)
    while stop - start > 1:
        middle = start + _left(stop - start)
        if index < middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def consistency_path(old_size: int, size: int) -> list[Span]:
    """The spans whose roots prove that a tree begins with an older one (RFC 6962 section 2.1.2). Raises InputError where there is no proof."""
    if not 0 < old_size <= size <= SIZE_MAX:
        raise InputError(f"there is no proof from a log of {old_size} to one of {size}")
    path, (start, stop), known = [], Span(0, size), True
    while stop != old_size:
        middle = start + _left(stop - start)
        if old_size <= middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start, known = middle, False
    # The old tree is a whole subtree of the new one: who verifies has its root already.
    return path[::-1] if known else [Span(start, stop), *path[::-1]]


def verify_inclusion(leaf: bytes, index: int, proof: Sequence[bytes], tree: Tree) -> None:
    """Raises InputError unless the leaf with this hash is at ``index`` of the tree (RFC 9162 section 2.1.3.2)."""
    _check_hashes([leaf, *proof])
    path = inclusion_path(index, tree.size)
    if len(proof) != len(path):
        raise _unproven("inclusion", f"{len(proof)} hashes where {len(path)} are needed")
    root = leaf
    for span, other in zip(path, proof, strict=True):
        root = node_hash(other, root) if span.stop <= index else node_hash(root, other)
    if root != tree.root:
        raise _unproven("inclusion", "it leads to another root")


def verify_consistency(old: Tree, new: Tree, proof: Sequence[bytes]) -> None:
    """Raises InputError unless ``new`` begins with ``old`` (RFC 9162 section 2.1.4.2). An empty ``old`` is for the caller: of it nothing is proven."""
    _check_hashes(proof)
    path = consistency_path(old.size, new.size)
    if len(proof) != len(path):
        raise _unproven("consistency", f"{len(proof)} hashes where {len(path)} are needed")
    hashes = list(proof)
    # Where the old tree is a whole subtree of the new one its own root begins the proof, else the first hash does.
    known = not path or path[0].start >= old.size
    before = after = old.root if known else hashes.pop(0)
    for span, other in zip(path if known else path[1:], hashes, strict=True):
        if span.start < old.size:  # to the left: it is in both
            before = node_hash(other, before)
            after = node_hash(other, after)
        else:
            after = node_hash(after, other)
    if before != old.root or after != new.root:
        raise _unproven("consistency", "it leads to another root")


def _left(size: int) -> int:
    """The greatest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > PROOF_HASHES_MAX + 1 or any(len(each) != HASH_BYTES for each in hashes):
        raise InputError(f"a proof is at most {PROOF_HASHES_MAX} hashes of {HASH_BYTES} bytes")


def _unproven(what: str, why: str) -> InputError:
    return InputError(f"the {what} proof proves nothing: {why}", hint="the log, or what was told of it, was changed")
