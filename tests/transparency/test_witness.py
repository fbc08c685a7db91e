"""A witness signs what goes on from what it signed, and nothing else: by each rule of the specification, at once, and over HTTP."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from custodes.errors import AuthorityError, ConfigError, StorageError
from custodes.services.calls import Caller
from custodes.transparency.memory import Head, Memory
from custodes.transparency.merkle import EMPTY_ROOT, SIZE_MAX, Tree, leaf_hash
from custodes.transparency.notes import Checkpoint, Trust, parse_note, sign
from custodes.transparency.witness import SIZE_TYPE, Reply, Witness, request
from custodes.transparency.witness_web import REQUEST_BYTES_MAX, application, cosigned
from tests.transparency.worlds import (
    LOG_KEY,
    NOON,
    ORIGIN,
    WITNESSES,
    key,
    naive_consistency,
    note_of,
    numbered,
    tree_of,
    witness_in,
)

QUORUM = Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES, 1)


def proof(old: int, size: int) -> list[bytes]:
    return naive_consistency(old, [leaf_hash(entry) for entry in numbered(0, size)]) if old else []


def grown(old: int, size: int) -> bytes:
    return request(old, proof(old, size), note_of(tree_of(numbered(0, size))))


def at_five(folder: Path) -> Witness:
    witness = witness_in(folder)
    assert witness.add_checkpoint(grown(0, 5)).status == 200
    return witness


def test_what_goes_on_is_signed(tmp_path: Path) -> None:
    witness = at_five(tmp_path)
    for body, note in ((grown(5, 9), 9), (grown(9, 9), 9), (grown(9, 12), 12)):
        reply = witness.add_checkpoint(body)
        assert reply.status == 200
        seen = QUORUM.verify(note_of(tree_of(numbered(0, note))) + reply.body)
        assert seen.witnesses == {WITNESSES[0].key.name: NOON}


def test_an_empty_log_is_witnessed(tmp_path: Path) -> None:
    witness = witness_in(tmp_path)
    assert witness.add_checkpoint(grown(0, 0)).status == 200
    assert witness.add_checkpoint(grown(0, 3)).status == 200


FORK = note_of(tree_of(numbered(0, 5, "fork")))
LONGER_FORK = tree_of([*numbered(0, 4), *numbered(4, 9, "fork")])
OTHER = bytes(sign(Checkpoint("log.example/2", tree_of(numbered(0, 9))), LOG_KEY))
UNSIGNED = bytes(sign(Checkpoint(ORIGIN, tree_of(numbered(0, 9))), key("other.example")))
NINE = note_of(tree_of(numbered(0, 9)))
REFUSED = {
    "an origin that is not known": (request(5, proof(5, 9), OTHER), 404),
    "no known key signed": (request(5, proof(5, 9), UNSIGNED), 403),
    "an old size past the new one": (request(10, [], NINE), 400),
    "an old size that is not the last": (grown(4, 9), 409),
    "the first size, of who does not know": (request(0, [], NINE), 409),
    "a size that was, again": (grown(3, 4), 409),
    "the same size, another root": (request(5, [], FORK), 409),
    "a proof of another tree": (request(5, proof(5, 9), note_of(LONGER_FORK)), 422),
    "no proof": (request(5, [], NINE), 422),
    "a hash too many": (request(5, [*proof(5, 9), EMPTY_ROOT], NINE), 422),
    "a proof where nothing grew": (request(5, [EMPTY_ROOT], note_of(tree_of(numbered(0, 5)))), 422),
    "64 lines of proof": (request(5, [EMPTY_ROOT] * 64, NINE), 400),
    "nothing": (b"", 400),
    "no note": (b"old 5\n\n", 400),
    "no old size": (b"\n" + NINE, 400),
    "a leading zero": (grown(5, 9).replace(b"old 5", b"old 05"), 400),
    "a sign": (grown(5, 9).replace(b"old 5", b"old -5"), 400),
    "past the greatest size": (grown(5, 9).replace(b"old 5", b"old %d" % (SIZE_MAX + 1)), 400),
    "another word": (grown(5, 9).replace(b"old 5", b"new 5"), 400),
    "a proof that is no base64": (b"old 5\n!\n\n" + NINE, 400),
    "a note that is no checkpoint": (b"old 5\n\n" + NINE.replace(b"\n9\n", b"\nx\n", 1), 400),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_is_not_signed(tmp_path: Path, rule: str) -> None:
    body, status = REFUSED[rule]
    witness = at_five(tmp_path)
    reply = witness.add_checkpoint(body)
    assert reply.status == status
    assert (reply.body, reply.content_type) == ((b"5\n", SIZE_TYPE) if status == 409 else (b"", reply.content_type))
    assert witness.add_checkpoint(grown(5, 9)).status == 200  # nothing of it was kept


def test_the_first_proof_is_empty(tmp_path: Path) -> None:
    assert witness_in(tmp_path).add_checkpoint(request(0, [EMPTY_ROOT], NINE)).status == 422


def test_a_log_is_not_its_own_witness(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Witness(Memory(tmp_path), LOG_KEY, {ORIGIN: (LOG_KEY.verifier,)}, lambda: NOON)


def test_a_witness_that_forgot_signs_nothing(tmp_path: Path) -> None:
    witness = at_five(tmp_path)
    (last,) = tmp_path.rglob("last")
    last.write_bytes(b"")
    with pytest.raises(StorageError):
        witness.add_checkpoint(grown(5, 9))


def test_nothing_is_signed_that_was_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Head, note: bytes) -> None:
        raise StorageError("the disk is full")

    witness = at_five(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Head, "keep", full)
        with pytest.raises(StorageError):
            witness.add_checkpoint(grown(5, 9))
    assert witness.add_checkpoint(grown(5, 8)).status == 200


def rolled_back(folder: Path, calls: int) -> list[int]:
    """Many ask at once, each from the size that was last when it looked. The sizes that were signed, in the order in which they were kept."""
    witness, kept, rng = witness_in(folder), list[int](), random.Random(5)
    keep = Head.keep

    def keeps(self: Head, note: bytes) -> None:
        kept.append(Checkpoint.parse(parse_note(note).text).tree.size)
        keep(self, note)

    rows = 60
    bodies = {(old, size): grown(old, size) for old in range(rows) for size in range(old, min(old + 4, rows))}
    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(4) as pool:
        patched.setattr(Head, "keep", keeps)
        last = [0]

        def ask(number: int) -> None:
            old = last[0]
            reply = witness.add_checkpoint(bodies[old, min(old + rng.randrange(4), rows - 1)])
            if reply.status == 409:
                last[0] = int(reply.body)

        list(pool.map(ask, range(calls)))
    return [size for before, size in pairwise(kept) if size < before]


def test_who_ever_asks_at_once_the_witness_never_goes_back(tmp_path: Path) -> None:
    assert rolled_back(tmp_path, 300) == []


@pytest.mark.soak
def test_10000_who_ask_at_once_never_make_the_witness_go_back(tmp_path: Path) -> None:
    assert [each for number in range(20) for each in rolled_back(tmp_path / str(number), 500)] == []


def test_planted_a_witness_that_checks_before_it_locks_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests, each checked against what was there before either was kept."""

    @contextmanager
    def unlocked(self: Memory, origin: str) -> Any:
        yield heads.pop(0)

    class Early(Head):
        def tree(self) -> Tree | None:
            return tree_of(numbered(0, 5))

    witness, honest = at_five(tmp_path), Memory.held
    with honest(Memory(tmp_path), ORIGIN) as head:
        place = head._folder
    heads = [Early(place, ORIGIN), Early(place, ORIGIN)]
    with monkeypatch.context() as patched:
        patched.setattr(Memory, "held", unlocked)
        assert witness.add_checkpoint(grown(5, 9)).status == 200
        assert witness.add_checkpoint(grown(5, 7)).status == 200
    assert Memory(tmp_path).last(ORIGIN) == tree_of(numbered(0, 7))  # it went back: so the check above can fail


