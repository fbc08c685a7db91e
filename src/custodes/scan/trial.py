"""What entries would match in a run, before any list is switched on: counts, and nothing of any row.

Reads what a rematch reads, the stored digests and the dataset's own columns, and writes nothing. Shards are judged together, because a
search costs each digest the less the more there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from custodes.examine import Evidence, Examiner
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.lists.matcher import QUERIES_AT_ONCE
from custodes.model import Kind, Meaning, Role, Signal
from custodes.scan.shard import stored_evidence
from custodes.sources.base import Plan
from custodes.sources.source import read_links

__all__ = ["Trial", "groups_of", "trial"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, each counted once in every line that it belongs in."""

    complete: bool  # whether the run is finished; else only its committed shards were compared
    rows: int
    matched: int
    exact: int  # by a digest of the bytes or of the URL
    near: int  # by PDQ
    kinds: dict[Kind, int]
    roles: dict[Role, int]
    meanings: dict[Meaning, int]  # of confirmed entries


def trial(run: RunDirectory, plan: Plan, examiner: Examiner) -> Trial:
    """Compare what a run keeps with the examiner's lists. Raises SourceError where the dataset is needed and gone."""
    done = run.latest()
    found: Counter[str] = Counter()
    rows = 0
    for group, count in groups_of(run, plan, examiner, done):
        rows += count
        for decision in examiner.judge(Evidence.together(group)).values():
            found.update(_said(decision.signals))
    return Trial(
        complete=len(done) == len(plan.shards),
        rows=rows,
        matched=found["matched"],
        exact=found["exact"],
        near=found["near"],
        kinds={kind: found[kind] for kind in Kind if found[kind]},
        roles={role: found[role] for role in Role if found[role]},
        meanings={meaning: found[meaning] for meaning in Meaning if found[meaning]},
    )


def groups_of(
    run: RunDirectory, plan: Plan, examiner: Examiner, done: dict[int, ShardRecord]
) -> Iterator[tuple[list[tuple[int, Evidence]], int]]:
    """Evidence of as many shards as are worth a search, and how many rows they have. A row has one number in both passes."""
    group: list[tuple[int, Evidence]] = []
    rows = 0
    for shard, record in sorted(done.items()):
        if "bytes" in run.manifest.passes:
            group.append((rows, stored_evidence(run.rows(record), examiner.kinds)))
        if "columns" in run.manifest.passes:
            group.append((rows, _own_digests(plan, shard, examiner)))
        rows += record.rows
        if rows >= QUERIES_AT_ONCE:
            yield group, rows
            group, rows = [], 0
    yield group, rows


def _own_digests(plan: Plan, shard: int, examiner: Examiner) -> Evidence:
    """The digests and hashed URLs in the dataset's columns."""
    want = [kind for kind in examiner.kinds if kind is not Kind.PDQ]
    links = read_links(plan, plan.shards[shard], want, with_urls=False)
    return Evidence({kind: (digested.items, digested.codes) for kind, digested in links.digests.items()})


def _said(signals: tuple[Signal, ...]) -> set[str]:
    """In which lines a row counts."""
    lines = {"matched"} if signals else set()
    lines |= {"near" if signal.kind is Kind.PDQ else "exact" for signal in signals}
    lines |= {name for signal in signals for name in (signal.kind, signal.role)}
    return lines | {signal.meaning for signal in signals if signal.role is Role.CONFIRMED}
