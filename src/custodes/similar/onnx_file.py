"""ONNX files as bytes: what has to be known, and added, before a runtime reads them. A file is a protobuf message (onnx.proto); no ONNX code is loaded here.

Promises that a file whose weights lie in other files is refused, wherever in it they are named: those would not be part of its digest, and their names may
lead anywhere. Whether the rest of the file is a model is for the runtime to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from custodes.errors import InputError

__all__ = ["Outline", "outline", "with_output"]

_DEPTH_MAX: Final = 100  # of messages in messages, as protobuf itself
_FIELDS_MAX: Final = 5_000_000

# message -> number of a field -> the message in it: all the ways that lead to a tensor.
_INSIDE: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 12: "output", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
    "output": {},
}
_GRAPH, _OUTPUT, _NAME, _MADE_BY_NODE = 7, 12, 1, 2
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FIXED: Final = {_EIGHT: 8, _FOUR: 4}

_HINT: Final = "export the model anew, as one ONNX file"


@dataclass(slots=True)
class Outline:
    """The tensors that a model's nodes make, and those of them that it gives."""

    made: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    fields: int = 0


def outline(data: bytes) -> Outline:
    """What a file says of its tensors. Raises InputError for what is no protobuf, and for weights in other files."""
    found = Outline()
    try:
        _walk(memoryview(data), ("model",), found)
    except (IndexError, ValueError):
        raise InputError("the model is damaged, or no ONNX file", hint=_HINT) from None
    return found


def with_output(data: bytes, name: str) -> bytes:
    """The file with one more output, a tensor that its nodes make. Messages that stand one after the other are merged (protobuf, Encoding, Last One Wins)."""
    return data + _message(_GRAPH, _message(_OUTPUT, _message(_NAME, name.encode())))


def _walk(message: memoryview, path: tuple[str, ...], found: Outline) -> None:
    if len(path) > _DEPTH_MAX:
        raise ValueError("too deep")
    kind = path[-1]
    for number, value in _fields(message):
        found.fields += 1
        if found.fields > _FIELDS_MAX:
            raise ValueError("too many fields")
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
            raise InputError("the model keeps weights in other files, which no digest covers", hint=_HINT)
        if not isinstance(value, memoryview):
            continue
        if path == ("model", "graph", "node") and number == _MADE_BY_NODE:
            found.made.add(str(value, "utf-8"))
        elif path == ("model", "graph", "output") and number == _NAME:
            found.given.add(str(value, "utf-8"))
        elif number in _INSIDE[kind]:
            _walk(value, (*path, _INSIDE[kind][number]), found)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        else:
            length = _FIXED.get(wire, -1)
        if not 0 <= length <= len(message) - at or number == 0:
            raise ValueError("no protobuf")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no protobuf")


def _message(number: int, content: bytes) -> bytes:
    length, head = len(content), bytearray([number << 3 | _BYTES])
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(head) + bytes([length]) + content
