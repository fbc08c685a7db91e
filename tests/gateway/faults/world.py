"""A whole gateway on loopback, made of real parts, in front of the stand-in generator; and every fault that is injected into it."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import apsw

from custodes.config import Site, load_site
from custodes.demo.gateway import Pink, demo_site
from custodes.demo.generator.server import listening as drawing
from custodes.demo.generator.studio import Fault, Manner, Studio
from custodes.errors import JailError, StorageError
from custodes.gatehouse import LEDGER, Standing, standing
from custodes.gateway.door import Door
from custodes.gateway.evidence import Sealed
from custodes.gateway.guard import Checks, Guard, Patience
from custodes.gateway.inspection.inspector import Inspector
from tests.gateway.fakes import listening

__all__ = ["FAULTS", "World", "built"]

TIGHT: Final = 'timeout_s = 0.5\nbody_bytes_max = 8_000_000\nmodels = ["demo"]'
"""Limits of the generator's answers, so that a slow or a huge one is a fault soon."""
PATIENCE: Final = Patience(0.4, 0.4, 0.4)
SLOW_S: Final = 0.8


@dataclass
class World:
    """What stands. ``prompt``: what clients ask for in this case."""

    site: Site
    stood: Standing
    studio: Studio
    url: str = ""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has heard what it will hear."""

    @property
    def door(self) -> Door:
        """The door as it was made, with a guard that does not wait long."""
        return replace(self.stood._door, guard=Guard(self.stood._checks, PATIENCE))

    @property
    def checks(self) -> Checks:
        return self.stood._checks

    async def mended(self) -> None:
        """The case is over, and everything is as it should be."""
        self.over.set()
        await asyncio.gather(*self.tasks)
        self.tasks.clear()
        self.over.clear()
        self.studio.manner = Manner()
        self.stood._inspector.use(self.stood._equipment)
        self.stood.gateway.swap(self.door)

    def check(self, **changed: Any) -> None:
        """Requests from now on go through other checks."""
        self.stood.gateway.swap(replace(self.door, guard=Guard(replace(self.checks, **changed), PATIENCE)))

    def detector(self, score: Callable[[], Awaitable[float]]) -> None:
        """Pictures from now on are shown to another detector."""

        class Other(Pink):
            async def score(self, _: Any) -> float:
                return await score()

        self.stood._inspector.use(replace(self.stood._equipment, detectors=(Other(),)))
        self.stood.gateway.swap(self.door)

    def soon(self, work: Callable[[], Awaitable[None]], after_s: float = 0.05) -> None:
        """Something that happens while the request is in hand."""

        async def later() -> None:
            await asyncio.sleep(after_s)
            await work()

        self.studio.manner = Manner(draw_s=0.2)
        self.tasks.append(asyncio.create_task(later()))


@asynccontextmanager
async def built(home: Path) -> AsyncIterator[World]:
    """A gateway that listens, and the generator behind it."""
    studio = Studio()
    async with drawing(studio) as address:
        site = demo_site(home, address)
        text = site.path.read_text().replace('models = ["demo"]', TIGHT)
        site.path.write_text(text)
        site = load_site(str(site.path))
        async with standing(site, lambda _: None, [Pink()]) as stood:
            world = World(site, stood, studio)
            async with listening(stood.gateway.app) as world.url:
                await world.mended()
                yield world


# -- ways to break


class Broken:
    """A check of which some methods break, each in its way; the others are the check's own."""

    def __init__(self, check: object, how: Callable[[], Any], *methods: str) -> None:
        self._check, self._how, self._methods = check, how, methods

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._check, name)
        if name not in self._methods:
            return real
        if not inspect.iscoroutinefunction(real):
            return lambda *_, **__: self._how()

        async def broken(*_: object, **__: object) -> Any:
            found = self._how()
            return await found if inspect.isawaitable(found) else found

        return broken


def raises() -> Any:
    raise KeyError("a fault that nobody foresaw")


def full() -> Any:
    raise StorageError("no space is left on the device")


async def hangs() -> Any:
    await asyncio.sleep(3600)


def rubbish() -> Any:
    return object()


