"""A scan for similar photos: what is near confirmed photos, or like them to a probe, becomes suspects for the authority.

    rows judged so far ─ vectors read once, in parts ─ candidates ─ photos, ranked, as many as the authority wants ─ shards of suspects, sealed
Promises that what is kept of it at rest is locked under the run key or sealed to the authority; that a scan which stopped goes on where it was; and that
a photo is handed over once. Vectors are for ``similar``, what scans of a run chose for ``scan.similar_runs``, the shards for ``scan.suspects``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.crypto.keys import RunKey
from custodes.errors import SourceError
from custodes.handover.finding import Suspicion
from custodes.handover.verdicts import Ruling, Verdict
from custodes.ledger.run import RunDirectory
from custodes.model import Meaning
from custodes.scan.labels import RowLabels
from custodes.scan.precision import JudgedPhoto, Precision, cross_validated, cross_validated_recall, slices_of
from custodes.scan.run import plan_of
from custodes.scan.settings import SimilarAsked
from custodes.scan.shard import ShardJob, Suspect, domain_of, finding_namer
from custodes.scan.similar_runs import SELECTION, Earlier, Selection, Told, earlier_photos
from custodes.similar.drift import Drift, drifting
from custodes.similar.lesson import digest_of, vectors_at
from custodes.similar.neighbours import SEEDS_MAX
from custodes.similar.probe import Float32s, Taught
from custodes.similar.reading import Reading, from_plain, parts_of, plain, read_blocks
from custodes.similar.signals import Ear, Heard, Question, Signals
from custodes.similar.suspects import Before, Candidate, Known, Suspects, candidates_of, suspects_of, unit
from custodes.similar.vectors import Block, VectorShard
from custodes.sources.files import shown
from custodes.sources.source import row_details

__all__ = ["Asked", "Parts", "Probe", "Wanted", "asked_of", "laid_out", "lay_out", "read_part", "select"]

_PARTS: Final = "parts"
_LAID_OUT: Final = "parts/asked"

Int64s = npt.NDArray[np.int64]
Progress = Callable[[int], None]
"""Told how many vectors are done, from any thread."""


@dataclass(frozen=True)
class Probe:
    """A probe in service, and its version."""

    version: str
    taught: Taught


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How far a scan looks: the ``top`` nearest rows of each confirmed photo, of a cosine of ``above`` or more, and what the probe scores ``least`` or more."""

    model: str
    meaning: Meaning = Meaning.CSAM
    top: int = 100
    above: float = 0.0
    least: float = 0.5
    budget: int = 1000


# -- what is asked


@dataclass(frozen=True, eq=False, repr=False)
class Asked:
    """Everything that decides what is chosen."""

    shards: Sequence[VectorShard]
    labels: RowLabels
    confirmed: Float32s
    rejected: Float32s
    probe: Probe | None
    earlier: Sequence[Earlier]
    wanted: Wanted
    settings: SimilarAsked

    @property
    def judged_otherwise(self) -> set[int]:
        """Rows that are confirmed or rejected, and were never suspects."""
        return (self.labels.positives | self.labels.negatives) - {row for photo in self.earlier for row in photo.rows}

    @property
    def waiting(self) -> int:
        """Photos of earlier scans that are not judged yet."""
        return sum(photo.was_new and not photo.rulings for photo in self.earlier)

    @property
    def room(self) -> int:
        """New photos that the authority has time for."""
        return max(0, self.wanted.budget - self.waiting)


def asked_of(
    parent: RunDirectory,
    key: RunKey,
    labels: RowLabels,
    verdicts: Mapping[str, Verdict],
    given: tuple[Sequence[VectorShard], Float32s, Probe | None, Wanted],
) -> Asked:
    """Gather what is known. ``given``: vectors, further seeds, the probe, how far to look. Raises InputError where there is nothing to search near."""
    shards, more, probe, wanted = given
    confirmed = vectors_at(shards, _sorted(labels.positives | labels.seeds))[1]
    if len(more) and more.shape[1] != shards[0].dimension:
        raise SourceError(
            f"vectors have {shards[0].dimension:,} numbers, seeds {more.shape[1]:,}",
            hint="vectors and seeds must come from the same model",
        )
    seeds = _distinct(np.concatenate([confirmed, more.astype(np.float32)]) if len(more) else confirmed)
    rejected = _distinct(vectors_at(shards, _sorted(labels.negatives))[1])
    earlier = list(earlier_photos(parent, key, labels.firsts, verdicts))
    judged = sum(bool(photo.rulings) for photo in earlier)  # with each the budget has room for another
    photos = hashlib.sha256(
        f"{seeds.shape} {rejected.shape} {judged}\n".encode() + seeds.tobytes() + rejected.tobytes()
    )
    settings = SimilarAsked(
        model=wanted.model,
        vectors=digest_of(shards),
        photos=photos.hexdigest(),
        probe=probe.version if probe else "",
        meaning=wanted.meaning,
        top=wanted.top,
        above=wanted.above,
        least=wanted.least,
        budget=wanted.budget,
    )
    return Asked(shards, labels, seeds, rejected, probe, earlier, wanted, settings)


