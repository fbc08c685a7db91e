"""Framed messages between our own processes: four bytes of length, then one msgpack document of a declared type.

Promises: nothing but the declared type ever comes out, whatever the other side was made to send (a process that parses hostile input is
not to be believed), and no frame is larger than its reader allows. Pickle is never used. A closed pipe is ``None``, not an error.
"""

from __future__ import annotations

import os
from typing import Any, Final, TypeVar

import msgspec

from custodes.errors import InternalError

__all__ = ["FRAME_BYTES_MAX", "Frames", "receive", "send"]

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
_HEADER_BYTES: Final = 4

T = TypeVar("T")


def encode(message: object) -> bytes:
    """One frame."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def send(descriptor: int, *messages: object) -> None:
    """Write whole frames, waiting until they are taken. Raises BrokenPipeError if the other side is gone."""
    view = memoryview(b"".join(encode(message) for message in messages))
    while view:
        view = view[os.write(descriptor, view) :]


class Frames:
    """Takes bytes as they come and gives whole messages of type ``kind``."""

    def __init__(self, kind: Any, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages completed by ``data``. Raises InternalError on a frame that is too long or not of the declared type."""
        self._buffer += data
        messages = []
        start = 0
        while (end := self._frame_end(start)) is not None:
            messages.append(self._parse(bytes(self._buffer[start + _HEADER_BYTES : end])))
            start = end
        del self._buffer[:start]
        return messages

    def _frame_end(self, start: int) -> int | None:
        if len(self._buffer) - start < _HEADER_BYTES:
            return None
        length = int.from_bytes(self._buffer[start : start + _HEADER_BYTES], "big")
        if length > self._frame_bytes_max:
            raise InternalError(
                f"a process of ours sent a frame of {length} bytes, the limit is {self._frame_bytes_max}"
            )
        end = start + _HEADER_BYTES + length
        return end if end <= len(self._buffer) else None

    def _parse(self, body: bytes) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            # The text of a validation error names fields, not values.
            raise InternalError(f"a process of ours sent what it must not: {type(error).__name__}") from None


def receive(descriptor: int, frames: Frames, pending: list[Any]) -> Any | None:
    """Wait for the next message; ``None`` when the other side has closed. ``pending`` keeps messages that came together."""
    while not pending:
        data = os.read(descriptor, 1 << 18)
        if not data:
            return None
        pending.extend(frames.feed(data))
    return pending.pop(0)
