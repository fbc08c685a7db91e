"""MD5, SHA-1 and SHA-256 of the bytes of an image. Taken before decoding, so that bytes that no decoder survives are still matched."""

from __future__ import annotations

import hashlib

from custodes.model import Content

__all__ = ["crypto_digests"]


def crypto_digests(content: Content) -> tuple[bytes, bytes, bytes]:
    """MD5, SHA-1 and SHA-256 of the bytes. Names in lists, not protection: collisions of the first two are the list owners' to bear."""
    data = content.reveal()
    return (
        hashlib.md5(data, usedforsecurity=False).digest(),
        hashlib.sha1(data, usedforsecurity=False).digest(),
        hashlib.sha256(data, usedforsecurity=False).digest(),
    )