def _sorted(rows: Collection[int]) -> Int64s:
    return np.array(sorted(rows), dtype=np.int64)


def _distinct(vectors: Float32s) -> Float32s:
    """Each vector once, in the order of their numbers; of more than can be searched near, so many evenly drawn."""
    once = np.unique(vectors.astype(np.float32) + np.float32(0), axis=0)
    if len(once) <= SEEDS_MAX:
        return once
    return once[np.linspace(0, len(once) - 1, SEEDS_MAX).astype(np.int64)]


# -- reading the vectors, and choosing


def select(run: RunDirectory, key: RunKey, asked: Asked, how: Reading, progress: Progress) -> Selection:
    """Choose, and keep what was chosen. Parts that were read before a crash are not read again."""
    question = _question(asked)
    ear = Ear(question)
    for part in _parts(run, asked, question, how, progress):
        ear.hear(part)
    rows, vectors = vectors_at(asked.shards, np.setdiff1d(ear.candidates(), question.known))
    known = Known(unit(asked.confirmed), unit(asked.rejected))
    candidates, ordered = candidates_of(rows, unit(vectors), known, question.probe)
    sealing = _Sealing(run, key, asked)
    found = suspects_of(candidates, ordered, _before(asked, sealing.name_of), asked.room)
    chosen = _selection(asked, ear, found, sealing)
    run.keep(SELECTION, msgspec.msgpack.encode(chosen))
    run.forget(_PARTS)
    return chosen


