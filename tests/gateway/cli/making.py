"""A site with a gateway's settings and a ledger that somebody filled: for the commands beside the gateway. Harmless words alone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.config import Site
from custodes.crypto.keys import SigningKey, create_keys, load_signing_key
from custodes.gateway.evidence import Sealed
from custodes.gateway.guard import Caller, Looked
from custodes.gateway.people.ledger import Noted
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.rules.policy import embedded
from custodes.gateway.vocabulary import Action, Grade, Stage, Verdict
from custodes.handover.finding import Match
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from tests.gateway.people.making import noted
from tests.world import make_site

__all__ = ["CONTENT", "Gated", "decided", "gated", "run", "sealed"]

CONTENT = b"\x89PNG stand-in for a picture " + bytes(range(256))
STRICT = embedded("strict").version
_SETTINGS = """
[handover]
operator = "lab.example"
{people}
[gateway]
decisions_days = 3650
lexicons = ["starter", "standins"]
[gateway.upstream]
address = "http://127.0.0.1:9"
models = ["demo"]
[gateway.detectors]
register = "register"
[gateway.tenants.tenant]
key_sha256 = "{key}"
"""


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard output, without what is said beside it."""
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return int(result.return_value or 0), result.stdout


@dataclass(frozen=True)
class Gated:
    """A site, its two people, and the way to it."""

    site: Site
    alice: Path
    bob: Path

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.site.path)

    @property
    def ledger(self) -> Path:
        return self.site.home / "state" / "gateway" / "ledger.sqlite"

    def note(self, decisions: Iterable[Noted]) -> None:
        async def all_of(ledger: SqliteLedger) -> None:
            for each in decisions:
                await ledger.note(each)

        with closing(SqliteLedger(self.ledger)) as ledger:
            asyncio.run(all_of(ledger))


def _person(home: Path, name: str) -> SigningKey:
    create_keys(home / name, name)
    return load_signing_key(home / name / "signing.key")


def gated(home: Path) -> Gated:
    """A site where two people overturn what is hard."""
    alice, bob = _person(home, "alice"), _person(home, "bob")
    people = f'two_person = ["overturn"]\napprovers = ["{alice.verifier}", "{bob.verifier}"]\n'
    key = hashlib.sha256(b"demo").hexdigest()
    site = make_site(home / "site", _SETTINGS.format(people=people, key=key))
    site.lists().import_entries("known", [Entry(Kind.MD5, bytes(16), "none of them")], Provenance(source="test"))
    return Gated(site, home / "alice" / "signing.key", home / "bob" / "signing.key")


def decided(number: int, verdict: Verdict | None = None, **changed: object) -> Noted:
    """A decision under the policy that the site has."""
    return noted(number, verdict, **({"policy": STRICT, "acknowledged": False} | changed))


def sealed(given: Gated, folder: Path, rule: str = "a known picture", **changed: object) -> Path:
    """One withheld image, sealed to the site's authority."""
    match = Match(
        list="known",
        list_version="1",
        entry="e-1",
        kind="pdq",
        category="stand-in",
        assurance="",
        distance_bits=4,
        form="original",
        meaning="csam",
    )
    looked = Looked((), Stage.OUTPUT, sha256=hashlib.sha256(CONTENT).digest(), matches=(match,))
    evidence = Sealed(folder, given.site.recipients(), given.site.run_key(), str(changed.pop("service", "lab.example")))
    verdict = Verdict(Action.WITHHOLD, rule, Grade.HARD, report=True)
    caller = Caller("tenant", str(changed.pop("user", "u" * 8)), str(changed.pop("request", "req_1-0")))
    before = set(folder.rglob("*.age"))
    asyncio.run(evidence.keep(caller, verdict, CONTENT, looked))
    (made,) = set(folder.rglob("*.age")) - before
    return made