def _of_check(part: str, method: str, how: Callable[[], Any]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.check(**{part: Broken(getattr(world.checks, part), how, method)})

    return inject


def _of_people(how: Callable[[], Any]) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.stood.gateway.swap(replace(world.door, people=Broken(world.door.people, how, "caller", "visitor")))

    return inject


def _of_detector(score: float) -> Callable[[World], None]:
    async def said() -> float:
        return score

    return lambda world: world.detector(said)


def _detector_dies(world: World) -> None:
    async def dies() -> float:
        raises()
        return 0.0

    world.detector(dies)


def _of_generator(fault: Fault) -> Callable[[World], None]:
    def inject(world: World) -> None:
        world.studio.manner = Manner(fault, slow_s=SLOW_S)

    return inject


def _ledger_locked(world: World) -> None:
    """Somebody else holds the database for longer than is waited. The same library: locks of one process do not hold against another library in it."""
    path = world.site.home / world.site.config.gateway.state / LEDGER
    other = apsw.Connection(str(path))
    other.set_busy_timeout(5_000)  # what a request before gives back may be written now
    other.execute("BEGIN EXCLUSIVE")

    async def ended() -> None:
        await world.over.wait()
        other.close()

    world.tasks.append(asyncio.create_task(ended()))


def _nowhere_to_seal(world: World) -> None:
    """What stands where the folder of withheld images should be is a file; and everything is withheld."""
    wrong = world.site.home / "a file"
    wrong.write_text("")
    world.check(evidence=Sealed(wrong, world.site.recipients(), world.site.run_key(), "test"))
    _all_explicit(world)


def _all_explicit(world: World) -> None:
    async def score() -> float:
        return 1.0

    guard = world.stood.gateway._door
    world.detector(score)
    world.stood.gateway.swap(guard)


def _reload_breaks(world: World) -> None:
    """In mid-flight a reload brings a detector that dies."""

    async def reload() -> None:
        _detector_dies(world)

    world.soon(reload)


def _reload_tightens(world: World) -> None:
    """In mid-flight lists and policy are taken anew, and a detector that sees what the earlier did not."""

    async def reload() -> None:
        world.stood.reload(world.site, policy=True)
        _all_explicit(world)

    world.soon(reload)


def _drained(world: World) -> None:
    """The generator goes away for good in mid-flight: its key is another now, and the picture was not yet made."""

    async def gone() -> None:
        world.studio.manner = Manner(Fault.DIES, draw_s=0.1)

    world.soon(gone, 0.0)


def _no_decoders(world: World) -> None:
    """The jail is gone."""

    def gone() -> Any:
        raise JailError("there are no decoders any more")

    inspector = Inspector(Broken(world.stood._inspector._decoders, gone, "do"), world.stood._equipment)  # type: ignore[arg-type]
    world.check(inspecting=inspector)


_CHECKS: Final = {
    "screening": ("screening", "facts"),
    "inspection": ("inspecting", "look"),
    "rules": ("ruling", "decide"),
    "ledger": ("records", "decided"),
}
_HOWS: Final[Mapping[str, Callable[[], Any]]] = {
    "raises": raises,
    "hangs": hangs,
    "is full": full,
    "says rubbish": rubbish,
}
_NOT_INJECTED: Final = {
    ("screening", "hangs"),  # it is a pure function, and cannot wait
    ("rules", "hangs"),
    ("ledger", "says rubbish"),  # nobody reads what it says
}
FAULTS: Final[Mapping[str, Callable[[World], None]]] = {
    **{
        f"{name} {word}": _of_check(part, method, how)
        for name, (part, method) in _CHECKS.items()
        for word, how in _HOWS.items()
        if (name, word) not in _NOT_INJECTED
    },
    **{f"people {word}": _of_people(how) for word, how in _HOWS.items() if word != "hangs"},
    **{f"generator {fault}": _of_generator(fault) for fault in Fault if fault not in (Fault.NONE, Fault.TOO_MANY)},
    "detector dies": _detector_dies,
    "detector hangs": lambda world: world.detector(hangs),
    "detector says nothing": _of_detector(math.nan),
    "detector says more than all": _of_detector(1.5),
    "detector says less than nothing": _of_detector(-0.1),
    "there are no decoders": _no_decoders,
    "the ledger is locked": _ledger_locked,
    "nowhere to seal": _nowhere_to_seal,
    "everything is explicit": _all_explicit,
    "a reload brings a broken detector": _reload_breaks,
    "a reload brings a stricter detector": _reload_tightens,
    "the generator dies in the middle": _drained,
}
"""Each fault by name, and how it is injected. After each, no picture may leave."""
