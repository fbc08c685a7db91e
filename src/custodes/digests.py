"""MD5, SHA-1 and SHA-256 of the bytes of an image. Taken before decoding, so that bytes that no decoder survives are still matched.

Where the processor has SHA instructions and the native library was built, all three are taken in one pass, in little more than MD5's time
(native/digest.hpp). Elsewhere hashlib takes them one after another; it is the oracle too.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from custodes import native
from custodes.model import Content

__all__ = ["crypto_digests"]

Bytes = bytes | bytearray | memoryview
Triple = tuple[bytes, bytes, bytes]


def crypto_digests(content: Content) -> Triple:
    """MD5, SHA-1 and SHA-256 of the bytes. Names in lists, not protection: collisions of the first two are the list owners' to bear."""
    data = content.reveal()
    if _ONE_PASS is None or native.kernels() is None:
        return _one_by_one(data)
    return _in_one_pass(_ONE_PASS, data)


def _in_one_pass(function: Callable[..., Any], data: Bytes) -> Triple:
    out = ctypes.create_string_buffer(68)
    function(data if isinstance(data, bytes) else np.frombuffer(data, np.uint8).ctypes.data, len(data), out)
    joined = out.raw
    return joined[:16], joined[16:36], joined[36:]


def _one_by_one(data: Bytes) -> Triple:
    return (
        hashlib.md5(data, usedforsecurity=False).digest(),
        hashlib.sha1(data, usedforsecurity=False).digest(),
        hashlib.sha256(data, usedforsecurity=False).digest(),
    )


def _found() -> Callable[..., Any] | None:
    has_sha, function = native.function("has_sha"), native.function("digests")
    if has_sha is None or function is None or not has_sha():
        return None
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p), None  # type: ignore[attr-defined]
    return function


_ONE_PASS: Final = _found()  # looked up now: the process that uses it is confined later, and then loads no library
