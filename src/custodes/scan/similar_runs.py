"""The scans for similar photos of a run: where they lie, what they chose, what is left of them to do.

Promises that what a scan chose is kept under the run key, and is read back as it was or not at all. Choosing is for ``scan.similar``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.crypto.keys import RunKey
from custodes.handover.finding import Measured, Suspicion
from custodes.handover.verdicts import Ruling, Verdict
from custodes.ledger.manifest import ListUsed, Manifest, make_manifest
from custodes.ledger.run import MANIFEST, RunDirectory, ShardRecord
from custodes.ledger.store import Store
from custodes.scan.settings import JUDGING, ScanSettings, without_pace
from custodes.scan.shard import ShardJob, Suspect, finding_namer
from custodes.sources.base import Plan

__all__ = [
    "SELECTION",
    "SIMILAR_RULE",
    "Earlier",
    "Selection",
    "Told",
    "earlier_photos",
    "firsts_of",
    "runs_of",
    "selection_of",
    "similar_manifest",
    "similar_runs",
    "similar_store",
    "sweep_unchosen",
    "with_suspects",
]

SELECTION: Final = "suspects"
SIMILAR_RULE: Final = "similar"
"""The rule that stands in the finding of a suspect."""

_FOLDER: Final = "similar"

Int64s = npt.NDArray[np.int64]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What may be said of a scan: counts, and nothing of any row. ``waiting``: photos of earlier scans that are not judged yet: they take a part of the budget.

    ``precision``: of suspects that were judged, by sort; ``recall``: of the probe, in cross-validation.
    ``suspects``: rows that were handed over, ``photos``: new ones among them; ``joined``: rows of photos that were handed over before; ``left_out``: candidate
    rows that the budget had no room for.
    """

    rows: int
    scored: int
    confirmed: int
    rejected: int
    probe: str
    photos: int
    suspects: int
    joined: int
    left_out: int
    waiting: int
    budget: int
    precision: tuple[Measured, ...]
    recall: tuple[Measured, ...] = ()
    drift: tuple[dict[str, Any], ...]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan chose: suspects by shard, rows scored by shard, and for later scans each photo's name and first row."""

    suspects: dict[int, tuple[Suspect, ...]]
    scored: tuple[int, ...]
    photos: tuple[tuple[str, int], ...]
    told: Told


@dataclass(frozen=True, eq=False, repr=False)
class Earlier:
    """A photo that was handed over as a suspect: its rows (through all files), the first of them, and what was said of it."""

    name: str
    first: int
    rows: tuple[int, ...]
    suspicion: Suspicion
    rulings: frozenset[Ruling]

    @property
    def was_new(self) -> bool:
        """Whether it was a suspect: not a further row of a photo that was judged otherwise."""
        return self.suspicion.rank > 0


def similar_store(parent: RunDirectory, manifest: Manifest) -> Store:
    """Where a scan for similar photos lies: named by what it was asked."""
    return parent.store.inner(f"{_FOLDER}/{manifest.fingerprint[:16]}")


def similar_runs(parent: RunDirectory, key: RunKey) -> list[RunDirectory]:
    """Those of a run that have chosen their suspects, the oldest first."""
    runs = [RunDirectory.open(each, key) for each in _inside(parent, _FOLDER, SELECTION)]
    return sorted(runs, key=lambda run: (run.manifest.created, run.manifest.fingerprint))


def runs_of(parent: RunDirectory, key: RunKey) -> list[RunDirectory]:
    """A run, its rematches and its scans for similar photos: those whose findings verdicts may be on."""
    stores = [each for folder in ("rematch", _FOLDER) for each in _inside(parent, folder, MANIFEST)]
    return [parent, *(RunDirectory.open(each, key) for each in stores)]


def _inside(parent: RunDirectory, folder: str, having: str) -> list[Store]:
    """The runs in a folder of a run that have a file of this name."""
    stores = [parent.store.inner(f"{folder}/{name}") for name in parent.store.names(folder)]
    return [each for each in stores if having in each.names()]


def sweep_unchosen(parent: RunDirectory, keep: Store) -> None:
    """Remove scans that stopped before they chose, and were asked something else. Call it holding the parent's lock; where there is none, they stay."""
    if not parent.store.locks:
        return
    chosen = {each.at() for each in _inside(parent, _FOLDER, SELECTION)} | {keep.at()}
    for name in parent.store.names(_FOLDER):
        if parent.store.at(f"{_FOLDER}/{name}") not in chosen:
            parent.store.clear(f"{_FOLDER}/{name}")


def similar_manifest(
    parent: RunDirectory, lists: Sequence[ListUsed], recipients: Sequence[str], settings: ScanSettings, **own: Any
) -> Manifest:
    """The manifest: the parent's input and settings, today's lists, and what was asked (``settings.similar``)."""
    old, new = parent.manifest, without_pace(settings)
    return make_manifest(
        dataset=old.dataset,
        lists=list(lists),
        settings=old.settings | {name: new[name] for name in (*JUDGING, "similar")},
        recipients=sorted(recipients),
        input=old.input,
        plan=old.plan,
        parent=old.fingerprint,
        **own,
    )


def selection_of(run: RunDirectory) -> Selection | None:
    """What a scan chose; None before it did."""
    data = run.kept(SELECTION)
    return None if data is None else msgspec.msgpack.decode(data, type=Selection)


def with_suspects(job: ShardJob, chosen: Selection) -> ShardJob:
    """The job with what was chosen of its shard. It is put in where the shard is worked: which rows are suspects goes through no queue and no engine."""
    suspects = chosen.suspects.get(job.shard, ())
    return msgspec.structs.replace(job, suspects=suspects, scored=chosen.scored[job.shard])


def earlier_photos(
    parent: RunDirectory, key: RunKey, firsts: Int64s, verdicts: Mapping[str, Verdict]
) -> Iterator[Earlier]:
    """The photos that earlier scans of a run handed over, with what was said of them since. Rows that joined one later are its rows."""
    photos: dict[str, Earlier] = {}
    for run in similar_runs(parent, key):
        chosen, name = selection_of(run), finding_namer(run.manifest, key)
        led = dict(chosen.photos) if chosen else {}
        for shard, suspects in chosen.suspects.items() if chosen else ():
            for suspect in suspects:
                photo, row = suspect.suspicion.photo, int(firsts[shard]) + suspect.row
                verdict = verdicts.get(name(shard, suspect.row))
                told = photos.get(photo) or Earlier(photo, led.get(photo, row), (), suspect.suspicion, frozenset())
                rulings = told.rulings | ({verdict.verdict} if verdict else set())
                photos[photo] = replace(told, rows=(*told.rows, row), rulings=rulings)
    yield from photos.values()


def firsts_of(plan: Plan, done: Mapping[int, ShardRecord]) -> Int64s:
    """The first row of each shard of a finished run, through all files."""
    rows = [done[shard.index].rows for shard in plan.shards]
    return np.concatenate([[0], np.cumsum(rows)])[:-1].astype(np.int64)
