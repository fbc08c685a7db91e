"""A gateway of chosen parts, for the benchmark alone: gateway_parts.py PORT UPSTREAM CHECKS [CONFIG]

CHECKS: ``none`` (the door, the dialect and nothing else: no thing that the program itself can be told to be; released is what came),
``judged`` (texts, rules, hash lists, the ledger; an image that no list knows is released as it came, which the program never does either),
``lists`` (the same with the copy: written, read again, judged again; in a detector's place stands one that looks at nothing), or ``all`` (with Open NSFW).
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from custodes.config import load_site
from custodes.decoding import Recipe
from custodes.examine import Evidence
from custodes.gateway.app import Gateway
from custodes.gateway.dialects.openai import OpenAI
from custodes.gateway.door import Admitting, Door
from custodes.gateway.evidence import Sealed
from custodes.gateway.guard import Caller, Checks, Guard, Looked
from custodes.gateway.inspection.detectors import open_detector
from custodes.gateway.inspection.inspector import Equipment, Inspector, decoders_for
from custodes.gateway.people.flights import Flights
from custodes.gateway.people.people import Means, People
from custodes.gateway.people.settings import PeopleSettings, TenantSettings
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.rules.policy import load_policy
from custodes.gateway.rules.rewriting import Rewriter
from custodes.gateway.rules.rulebook import Rulebook
from custodes.gateway.screening.lexicon import joined, shipped
from custodes.gateway.screening.screen import Screen
from custodes.gateway.upstream import Upstream
from custodes.gateway.vocabulary import Action, Fact, NameKind, Stage, Text, Verdict
from custodes.model import Content, Digests
from custodes.pictures import Pixels
from custodes.serving.images import Decoders
from custodes.viewing import Task

MODELS = frozenset({"demo"})
KNOWN = {NameKind.MODEL: MODELS}
KEY = hashlib.sha256(b"demo").hexdigest()
MANY = 1_000_000_000


@dataclass(frozen=True)
class Nothing:
    """Every check, none of which looks at anything."""

    def facts(self, _: Sequence[Text]) -> tuple[Fact, ...]:
        return ()

    async def look(self, content: bytes, stage: Stage, _: str) -> Looked:
        return Looked((), stage, content, "png")

    def decide(self, _: Sequence[Fact], __: Stage, **_who: object) -> Verdict:
        return Verdict(Action.ALLOW, "")

    async def rewrite(self, _: Sequence[Text], __: Verdict) -> Mapping[str, str] | None:
        return None

    async def decided(self, *_: object, **_how: object) -> None:
        pass

    async def keep(self, *_: object) -> None:
        pass

    flights = Flights()

    def known(self, _: str) -> frozenset[str]:
        return frozenset()

    async def visitor(self, key: str, _: str) -> Caller:
        return Caller(key)

    async def caller(self, key: str, _: str, request: str, __: int) -> Caller:
        return Caller(key, "", request)


class Blind:
    """A detector that looks at nothing: what one costs is told apart."""

    name, fact, recipe = "blind", "explicit", Recipe(side=8, resize=8, fit="stretch")

    async def score(self, _: Sequence[Pixels]) -> float:
        return 0.0


@dataclass(frozen=True)
class Judged:
    """Images by lists alone, and no copy."""

    decoders: Decoders
    equipment: Equipment

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        answer = await self.decoders.do(Content(content), Task.JUDGE)
        digests = Digests(*answer.exact, answer.viewed.examined.pdq)
        assert not self.equipment.examiner.judge(Evidence.from_digests([(0, digests)])), where  # in the loop, as there
        return Looked((), stage, content, answer.viewed.examined.format)


@contextmanager
def checks_of(which: str, config: str) -> Iterator[tuple[Admitting, Checks]]:
    """Who asks, and what a request goes through."""
    if which == "none":
        nothing = Nothing()
        yield nothing, Checks(nothing, nothing, nothing, nothing, nothing, nothing, known=KNOWN)
        return
    site = load_site(config)
    detector = open_detector("open-nsfw", threads=2) if which == "all" else Blind()
    equipment = Equipment(site.examiner(), (detector,))
    decoders = decoders_for(equipment, 2)
    decoders.start()
    home = Path(config).parent / f"gateway-{which}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    ledger = SqliteLedger(home / "ledger.db")
    tenant = TenantSettings(key_sha256=KEY, requests_per_minute=MANY, images_per_day=MANY)
    people = People(ledger, PeopleSettings(tenants={"bench": tenant}), Means(site.run_key()))
    book = Rulebook(load_policy("demo"))
    screen = Screen(joined(shipped("starter"), shipped("standins")))
    sealed = Sealed(home / "withheld", site.recipients(), site.run_key(), "bench")
    rewriter = Rewriter(book.rewriting())
    inspecting = Judged(decoders, equipment) if which == "judged" else Inspector(decoders, equipment)
    try:
        yield people, Checks(screen, inspecting, book, rewriter, people, sealed, known=KNOWN)
    finally:
        decoders.close()
        ledger.close()


async def main(port: int, upstream: int, which: str, config: str = "") -> None:
    with checks_of(which, config) as (people, checks):
        async with Upstream(f"http://127.0.0.1:{upstream}") as generator:
            gateway = Gateway(Door(people, Guard(checks), generator, MODELS), [OpenAI()])
            runner = web.AppRunner(gateway.app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
