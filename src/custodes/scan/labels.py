"""Which rows of a run an authority has judged, and which it need not judge, because their digests are on its lists. In memory only.

Names of findings are HMACs, so that nobody without the run key can tell the row; whoever has the key tells it by naming every row again. Promises that a
verdict outweighs a match, that rows of which nothing certain is known are neither examples nor background, and that nothing of any row is written.
Teaching is for ``similar``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from custodes.crypto.keys import RunKey
from custodes.errors import InputError
from custodes.examine import Evidence, Examiner
from custodes.handover.verdicts import Ruling, Verdict
from custodes.ledger.manifest import Manifest
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.model import Decision, Kind, Meaning, Role
from custodes.policy import UNREVIEWED
from custodes.scan.run import plan_of
from custodes.scan.shard import finding_namer
from custodes.scan.similar_runs import Int64s, firsts_of, runs_of, selection_of, similar_runs
from custodes.scan.trial import groups_of
from custodes.sources.base import Plan

__all__ = ["RowLabels", "label_rows"]

_EXACT: Final = (Kind.MD5, Kind.SHA1, Kind.SHA256)  # a hash of a link says nothing of the image behind it today


@dataclass(repr=False)
class RowLabels:
    """Rows are counted through all files of the run, in its order. ``passed``: known of, and neither example nor background.

    ``seeds``: of those, rows that an authority asks to search near, without saying what they are.
    """

    files: list[tuple[str, int]]  # of the run: path and rows
    firsts: Int64s  # the first row of each of its shards
    positives: set[int] = field(default_factory=set)
    negatives: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    verdicts_found: int = 0
    exact_matches: int = 0


def label_rows(
    run: RunDirectory, examiner: Examiner, key: RunKey, verdicts: Mapping[str, Verdict], meaning: Meaning
) -> RowLabels:
    """Examples of what is confirmed to be of this class. Raises InputError where the run is not finished, or is not the whole of its dataset."""
    plan, done = plan_of(run.manifest), run.latest()
    labels = RowLabels(_files(run, plan, done), firsts_of(plan, done))
    decisions: dict[int, Decision] = {}
    first = 0
    for group, rows in groups_of(run, plan, examiner, done):
        for row, decision in examiner.judge(Evidence.together(group)).items():
            decisions[first + row] = decision
        first += rows
    judged = _judged(_Findings(run, key, labels), verdicts, decisions.keys())
    labels.verdicts_found = sum(map(len, judged.values()))
    for row, decision in decisions.items():
        if row not in judged:
            _by_lists(labels, row, decision, meaning)
    for row, said in judged.items():
        _by_verdicts(labels, row, said, meaning)
    return labels


def _files(run: RunDirectory, plan: Plan, done: Mapping[int, ShardRecord]) -> list[tuple[str, int]]:
    """Each file with its rows, all of them."""
    if run.manifest.parent:
        raise InputError(f"{run.shown} is a rematch", hint="give the run that it lies in: its rematches count with it")
    if len(done) < len(plan.shards):
        raise InputError(
            f"{run.shown} is not finished: {len(done)} of {len(plan.shards)} shards",
            hint="finish the scan first: start it again",
        )
    if any(shard.stops_short for shard in plan.shards):
        raise InputError(f"{run.shown} is a scan of the first rows only", hint="give a scan of the whole dataset")
    rows = [0] * len(plan.files)
    for shard in plan.shards:
        rows[shard.file] += done[shard.index].rows
    return [(file.path, count) for file, count in zip(plan.files, rows, strict=True)]


class _Findings:
    """Names of the findings that may be on a row: in the run, its rematches and its scans for similar photos."""

    def __init__(self, run: RunDirectory, key: RunKey, labels: RowLabels) -> None:
        self._firsts = labels.firsts.tolist()
        self._names = [finding_namer(manifest, key) for manifest in _manifests(run, key)]
        self.rows = sum(rows for _, rows in labels.files)
        self.suspects = {
            self._firsts[shard] + suspect.row
            for inside in similar_runs(run, key)
            if (chosen := selection_of(inside)) is not None
            for shard, suspects in chosen.suspects.items()
            for suspect in suspects
        }

    def on(self, row: int) -> list[str]:
        """One for each set of lists."""
        shard = bisect_right(self._firsts, row) - 1
        return [name(shard, row - self._firsts[shard]) for name in self._names]


def _judged(findings: _Findings, verdicts: Mapping[str, Verdict], matched: Collection[int]) -> dict[int, list[Verdict]]:
    """Row: what is said of its findings. Rows that match today, and suspects, are looked at first; all others only while a verdict has no row."""
    likely = findings.suspects.union(matched)
    left, found = set(verdicts), dict[int, list[Verdict]]()
    for row in chain(sorted(likely), (row for row in range(findings.rows) if row not in likely)):
        if not left:
            break
        for finding in findings.on(row):
            if finding in left:
                left.remove(finding)
                found.setdefault(row, []).append(verdicts[finding])
    return found


def _manifests(run: RunDirectory, key: RunKey) -> Iterator[Manifest]:
    """Of the run, its rematches and its scans for similar photos, one for each set of lists: with the same lists findings have the same names."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    for manifest in (each.manifest for each in runs_of(run, key)):
        lists = tuple(sorted((used.id, used.version) for used in manifest.lists))
        if lists not in seen:
            seen.add(lists)
            yield manifest


def _by_verdicts(labels: RowLabels, row: int, said: list[Verdict], meaning: Meaning) -> None:
    rulings = {each.verdict for each in said}
    if rulings == {Ruling.NOT}:
        labels.negatives.add(row)
    elif rulings == {Ruling.CONFIRMED} and {each.meaning for each in said} <= {"", meaning}:
        labels.positives.add(row)
    else:  # unsure, of another class, or both confirmed and not
        labels.passed.add(row)


def _by_lists(labels: RowLabels, row: int, decision: Decision, meaning: Meaning) -> None:
    exact = [signal for signal in decision.signals if signal.kind in _EXACT]
    dismissed = any(signal.role is Role.NEGATIVE for signal in exact)
    confirmed = any(
        signal.role is Role.CONFIRMED and signal.meaning is meaning and signal.assurance != UNREVIEWED
        for signal in exact
    )
    if confirmed and not dismissed:
        labels.positives.add(row)
        labels.exact_matches += 1
    elif decision.signals:
        labels.passed.add(row)
        if any(signal.role is Role.SEED for signal in exact) and not dismissed:
            labels.seeds.add(row)
