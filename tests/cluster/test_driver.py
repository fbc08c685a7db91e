"""The driver's watch over nodes, with a Ray that is made up: when a Ray of the run's own is lost, and that another cluster is waited for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from custodes.cluster import driver as driver_module
from custodes.cluster.driver import BrokenError, Driver
from custodes.cluster.wire import Capacity


class MadeUp:
    """A Ray with these nodes; None: it answers nothing."""

    def __init__(self, nodes: list[dict[str, Any]] | None) -> None:
        self.told = nodes

    def nodes(self) -> list[dict[str, Any]]:
        if self.told is None:
            time.sleep(0.5)
            raise AssertionError("it should not have been waited for")
        return self.told


class Telling(Driver):
    """A driver that remembers what it says, without a Ray."""

    def __init__(self, nodes: list[dict[str, Any]] | None, *, own: bool) -> None:
        self._ray, self._own = MadeUp(nodes), own
        self.said: list[object] = []

    def say(self, message: object) -> None:
        self.said.append(message)


def node(name: str, *, alive: bool, processors: int = 4) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": float(processors), "memory": 1e9}}


def watched(driver: Driver, seconds: float = 0.3) -> None:
    """Watch for a while."""

    async def play() -> None:
        await asyncio.wait_for(driver.watch(), seconds)

    asyncio.run(play())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "CAPACITY_EVERY_S", 0.01)
    monkeypatch.setattr(driver_module, "OWN_SILENCE_S_MAX", 0.1)


@pytest.mark.parametrize(
    "nodes", [None, [], [node("a", alive=False)]], ids=["it answers nothing", "no node", "a node that has died"]
)
def test_a_ray_of_its_own_that_is_lost_is_told(nodes: list[dict[str, Any]] | None) -> None:
    driver = Telling(nodes, own=True)
    with pytest.raises(BrokenError, match="the Ray that was started for this run is lost"):
        watched(driver, 3)
    assert driver.said == []


def test_planted_one_that_is_not_known_to_be_its_own_is_waited_for_for_ever() -> None:
    driver = Telling([], own=False)
    with pytest.raises(TimeoutError):
        watched(driver)
    assert driver.said[:2] == [Capacity({})] * 2


def test_processors_are_told_of_the_nodes_that_live() -> None:
    driver = Telling([node("a", alive=True), node("b", alive=False), node("c", alive=True, processors=0)], own=True)
    with pytest.raises(TimeoutError):
        watched(driver)
    assert driver.said[0] == Capacity({"a": 4, "c": 0})
