"""``custodes similar teach``."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.errors import ExitCode, InputError
from custodes.handover.verdicts import Verdict, read_verdicts, standing
from custodes.ledger.run import RunDirectory
from custodes.model import Meaning
from custodes.scan.joining import model_of, vectors_of
from custodes.scan.labels import RowLabels, label_rows
from custodes.scan.similar_runs import runs_of
from custodes.similar.lesson import Lesson, LessonRows, digest_of, lesson
from custodes.similar.measure import Share
from custodes.similar.probe import Bools, Judged, Origin, ProbeCard, Taught, TeachSettings, held_out, teach
from custodes.similar.versions import Adopted, Versions

__all__ = ["teach_command"]

SHOWN = (0.5, 0.9)  # thresholds
CLASSES = (Meaning.CSAM, Meaning.EXPLOITATIVE, Meaning.NCII)


@click.command("teach")
@click.argument("run")
@click.option(
    "--vectors",
    default=None,
    metavar="VECTORS",
    help="Vectors of the run's rows: a folder, pattern or file (default: those that the scan made with --embed).",
)
@click.option("--model", default="", metavar="NAME", help="The model that made VECTORS.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where probes are kept.",
)
@click.option(
    "--verdicts",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Signed verdicts (default: all that were imported).",
)
@click.option("--column", default=None, metavar="NAME", help="VECTORS are parquet files, with vectors in this column.")
@click.option(
    "--class",
    "meaning",
    type=click.Choice([each.value for each in CLASSES]),
    default=Meaning.CSAM.value,
    show_default=True,
    help="What it is taught to find; confirmed photos of another class are left out.",
)
@click.option(
    "--background",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="So many rows that nobody judged.",
)
@click.option("--anyway", is_flag=True, help="Put it into service even if it is worse than the one that is there.")
@config_option
@json_option
def teach_command(
    run: str,
    vectors: str | None,
    model: str,
    out: Path,
    files: tuple[Path, ...],
    column: str | None,
    meaning: str,
    background: int,
    config: str | None,
    *,
    anyway: bool,
    json_: bool,
) -> int:
    """Teach a probe from what the authority said of RUN's findings, and from exact matches, against rows that nobody judged.

    A probe that ranks held-out photos worse than the one in service is kept, and not put into service.
    """
    site, settings = load_site(config), TeachSettings()
    ledger = RunDirectory.open(run, site.run_key())
    made_by = model_of(ledger, vectors, model)
    said = verdicts_of(site, ledger, files)
    labels = label_rows(ledger, site.examiner(), site.run_key(), said, Meaning(meaning))
    shards = vectors_of(vectors, column, labels.files, ledger)
    taken = lesson(shards, LessonRows(labels.positives, labels.negatives, labels.passed), background, settings.seed)
    held = held_out(taken.judged.vectors)
    origin = Origin(
        model=made_by,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        taught_from={
            "run": ledger.manifest.run_id,
            "class": meaning,
            "verdicts": hashlib.sha256(msgspec.json.encode(list(said.values()))).hexdigest(),
            "vectors": digest_of(shards),
        },
    )
    taught = teach(chosen(taken.judged, ~held), taken.background, settings, origin)
    say(Versions(out).adopt(taught, chosen(taken.judged, held), anyway=anyway), taught, (labels, taken), json_=json_)
    return ExitCode.NOTHING_FOUND


def verdicts_of(site: Site, ledger: RunDirectory, files: tuple[Path, ...]) -> dict[str, Verdict]:
    """What the authority says: in these files, or in all that were imported."""
    if not files:
        return site.verdicts().standing([run.manifest.run_id for run in runs_of(ledger, site.run_key())])
    try:
        return standing([read_verdicts(file.read_bytes(), site.verifiers()) for file in files])
    except OSError as error:
        raise InputError(f"verdicts cannot be read: {error.strerror}") from error


def chosen(judged: Judged, mask: Bools) -> Judged:
    """Some of them."""
    return Judged(judged.vectors[mask], judged.labels[mask])


def say(adopted: Adopted, taught: Taught, taken: tuple[RowLabels, Lesson], *, json_: bool) -> None:
    """What was learnt from how much, how good it is, and what became of it."""
    labels, found = taken
    card, compared = taught.card, adopted.compared
    if json_:
        rows = {"exact": labels.exact_matches, "verdicts": labels.verdicts_found, "without_vector": found.without}
        as_json(
            {
                "version": adopted.version,
                "in_service": adopted.in_service,
                "compared": compared,
                "rows": rows,
                **{name: getattr(card, name) for name in ("positives", "negatives", "background", "average_precision")},
            }
        )
        return
    click.echo(
        f"probe {adopted.version}: taught from {card.positives:,} confirmed and {card.negatives:,} rejected photos, "
        f"{card.background:,} of the background"
    )
    click.echo(
        f"  {labels.verdicts_found:,} verdicts are on rows of this run, {labels.exact_matches:,} rows match exactly"
    )
    if found.without:
        click.echo(f"  {found.without:,} judged rows have no vector to learn from")
    for line in figures(card):
        click.echo(line)
    click.echo(fate(adopted))


def figures(card: ProbeCard) -> list[str]:
    """Precision and recall at some thresholds."""
    return [
        f"  from {level.threshold}: precision {told(level.precision)}, recall {told(level.recall)}"
        for level in card.levels
        if level.threshold in SHOWN
    ]


def told(share: Share) -> str:
    """A share with its interval."""
    return f"{share.hits:,} of {share.of:,} ({100 * share.low:.0f} to {100 * share.high:.0f} %)"


def fate(adopted: Adopted) -> str:
    """Whether it is in service now, and why."""
    compared = adopted.compared
    if adopted.before == adopted.version:
        return "  in service, as before: nothing new was learnt"
    if compared is None:
        return "  in service: it is the first"
    photos = f"{compared.positives:,} confirmed and {compared.negatives:,} rejected photos that were held out"
    if compared.old is None or compared.new is None:
        ranked = f"there is too little to compare them on: {photos}"
    else:
        ranked = f"average precision {compared.new:.3f}, before {compared.old:.3f}, on {photos}"
    now = (
        f"in service in place of {adopted.before}" if adopted.in_service else f"NOT in service, {adopted.before} stays"
    )
    return f"  {now}: {printable(ranked)}"
