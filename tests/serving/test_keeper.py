"""The keeper, without processes of ours: events that come together, and an end that nobody foresaw."""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

import pytest

from custodes.decoding import ImageLimits
from custodes.serving import keeper as module
from custodes.serving.keeper import Keeper, Service
from custodes.serving.messages import FrontHello
from custodes.serving.settings import ServeSettings


class OddError(Exception):
    """Something that nobody foresaw."""


def no_versions() -> Mapping[str, str]:
    raise OddError


def service() -> Service:
    return Service((), "", no_versions, FrontHello(ServeSettings(), ImageLimits(), -1, True), lambda _: None)


def test_an_event_of_what_ended_earlier_in_the_same_turn_is_passed_over() -> None:
    """A matcher that dies is heard of twice: on its own pipe, and from the front that lost it."""
    keeper = Keeper(service())
    keeper._used, keeper._look_at = object(), float("inf")  # type: ignore[assignment]
    pairs = [socket.socketpair(), socket.socketpair()]
    heard = []

    def hear(one: int) -> None:
        heard.append(one)
        for ours, _ in pairs:
            keeper._selector.unregister(ours)
            ours.close()

    for number, (ours, theirs) in enumerate(pairs):
        keeper._selector.register(ours, selectors.EVENT_READ, lambda number=number: hear(number))
        theirs.send(b"!")
    keeper._turn()
    for pair in pairs:
        for each in pair:
            each.close()
    keeper._selector.close()
    assert len(heard) == 1


@pytest.mark.timeout(30)
def test_the_front_ends_with_the_service_whatever_ended_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRONT", (sys.executable, "-c", "import time; time.sleep(600)"))
    with suppress(BrokenPipeError), pytest.raises(OddError):
        Keeper(service()).run(lambda _: None)
