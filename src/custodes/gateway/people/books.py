"""What is done in a ledger's tables: one set of statements, for SQLite and for PostgreSQL.

Every function is one piece of work in a transaction that whoever calls it has begun, and in which nobody else writes. How it is begun, and made durable, is
for ``sqlite`` and ``postgres``; tables are for ``migrations``. Format: docs/formats/gateway-ledger.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Protocol

import msgspec

from custodes.gateway.people.ledger import (
    Appeal,
    Asking,
    Consequence,
    Count,
    Decision,
    Entered,
    Entry,
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
from custodes.gateway.vocabulary import Action, Category, Grade, Stage

__all__ = [
    "Tables",
    "appeal",
    "appealed",
    "appeals",
    "decisions",
    "enter",
    "forget",
    "give_back",
    "note",
    "settle",
    "standing",
    "tally",
]


class Tables(Protocol):
    """A transaction. Values stand for ``?``; what a statement means is the same in both databases."""

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Every row that it gives."""

    def do(self, statement: str, *values: object) -> None:
        """Nothing is asked back, so that it need not be waited for."""


def _number(tables: Tables, query: str, *values: object) -> int:
    """The one number that a query gives."""
    return msgspec.convert(tables.all(query, *values), list[tuple[int]])[0][0]


# -- a decision


def note(tables: Tables, noted: Noted) -> Consequence:
    """1. The strike, or that of the retry before. 2. The decision, which names it. 3. Counts. 4. What strikes lead to, if there are more."""
    strike, more = _strike(tables, noted) if noted.verdict.strikes else (None, False)  # 1
    _write(tables, noted, strike)  # 2
    _count(tables, noted)  # 3
    if not more:
        return Consequence()
    own, all_users = noted.ladders
    user = _climb(tables, noted, noted.user, own) if noted.user else (False, False)  # 4
    tenant = _climb(tables, noted, "", all_users)
    return Consequence(True, *user, *tenant)


def _strike(tables: Tables, noted: Noted) -> tuple[int, bool]:
    """The strike of this request, and whether it is new or graver than it was: one request has one, however often and wherever it is refused."""
    weight = noted.verdict.strikes
    found = tables.all(
        "SELECT id, weight FROM strikes WHERE name = ? AND at > ? ORDER BY at DESC LIMIT 1",
        *(noted.name, noted.retried_since),
    )
    if not found:
        insert = 'INSERT INTO strikes (name, tenant, "user", at, weight) VALUES (?, ?, ?, ?, ?) RETURNING id'
        return _number(tables, insert, noted.name, noted.tenant, noted.user, noted.at, weight), True
    number, before = msgspec.convert(found[0], tuple[int, int])
    if before >= weight:
        return number, False
    tables.do("UPDATE strikes SET weight = ? WHERE id = ?", weight, number)
    return number, True


