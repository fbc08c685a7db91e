"""Random histories of filing: calls fail in every way, processes end at every point, time passes; and what must hold at the end of each."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.filing import Dead, Ended, Filed, Filing, Later
from custodes.handover.cybertipline.gateway import submission_of
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.incident import Incident
from custodes.handover.receipts import Receipt
from tests.handover.cybertipline.making import SETTINGS, incident, withheld
from tests.handover.cybertipline.server import FINISHED, OPEN, CyberTiplineServer, Fault

RUNS_MAX = 400

ENDS = [Fault(unread=True), Fault(), Fault(acted=True), Fault(acted=True, sent_bytes=25)]
"""The connection ends: before the request is read, before it is acted on, before it is answered, in the answer."""
ERRS = [
    Fault(code=1000), Fault(code=1000, acted=True), Fault(code=1110, acted=True), Fault(code=1300), Fault(code=2000), Fault(code=3300),
    Fault(status=503, body=b"busy", headers=(("Retry-After", "60"),)), Fault(status=502, body=b"<html/>", acted=True), Fault(damaged=True),
]  # fmt: skip


class Crashed(Exception):  # noqa: N818 - the process ended here
    """Nothing after this point happened."""


@dataclass
class Store:
    """What is durable of a filing. ``crashes``: at which save or receipt, counted from 1, the process ends; before it is durable, or after."""

    progress: dict[str, str] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    crashes: dict[int, str] = field(default_factory=dict)
    steps: int = 0

    def load(self) -> dict[str, str]:
        return dict(self.progress)

    def save(self, progress: dict[str, str]) -> None:
        with_crash = self._step()
        self.progress = dict(progress)
        self.known.add(progress["report_id"])
        if with_crash:
            raise Crashed

    def keep(self, receipt: Receipt) -> None:
        with_crash = self._step()
        self.receipts.append(receipt)
        if with_crash:
            raise Crashed

    def _step(self) -> bool:
        self.steps += 1
        how = self.crashes.get(self.steps, "")
        if how == "before":
            raise Crashed
        return how == "after"


@dataclass
class Case:
    """One thing to be reported."""

    of: Incident | Withheld
    store: Store
    ended: Ended | None = None

    @property
    def untold(self) -> str:
        """The report whose fate NCMEC would not tell: a person was told so."""
        return self.ended.report_id if isinstance(self.ended, Dead) else ""

    @property
    def files(self) -> list[str]:
        file = self.of.file if isinstance(self.of, Withheld) else None
        return [hashlib.md5(file.content).hexdigest()] if file else []


def cases_of(chance: random.Random, make: Callable[[], Store]) -> list[Case]:
    number = chance.randrange(1, 1 << 30)
    sorts: list[Incident | Withheld] = [incident(number), withheld(number), withheld(number + 1, file=None)]
    return [Case(of, make()) for of in chance.sample(sorts, chance.randint(1, 3))]


async def history(
    server: CyberTiplineServer, client: CyberTipline, chance: random.Random, make: Callable[[], Store] = Store
) -> list[str]:
    """Live one. What was wrong at its end."""
    server.reports.clear()
    server.served.clear()
    cases = cases_of(chance, make)
    troubles = chance.randint(0, 25)
    for _ in range(RUNS_MAX):
        waiting = [case for case in cases if not isinstance(case.ended, Filed | Dead)]
        if not waiting:
            break
        case = chance.choice(waiting)
        troubles -= plan(server, case.store, chance, troubles)
        await go_on(client, case)
        server.now += timedelta(seconds=chance.choice([1, 60, 3600, 25 * 3600]))
    server.faults.clear()
    known = {number for case in cases for number in case.store.known} - {case.untold for case in cases}
    left_open = [report.id for report in server.reports.values() if report.state == OPEN and report.id in known]
    server.now += timedelta(hours=25)
    server.expire()
    return [*(f"report left open: {number}" for number in left_open), *wrongs(server, cases)]


def plan(server: CyberTiplineServer, store: Store, chance: random.Random, troubles: int) -> int:
    """Trouble for one of the next requests, or saves, or none. How much of it."""
    if troubles <= 0:
        return 0
    ahead = chance.randint(1, 6)
    sort = chance.random()
    if sort < 0.35:
        store.crashes = {store.steps + ahead: chance.choice(["before", "after"])}
    elif sort < 0.9:
        faults = ENDS if sort < 0.65 else ERRS
        server.faults = {len(server.calls) + ahead: chance.choice(faults)}
    elif sort < 0.93:
        server.faults = {len(server.calls) + ahead: Fault(code=chance.choice([4100, 4200, 4000]))}
    return 1


async def go_on(client: CyberTipline, case: Case) -> None:
    """What a worker does with an item: run it, and if the process ends, nothing more."""
    try:
        case.ended = await Filing(client, case.store, lambda now: submission_of(case.of, SETTINGS, now)).run()
    except Crashed:
        case.ended = None


def wrongs(server: CyberTiplineServer, cases: list[Case]) -> Iterator[str]:
    """What must not be."""
    for case in cases:
        finished, ended = server.finished(case.of.id), case.ended
        if ended is None or isinstance(ended, Later):
            yield "an incident is lost: it came to no end"
        if len(finished) > 1:
            yield "filed twice"
        if isinstance(ended, Filed) and [report.id for report in finished] != [ended.report_id]:
            yield "an incident is lost: it is said to be filed, and is not"
        if isinstance(ended, Dead) and finished and finished[0].id != case.untold:
            yield "an incident is lost: it is filed, and said not to be"
        if isinstance(ended, Dead) and ended.code not in {fault.code for fault in server.served}:
            yield "an incident is lost: it is given up without a cause"
        for report in finished:
            received = [hashlib.md5(content).hexdigest() for content in report.files.values()]
            if received != case.files or report.files.keys() != report.details.keys():
                yield "filed without its file, or with another"
            if isinstance(ended, Filed) and not any(
                receipt.step == "submit" and report.id.encode() in receipt.body for receipt in case.store.receipts
            ):
                yield "filed without its receipt"
    if any(
        report.state == FINISHED and report.case not in {case.of.id for case in cases}
        for report in server.reports.values()
    ):
        yield "filed what was not asked for"
    if server.complaints:
        yield f"NCMEC complains: {server.complaints}"
