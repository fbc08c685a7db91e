"""Secret bytes that can be had again from any place on: AES-256 in counter mode over zeros (NIST SP 800-38A section 6.5).

Promises that bytes at one place tell nothing of those at another to who has not the key. A key serves one stream only.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

__all__ = ["keystream"]

_BLOCK_BYTES: Final = 16


def keystream(key: bytes, block: int, blocks: int) -> bytes:
    """``blocks`` blocks of 16 bytes of the stream, from block number ``block`` on."""
    cipher = Cipher(AES(key), CTR(block.to_bytes(_BLOCK_BYTES, "big")))
    return cipher.encryptor().update(bytes(_BLOCK_BYTES * blocks))
