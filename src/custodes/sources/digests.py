"""Digest columns as arrays: the part of reading links that must be fast.

Values are decoded from Arrow buffers without a Python object per row. A value that is no digest of its kind is given
back by row, never raised: one bad cell must not hide the other rows. It reads no files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from custodes.errors import SourceError
from custodes.model import Kind
from custodes.sources.base import Digested

__all__ = ["decode_digests"]

_U8 = npt.NDArray[np.uint8]
_I64 = npt.NDArray[np.int64]


def _hex_pairs() -> npt.NDArray[np.uint16]:
    """Two ASCII characters, as one little-endian number, to the byte they spell; 256 where they spell none."""
    table = np.full(1 << 16, 256, dtype="<u2")
    digits = {ord(c): int(c, 16) for c in "0123456789abcdefABCDEF"}
    for high, high_value in digits.items():
        for low, low_value in digits.items():
            table[high | low << 8] = high_value << 4 | low_value
    return table


def _base64_values() -> _U8:
    table = np.full(256, 64, dtype=np.uint8)
    for value, character in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):
        table[character] = value
    table[ord("-")], table[ord("_")] = 62, 63  # RFC 4648 section 5
    return table


_HEX_PAIRS: Final = _hex_pairs()
_BASE64: Final = _base64_values()
_CHUNK_ROWS: Final = 1 << 15


def _from_hex(text: _U8, size_bytes: int) -> tuple[_U8, npt.NDArray[np.bool_]]:
    """(n, 2k) characters to (n, k) bytes, and which rows were hexadecimal.

    In chunks, so that the wide intermediate stays in the cache.
    """
    codes = np.empty((len(text), size_bytes), dtype=np.uint8)
    good = np.empty(len(text), dtype=np.bool_)
    pairs = np.ascontiguousarray(text).view("<u2")
    for at in range(0, len(text), _CHUNK_ROWS):
        spelt = _HEX_PAIRS[pairs[at : at + _CHUNK_ROWS]]
        codes[at : at + _CHUNK_ROWS] = spelt
        good[at : at + _CHUNK_ROWS] = spelt.max(axis=1, initial=0) < 256
    return codes, good


def _from_base64(text: _U8, size_bytes: int) -> tuple[_U8, npt.NDArray[np.bool_]]:
    """(n, 4⌈k/3⌉) characters to (n, k) bytes (RFC 4648; both alphabets), and which rows were base64 with right
    padding.
    """
    padding = -size_bytes % 3
    body = text[:, : text.shape[1] - padding]
    six = np.concatenate([_BASE64[body], np.zeros((len(text), padding), dtype=np.uint8)], axis=1)
    good = (six < 64).all(axis=1) & (text[:, body.shape[1] :] == ord("=")).all(axis=1)
    quads = six.reshape(len(text), -1, 4).astype(np.uint32)
    whole = quads[:, :, 0] << 18 | quads[:, :, 1] << 12 | quads[:, :, 2] << 6 | quads[:, :, 3]
    three = np.stack([whole >> 16 & 255, whole >> 8 & 255, whole & 255], axis=2).reshape(len(text), -1)
    good &= (three[:, size_bytes:] == 0).all(axis=1)
    return three[:, :size_bytes].astype(np.uint8), good


def _as_is(data: _U8, size_bytes: int) -> tuple[_U8, npt.NDArray[np.bool_]]:
    assert data.shape[1] == size_bytes
    return np.array(data), np.ones(len(data), dtype=np.bool_)


_Decoder = Callable[[_U8, int], tuple[_U8, npt.NDArray[np.bool_]]]


def _decoders(kind: Kind, *, binary: bool) -> dict[int, _Decoder]:
    """How a value of so many bytes spells a digest.

    Raw bytes only in binary columns: 16 characters of text are no MD5.
    """
    size_bytes = kind.size_bytes
    ways: dict[int, _Decoder] = {2 * size_bytes: _from_hex, -(-size_bytes // 3) * 4: _from_base64}
    return ways | {size_bytes: _as_is} if binary else ways


def decode_digests(column: Any, kind: Kind) -> tuple[Digested, _I64]:
    """The digests of an Arrow column (hex in any case, base64, or raw in binary columns), and the rows whose value is
    no digest of that kind.

    A null or an empty value is no digest. Raises SourceError for a column that is neither text nor binary.
    """
    items, codes, bad = [], [], []
    first = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        chunk_items, chunk_codes, chunk_bad = _decode_chunk(_plain(chunk), kind)
        items.append(chunk_items + first)
        codes.append(chunk_codes)
        bad.append(chunk_bad + first)
        first += len(chunk)
    if not items:
        return Digested(np.empty(0, np.int64), np.empty((0, kind.size_bytes), np.uint8)), np.empty(0, np.int64)
    return Digested(np.concatenate(items), np.concatenate(codes)), np.concatenate(bad)


def _plain(chunk: Any) -> Any:
    """The chunk as one of string, binary (32 or 64-bit offsets) and fixed-size binary."""
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if pa.types.is_string_view(chunk.type) or pa.types.is_binary_view(chunk.type):
        chunk = chunk.cast(pa.large_string() if pa.types.is_string_view(chunk.type) else pa.large_binary())
    if pa.types.is_null(chunk.type):
        chunk = chunk.cast(pa.string())
    return chunk


def _decode_chunk(chunk: Any, kind: Kind) -> tuple[_I64, _U8, _I64]:
    valid = _valid(chunk)
    if pa.types.is_fixed_size_binary(chunk.type):
        width = chunk.type.byte_width
        starts = (np.arange(len(chunk), dtype=np.int64) + chunk.offset) * width
        return _decode_spans(chunk.buffers()[1], (starts, np.where(valid, width, 0)), kind, binary=True)
    wide = pa.types.is_large_string(chunk.type) or pa.types.is_large_binary(chunk.type)
    binary = pa.types.is_binary(chunk.type) or pa.types.is_large_binary(chunk.type)
    if not (wide or binary or pa.types.is_string(chunk.type)):
        raise SourceError(f"a column for {kind.value} holds {chunk.type}, not text or binary")
    offsets = np.frombuffer(chunk.buffers()[1], np.int64 if wide else np.int32) if len(chunk) else np.zeros(1, np.int64)
    offsets = offsets[chunk.offset : chunk.offset + len(chunk) + 1].astype(np.int64)
    lengths = np.where(valid, np.diff(offsets), 0)
    return _decode_spans(chunk.buffers()[2], (offsets[:-1], lengths), kind, binary=binary)


def _valid(chunk: Any) -> npt.NDArray[np.bool_]:
    if not chunk.null_count:
        return np.ones(len(chunk), dtype=np.bool_)
    bits = np.frombuffer(chunk.buffers()[0], np.uint8)
    return np.unpackbits(bits, bitorder="little")[chunk.offset : chunk.offset + len(chunk)].astype(np.bool_)


def _decode_spans(buffer: Any, spans: tuple[_I64, _I64], kind: Kind, *, binary: bool) -> tuple[_I64, _U8, _I64]:
    starts, lengths = spans
    data = np.frombuffer(buffer, np.uint8) if buffer is not None else np.empty(0, np.uint8)
    items, codes = [np.empty(0, np.int64)], [np.empty((0, kind.size_bytes), np.uint8)]
    for length, decode in _decoders(kind, binary=binary).items():
        rows = np.flatnonzero(lengths == length)
        if not len(rows):
            continue
        decoded, good = decode(_gathered(data, starts[rows], length), kind.size_bytes)
        items.append(rows if good.all() else rows[good])
        codes.append(decoded if good.all() else decoded[good])
    done, found = np.concatenate(items), np.concatenate(codes)
    if len(items) > 2:  # more than one spelling in the column: back into row order
        order = np.argsort(done, kind="stable")
        done, found = done[order], found[order]
    given = np.flatnonzero(lengths > 0)
    return done, found, given if not len(done) else np.setdiff1d(given, done) if len(given) > len(done) else given[:0]


def _gathered(data: _U8, starts: _I64, length: int) -> _U8:
    """The values as rows of a matrix; without copying when they lie end to end, as they do in a clean column."""
    first = int(starts[0])
    if int(starts[-1]) - first == (len(starts) - 1) * length and bool((np.diff(starts) == length).all()):
        return data[first : first + len(starts) * length].reshape(len(starts), length)
    return np.asarray(data[starts[:, None] + np.arange(length)], dtype=np.uint8)
