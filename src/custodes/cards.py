"""A card from a run: what the ledger says, as a statement that is signed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Final

from custodes.attest.statement import PAYLOAD_TYPE, Examination, ListCommitment, Statement, Subject, Tool, counted
from custodes.attest.verification import card_bytes
from custodes.crypto.dsse import pae
from custodes.crypto.keys import SigningKey
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.ledger.run import RunDirectory
from custodes.model import OutcomeName, Reason
from custodes.scan.report import RunReport, report_of
from custodes.scan.run import plan_of
from custodes.sources.files import shown

__all__ = ["CARD_NAME", "statement_of", "write_card"]

CARD_NAME: Final = "card.dsse.json"

SETTINGS: Final = ("decode_policy", "limit", "schemes")
"""Of the settings those that change what is found, beside the policy, as text."""

LIMITS: Final = (
    "A row without a match is not on these lists in these versions. That is no judgement of the image: lists hold known material only.",
    "Whether the signer examined what it says, and with these lists, rests on the signer: a signature says who says it.",
    "A row that was not examined was compared at most by a digest that the dataset records.",
    "Files are named by fingerprints of their size, their first and their last MiB: a change between them is not seen by these.",
)


def statement_of(run: RunDirectory, now: datetime | None = None) -> Statement:
    """What a run can state. Raises InputError for one that examined nothing, or that lies in another run."""
    if run.manifest.parent:
        raise InputError(f"{run.path} lies in another run", hint="give that one")
    report = report_of(run)
    if not report.rows:
        raise InputError(f"{run.path} has examined nothing yet", hint="scan first")
    subjects = [
        Subject(
            name=PurePath(file.path.partition("?")[0]).name or "dataset",
            digest={"custodes-fingerprint-1": file.fingerprint},
        )
        for file in plan_of(run.manifest).files
    ]
    return Statement(subject=tuple(subjects), predicate=_examination(run, report, now or datetime.now(UTC)))


def _examination(run: RunDirectory, report: RunReport, now: datetime) -> Examination:
    manifest = run.manifest
    reasons = dict(report.reasons)
    plain = report.rows - sum(reasons.values())
    name, _, version = report.tool.partition(" ")
    policy = manifest.settings.get("policy", {})
    settings = {each: str(manifest.settings[each]) for each in SETTINGS if manifest.settings.get(each) is not None}
    return Examination(
        run=report.run_id,
        dataset=shown(report.dataset),
        began=report.created,
        signed=now.isoformat(timespec="seconds"),
        tool=Tool(name=name, version=version, confinement=report.confinement, unsafe=tuple(report.unsafe)),
        lists=tuple(
            ListCommitment(id=used["id"], version=used["version"], stale_since=report.stale_lists.get(used["id"], ""))
            for used in report.lists
        ),
        passes=tuple(report.passes),  # type: ignore[arg-type]
        settings=settings | {"jurisdiction": str(policy.get("jurisdiction", "")) or "none"},
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


def write_card(run: RunDirectory, key: SigningKey, path: Path) -> Path:
    """Sign a card of a run, and write it and, beside it, the key that it is verified with. Returns the key's place."""
    payload = statement_of(run).encode()
    replace_file(path, card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier))
    beside = path.with_name(path.name.removesuffix(".dsse.json") + ".vkey")
    replace_file(beside, f"{key.verifier}\n".encode())
    return beside
