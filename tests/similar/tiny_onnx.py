"""Tiny ONNX models, written as the bytes that they are (onnx.proto): protobuf messages of a few fields."""

from __future__ import annotations

import numpy as np

FLOAT, FLOAT16 = 1, 10


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def node(operator: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    named = b"".join(field(1, name) for name in inputs)
    return named + field(2, output) + field(4, operator) + b"".join(field(5, each) for each in attributes)


def number_attribute(name: str, value: int) -> bytes:
    return field(1, name) + field(3, value) + field(20, 2)


def weights(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(field(1, side) for side in values.shape)
    return dims + field(2, FLOAT) + field(8, name) + field(9, values.astype("<f4").tobytes())


def external(name: str, location: str, side: int) -> bytes:
    """A square of weights that lies in another file."""
    entry = field(1, "location") + field(2, location)
    return field(1, side) + field(1, side) + field(2, FLOAT) + field(8, name) + field(13, entry) + field(14, 1)


def value(name: str, dims: list[int | str], kind: int = FLOAT) -> bytes:
    shape = b"".join(field(1, field(1, side) if isinstance(side, int) else field(2, side)) for side in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def model(
    nodes: list[bytes], inputs: list[bytes], outputs: list[bytes], initializers: tuple[bytes, ...] = (), opset: int = 13
) -> bytes:
    graph = b"".join(field(1, each) for each in nodes) + field(2, "tiny")
    graph += b"".join(field(5, each) for each in initializers)
    graph += b"".join(field(11, each) for each in inputs) + b"".join(field(12, each) for each in outputs)
    return field(1, 7) + field(7, graph) + field(8, field(2, opset))


IMAGES = value("pixels", ["n", 3, 4, 4])

MEANS = model([node("GlobalAveragePool", ["pixels"], "means")], [IMAGES], [value("means", ["n", 3, 1, 1])])
"""The mean of each channel."""

SCORES = model(
    [
        node("GlobalAveragePool", ["pixels"], "pooled"),
        node("Flatten", ["pooled"], "flat", number_attribute("axis", 1)),
        node("MatMul", ["flat", "matrix"], "scores"),
    ],
    [IMAGES],
    [value("scores", ["n", 2])],
    (weights("matrix", np.array([[1, 0], [0, 1], [1, 1]])),),
)
"""A classifier of two classes; what one wants are its ``pooled`` features."""