# Over HTTP


class Served:
    """A witness at a loopback address."""

    def __init__(self, witness: Any) -> None:
        self._runner = web.AppRunner(application(witness))

    async def __aenter__(self) -> Caller:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self._caller = Caller(f"http://127.0.0.1:{port}", "the witness", unsafe_allow_loopback=True)
        return self._caller

    async def __aexit__(self, *_: object) -> None:
        await self._caller.close()
        await self._runner.cleanup()


async def prove_nine(old: int) -> list[bytes]:
    return proof(old, 9)


def test_a_witness_is_asked_over_http_by_who_does_not_know_what_it_saw(tmp_path: Path) -> None:
    async def main() -> None:
        async with Served(at_five(tmp_path)) as caller:
            line = await cosigned(caller, WITNESSES[0], NINE, prove_nine)
            assert QUORUM.verify(NINE + str(line).encode()).witnesses
            assert await cosigned(caller, WITNESSES[0], NINE, prove_nine) == line
            with pytest.raises(AuthorityError, match="longer log"):
                await cosigned(caller, WITNESSES[0], note_of(tree_of(numbered(0, 3))), prove_nine)
            with pytest.raises(AuthorityError, match="another log"):
                await cosigned(caller, WITNESSES[0], note_of(tree_of(numbered(0, 9, "fork"))), prove_nine)
            with pytest.raises(AuthorityError, match="status 404"):
                await cosigned(caller, WITNESSES[0], OTHER, prove_nine)
            with pytest.raises(AuthorityError, match="known key"):
                await cosigned(caller, WITNESSES[1], NINE, prove_nine)
            long = await caller.exchange("POST", "/add-checkpoint", bytes(REQUEST_BYTES_MAX + 1), "text/plain")
            assert long.status == 413

    asyncio.run(main())


class Lying:
    """A witness that answers what it likes."""

    def __init__(self, reply: Reply | None) -> None:
        self.reply = reply

    def add_checkpoint(self, body: bytes) -> Reply:
        if self.reply is None:
            raise StorageError("the disk is full")
        return self.reply


LIES = {
    "no size": Reply(409, b"x\n", SIZE_TYPE),
    "no type": Reply(409, b"5\n"),
    "always the same size": Reply(409, b"5\n", SIZE_TYPE),
    "no signature": Reply(200, b"yes\n"),
    "a full disk": None,
}


@pytest.mark.parametrize("rule", LIES)
def test_what_is_not_taken_from_a_witness(rule: str) -> None:
    async def main() -> None:
        async with Served(Lying(LIES[rule])) as caller:
            with pytest.raises(AuthorityError):
                await cosigned(caller, WITNESSES[0], NINE, prove_nine)

    asyncio.run(main())


def test_a_signature_of_another_checkpoint_is_not_taken(tmp_path: Path) -> None:
    five = witness_in(tmp_path).add_checkpoint(grown(0, 5))
    assert five.status == 200

    async def main() -> None:
        async with Served(Lying(five)) as caller:
            with pytest.raises(AuthorityError, match="known key"):
                await cosigned(caller, WITNESSES[0], NINE, prove_nine)

    asyncio.run(main())
