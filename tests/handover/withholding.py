"""A site whose gateway withholds, for tests of the hand-over; and, run as a program, one that is killed at each of its steps on the disk.

``python -m tests.handover.withholding STRIDE [FAULT]``: a story is told again and again, by a child that dies at its first step, and at each STRIDE steps
further. Clients then send their requests again, and another process hands over. What is wrong is printed, one JSON list: images that are lost, that went twice,
or that can be read on the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from custodes.config import Site, load_site
from custodes.crypto.seal import unseal
from custodes.gateway.evidence import Sealed
from custodes.gateway.guard import Caller, Looked
from custodes.gateway.vocabulary import Action, Grade, Stage, Verdict
from custodes.handover.custody import Act
from custodes.handover.desk import Desk, Worked
from custodes.handover.finding import Match
from custodes.handover.outbox import Outbox, Seams
from custodes.handover.parcel import SEALED_SUFFIX
from custodes.handover.place import Folder
from custodes.handover.slips import Slips
from custodes.office import Office, route_of, withheld_folder
from custodes.withheld import Taking, noting
from tests.handover.crashing import dies_at, in_child
from tests.handover.making import TO, match
from tests.world import make_site

SETTINGS = """
[policy]
jurisdiction = "us"
[handover]
operator = "lab.example"
contact = "safety@lab.example"
[handover.cybertipline]
email = "safety@lab.example"
calls_per_minute = 100000
{cybertipline}
[handover.hotline.north]
title = "Example Hotline"
recipients = ["{to}"]
[handover.coop]
url = "http://127.0.0.1:9"
unsafe_allow_loopback = true
item_type = "t"
fields = {{ incident = "incident", class = "meaning", why = "rule", of = "datasets", where = "links", lists = "matches", many = "places" }}
{more}
[gateway.evidence]
hand_over = true
route = "{route}"
"""


def content_of(number: int) -> bytes:
    """A stand-in for a picture."""
    return b"\x89PNG stand-in for picture %d " % number + bytes(range(256))


WITHHOLD = Verdict(Action.WITHHOLD, "a known picture", Grade.HARD, report=True)
HOLD = Verdict(Action.WITHHOLD, "an explicit picture", Grade.HARD)


def looked(number: int, *matches: Match) -> Looked:
    return Looked((), Stage.OUTPUT, sha256=hashlib.sha256(content_of(number)).digest(), matches=matches)


@dataclass(frozen=True)
class House:
    """A site, and its gateway's evidence."""

    site: Site
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def sealed(self) -> Sealed:
        return Sealed(
            withheld_folder(self.site),
            self.site.recipients(),
            self.site.run_key(),
            "lab.example",
            demo=self.site.config.authority.demo,
            notes=noting(self.site, lambda: None),
            clock=self.clock,
        )

    def withholds(self, number: int, verdict: Verdict = WITHHOLD, *, matches: tuple[Match, ...] | None = None) -> str:
        """The request of this number, as often as it is sent. The name of what came of it."""
        found = (match(number),) if matches is None else matches
        caller = Caller("tenant", "u" * 8, f"req_{number}-0")
        evidence = self.sealed()
        asyncio.run(evidence.keep(caller, verdict, content_of(number), looked(number, *found)))
        digest = hashlib.sha256(content_of(number)).digest()
        return self.site.run_key().name("withheld", b"tenant", caller.request.encode(), digest).hex()[:32]

    def taking(self, route: str = "") -> Taking:
        return Taking(Office(self.site), self.route(route))

    def route(self, route: str = "") -> Any:
        return route_of(self.site, route or self.site.config.gateway.evidence.route, to_show=True)

    def desk(self, route: str = "") -> Desk:
        return Office(self.site).desk(self.route(route))

    def works(self, route: str = "") -> Worked:
        return asyncio.run(self.desk(route).work())

    def acts(self, incident: str) -> list[str]:
        return [each.act.value for each in Office(self.site).custody.of(incident)]

    def plain(self, number: int) -> list[str]:
        """Files in which the picture, or its digest, can be read."""
        content = content_of(number)
        digests = [hashlib.new(kind, content).hexdigest().encode() for kind in ("md5", "sha256")]
        words = [content[at : at + 24] for at in range(0, len(content) - 24, 24)] + digests
        files = [path for path in self.site.home.rglob("*") if path.is_file()]
        return [str(path) for path in files if any(word in path.read_bytes() for word in words)]


def house(home: Path, route: str = "hotline.north", cybertipline: str = "", more: str = "") -> House:
    settings = SETTINGS.format(route=route, cybertipline=cybertipline, more=more, to=TO)
    return House(make_site(home / "site", settings))


# -- dying at every step

REQUESTS = 2


def story(place: Path, told: Callable[[int], None]) -> None:
    """A gateway answers requests, takes up what it noted, and somebody sends. ``told``: a request was answered."""
    site = House(load_site(str(place / "site" / "custodes.toml")))
    for number in range(REQUESTS):
        site.withholds(number)
        told(number)
        site.taking().slips()
    site.works()


