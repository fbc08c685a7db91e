"""A card from a run: what the ledger says, as a statement that is signed.

Promises that a card says of a run no more than its directory shows, and that what it commits to (rows, files that were written again) is there as it is
signed. What a card may hold is for ``attest.statement``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Final

import msgspec

from custodes.attest.statement import (
    CLEANED,
    PAYLOAD_TYPE,
    Cleaned,
    Commitment,
    Detector,
    Examination,
    ListCommitment,
    Measure,
    Statement,
    Subject,
    Tool,
    counted,
)
from custodes.attest.verification import card_bytes
from custodes.cleaning.keep import dataset_digest
from custodes.cleaning.output import output_digests
from custodes.commitment.runs import commit_rows
from custodes.crypto.dsse import pae
from custodes.crypto.keys import RunKey, Signer
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.handover.finding import Measured
from custodes.ledger.manifest import flatten
from custodes.ledger.run import RunDirectory
from custodes.ledger.store import Folder
from custodes.lists.store import ListStore
from custodes.model import Kind, OutcomeName, Reason
from custodes.scan.report import RunReport, report_of
from custodes.scan.run import plan_of
from custodes.scan.similar_runs import selection_of, similar_runs
from custodes.similar.models import cards
from custodes.sources.base import Plan, SourceFile
from custodes.sources.files import is_local, open_file, shown

__all__ = ["CARD_NAME", "Beside", "holders_of", "leave_card", "statement_of", "write_card"]

CARD_NAME: Final = "card.dsse.json"

LIMITS: Final = (
    "A row without a match is not on these lists in these versions. That is no judgement of the image: lists hold known material only.",
    "Whether the signer examined what it says, and with these lists, rests on the signer: a signature says who says it.",
    "A row that was not examined was compared at most by a digest that the dataset records.",
    "A file named by a fingerprint alone is named by its size, its first and its last MiB: a change between them is not seen.",
)
COMMITTED: Final = "The commitment binds the signer to one outcome of each row. Whether it is true is seen only where rows are examined again."
WRITTEN: Final = (
    "Why a row left is not told. Rows that stayed are on no list that is named here, as far as they were compared."
)


@dataclass(frozen=True)
class Beside:
    """What a card tells beside what lies in the run. ``holders``: by list; ``written``: the dataset written again; ``digested``: read input files in full."""

    holders: Mapping[str, str] = field(default_factory=dict)
    written: Path | None = None
    digested: bool = False
    now: datetime | None = None


def holders_of(lists: ListStore) -> dict[str, str]:
    """Who made the lists that are here now, as their imports said."""
    return (
        {each.list: each.provenance.authority or each.provenance.source for each in lists.show()} if lists.ids() else {}
    )


def statement_of(run: RunDirectory, key: RunKey, beside: Beside = Beside()) -> Statement:
    """What a run can state. Raises InputError for one that examined nothing, that lies in another run, or that ``beside`` does not fit."""
    if run.manifest.parent:
        raise InputError(f"{run.shown} lies in another run", hint="give that one")
    report = report_of(run)
    if not report.rows:
        raise InputError(f"{run.shown} has examined nothing yet", hint="scan first")
    plan = plan_of(run.manifest)
    examined = tuple(_examined(file, digested=beside.digested) for file in plan.files)
    cleaned, written = _written(plan, report, beside.written) if beside.written else (None, ())
    told = _examination(run, report, beside)
    committed = _commitment(run, key) if report.complete else None
    return Statement(
        subject=(*examined, *written),
        predicate=msgspec.structs.replace(
            told,
            detectors=tuple(_detectors(run, key)),
            commitment=committed,
            cleaned=cleaned,
            limits=(*LIMITS, *([COMMITTED] if committed else []), *([WRITTEN] if cleaned else [])),
        ),
    )


def _commitment(run: RunDirectory, key: RunKey) -> Commitment:
    committed = commit_rows(run, key)
    return Commitment(rows=committed.rows, root=committed.root.hex())


def _examination(run: RunDirectory, report: RunReport, beside: Beside) -> Examination:
    manifest = run.manifest
    reasons = dict(report.reasons)
    plain = report.rows - sum(reasons.values())
    name, _, version = report.tool.partition(" ")
    return Examination(
        run=report.run_id,
        dataset=shown(report.dataset),
        began=report.created,
        signed=(beside.now or datetime.now(UTC)).isoformat(timespec="seconds"),
        tool=Tool(name=name, version=version, confinement=report.confinement, unsafe=tuple(report.unsafe)),
        lists=tuple(
            ListCommitment(
                id=used["id"],
                holder=beside.holders.get(used["id"], ""),
                version=used["version"],
                stale_since=report.stale_lists.get(used["id"], ""),
            )
            for used in report.lists
        ),
        passes=tuple(report.passes),  # type: ignore[arg-type]
        settings={each: _text(value) for each, value in flatten(manifest.settings).items()},
        rows=report.rows,
        complete=report.complete,
        outcomes={outcome: report.outcomes.get(outcome, 0) for outcome in OutcomeName},
        reasons=reasons | ({Reason.FULL: plain} if plain else {}),
        coverage=report.coverage,
        matches=counted(report.findings),
        matches_by_list={each: counted(rows) for each, rows in sorted(report.findings_by_list.items())},
        recipients=tuple(report.recipients),
        demonstration=report.demo_authority,
        limits=LIMITS,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# -- files


def _examined(file: SourceFile, *, digested: bool) -> Subject:
    digest = {"custodes-fingerprint-1": file.fingerprint}
    if digested:
        if not is_local(file.path) or Path(file.path.removeprefix("file://")).is_dir():
            raise InputError(f"{shown(file.path)} is no file on this machine: it is not digested in full")
        with open_file(file.path) as opened:
            digest["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]
    return Subject(name=PurePath(file.path.partition("?")[0]).name or "dataset", digest=digest)


def _written(plan: Plan, report: RunReport, folder: Path) -> tuple[Cleaned, tuple[Subject, ...]]:
    note, digests = output_digests(folder)
    if note.dataset != dataset_digest(plan) or note.rows != report.rows:
        raise InputError(
            f"{folder} was not written from the dataset of this run", hint="write it again: custodes clean"
        )
    files = tuple(Subject(name=CLEANED + name, digest={"sha256": digests[name]}) for name in sorted(digests))
    return Cleaned(rows=note.rows, left=note.left, crowd=note.crowd, files=len(files)), files


# -- what found, and what it is worth


def _detectors(run: RunDirectory, key: RunKey) -> Iterator[Detector]:
    settings = run.manifest.settings
    if "bytes" in run.manifest.passes:
        yield Detector(
            name=Kind.PDQ.value,
            kind="near-hash",
            version="eight forms, every frame; distances and qualities are among the settings",
            origin="Facebook, 2019: ThreatExchange, PDQ",
        )
    if embed := settings.get("embed"):
        yield _encoder(embed["model"], embed["sha256"])
    for scan in similar_runs(run, key):
        if (chosen := selection_of(scan)) is None:
            continue
        told, asked = chosen.told, scan.manifest.settings["similar"]
        measured = [_measure(each, "precision") for each in told.precision] + [
            _measure(each, "recall") for each in told.recall
        ]
        yield Detector(
            name=f"photos near confirmed ones by vectors of {asked['model']}"[:1000],
            kind="probe" if told.probe else "encoder",
            version=told.probe or "no probe",
            origin="taught from verdicts of the authority" if told.probe else "nearest neighbours",
            measured=tuple(measured),
        )


def _encoder(model: str, sha256: str) -> Detector:
    card = cards().get(model)
    return Detector(
        name=model,
        kind="encoder",
        version=sha256,
        origin=card.origin if card else "the operator's own model",
        training_data=card.training_data if card else "as the operator's card has it",
        licence=card.licence if card else "",
        known_findings=card.findings if card else (),
    )


_BASIS: Final = {
    "verdicts": "photos that were handed over and that the authority judged",
    "cross-validation": "photos that the probe was taught from, each scored by a probe that had not seen it",
}


def _measure(measured: Measured, of: str) -> Measure:
    value = measured.confirmed / measured.judged
    return Measure(
        what=_BASIS.get(measured.basis, measured.basis),
        of=of,  # type: ignore[arg-type]
        at=measured.slice,
        value=round(value, 4),
        low=min(measured.low, round(value, 4)),
        high=max(measured.high, round(value, 4)),
        on=measured.judged,
    )


# -- the file


def write_card(statement: Statement, key: Signer, path: Path) -> Path:
    """Sign a statement and write the card and, beside it, the key that it is verified with. Returns the key's place."""
    beside = path.with_name(path.name.removesuffix(".dsse.json") + ".vkey")
    for each, data in zip((path, beside), _signed(statement, key), strict=True):
        replace_file(each, data)
    return beside


def leave_card(statement: Statement, key: Signer, run: RunDirectory) -> tuple[str, str]:
    """The same in the run itself. Returns where card and key are."""
    if isinstance(run.store, Folder):
        path = run.path / CARD_NAME
        return str(path), str(write_card(statement, key, path))
    names = (CARD_NAME, CARD_NAME.removesuffix(".dsse.json") + ".vkey")
    for name, data in zip(names, _signed(statement, key), strict=True):
        run.store.replace(name, data)
    return run.store.at(names[0]), run.store.at(names[1])


def _signed(statement: Statement, key: Signer) -> tuple[bytes, bytes]:
    payload = statement.encode()
    return card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier), f"{key.verifier}\n".encode()
