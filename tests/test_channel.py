"""Frames between our processes: whole messages of the declared type come out, whatever goes in, or nothing does."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.channel import Frames, encode, receive, send
from custodes.errors import InternalError


class Word(msgspec.Struct, frozen=True, tag=True):
    text: str


class Number(msgspec.Struct, frozen=True, tag=True):
    value: int


@given(st.lists(st.text()), st.lists(st.integers(1, 50)))
def test_messages_survive_any_cutting_of_the_stream(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(encode(Word(text)) for text in texts)
    frames, out = Frames(Word | Number), []
    for cut in [*cuts, len(stream)]:
        out += frames.feed(stream[:cut])
        stream = stream[cut:]
    assert [word.text for word in out] == texts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "Word"}),
        msgspec.msgpack.encode({"type": "Other", "text": ""}),
        b"\x80" * 9,
    ],
    ids=["nothing", "no msgpack", "a field missing", "a type that was not declared", "more than one document"],
)
def test_what_was_not_declared_does_not_come_out(body: bytes) -> None:
    with pytest.raises(InternalError, match="must not"):
        Frames(Word | Number).feed(len(body).to_bytes(4, "big") + body)


def test_a_frame_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    frame = encode(Word("a" * 100))
    assert len(Frames(Word, len(frame) - 4).feed(frame)) == 1
    with pytest.raises(InternalError, match="the limit is"):
        Frames(Word, len(frame) - 5).feed(frame[:4])


def test_a_closed_pipe_is_none_and_messages_sent_before_are_not_lost() -> None:
    reader, writer = os.pipe()
    send(writer, Word("one"), Number(2))
    os.close(writer)
    frames, pending = Frames(Word | Number), []
    assert receive(reader, frames, pending) == Word("one")
    assert receive(reader, frames, pending) == Number(2)
    assert receive(reader, frames, pending) is None
    os.close(reader)