def every(home: Path, stride: int, *, enough: bool) -> list[str]:
    """Kill the story at each of its steps. Also wrong is that it hardly died. ``enough``: one wrong is."""
    house(home / "made")
    wrong: list[str] = []
    for step in range(1, 10_000, stride):
        place = home / str(step)
        shutil.copytree(home / "made", place)
        mark = os.memfd_create("answered")

        def dies(place: Path = place, mark: int = mark, step: int = step) -> None:
            dies_at(step)
            story(place, lambda number: os.pwrite(mark, b"%d" % (number + 1), 0) and None)

        code = in_child(dies)
        answered = int(os.pread(mark, 4, 0) or 0)
        os.close(mark)
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"step {step}: the story itself failed")
        wrong += [f"step {step}: {each}" for each in judged(place, answered)]
        shutil.rmtree(place)
        if wrong and enough:
            return wrong
        if code == 0:
            return wrong if step > 40 else [*wrong, f"there were {step} steps only"]
    return [*wrong, "it never ended"]


def judged(place: Path, answered: int) -> list[str]:
    """After a death: what was answered is handed over once, also where nobody asks again; then clients that got no answer do ask again."""
    again = House(load_site(str(place / "site" / "custodes.toml")))
    wrong = in_the_clear(again)
    handed_over(again)
    wrong += wrongs(again, answered, "what was answered")
    for number in range(REQUESTS):
        again.withholds(number)
    handed_over(again)
    return wrong + wrongs(again, REQUESTS, "what was asked again")


def handed_over(again: House) -> None:
    """By a process that comes when the leases of the dead have ended."""
    again.taking().slips()
    office, site = Office(again.site), again.site
    seams = Seams(clock=lambda: datetime(2100, 1, 1, tzinfo=UTC))
    office.outbox = Outbox(Folder(site.home / "handover" / "outbox"), site.transport_keys(), seams=seams)
    asyncio.run(office.desk(again.route()).work())


def wrongs(again: House, answered: int, what: str) -> list[str]:
    site = again.site
    folder = site.home / "outgoing"
    identity = (site.home / "demo-authority.key").read_text()
    sheets = sorted(folder.glob("*.txt")) if folder.exists() else []
    found = Counter(
        number
        for sheet in sheets
        for number in range(REQUESTS)
        if _is_of(
            unseal(sheet.with_name(sheet.name.removesuffix(".txt") + SEALED_SUFFIX).read_bytes(), identity), number
        )
    )
    wrong = [f"{what}: picture {number} is lost" for number in range(answered) if not found[number]]
    wrong += [f"{what}: picture {number} went twice" for number, times in found.items() if times > 1]
    records = list(Office(site).custody.records())
    received = Counter(each.incident for each in records if each.act is Act.RECEIVED)
    wrong += [f"{what}: received twice"] * any(times > 1 for times in received.values())
    if len(received) != len(found):
        wrong.append(f"{what}: {len(found)} were written, and the record has {len(received)}")
    if Slips(site.home / "state" / "gateway" / "slips", site.transport_keys()).count():
        wrong.append(f"{what}: a slip is left")
    return wrong + in_the_clear(again)


def in_the_clear(again: House) -> list[str]:
    return [f"in the clear: {Path(name).name}" for number in range(REQUESTS) for name in again.plain(number)]


def _is_of(plain: bytes, number: int) -> bool:
    return hashlib.sha256(content_of(number)).hexdigest().encode() in plain


# -- faults that are planted


def slip_first() -> None:
    """The slip is dropped before the outbox has what it is of."""
    queued = Taking._queued

    def wrong(self: Any, parcel: Any, sealed: Path) -> Any:
        slips = Slips(self._office.site.home / "state" / "gateway" / "slips", self._office.site.transport_keys())
        for name, _ in list(slips.each()):
            slips.remove(name)
        return queued(self, parcel, sealed)

    Taking._queued = wrong  # type: ignore[method-assign]


def new_names() -> None:
    """The name of an image is not that of its request."""
    Sealed._told = _named_anew(Sealed._told)  # type: ignore[method-assign]


def _named_anew(told: Any) -> Any:
    import msgspec

    return lambda *a, **k: msgspec.structs.replace(told(*a, **k), id=os.urandom(16).hex())


def open_slips() -> None:
    """Slips are not locked."""
    from custodes.handover import locker

    real = locker.lock
    locker.lock = lambda key, plain, context: plain if b"slips" in context else real(key, plain, context)  # type: ignore[attr-defined]
    unlock = locker.unlock
    locker.unlock = lambda key, data, context: bytes(data) if b"slips" in context else unlock(key, data, context)  # type: ignore[attr-defined]


FAULTS = {"slip_first": slip_first, "new_names": new_names, "open_slips": open_slips}


def main() -> None:
    for fault in sys.argv[2:]:
        FAULTS[fault]()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # processes die here, and no disk does
    with tempfile.TemporaryDirectory(dir=memory) as home:
        print(json.dumps(every(Path(home), int(sys.argv[1]), enough=len(sys.argv) > 2)))


if __name__ == "__main__":
    main()
