"""The wire of views: an answer is read as if whoever sends it had been taken over."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from custodes import jail as jail_module
from custodes.decoder.views import view_content
from custodes.decoding import CODE, HEAD, DecodePolicy
from custodes.errors import JailError
from custodes.gateway.inspection.inspector import LIMITS, Inspector, decoders_for, jail_settings
from custodes.gateway.vocabulary import Stage
from custodes.jail import Jail
from custodes.model import Content, Reason
from custodes.viewing import CODES_MAX, Task, Viewed, Viewing, packed, unpacked
from tests.decoder.pictures import saved

from .making import RED, SMALL, VIEWING, photo, world

CONTENT = saved(photo(), "PNG")
HONEST = {task: view_content(CONTENT, LIMITS, VIEWING, task) for task in (Task.JUDGE, Task.WRITE, Task.SHOW)}


def changed(task: Task, **fields: Any) -> bytes:
    return packed(replace(HONEST[task], **fields))


def other(task: Task, **fields: Any) -> bytes:
    return packed(replace(HONEST[task], examined=replace(HONEST[task].examined, **fields)))


@pytest.mark.parametrize("task", HONEST)
def test_an_answer_crosses_unchanged_and_no_beginning_of_it_is_taken(task: Task) -> None:
    sent = packed(HONEST[task])
    assert unpacked(sent, VIEWING, task) == HONEST[task]
    steps = [*range(0, min(len(sent), 3000), 7), len(sent) - 1]
    assert all(unpacked(sent[:size], VIEWING, task) is None for size in steps)
    with pytest.raises(ValueError, match="answer"):
        unpacked(sent + b"\0", VIEWING, task)


SQUARE = HONEST[Task.SHOW].views[0]
WRITTEN = HONEST[Task.WRITE].written
SMALLER = view_content(saved(photo(1, (300, 256)), "PNG"), LIMITS, VIEWING, Task.WRITE).written
LIES: dict[str, tuple[Task, Callable[[], bytes]]] = {
    "a file where none was asked for": (Task.JUDGE, lambda: changed(Task.JUDGE, written=WRITTEN, form="png")),
    "views where none were asked for": (Task.JUDGE, lambda: changed(Task.JUDGE, views=(SQUARE,))),
    "a file of another format": (Task.WRITE, lambda: changed(Task.WRITE, written=saved(RED, "JPEG"))),
    "a page": (Task.WRITE, lambda: changed(Task.WRITE, written=b"<html>")),
    "a drawing": (Task.WRITE, lambda: changed(Task.WRITE, written=b"<svg", form="svg")),
    "a file of another size": (Task.WRITE, lambda: changed(Task.WRITE, written=SMALLER)),
    "no file and a format": (Task.WRITE, lambda: changed(Task.WRITE, written=b"")),
    "views of a picture that was not seen whole": (Task.SHOW, lambda: other(Task.SHOW, reason=Reason.PARTIAL_FRAMES)),
    "too many views": (Task.SHOW, lambda: changed(Task.SHOW, views=(SQUARE,) * 65)),
    "a view more than is there": (Task.SHOW, lambda: changed(Task.SHOW, views=(SQUARE, SQUARE[:-1])) + b"xx"),
    "too many codes": (Task.JUDGE, lambda: HEAD.pack(0, 2, CODES_MAX + 1, 9, 9)),
    "a format that there is not": (Task.WRITE, lambda: _with_form(9)),
    "a quality that there is not": (
        Task.JUDGE,
        lambda: HEAD.pack(0, 2, 1, 9, 9) + CODE.pack(0, 101, bytes(32), bytes(96)) + bytes(7),
    ),
}


def _with_form(form: int) -> bytes:
    sent = bytearray(packed(HONEST[Task.WRITE]))
    sent[len(sent) - len(WRITTEN) - 5] = form
    return bytes(sent)


@pytest.mark.parametrize("lie", LIES)
def test_what_no_honest_decoder_says_is_not_believed(lie: str) -> None:
    task, sent = LIES[lie]
    with pytest.raises(ValueError, match=r"answer|written"):
        unpacked(sent(), VIEWING, task)


def test_a_written_file_that_is_too_large_is_not_sent() -> None:
    tight = Viewing(recipes=(SMALL,), written_bytes_max=len(WRITTEN) - 1)
    assert not view_content(CONTENT, LIMITS, tight, Task.WRITE).written
    exact = Viewing(recipes=(SMALL,), written_bytes_max=len(WRITTEN))
    assert view_content(CONTENT, LIMITS, exact, Task.WRITE).written == WRITTEN


LYING = """
import custodes.decoder.zygote as zygote, os
from dataclasses import replace
from custodes.viewing import Task
real, born = zygote.view_content, zygote.confine_decoder
state = [False]
def lying(data, limits, viewing, task):
    found = real(data, limits, viewing, task)
    if state[0] and task is Task.WRITE:
        return replace(found, written=b'<html>', form='png')
    return found
def confined(*given, **named):
    state[0] = True
    born(*given, **named)
zygote.view_content, zygote.confine_decoder = lying, confined
zygote.main()
"""


def test_a_decoder_that_was_taken_over_releases_nothing_that_is_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail_module, "_ENTRY", LYING)
    equipment = world().equipment

    async def play() -> Any:
        decoders = decoders_for(equipment, 1, VIEWING)
        decoders.start()
        try:
            return await Inspector(decoders, equipment).look(CONTENT, Stage.OUTPUT, "0")
        finally:
            decoders.close()

    looked = asyncio.run(play())
    assert [fact.name for fact in looked.facts] == ["unreadable"]
    assert not looked.released


async def _looked(inspector: Inspector, times: int) -> None:
    for _ in range(times):
        await inspector.look(CONTENT, Stage.OUTPUT, "0")


def test_without_decoders_whoever_waits_and_whoever_comes_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    equipment = world().equipment

    async def play() -> None:
        decoders = decoders_for(equipment, 1, VIEWING)
        decoders.start()
        inspector = Inspector(decoders, equipment)
        assert (await inspector.look(CONTENT, Stage.OUTPUT, "0")).released
        decoders._jail._process.kill()
        decoders._jail._process.wait()
        for _ in range(2):
            with pytest.raises(JailError):
                await _looked(inspector, 3)
        decoders.close()

    asyncio.run(play())
    assert "cannot be decoded any more" in capfd.readouterr().err


def test_a_view_tells_nothing_when_printed() -> None:
    assert "views" not in repr(Viewed(HONEST[Task.WRITE].examined, (SQUARE,)))


def test_what_is_written_is_read_again_by_decoders_that_are_given_nothing_else() -> None:
    seen: dict[Task, set[int]] = {}
    with (
        selectors.DefaultSelector() as selector,
        Jail(LIMITS, DecodePolicy.FAST, selector, jail_settings(1), VIEWING) as jail,
    ):
        give = jail._give

        def watched(decoder: Any, job: Any) -> None:
            seen.setdefault(job.task, set()).add(decoder.pid)
            give(decoder, job)

        jail._give = watched  # type: ignore[method-assign]
        for number, task in enumerate([Task.WRITE, Task.SHOW, Task.JUDGE, Task.SHOW, Task.WRITE]):
            jail.submit(number, Content(CONTENT if task is not Task.SHOW else WRITTEN), task)
        jail.run_until_idle()
        assert {number for number, viewed in jail.viewed if viewed.examined.reason is Reason.FULL} == set(range(5))
    assert seen[Task.WRITE] == seen[Task.JUDGE]
    assert not seen[Task.SHOW] & seen[Task.WRITE]
