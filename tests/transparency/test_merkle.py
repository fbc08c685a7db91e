"""Trees and proofs: against vectors by others, against the definition, and with every hash of a proof changed."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import InputError
from custodes.transparency import merkle
from custodes.transparency.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    Builder,
    Span,
    Tree,
    consistency_path,
    folded,
    inclusion_path,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
    whole_nodes,
)
from tests.transparency.worlds import naive_consistency, naive_inclusion, naive_root, numbered, tree_of


def cases(vectors: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    files = sorted((vectors / "merkle/testdata" / kind).rglob("*.json"))
    assert len(files) > 70
    for path in files:
        yield f"{path.parent.name}/{path.stem}", json.loads(path.read_text())


def decoded(found: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(found[name] or "")


def proof_of(found: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each) for each in found["proof"] or []]


def refused(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except InputError:
        return True
    return False


def disagreements(vectors: Path, kind: str) -> list[str]:
    wrong = []
    for name, case in cases(vectors, kind):
        start = case.get("start", 0)
        if "leafIdx" in case:
            stop = case.get("end", case.get("treeSize", 0))
            # A subtree begins at a multiple of what holds it; else it is no subtree of any tree, and not for this to know.
            if start and start % (1 << (stop - start - 1).bit_length() if stop > start else 1):
                continue
            arguments = decoded(case, "leafHash"), case["leafIdx"] - start, proof_of(case)
            found = refused(verify_inclusion, *arguments, Tree(stop - start, decoded(case, "root")))
        else:
            old = Tree(case["size1"], decoded(case, "root1"))
            found = refused(verify_consistency, old, Tree(case["size2"], decoded(case, "root2")), proof_of(case))
        if found != case["wantErr"]:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("kind", ["inclusion", "subtreeinclusion", "consistency"])
def test_proofs_by_others_are_judged_as_specified(vectors: Path, kind: str) -> None:
    assert disagreements(vectors, kind) == []


def test_consistency_of_subtrees_that_begin_the_tree_is_judged_as_specified(vectors: Path) -> None:
    """Those from 0 on are ordinary proofs. Subtrees elsewhere are not used here, and neither is an empty one, of which nothing is proven."""
    judged = 0
    for name, case in cases(vectors, "subtreeconsistency"):
        if case["start"] == 0 and case["end"] > 0:
            old, new = Tree(case["end"], decoded(case, "root1")), Tree(case["size"], decoded(case, "root2"))
            assert refused(verify_consistency, old, new, proof_of(case)) == case["wantErr"], name
            judged += 1
    assert judged > 30


sizes = st.integers(1, 130)


@settings(max_examples=150, deadline=None)
@given(sizes, st.data())
def test_roots_and_proofs_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(entry) for entry in numbered(0, size)]
    tree = tree_of(numbered(0, size))
    assert tree.root == naive_root(leaves)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))

    def made(path: list[Span]) -> list[bytes]:
        return [naive_root(leaves[span.start : span.stop]) for span in path]

    inclusion = made(inclusion_path(index, size))
    assert inclusion == naive_inclusion(index, leaves)
    verify_inclusion(leaves[index], index, inclusion, tree)
    consistency = made(consistency_path(old, size))
    assert consistency == naive_consistency(old, leaves)
    verify_consistency(Tree(old, naive_root(leaves[:old])), tree, consistency)


@pytest.mark.soak
def test_100000_random_trees_are_those_of_the_definition() -> None:
    rng = random.Random(6962)
    hashes = [leaf_hash(entry) for entry in numbered(0, 64)]
    for _ in range(100_000):
        leaves = [hashes[rng.randrange(64)] for _ in range(rng.randrange(1, 40))]
        size = len(leaves)
        builder = Builder()
        for leaf in leaves:
            builder.append(leaf)
        tree, index, old = Tree(size, naive_root(leaves)), rng.randrange(size), rng.randrange(1, size + 1)
        assert builder.root() == tree.root
        verify_inclusion(leaves[index], index, naive_inclusion(index, leaves), tree)
        verify_consistency(Tree(old, naive_root(leaves[:old])), tree, naive_consistency(old, leaves))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_any_span_is_made_of_whole_nodes(start: int, length: int) -> None:
    leaves = [leaf_hash(entry) for entry in numbered(0, start + length)]
    builder = Builder()
    for span in (Span(0, start), Span(start, start + length)):
        for level, number in whole_nodes(span):
            builder.append(naive_root(leaves[number << level : (number + 1) << level]), level)
    assert builder.root() == naive_root(leaves)
    assert len(whole_nodes(Span(start, start + length))) <= 16


def test_every_change_of_a_proof_is_refused() -> None:
    size = 37
    leaves, tree = [leaf_hash(entry) for entry in numbered(0, size)], tree_of(numbered(0, size))
    accepted = []
    for old in range(1, size):
        before, proof = Tree(old, naive_root(leaves[:old])), naive_consistency(old, leaves)
        for number, changed in enumerate(changes(proof)):
            if not refused(verify_consistency, before, tree, changed):
                accepted.append(("consistency", old, number))
        for other in {old - 1, old + 1} - {size}:
            if not refused(verify_consistency, Tree(other, before.root), tree, proof):
                accepted.append(("size", old, other))
    for index in range(size):
        proof = naive_inclusion(index, leaves)
        for number, changed in enumerate(changes(proof)):
            if not refused(verify_inclusion, leaves[index], index, changed, tree):
                accepted.append(("inclusion", index, number))
        if not refused(verify_inclusion, leaves[(index + 1) % size], index, proof, tree):
            accepted.append(("leaf", index, 0))
    assert accepted == []


def changes(proof: list[bytes]) -> Iterator[list[bytes]]:
    for at, each in enumerate(proof):
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], each, each, *proof[at + 1 :]]
        yield [*proof[:at], each[:-1], *proof[at + 1 :]]
        for byte in range(32):
            yield [*proof[:at], each[:byte] + bytes([each[byte] ^ 1]) + each[byte + 1 :], *proof[at + 1 :]]
    if len(proof) > 1 and proof[0] != proof[1]:
        yield [proof[1], proof[0], *proof[2:]]
    yield [*proof, EMPTY_ROOT]


SIZES = {
    "the empty tree proves nothing": (0, 1),
    "a tree does not shrink": (2, 1),
    "past the greatest size": (1, SIZE_MAX + 1),
}


@pytest.mark.parametrize("rule", SIZES)
def test_sizes_that_no_proof_can_have(rule: str) -> None:
    old, new = SIZES[rule]
    with pytest.raises(InputError):
        verify_consistency(Tree(old, EMPTY_ROOT), Tree(new, EMPTY_ROOT), [])
    with pytest.raises(InputError):
        verify_inclusion(EMPTY_ROOT, new, [], Tree(new, EMPTY_ROOT))


def test_a_proof_of_63_hashes_is_read_and_one_of_64_is_not() -> None:
    index = SIZE_MAX - 1
    for size, hashes in ((SIZE_MAX, 63), (SIZE_MAX, 64)):
        with pytest.raises(InputError, match="at most" if hashes == 64 else "another root|are needed"):
            verify_inclusion(EMPTY_ROOT, index, [EMPTY_ROOT] * hashes, Tree(size, EMPTY_ROOT))


def test_a_node_is_appended_only_where_it_belongs() -> None:
    builder = Builder()
    builder.append(EMPTY_ROOT)
    with pytest.raises(InputError):
        builder.append(EMPTY_ROOT, 1)


def test_planted_a_verifier_that_forgets_the_old_root_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(old: Tree, new: Tree, proof: list[bytes]) -> None:
        """Leads to the new root, whatever the old one was."""
        root, path = proof[0], consistency_path(old.size, new.size)
        for span, other in zip(path[1:], proof[1:], strict=True):
            root = merkle.node_hash(other, root) if span.start < old.size else merkle.node_hash(root, other)
        if root != new.root:
            raise InputError("another root")

    forked = Tree(5, naive_root(numbered(0, 5, "fork")))
    proof = naive_consistency(5, [leaf_hash(entry) for entry in numbered(0, 9)])
    new = tree_of(numbered(0, 9))
    assert refused(verify_consistency, forked, new, proof)
    assert not refused(careless, forked, new, proof)


def test_nothing_folds_to_the_root_of_nothing() -> None:
    assert folded([]) == EMPTY_ROOT == naive_root([])
