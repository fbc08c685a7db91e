"""What is locked opens whole and unaltered, with its own key and in its own place, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto import vault
from custodes.crypto.keys import ListsKey, TransportKey
from custodes.crypto.vault import FRAME_BYTES, HEADER_BYTES, TAG_BYTES, lock, unlock
from custodes.errors import InputError

KEY = ListsKey(bytes(range(32)))
CONTEXT = b"list/demo/1"


def accepted(copies: list[bytes], context: bytes = CONTEXT) -> list[int]:
    """Which of the copies open, to whatever plaintext."""
    opened = []
    for number, copy in enumerate(copies):
        try:
            unlock(KEY, copy, context)
            opened.append(number)
        except InputError:
            pass
    return opened


@pytest.mark.parametrize("size", [0, 1, 15, 16, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES])
def test_locked_bytes_come_back_and_the_length_is_as_documented(size: int) -> None:
    plaintext = os.urandom(size)
    locked = lock(KEY, plaintext, CONTEXT)
    assert unlock(KEY, locked, CONTEXT) == plaintext
    assert len(locked) == HEADER_BYTES + size + TAG_BYTES * max(1, -(-size // FRAME_BYTES))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=20))
def test_any_bytes_in_any_context_come_back(plaintext: bytes, context: bytes) -> None:
    assert unlock(KEY, lock(KEY, plaintext, context), context) == plaintext


def test_equal_plaintexts_look_different_and_show_nothing() -> None:
    plaintext = b"entry " * 50
    first, second = lock(KEY, plaintext, CONTEXT), lock(KEY, plaintext, CONTEXT)
    assert first[8:] != second[8:]
    assert b"entry" not in first


@pytest.mark.parametrize("size", [0, 1, 100])
def test_no_flipped_bit_is_accepted(size: int) -> None:
    locked = lock(KEY, bytes(size), CONTEXT)
    copies = [
        locked[: bit // 8] + bytes([locked[bit // 8] ^ 1 << bit % 8]) + locked[bit // 8 + 1 :]
        for bit in range(8 * len(locked))
    ]
    assert accepted(copies) == []


def test_no_truncation_or_extension_of_a_small_file_is_accepted() -> None:
    locked = lock(KEY, bytes(100), CONTEXT)
    assert accepted([locked[:cut] for cut in range(len(locked))]) == []
    assert accepted([locked + bytes(more) for more in range(1, 40)]) == []


def rearranged() -> list[bytes]:
    """A file of four frames, cut at frame boundaries, reordered, doubled, or mixed with another file of the same
    key.
    """
    plaintext = os.urandom(3 * FRAME_BYTES + 100)
    files = [lock(KEY, plaintext, CONTEXT) for _ in range(2)]
    step = FRAME_BYTES + TAG_BYTES
    heads = [file[:HEADER_BYTES] for file in files]
    frames = [
        [file[HEADER_BYTES:][at : at + step] for at in range(0, len(file) - HEADER_BYTES, step)] for file in files
    ]
    a, b = frames
    orders = [a[:1], a[:2], a[:3], a[1:], [a[1], a[0], *a[2:]], [a[0], a[2], a[1], a[3]], [*a[:3]], [a[3]]]
    orders += [[*a, a[3]], [a[0], *a], [*a[:3], b[3]], [b[0], *a[1:]], b]
    return [heads[0] + b"".join(order) for order in orders]


def test_no_rearrangement_of_frames_is_accepted() -> None:
    assert accepted(rearranged()) == []


def no_last_flag(number: int, *, last: bool) -> bytes:
    return number.to_bytes(12, "big")


def no_number(number: int, *, last: bool) -> bytes:
    return bytes(11) + bytes([last])


@pytest.mark.parametrize("nonce", [no_last_flag, no_number])
def test_planted_fault_a_nonce_without_number_or_last_flag_is_caught(
    nonce: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_nonce", nonce)
    assert accepted(rearranged()) != []


def test_another_key_purpose_or_context_is_refused_as_such() -> None:
    locked = lock(KEY, b"x", CONTEXT)
    for key, context in (
        (ListsKey(bytes(32)), CONTEXT),
        (TransportKey(bytes(range(32))), CONTEXT),
        (KEY, b"list/demo/2"),
    ):
        with pytest.raises(InputError, match="another key, or for another purpose"):
            unlock(key, locked, context)


def test_planted_fault_a_context_that_is_not_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = vault._open
    assert accepted([lock(KEY, b"x", CONTEXT)], b"elsewhere") == []
    monkeypatch.setattr(vault, "_open", lambda key, salt, context: bound(key, salt, b""))
    assert accepted([lock(KEY, b"x", CONTEXT)], b"elsewhere") == [0]


def test_an_empty_last_frame_after_full_ones_is_refused() -> None:
    # Authentic frames, but a layout that lock never writes: a plaintext has one form.
    salt = bytes(16)
    aead, check = vault._open(KEY, salt, CONTEXT)
    frames = aead.encrypt(vault._nonce(0, last=False), bytes(FRAME_BYTES), None) + aead.encrypt(
        vault._nonce(1, last=True), b"", None
    )
    assert accepted([b"custvlt1" + salt + check + frames]) == []


def test_a_stored_file_of_format_1_still_opens() -> None:
    # Written from the description in docs/formats/list-file.md, not by lock: the format must not drift.
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def hkdf(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(secret)

    salt = bytes(range(16))
    frames_key = hkdf(bytes(range(32)), b"", b"custodes/lists/frames", 32)
    derived = hkdf(frames_key, salt, b"custodes/vault/1" + CONTEXT, 64)
    frame = AESGCM(derived[:32]).encrypt(bytes(11) + b"\x01", b"hello", None)
    assert unlock(KEY, b"custvlt1" + salt + derived[32:] + frame, CONTEXT) == b"hello"
