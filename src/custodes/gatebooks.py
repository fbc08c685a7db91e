"""What a site's gateway has on its books: appeals, recorded decisions, its card, the register of protected persons.

Promises that a card names every policy that decided in its period, and nothing where that is not known any more; that of pictures for the register nothing
is kept but hashes. What is counted, and how an appeal ends, is for ``gateway.people``; letting requests in is for ``gatehouse``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import msgspec

from custodes import __version__
from custodes.attest.gateway import GatewayCheck, GatewayMeasure, GatewaySealed, GatewayStatement, sealed_told
from custodes.attest.statement import ListCommitment
from custodes.cards import holders_of
from custodes.carrier.client import Carrier
from custodes.config import Site
from custodes.crypto.keys import load_lists_key
from custodes.decoding import DecodePolicy
from custodes.durable import exclusive
from custodes.errors import ConfigError, InputError
from custodes.gatehouse import LEDGER, lexicon_of, opened_ledger, rulebook_of
from custodes.gateway.inspection.register import Register
from custodes.gateway.people.appeals import Bench
from custodes.gateway.people.card import PAGE, Setting, period_of, statement_of
from custodes.gateway.people.ledger import Decision, Ledger
from custodes.gateway.people.tables import TableLedger
from custodes.gateway.rules.policy import Policy
from custodes.gateway.screening.screen import Screen
from custodes.jobs import confinement_of
from custodes.model import Pdq, Reason
from custodes.office import Office
from custodes.similar.models import card_of
from custodes.withheld import counted

__all__ = ["CardAsked", "bench_of", "changed_register", "decisions_on", "ledger_of", "pdqs_of", "register_of", "stated"]

VERSIONS: Final = "Lists and checks are named in their versions of when the card was signed, and in earlier ones as far as decisions of the period name them."


@contextmanager
def ledger_of(site: Site) -> Iterator[TableLedger]:
    """The ledger, beside a gateway that may be running. Raises InputError where there is none yet."""
    path = site.home / site.config.gateway.state / LEDGER
    if not site.config.database.url and not path.is_file():
        raise InputError(
            f"there is no ledger at {path}: no gateway of this site has decided anything",
            hint="name the site that the gateway runs with: --config FILE",
        )
    with closing(opened_ledger(site)) as ledger:
        yield ledger


def bench_of(site: Site, ledger: Ledger) -> Bench:
    """Where appeals are decided: by the people, and on the record, of the site's hand-over."""
    office = Office(site)
    return Bench(ledger, office.rule, office.custody)


async def decisions_on(ledger: Ledger, request: str) -> list[Decision]:
    """What was decided on one request, in order."""
    return [each async for each in _decisions(ledger) if each.request == request]


async def _decisions(ledger: Ledger) -> AsyncIterator[Decision]:
    after = 0
    while page := await ledger.decisions(after, PAGE):
        for decision in page:
            yield decision
        after = page[-1].number


# -- the card


@dataclass(frozen=True, slots=True)
class CardAsked:
    """Of which days (both included, UTC). ``policies``: that decided then and are not in force now."""

    first: date
    last: date
    policies: Sequence[Policy] = ()
    measured: Sequence[GatewayMeasure] = ()


@dataclass(slots=True)
class _Used:
    """What decisions of the period name."""

    policies: set[str] = field(default_factory=set)
    checks: set[str] = field(default_factory=set)


async def stated(site: Site, ledger: Ledger, asked: CardAsked, now: datetime) -> GatewayStatement:
    """What can be stated of a period. Raises InputError for one that is not over, that is too long ago, or in which a policy decided that is not here."""
    tally = await period_of(ledger, asked.first, asked.last)
    _refuse_forgotten(site, asked.first, now)
    used = await _used(ledger, asked)
    lists, checks = _seen(site, used.checks)
    setting = Setting(
        gateway=site.config.handover.operator,
        policies=_policies(site, used.policies, asked.policies),
        checks=checks,
        lists=lists,
        measured=asked.measured,
        confinement=confinement_of(site.scan_settings()),
        demonstration=site.config.authority.demo,
        withheld=_withheld(site, asked),
    )
    made = statement_of(tally, setting, now)
    limits = (*made.predicate.limits, VERSIONS)
    return msgspec.structs.replace(made, predicate=msgspec.structs.replace(made.predicate, limits=limits))