def _write(tables: Tables, noted: Noted, strike: int | None) -> None:
    verdict = noted.verdict
    facts = sorted({(fact.name, fact.score) for fact in noted.facts}, key=lambda each: (each[0], each[1] or 0.0))
    versions = sorted({fact.by for fact in noted.facts})
    tables.do(
        'INSERT INTO decisions (at, tenant, "user", request, stage, action, rule, grade, category, report, facts, policy,'
        " acknowledged, versions, refusal, strikes, strike) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(noted.at, noted.tenant, noted.user, noted.request, noted.stage.value, verdict.action.value, verdict.rule),
        *(verdict.grade.value, verdict.category.value, int(verdict.report), _json(facts), noted.policy),
        *(int(noted.acknowledged), _json(versions), int(noted.refusal), verdict.strikes, strike),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _count(tables: Tables, noted: Noted) -> None:
    """The decision among those of its day; and an image that is released now is no longer one that may be."""
    verdict = noted.verdict
    tables.do(
        "INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?, 1)"
        " ON CONFLICT (day, tenant, stage, action, grade, category) DO UPDATE SET decisions = counters.decisions + 1",
        *(day_of(noted.at), noted.tenant, noted.stage.value, verdict.action.value, verdict.grade.value),
        verdict.category.value if noted.stops else "",
    )
    if noted.booking and noted.releases:
        tables.do("UPDATE bookings SET images = images - 1 WHERE id = ? AND images > 0", noted.booking)


def _climb(tables: Tables, noted: Noted, user: str, ladder: Ladder) -> tuple[bool, bool]:
    """Whether one is warned now, and suspended now. Who is suspended is not suspended again before that has ended."""
    since, who = noted.at - ladder.window_ms, (noted.tenant, user)
    last = _number(tables, "SELECT max(id) FROM strikes")
    strikes = _weight(tables, who, since, last)
    warned = strikes >= ladder.warn_at and not _lasting(tables, "warning", who, noted.at)
    if warned:
        lasts = (noted.at, noted.at + ladder.window_ms, since)
        tables.do(_STEP, "warning", *who, *lasts, last, ladder.warn_at)
    suspended = strikes >= ladder.suspend_at and not _lasting(tables, "suspension", who, noted.at)
    if suspended:
        until = noted.at + ladder.suspension_ms(_lasting(tables, "suspension", who, 0))
        tables.do(_STEP, "suspension", *who, noted.at, until, since, last, ladder.suspend_at)
    return warned, suspended


_STEP: Final = (
    'INSERT INTO steps (kind, tenant, "user", at, until, since, last_strike, needed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
)


def _weight(tables: Tables, who: tuple[str, str], since: int, last: int) -> int:
    """Strikes that count, up to one of them, of a user; of no user: of all that the tenant has. Told by their order, as clocks of processes differ."""
    tenant, user = who
    if not user:
        return _number(tables, _STRIKES_OF_TENANT, tenant, since, last)
    return _number(tables, _STRIKES_OF_USER, tenant, user, since, last)


_STRIKES_OF_USER: Final = (
    "SELECT CAST(coalesce(sum(weight), 0) AS bigint) FROM strikes"
    ' WHERE tenant = ? AND "user" = ? AND at > ? AND id <= ? AND overturned_at IS NULL'
)
_STRIKES_OF_TENANT: Final = (
    "SELECT CAST(coalesce(sum(weight), 0) AS bigint) FROM strikes"
    " WHERE tenant = ? AND at > ? AND id <= ? AND overturned_at IS NULL"
)
_LASTING: Final = (
    'SELECT count(*) FROM steps WHERE kind = ? AND tenant = ? AND "user" = ? AND until > ? AND lifted_at IS NULL'
)


def _lasting(tables: Tables, kind: str, who: tuple[str, str], at: int) -> int:
    """How many warnings or suspensions are not lifted and not over."""
    return _number(tables, _LASTING, kind, *who, at)


# -- who asks


def standing(tables: Tables, asking: Asking) -> Standing:
    """How one stands who asks: one question, for the database may be far."""
    tenant, user = who = asking.tenant, asking.user
    parts: dict[str, tuple[str, tuple[object, ...]]] = {
        "suspended_until": (_SUSPENDED, (*who, asking.at)),
        "strikes": (
            (_STRIKES_OF_USER, (*who, asking.strikes_since, _ALL))
            if user
            else (_STRIKES_OF_TENANT, (tenant, asking.strikes_since, _ALL))
        ),
        "warned": (_LASTING, ("warning", *who, asking.at)),
        "refusals": (_REFUSALS_OF_USER, (*who, asking.refusals_since)) if user else ("SELECT 0", ()),
        "tenant_refusals": (_REFUSALS_OF_TENANT, (tenant, asking.refusals_since)),
        "images_today": (_IMAGES, (day_of(asking.at), tenant)),
        "images_booked": (_BOOKED, (tenant, asking.at)),
    }
    query = "SELECT " + ", ".join(f"({part})" for part, _ in parts.values())
    values = [value for _, each in parts.values() for value in each]
    told = dict(zip(parts, tables.all(query, *values)[0], strict=True))
    return msgspec.convert({**told, "warned": told["warned"] > 0}, Standing)


_ALL: Final = (1 << 63) - 1
_SUSPENDED: Final = (
    "SELECT coalesce(max(until), 0) FROM steps"
    " WHERE kind = 'suspension' AND tenant = ? AND \"user\" IN (?, '') AND until > ? AND lifted_at IS NULL"
)
_REFUSALS_OF_USER: Final = (
    "SELECT count(*) FROM (SELECT DISTINCT request FROM decisions"
    ' WHERE refusal = 1 AND tenant = ? AND "user" = ? AND at > ? LIMIT 4096) AS requests'
)
_REFUSALS_OF_TENANT: Final = (
    "SELECT count(*) FROM (SELECT DISTINCT request FROM decisions"
    " WHERE refusal = 1 AND tenant = ? AND at > ? LIMIT 4096) AS requests"
)
_IMAGES: Final = (
    "SELECT CAST(coalesce(sum(decisions), 0) AS bigint) FROM counters"
    " WHERE day = ? AND tenant = ? AND stage = 'output' AND action = 'allow'"
)
_BOOKED: Final = "SELECT CAST(coalesce(sum(images), 0) AS bigint) FROM bookings WHERE tenant = ? AND until > ?"


def enter(tables: Tables, entry: Entry) -> Entered:
    """1. Room in the rate. 2. Not suspended. 3. Images left, which are booked. Nothing is taken of what comes after a no."""
    asking = entry.asking
    if not _room(tables, entry):  # 1
        return Entered(hurried=True)
    found = standing(tables, asking)
    used = found.images_today + found.images_booked + entry.images
    if found.suspended_until or used > entry.images_per_day:  # 2
        return Entered(found)
    if entry.images:  # 3
        tables.do("DELETE FROM bookings WHERE until <= ?", asking.at)
        values = (entry.booking, asking.tenant, entry.images, entry.booked_until)
        tables.do("INSERT INTO bookings VALUES (?, ?, ?, ?)", *values)
    return Entered(found, booked=True)


def _room(tables: Tables, entry: Entry) -> bool:
    """Whether there is room for one more, which is then counted: so many a minute, and a minute's worth at once. Clocks of gateways differ a little."""
    tenant, at, most = entry.asking.tenant, entry.asking.at, float(entry.per_minute)
    rows = tables.all("SELECT room, at FROM rates WHERE tenant = ?", tenant)
    room, since = msgspec.convert(rows, list[tuple[float, int]])[0] if rows else (most, at)
    room = min(most, room + max(0, at - since) * most / 60_000)
    if room < 1:
        return False
    tables.do(
        "INSERT INTO rates VALUES (?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET room = excluded.room, at = excluded.at",
        *(tenant, room - 1, max(at, since)),
    )
    return True


def give_back(tables: Tables, booking: str) -> None:
    """What is left of it was not used."""
    tables.do("DELETE FROM bookings WHERE id = ?", booking)


# -- appeals


def appeal(tables: Tables, tenant: str, request: str, at: int) -> Appeal:
    """Open an appeal. Raises InputError."""
    stopped = "SELECT count(*) FROM decisions WHERE request = ? AND tenant = ? AND refusal = 1"
    if not _number(tables, stopped, request, tenant):
        raise no_such_refusal()
    tables.do(
        "INSERT INTO appeals VALUES (?, ?, ?, ?, 0, '[]') ON CONFLICT DO NOTHING",
        *(request, tenant, at, Outcome.OPEN.value),
    )
    return appealed(tables, request)


def appealed(tables: Tables, request: str) -> Appeal:
    """One of them. Raises InputError."""
    if not (found := _appeals(tables, "SELECT * FROM appeals WHERE request = ?", request)):
        raise no_such_refusal()
    return found[0]


def appeals(tables: Tables, outcome: Outcome) -> list[Appeal]:
    """All that ended so, the oldest first."""
    found = _appeals(tables, "SELECT * FROM appeals WHERE outcome = ?", outcome.value)
    return sorted(found, key=lambda each: (each.at, each.request))


def _appeals(tables: Tables, query: str, value: str) -> list[Appeal]:
    rows = msgspec.convert(tables.all(query, value), list[tuple[str, str, int, Outcome, int, str]])
    return [
        Appeal(
            request=request,
            tenant=tenant,
            at=at,
            grade=_gravest(tables, request),
            strikes=_number(tables, _COUNTED, request),
            outcome=outcome,
            settled_at=settled_at,
            people=msgspec.json.decode(people, type=tuple[str, ...]),
        )
        for request, tenant, at, outcome, settled_at, people in rows
    ]


def _gravest(tables: Tables, request: str) -> Grade:
    rows = tables.all("SELECT DISTINCT grade FROM decisions WHERE request = ? AND refusal = 1", request)
    grades = {grade for (grade,) in rows}
    return next((grade for grade in (Grade.HARD, Grade.SOFT) if grade.value in grades), Grade.NONE)


_COUNTED: Final = (
    "SELECT CAST(coalesce(sum(weight), 0) AS bigint) FROM strikes"
    " WHERE id IN (SELECT strike FROM decisions WHERE request = ?) AND overturned_at IS NULL"
)
_THOSE: Final = (
    'SELECT id, tenant, "user", weight FROM strikes'
    " WHERE id IN (SELECT strike FROM decisions WHERE request = ?) AND overturned_at IS NULL"
)


def settle(tables: Tables, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
    """End an appeal. Raises InputError."""
    if appealed(tables, request).outcome is not Outcome.OPEN or outcome is Outcome.OPEN:
        raise already_settled()
    tables.do(
        "UPDATE appeals SET outcome = ?, settled_at = ?, people = ? WHERE request = ?",
        *(outcome.value, at, _json(list(people)), request),
    )
    if outcome is Outcome.UPHELD:
        return Restored()
    those = msgspec.convert(tables.all(_THOSE, request), list[tuple[int, str, str, int]])
    for number, *_ in those:
        tables.do("UPDATE strikes SET overturned_at = ? WHERE id = ?", at, number)
    subjects = sorted({(tenant, each) for _, tenant, user, _ in those for each in (user, "")})
    lifted = [kind for who in subjects for kind in _lifted(tables, who, at)]
    weights = sum(weight for *_, weight in those)
    return Restored(weights, lifted.count("warning"), lifted.count("suspension"))


def _lifted(tables: Tables, who: tuple[str, str], at: int) -> list[str]:
    """Lift what there would not be with the strikes that are left, by the settings of its own time. The kinds of what was lifted."""
    query = (
        'SELECT id, kind, since, last_strike, needed FROM steps WHERE tenant = ? AND "user" = ? AND lifted_at IS NULL'
    )
    rows = msgspec.convert(tables.all(query, *who), list[tuple[int, str, int, int, int]])
    wrong = [row for row in rows if _weight(tables, who, row[2], row[3]) < row[4]]
    for number, *_ in wrong:
        tables.do("UPDATE steps SET lifted_at = ? WHERE id = ?", at, number)
    return [kind for _, kind, *_ in wrong]


# -- what was counted, what was kept


def tally(tables: Tables, first: date, last: date) -> Tally:
    """What was counted."""
    rows = tables.all(
        "SELECT stage, action, grade, nullif(category, ''), CAST(sum(decisions) AS bigint) FROM counters"
        " WHERE day BETWEEN ? AND ? GROUP BY stage, action, grade, category",
        *(first.isoformat(), last.isoformat()),
    )
    found = msgspec.convert(rows, list[tuple[Stage, Action, Grade, Category | None, int]])
    counts = sorted((Count(*row) for row in found), key=lambda c: (c.stage, c.action, c.grade, c.category or ""))
    within = _begins(first), _begins(last + timedelta(days=1))
    totals = {name: _number(tables, query, *within) for name, query in _TOTALS.items()}
    return Tally(first, last, tuple(counts), Totals(**totals))


def _begins(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1000


_TOTALS: Final = {
    "strikes": "SELECT CAST(coalesce(sum(weight), 0) AS bigint) FROM strikes WHERE at >= ? AND at < ?",
    "warnings": "SELECT count(*) FROM steps WHERE kind = 'warning' AND at >= ? AND at < ?",
    "suspensions": "SELECT count(*) FROM steps WHERE kind = 'suspension' AND at >= ? AND at < ?",
    "appeals": "SELECT count(*) FROM appeals WHERE at >= ? AND at < ?",
    "overturned": "SELECT count(*) FROM appeals WHERE outcome = 'overturned' AND settled_at >= ? AND settled_at < ?",
}


def decisions(tables: Tables, after: int, limit: int) -> list[Decision]:
    """Those with greater numbers, in order."""
    rows = tables.all(
        'SELECT id, at, tenant, "user", request, stage, action, rule, grade, category, report, strikes, facts, policy,'
        " acknowledged, versions FROM decisions WHERE id > ? ORDER BY id LIMIT ?",
        *(after, limit),
    )
    return [_decision(dict(zip(Decision.__struct_fields__, row, strict=True))) for row in rows]


def _decision(row: dict[str, Any]) -> Decision:
    read = {name: msgspec.json.decode(str(row[name])) for name in ("facts", "versions")}
    told = {name: bool(row[name]) for name in ("report", "acknowledged")}
    return msgspec.convert({**row, **read, **told}, Decision)


def forget(tables: Tables, before: int) -> int:
    """Drop older decisions that have no strike and no appeal. Returns how many."""
    those = "FROM decisions WHERE at < ? AND strike IS NULL AND request NOT IN (SELECT request FROM appeals)"
    found = _number(tables, f"SELECT count(*) {those}", before)
    tables.do(f"DELETE {those}", before)
    return found
