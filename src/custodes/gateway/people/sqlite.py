"""The ledger in SQLite: one file, for any number of processes of one machine.

Promises what ``ledger`` asks for: write-ahead log, synced at each commit. Not for file systems of a network. What is committed together is for ``writing``,
tables are for ``migrations``. Format: docs/formats/gateway-ledger.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Final

import apsw
import msgspec

from custodes.durable import make_folder
from custodes.errors import ConfigError, StorageError
from custodes.gateway.people.ledger import (
    Appeal,
    Asking,
    Consequence,
    Count,
    Decision,
    Ladder,
    Noted,
    Outcome,
    Restored,
    Standing,
    Tally,
    Totals,
    already_settled,
    day_of,
    no_such_refusal,
)
from custodes.gateway.people.migrations import migrate
from custodes.gateway.people.writing import Reader, Writer, stored
from custodes.gateway.vocabulary import Action, Category, Grade, Stage

__all__ = ["SQLITE_MIN", "SqliteLedger", "check_version"]

SQLITE_MIN: Final = (3, 51, 3)
"""Before it, two connections at the end of a write-ahead log could damage the database (sqlite.org/wal.html#walresetbug)."""


def check_version(version: str) -> None:
    """Raises ConfigError for an SQLite that may lose what it was given."""
    if tuple(int(part) for part in version.split(".")) < SQLITE_MIN:
        least = ".".join(str(part) for part in SQLITE_MIN)
        raise ConfigError(f"SQLite {version} may damage a ledger, {least} does not", hint="install a newer apsw")


class SqliteLedger:
    """A ledger in a file, which is made if it is not there. ``busy_ms``: how long another process may hold it."""

    def __init__(self, path: Path, *, busy_ms: int = 5_000) -> None:
        check_version(apsw.sqlite_lib_version())
        self._path, self._busy_ms = path, busy_ms
        make_folder(path.parent)
        try:
            # Made here, so that nobody else may read it; the files beside it take its mode over.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            with closing(self._opened()) as database:
                migrate(database)
        except OSError as error:
            raise StorageError(f"the ledger {path} cannot be opened: {error.strerror}") from error
        except apsw.Error as error:
            raise stored(error, path) from error
        self._writer, self._reader = Writer(path, self._opened), Reader(path, self._opened)

    def _opened(self) -> apsw.Connection:
        database = apsw.Connection(str(self._path), apsw.SQLITE_OPEN_READWRITE)
        database.set_busy_timeout(self._busy_ms)
        if database.execute("PRAGMA journal_mode = WAL").get != "wal":
            raise StorageError(f"the ledger {self._path} cannot have a write-ahead log", hint="put it on a local disk")
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF", "temp_store = MEMORY"):
            database.execute(f"PRAGMA {pragma}")
        return database

    def close(self) -> None:
        """Finish what waits, and close."""
        self._writer.close()
        self._reader.close()

    async def note(self, noted: Noted) -> Consequence:
        """Write a decision and all that follows from it."""
        return await self._writer.run(lambda database: _note(database, noted))

    async def standing(self, asking: Asking) -> Standing:
        """How one stands who asks."""
        return await self._reader.run(lambda database: _standing(database, asking))

    async def appeal(self, tenant: str, request: str, at: int) -> Appeal:
        """Open an appeal. Raises InputError."""
        return await self._writer.run(lambda database: _appeal(database, tenant, request, at))

    async def appeals(self, outcome: Outcome) -> Sequence[Appeal]:
        """All that ended so, the oldest first."""
        return await self._reader.run(lambda database: _appeals(database, _APPEALS, outcome.value))

    async def appealed(self, request: str) -> Appeal:
        """One of them. Raises InputError."""
        return await self._reader.run(lambda database: _appealed(database, request))

    async def settle(self, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
        """End an appeal. Raises InputError."""
        return await self._writer.run(lambda database: _settle(database, request, outcome, people, at))

    async def tally(self, first: date, last: date) -> Tally:
        """What was counted."""
        return await self._reader.run(lambda database: _tally(database, first, last))

    async def decisions(self, after: int, limit: int) -> Sequence[Decision]:
        """Those with greater numbers."""
        return await self._reader.run(lambda database: _decisions(database, after, limit))

    async def forget(self, before: int) -> int:
        """Drop older decisions that have no strike and no appeal."""
        return await self._writer.run(lambda database: _forget(database, before))


# -- a decision


def _note(database: apsw.Connection, noted: Noted) -> Consequence:
    """1. The strike, or that of the retry before. 2. The decision, which names it. 3. Counts. 4. What strikes lead to, if there are more."""
    strike, more = _strike(database, noted) if noted.verdict.strikes else (None, False)  # 1
    _write(database, noted, strike)  # 2
    _count(database, noted)  # 3
    if not more:
        return Consequence()
    own, all_users = noted.ladders
    user = _climb(database, noted, noted.user, own) if noted.user else (False, False)  # 4
    tenant = _climb(database, noted, "", all_users)
    return Consequence(True, *user, *tenant)


def _strike(database: apsw.Connection, noted: Noted) -> tuple[int, bool]:
    """The strike of this request, and whether it is new or graver than it was: one request has one, however often and wherever it is refused."""
    weight = noted.verdict.strikes
    rows = database.execute(
        "SELECT id, weight FROM strikes WHERE name = ? AND at > ? ORDER BY at DESC LIMIT 1",
        (noted.name, noted.retried_since),
    )
    found = msgspec.convert(rows.fetchone(), tuple[int, int] | None)
    if found is None:
        database.execute(
            "INSERT INTO strikes (name, tenant, user, at, weight) VALUES (?, ?, ?, ?, ?)",
            (noted.name, noted.tenant, noted.user, noted.at, weight),
        )
        return database.last_insert_rowid(), True
    if found[1] >= weight:
        return found[0], False
    database.execute("UPDATE strikes SET weight = ? WHERE id = ?", (weight, found[0]))
    return found[0], True


def _write(database: apsw.Connection, noted: Noted, strike: int | None) -> None:
    verdict = noted.verdict
    facts = sorted({(fact.name, fact.score) for fact in noted.facts}, key=lambda each: (each[0], each[1] or 0.0))
    versions = sorted({fact.by for fact in noted.facts})
    database.execute(
        "INSERT INTO decisions (at, tenant, user, request, stage, action, rule, grade, category, report, facts, policy,"
        " acknowledged, versions, refusal, strikes, strike) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(noted.at, noted.tenant, noted.user, noted.request, noted.stage.value, verdict.action.value, verdict.rule),
            *(verdict.grade.value, verdict.category.value, int(verdict.report), _json(facts), noted.policy),
            *(int(noted.acknowledged), _json(versions), int(noted.refusal), verdict.strikes, strike),
        ),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _count(database: apsw.Connection, noted: Noted) -> None:
    verdict = noted.verdict
    database.execute(
        "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET decisions = decisions + 1",
        (
            *(day_of(noted.at), noted.tenant, noted.stage.value, verdict.action.value, verdict.grade.value),
            verdict.category.value if noted.stops else "",
        ),
    )


def _climb(database: apsw.Connection, noted: Noted, user: str, ladder: Ladder) -> tuple[bool, bool]:
    """Whether one is warned now, and suspended now. Who is suspended is not suspended again before that has ended."""
    since, who = noted.at - ladder.window_ms, (noted.tenant, user)
    last = _numbers(database, "SELECT max(id) FROM strikes")
    strikes = _weight(database, who, since, last)
    warned = strikes >= ladder.warn_at and not _lasting(database, "warning", who, noted.at)
    if warned:
        lasts = (noted.at, noted.at + ladder.window_ms, since)
        database.execute(_STEP, ("warning", *who, *lasts, last, ladder.warn_at))
    suspended = strikes >= ladder.suspend_at and not _lasting(database, "suspension", who, noted.at)
    if suspended:
        until = noted.at + ladder.suspension_ms(_lasting(database, "suspension", who, 0))
        database.execute(_STEP, ("suspension", *who, noted.at, until, since, last, ladder.suspend_at))
    return warned, suspended


_STEP: Final = (
    "INSERT INTO steps (kind, tenant, user, at, until, since, last_strike, needed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def _weight(database: apsw.Connection, who: tuple[str, str], since: int, last: int) -> int:
    """Strikes that count, up to one of them, of a user; of no user: of all that the tenant has. Told by their order, as clocks of processes differ."""
    tenant, user = who
    if not user:
        return _numbers(database, _STRIKES_OF_TENANT, (tenant, since, last))
    return _numbers(database, _STRIKES_OF_USER, (tenant, user, since, last))


_STRIKES_OF_USER: Final = (
    "SELECT coalesce(sum(weight), 0) FROM strikes"
    " WHERE tenant = ? AND user = ? AND at > ? AND id <= ? AND overturned_at IS NULL"
)
_STRIKES_OF_TENANT: Final = (
    "SELECT coalesce(sum(weight), 0) FROM strikes WHERE tenant = ? AND at > ? AND id <= ? AND overturned_at IS NULL"
)


def _lasting(database: apsw.Connection, kind: str, who: tuple[str, str], at: int) -> int:
    """How many warnings or suspensions are not lifted and not over."""
    query = "SELECT count(*) FROM steps WHERE kind = ? AND tenant = ? AND user = ? AND until > ? AND lifted_at IS NULL"
    return _numbers(database, query, (kind, *who, at))


def _numbers(database: apsw.Connection, query: str, values: tuple[str | int, ...] = ()) -> int:
    """The one number that a query gives."""
    return msgspec.convert(database.execute(query, values).get, int)


# -- who asks


def _standing(database: apsw.Connection, asking: Asking) -> Standing:
    tenant, user = who = asking.tenant, asking.user
    since = asking.refusals_since
    return Standing(
        suspended_until=_numbers(
            database,
            "SELECT coalesce(max(until), 0) FROM steps"
            " WHERE kind = 'suspension' AND tenant = ? AND user IN (?, '') AND until > ? AND lifted_at IS NULL",
            (*who, asking.at),
        ),
        strikes=_weight(database, who, asking.strikes_since, _ALL),
        warned=_lasting(database, "warning", who, asking.at) > 0,
        refusals=_numbers(database, _REFUSALS_OF_USER, (tenant, user, since)) if user else 0,
        tenant_refusals=_numbers(database, _REFUSALS_OF_TENANT, (tenant, since)),
        images_today=_numbers(
            database,
            "SELECT coalesce(sum(decisions), 0) FROM counters"
            " WHERE day = ? AND tenant = ? AND stage = 'output' AND action = 'allow'",
            (day_of(asking.at), tenant),
        ),
    )


_ALL: Final = (1 << 63) - 1
_REFUSALS_OF_USER: Final = (
    "SELECT count(*) FROM (SELECT DISTINCT request FROM decisions"
    " WHERE refusal = 1 AND tenant = ? AND user = ? AND at > ? LIMIT 4096)"
)
_REFUSALS_OF_TENANT: Final = "SELECT count(*) FROM (SELECT DISTINCT request FROM decisions WHERE refusal = 1 AND tenant = ? AND at > ? LIMIT 4096)"


# -- appeals


def _appeal(database: apsw.Connection, tenant: str, request: str, at: int) -> Appeal:
    stopped = "SELECT count(*) FROM decisions WHERE request = ? AND tenant = ? AND refusal = 1"
    if not database.execute(stopped, (request, tenant)).get:
        raise no_such_refusal()
    database.execute(
        "INSERT INTO appeals VALUES (?, ?, ?, ?, 0, '[]') ON CONFLICT DO NOTHING",
        (request, tenant, at, Outcome.OPEN.value),
    )
    return _appealed(database, request)


def _appealed(database: apsw.Connection, request: str) -> Appeal:
    if not (found := _appeals(database, _ONE_APPEAL, request)):
        raise no_such_refusal()
    return found[0]


_ONE_APPEAL: Final = "SELECT * FROM appeals WHERE request = ?"
_APPEALS: Final = "SELECT * FROM appeals WHERE outcome = ? ORDER BY at, request"


def _appeals(database: apsw.Connection, query: str, value: str) -> list[Appeal]:
    rows = msgspec.convert(list(database.execute(query, (value,))), list[tuple[str, str, int, Outcome, int, str]])
    return [
        Appeal(
            request=request,
            tenant=tenant,
            at=at,
            grade=_gravest(database, request),
            strikes=_numbers(database, _COUNTED, (request,)),
            outcome=outcome,
            settled_at=settled_at,
            people=msgspec.json.decode(people, type=tuple[str, ...]),
        )
        for request, tenant, at, outcome, settled_at, people in rows
    ]


def _gravest(database: apsw.Connection, request: str) -> Grade:
    rows = database.execute("SELECT DISTINCT grade FROM decisions WHERE request = ? AND refusal = 1", (request,))
    grades = {grade for (grade,) in rows}
    return next((grade for grade in (Grade.HARD, Grade.SOFT) if grade.value in grades), Grade.NONE)


_COUNTED: Final = (
    "SELECT coalesce(sum(weight), 0) FROM strikes"
    " WHERE id IN (SELECT strike FROM decisions WHERE request = ?) AND overturned_at IS NULL"
)
_THOSE: Final = (
    "SELECT id, tenant, user, weight FROM strikes"
    " WHERE id IN (SELECT strike FROM decisions WHERE request = ?) AND overturned_at IS NULL"
)


def _settle(database: apsw.Connection, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
    appeal = _appealed(database, request)
    if appeal.outcome is not Outcome.OPEN or outcome is Outcome.OPEN:
        raise already_settled()
    database.execute(
        "UPDATE appeals SET outcome = ?, settled_at = ?, people = ? WHERE request = ?",
        (outcome.value, at, _json(list(people)), request),
    )
    if outcome is Outcome.UPHELD:
        return Restored()
    those = msgspec.convert(list(database.execute(_THOSE, (request,))), list[tuple[int, str, str, int]])
    for number, *_ in those:
        database.execute("UPDATE strikes SET overturned_at = ? WHERE id = ?", (at, number))
    subjects = sorted({(tenant, each) for _, tenant, user, _ in those for each in (user, "")})
    lifted = [kind for who in subjects for kind in _lifted(database, who, at)]
    weights = sum(weight for *_, weight in those)
    return Restored(weights, lifted.count("warning"), lifted.count("suspension"))


def _lifted(database: apsw.Connection, who: tuple[str, str], at: int) -> list[str]:
    """Lift what there would not be with the strikes that are left, by the settings of its own time. The kinds of what was lifted."""
    query = "SELECT id, kind, since, last_strike, needed FROM steps WHERE tenant = ? AND user = ? AND lifted_at IS NULL"
    rows = msgspec.convert(list(database.execute(query, who)), list[tuple[int, str, int, int, int]])
    wrong = [row for row in rows if _weight(database, who, row[2], row[3]) < row[4]]
    for number, *_ in wrong:
        database.execute("UPDATE steps SET lifted_at = ? WHERE id = ?", (at, number))
    return [kind for _, kind, *_ in wrong]


# -- what was counted, what was kept


def _tally(database: apsw.Connection, first: date, last: date) -> Tally:
    days = (first.isoformat(), last.isoformat())
    rows = database.execute(
        "SELECT stage, action, grade, nullif(category, ''), sum(decisions) FROM counters WHERE day BETWEEN ? AND ?"
        " GROUP BY stage, action, grade, category ORDER BY stage, action, grade, category",
        days,
    )
    counts = msgspec.convert(list(rows), list[tuple[Stage, Action, Grade, Category | None, int]])
    totals = {name: _numbers(database, query, days) for name, query in _TOTALS.items()}
    return Tally(first, last, tuple(Count(*row) for row in counts), Totals(**totals))


_TOTALS: Final = {
    "strikes": "SELECT coalesce(sum(weight), 0) FROM strikes WHERE date(at / 1000, 'unixepoch') BETWEEN ? AND ?",
    "warnings": "SELECT count(*) FROM steps WHERE kind = 'warning' AND date(at / 1000, 'unixepoch') BETWEEN ? AND ?",
    "suspensions": "SELECT count(*) FROM steps WHERE kind = 'suspension' AND date(at / 1000, 'unixepoch') BETWEEN ? AND ?",
    "appeals": "SELECT count(*) FROM appeals WHERE date(at / 1000, 'unixepoch') BETWEEN ? AND ?",
    "overturned": "SELECT count(*) FROM appeals"
    " WHERE outcome = 'overturned' AND date(settled_at / 1000, 'unixepoch') BETWEEN ? AND ?",
}


def _decisions(database: apsw.Connection, after: int, limit: int) -> list[Decision]:
    rows = database.execute(
        "SELECT id, at, tenant, user, request, stage, action, rule, grade, category, report, strikes, facts, policy,"
        " acknowledged, versions FROM decisions WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [_decision(dict(zip(Decision.__struct_fields__, row, strict=True))) for row in rows]


def _decision(row: dict[str, apsw.SQLiteValue]) -> Decision:
    read = {name: msgspec.json.decode(str(row[name])) for name in ("facts", "versions")}
    told = {name: bool(row[name]) for name in ("report", "acknowledged")}
    return msgspec.convert({**row, **read, **told}, Decision)


def _forget(database: apsw.Connection, before: int) -> int:
    database.execute(
        "DELETE FROM decisions WHERE at < ? AND strike IS NULL AND request NOT IN (SELECT request FROM appeals)",
        (before,),
    )
    return database.changes()
