"""Encryption at rest: list files, and the private box of a shard commit.

Whoever lacks the key learns the length and nothing else; whoever alters, cuts, extends, reorders or renames gets a
refusal, not other data. The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015) over AES-256-GCM as age
uses it, with a fresh key for every file. Where the ciphertext lies, and that writing it was durable, is for the
caller.

Layout: magic ``custvlt1`` (8 bytes) | salt (16) | check (32) | frames. HKDF-SHA256 of the key's derivation for
"frames", with the salt and the label ``custodes/vault/1`` || context, gives 64 bytes: the file's AES key, then the
check. A frame is 65,536 bytes of plaintext (the last: 1 to 65,536, or 0 when the file is empty) and its 16-byte tag;
its nonce is the frame's number (11 bytes, big-endian) and 1 for the last frame, else 0. The check makes the key
committing, and tells a wrong key from damage.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from custodes.crypto.keys import AeadKey, hkdf_sha256
from custodes.errors import InputError

__all__ = ["FRAME_BYTES", "HEADER_BYTES", "TAG_BYTES", "lock", "unlock", "unlock_buffer"]

MAGIC: Final = b"custvlt1"
SALT_BYTES: Final = 16
CHECK_BYTES: Final = 32
HEADER_BYTES: Final = len(MAGIC) + SALT_BYTES + CHECK_BYTES
FRAME_BYTES: Final = 65_536
TAG_BYTES: Final = 16
_SEALED_BYTES: Final = FRAME_BYTES + TAG_BYTES


def lock(key: AeadKey, plaintext: bytes | bytearray | memoryview, context: bytes) -> bytes:
    """Encrypt. ``context`` says what this is and where it belongs; the same bytes must be given to open it."""
    salt = os.urandom(SALT_BYTES)
    aead, check = _open(key, salt, context)
    view = memoryview(plaintext).cast("B")
    out = [MAGIC, salt, check]
    for number, start in enumerate(range(0, max(len(view), 1), FRAME_BYTES)):
        last = start + FRAME_BYTES >= len(view)
        out.append(aead.encrypt(_nonce(number, last=last), view[start : start + FRAME_BYTES], None))
    return b"".join(out)


def unlock(key: AeadKey, ciphertext: bytes | memoryview, context: bytes) -> bytes:
    """Decrypt all of it, or InputError: wrong key, wrong context, or altered in any way."""
    return bytes(unlock_buffer(key, ciphertext, context))


def unlock_buffer(key: AeadKey, ciphertext: bytes | memoryview, context: bytes) -> bytearray:
    """As :func:`unlock`, without the last copy: for lists of hundreds of megabytes."""
    view = memoryview(ciphertext).cast("B")
    if len(view) < HEADER_BYTES + TAG_BYTES or bytes(view[: len(MAGIC)]) != MAGIC:
        raise InputError("not an encrypted file of ours, or cut short")
    aead, check = _open(key, bytes(view[len(MAGIC) : len(MAGIC) + SALT_BYTES]), context)
    if not hmac.compare_digest(check, view[HEADER_BYTES - CHECK_BYTES : HEADER_BYTES]):
        raise InputError("encrypted with another key, or for another purpose or place")
    try:
        return _frames(aead, view[HEADER_BYTES:])
    except InvalidTag as error:
        raise InputError("the encrypted file is damaged or was altered") from error


def _frames(aead: AESGCM, body: memoryview) -> bytearray:
    count = -(-len(body) // _SEALED_BYTES)
    size_bytes = len(body) - count * TAG_BYTES
    # A lone tag after full frames would be an empty last frame, which lock never writes: a plaintext has one layout.
    if 0 < len(body) % _SEALED_BYTES <= TAG_BYTES and len(body) != TAG_BYTES:
        raise InvalidTag
    out = bytearray(size_bytes)
    for number in range(count):
        sealed = body[number * _SEALED_BYTES : (number + 1) * _SEALED_BYTES]
        frame = aead.decrypt(_nonce(number, last=number == count - 1), sealed, None)
        out[number * FRAME_BYTES : number * FRAME_BYTES + len(frame)] = frame
    return out


def _open(key: AeadKey, salt: bytes, context: bytes) -> tuple[AESGCM, bytes]:
    derived = hkdf_sha256(key.derive("frames"), salt, b"custodes/vault/1" + context, 32 + CHECK_BYTES)
    return AESGCM(derived[:32]), derived[32:]


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