def _question(asked: Asked) -> Question:
    labels, wanted = asked.labels, asked.wanted
    known = labels.positives | labels.negatives | labels.passed | {row for photo in asked.earlier for row in photo.rows}
    return Question(
        seeds=asked.confirmed,
        probe=asked.probe.taught if asked.probe else None,
        known=_sorted(known),
        bounds=labels.firsts,
        top=wanted.top,
        above=wanted.above,
        keep=max(1000, 10 * wanted.budget),
        least=wanted.least,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Parts:
    """What is asked of the vectors, and the parts that they are read in, each with its first row."""

    question: Question
    parts: list[tuple[int, list[VectorShard]]]


def lay_out(run: RunDirectory, asked: Asked, how: Reading) -> list[ShardJob]:
    """Keep what is asked, so that other processes can read parts, and say which are left: a job names a part by its number."""
    laid = Parts(_question(asked), parts_of(asked.shards, how.part_bytes))
    run.keep(_LAID_OUT, msgspec.msgpack.encode(laid, enc_hook=plain))
    return [ShardJob(number) for number in range(len(laid.parts)) if run.kept(_part_name(number)) is None]


def laid_out(run: RunDirectory) -> Parts:
    """What ``lay_out`` kept."""
    data = run.kept(_LAID_OUT)
    assert data is not None
    return msgspec.msgpack.decode(data, type=Parts, dec_hook=from_plain)


def read_part(run: RunDirectory, laid: Parts, number: int) -> int:
    """Read one part with one thread, and keep what it says. The number of its vectors."""
    heard = _read(laid.parts[number], laid.question, Reading(), lambda _: None)
    run.keep(_part_name(number), msgspec.msgpack.encode(heard))
    return heard.rows


def _part_name(number: int) -> str:
    return f"{_PARTS}/{number:06}"


def _parts(run: RunDirectory, asked: Asked, question: Question, how: Reading, progress: Progress) -> Iterator[Heard]:
    done = 0
    for number, (row, shards) in enumerate(parts_of(asked.shards, how.part_bytes)):
        name = _part_name(number)
        if (data := run.kept(name)) is None:
            heard = _read((row, shards), question, how, lambda rows, base=done: progress(base + rows))  # type: ignore[misc]
            data = msgspec.msgpack.encode(heard)
            run.keep(name, data)
        part = msgspec.msgpack.decode(data, type=Heard)
        if part.rows != sum(shard.rows for shard in shards):
            raise SourceError(f"{part.rows:,} vectors were read where {shown(shards[0].path)} and others say otherwise")
        done += part.rows
        progress(done)
        yield part


def _read(part: tuple[int, Sequence[VectorShard]], question: Question, how: Reading, progress: Progress) -> Heard:
    row, shards = part
    firsts = row + np.cumsum([0, *(shard.rows for shard in shards[:-1])])
    signals = Signals(question, firsts.astype(np.int64))

    def take(first: int, block: Block) -> None:
        signals.feed(first, block)
        progress(signals.rows)

    read_blocks(part, how._replace(rows_max=how.rows_max // max(1, len(question.seeds))), take)
    return signals.heard()


def _before(asked: Asked, name_of: Callable[[int], str]) -> Before:
    """A vector of each photo that was handed over, or judged otherwise; of photos without one nothing can be the same."""
    firsts = {photo.first: photo for photo in asked.earlier}
    rows, vectors = vectors_at(asked.shards, _sorted(firsts.keys()))
    photos = [firsts[row] for row in rows.tolist()]
    others, of_others = vectors_at(asked.shards, _sorted(asked.judged_otherwise))
    once = np.sort(np.unique(of_others, axis=0, return_index=True)[1])[:SEEDS_MAX]
    return Before(
        unit(np.concatenate([vectors, of_others[once]])),
        [*(photo.name for photo in photos), *map(name_of, others[once].tolist())],
        [
            *(photo.rulings != {Ruling.NOT} for photo in photos),
            *(row in asked.labels.positives for row in others[once].tolist()),
        ],
    )


def _selection(asked: Asked, ear: Ear, found: Suspects, sealing: _Sealing) -> Selection:
    suspects, photos = sealing.suspects(found)
    told = Told(
        rows=ear.rows,
        scored=int(ear.scored.sum()),
        confirmed=len(asked.confirmed),
        rejected=len(asked.rejected),
        probe=asked.settings.probe,
        photos=len(photos),
        suspects=sum(map(len, suspects.values())),
        joined=sum(len(photo.rows) for photo in found.photos if photo.before),
        left_out=found.more,
        waiting=asked.waiting,
        budget=asked.wanted.budget,
        precision=sealing.precision.told(),
        recall=cross_validated_recall(asked.probe.taught.card if asked.probe else None, asked.wanted.least),
        drift=tuple(_drift_told(asked.shards, each) for each in drifting(ear.histograms)),
    )
    return Selection(suspects=suspects, scored=tuple(ear.scored.tolist()), photos=photos, told=told)


def _drift_told(shards: Sequence[VectorShard], drift: Drift) -> dict[str, Any]:
    return {"file": shown(shards[drift.file].path), "rows": drift.rows, "stability_index": round(drift.stability, 3)}


# -- names and precision


class _Sealing:
    """Gives photos their names, their rows' places, and what suspects of their sort were worth so far."""

    def __init__(self, run: RunDirectory, key: RunKey, asked: Asked) -> None:
        self._plan, self._name = plan_of(run.manifest), finding_namer(run.manifest, key)
        self._asked, self._firsts = asked, asked.labels.firsts
        judged = [photo for photo in asked.earlier if photo.rulings and photo.was_new]
        said = self._said_of({photo.first for photo in judged})
        self.precision = Precision(
            JudgedPhoto(
                slices_of(photo.suspicion.cosine, photo.suspicion.score, *said[photo.first]),
                photo.rulings == {Ruling.CONFIRMED},
            )
            for photo in judged
        )

    def suspects(self, found: Suspects) -> tuple[dict[int, tuple[Suspect, ...]], tuple[tuple[str, int], ...]]:
        """By shard; and name and first row of each photo that is new."""
        said = self._said_of({photo.rows[0].row for photo in found.photos})
        by_shard: dict[int, list[Suspect]] = {}
        named = []
        for photo in found.photos:
            leader = photo.rows[0].row
            name = photo.before or self.name_of(leader)
            if not photo.before:
                named.append((name, leader))
            for candidate in photo.rows:
                shard, row = self._place(candidate.row)
                suspicion = self._suspicion(photo.rank, name, candidate, said[leader])
                by_shard.setdefault(shard, []).append(Suspect(row, suspicion))
        rows = {shard: tuple(sorted(each, key=lambda suspect: suspect.row)) for shard, each in by_shard.items()}
        return rows, tuple(named)

    def name_of(self, row: int) -> str:
        """The id of the finding on this row."""
        return self._name(*self._place(row))

    def _suspicion(self, rank: int, name: str, candidate: Candidate, said: tuple[str, str]) -> Suspicion:
        probe = self._asked.probe
        measured = self.precision.of(slices_of(candidate.cosine, candidate.score, *said))
        return Suspicion(
            photo=name,
            rank=rank,
            model=self._asked.settings.model,
            cosine=candidate.cosine,
            probe=self._asked.settings.probe,
            score=candidate.score,
            measured=(*measured, *cross_validated(probe.taught.card if probe else None, candidate.score)),
        )

    def _place(self, row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return shard, row - int(self._firsts[shard])

    def _said_of(self, rows: Collection[int]) -> dict[int, tuple[str, str]]:
        """Language and host of rows."""
        by_shard: dict[int, list[tuple[int, int]]] = {}
        for row in sorted(rows):
            shard, inside = self._place(row)
            by_shard.setdefault(shard, []).append((row, inside))
        found = {}
        for shard, mine in by_shard.items():
            details = row_details(self._plan, self._plan.shards[shard], [inside for _, inside in mine])
            for (row, _), each in zip(mine, details, strict=True):
                found[row] = (each.language or "", domain_of(each.url or ""))
        return found