def _withheld(site: Site, asked: CardAsked) -> GatewaySealed:
    found = counted(site, Office(site).custody, asked.first, asked.last)
    return sealed_told(found.sealed, found.received)


def _refuse_forgotten(site: Site, first: date, now: datetime) -> None:
    """Counts are kept for ever, and what decided is not."""
    days = site.config.gateway.decisions_days
    if datetime.combine(first, time(), UTC) < now - timedelta(days=days):
        raise InputError(
            f"decisions are kept for {days} days: by which policies all were made since {first} is not known any more",
            hint="begin later, and sign a card more often",
        )


async def _used(ledger: Ledger, asked: CardAsked) -> _Used:
    used = _Used()
    async for decision in _decisions(ledger):
        if asked.first <= datetime.fromtimestamp(decision.at / 1000, UTC).date() <= asked.last:
            used.policies.add(decision.policy)
            used.checks.update(decision.versions)
    return used


def _policies(site: Site, used: set[str], given: Sequence[Policy]) -> list[Policy]:
    """Those that decided; where nothing was decided, the site's."""
    rulebook = rulebook_of(site)
    known = {each.version: each for each in (rulebook.site, *rulebook.tenants.values(), *given)}
    if missing := sorted(used - known.keys()):
        raise InputError(
            f"a policy decided in that period that is not in force now: its version is {missing[0][:16]}…",
            hint="name its file, as it was: --policy FILE.toml",
        )
    return [known[version] for version in sorted(used)] or [rulebook.site]


def _seen(site: Site, used: set[str]) -> tuple[list[ListCommitment], list[GatewayCheck]]:
    """Lists and checks of now, and those of the period in other versions."""
    store = site.lists()
    current, holders = store.current(), holders_of(store)
    stale = store.stale(current)
    named = {_named(by) for by in used}
    lists = {each for each in named if each[0] in current} | set(current.items())
    checks = {each for each in named if each[0] not in current} | {_named(Screen(lexicon_of(site)).by)}
    if not any("@" in by and _named(by)[0] not in current for by in used):  # no detector has said anything yet
        detector = card_of(site.config.gateway.detectors.explicit)
        checks.add((detector.name, ", ".join(digest[:12] for digest in detector.sha256)))
    told = [
        ListCommitment(id=name, holder=holders.get(name, ""), version=version, stale_since=stale.get(name, ""))
        for name, version in sorted(lists)
    ]
    return told, [GatewayCheck(name=name, version=version or __version__) for name, version in sorted(checks)]


def _named(by: str) -> tuple[str, str]:
    """What a fact says it comes from, as a name and a version; those of this package have none of their own."""
    name, mark, version = by.partition("@")
    if mark:
        return name, version
    name, _, version = by.partition(" ")
    return name, version


# -- the register


def register_of(site: Site) -> Path:
    """Where the register lies. Raises ConfigError where none is configured."""
    file = site.config.gateway.detectors.register
    if not file:
        raise ConfigError(
            f"{site.path} names no register",
            hint='set register = "register" in [gateway.detectors]; the path is relative to the configuration',
        )
    return site.home / file


def changed_register(site: Site, change: Callable[[Register], Register]) -> Register:
    """Read the register, which may not be there yet, change it and write it whole; one at a time. Raises InputError, StorageError."""
    path, key = register_of(site), load_lists_key(site.keys / "lists.key")
    with exclusive(path.with_name(f"{path.name}.lock")):
        changed = change(Register.load(path, key) if path.exists() else Register())
        changed.save(path, key)
    return changed


def pdqs_of(site: Site, files: Sequence[Path]) -> list[Pdq]:
    """The codes of pictures, which are decoded in the jail. Raises InputError for one that cannot be seen whole."""
    names = tuple(str(path) for path in files)
    settings = site.scan_settings(decode_policy=DecodePolicy.EXACT)
    found: list[Pdq] = []
    with Carrier(settings.carrier_start(readable=names)) as carrier:
        for carried in carrier.read_files(list(enumerate(names))):
            digests = carried.digests()
            if carried.reason is not Reason.FULL or digests is None:
                raise InputError(
                    f"picture {files[carried.key].name!r} cannot be taken: {carried.reason}",
                    hint="give pictures that can be read and decoded whole; nothing was changed",
                )
            found += digests.pdq
    return found
