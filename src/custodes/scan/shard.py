"""One shard, from its specification to its commit: the same function in a local worker and, later, on a cluster.

    read the table ─ columns judged ─ bytes carried and judged ─ findings sealed ─ committed
Here are the lists, the run key and the ledger; never the bytes of an image. Only a ``ShardReport`` leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from custodes import __version__
from custodes.carrier.client import Carrier
from custodes.carrier.protocol import Carried
from custodes.crypto.keys import RunKey
from custodes.crypto.seal import Recipient
from custodes.errors import InternalError, SourceError
from custodes.examine import Evidence, Examiner
from custodes.handover.finding import FORMAT, BundleHeader, Finding, Suspicion, match_of, seal_bundle
from custodes.ledger.manifest import Manifest
from custodes.ledger.rows import REASON_ORDER, RowsBuilder, digest_arrays, outcomes_table
from custodes.ledger.run import Found, RunDirectory, ShardCommit, Vectors
from custodes.model import URL_KINDS, Action, Decision, Digests, Kind, Outcome, Reason, Role
from custodes.policy import Policy
from custodes.scan.flood import FLOOD_RULE, flooding_lists, held_back
from custodes.scan.settings import ScanSettings
from custodes.sources.base import WHOLE_ROW, LinkBatch, Plan, RowDetails, ShardSpec
from custodes.sources.source import read_links, row_details
from custodes.url import URL_CHARS_MAX, parse

__all__ = ["ShardJob", "ShardReport", "ShardTools", "Suspect", "finding_namer", "process_shard"]

JUDGE_ROWS: Final = 4096
"""Carried items are judged in groups of this many: the matcher is much cheaper by the thousand."""


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """A row of a shard that looks like what is confirmed."""

    row: int
    suspicion: Suspicion

    def __repr__(self) -> str:
        return "<Suspect>"


class ShardJob(msgspec.Struct, frozen=True, tag=True):
    """Which shard to work on. ``retry`` names the reasons of rows to try again; empty: the whole shard for the first time.

    In a scan for similar photos: which rows are ``suspects``, and how many rows were ``scored``. ``fence``: what its commit shows, where shards are leased.
    """

    shard: int
    generation: int = 0
    retry: tuple[Reason, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    scored: int = 0
    fence: int = 0


class ShardReport(msgspec.Struct, frozen=True):
    """What a worker tells its coordinator of a committed shard: counts, nothing of any row."""

    shard: int
    generation: int
    rows: int
    reasons: dict[Reason, int]
    findings: int
    bytes_fetched: int = 0


@dataclass(frozen=True)
class ShardTools:
    """What a worker holds for a run."""

    run: RunDirectory
    plan: Plan
    settings: ScanSettings
    examiner: Examiner
    carrier: Carrier
    recipients: Sequence[Recipient]
    run_key: RunKey
    progress: Callable[[Reason], None] = lambda _reason: None


@dataclass
class ShardWork:
    """A shard in the making."""

    job: ShardJob
    spec: ShardSpec
    links: LinkBatch | None = None
    rows: RowsBuilder | None = None
    vectors: Vectors | None = None
    by_columns: dict[int, Decision] = field(default_factory=dict)
    by_bytes: dict[int, Decision] = field(default_factory=dict)
    found_before: dict[int, Decision] = field(default_factory=dict)
    flooding: frozenset[str] = frozenset()
    coverage: dict[str, int] = field(default_factory=dict)
    bytes_fetched: int = 0
    final_urls: dict[int, str] = field(default_factory=dict)


def process_shard(job: ShardJob, tools: ShardTools) -> ShardReport:
    """Work a shard and commit it. Raises SourceError if it cannot be read; then it is not done."""
    started = time.time()
    work = ShardWork(job, tools.plan.shards[job.shard])
    judge_columns(work, tools, with_urls=not tools.plan.holds_images and "bytes" in tools.settings.passes)
    table = carry_bytes(work, tools) if "bytes" in tools.settings.passes else columns_alone(work)
    findings = findings_of(work, tools, table)
    found = count_found(work, findings)
    if work.vectors is not None:
        work.coverage["vectors"] = int(
            np.count_nonzero(np.isfinite(work.vectors).all(axis=1) & work.vectors.any(axis=1))
        )
    record = tools.run.commit(
        ShardCommit(
            shard=job.shard,
            generation=job.generation,
            table=table,
            coverage=work.coverage,
            started=started,
            finished=time.time(),
            bytes_fetched=work.bytes_fetched,
            sealed=seal_bundle(header(job, tools, len(findings)), findings, tools.recipients),
            found=found,
            vectors=work.vectors,
            fence=job.fence,
        )
    )
    return ShardReport(job.shard, job.generation, record.rows, record.reasons, found.rows, record.bytes_fetched)


# -- pass "columns"


def judge_columns(work: ShardWork, tools: ShardTools, *, with_urls: bool) -> None:
    """Compare the dataset's own digests and hashed URLs with the lists, and keep the URLs if asked to. No network."""
    with_columns = "columns" in tools.settings.passes
    if not with_columns and not with_urls:
        return
    want = [kind for kind in tools.examiner.kinds if kind is not Kind.PDQ] if with_columns else []
    work.links = links = read_links(tools.plan, work.spec, want, with_urls=with_urls)
    if not with_columns:
        return
    work.by_columns = tools.examiner.judge(Evidence({kind: (d.items, d.codes) for kind, d in links.digests.items()}))
    compared = compared_rows(links)
    work.coverage["columns"] = int(np.count_nonzero(compared))


def compared_rows(links: LinkBatch) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """bool[rows]: rows whose own image digest was compared. A hashed URL says nothing of an image and does not count."""
    compared = np.zeros(links.rows, dtype=np.bool_)
    for kind, digested in links.digests.items():
        if not kind.value.startswith("url/"):
            compared[digested.items] = True
    return compared


def columns_alone(work: ShardWork) -> Any:
    """Outcomes where no bytes are to be seen: compared, nothing to compare, or malformed."""
    assert work.links is not None
    codes = np.full(work.links.rows, REASON_ORDER.index(Reason.NO_DIGEST), dtype=np.uint8)
    if work.links.malformed:
        codes[np.fromiter(work.links.malformed, np.int64)] = REASON_ORDER.index(Reason.MALFORMED_ROW)
    codes[compared_rows(work.links)] = REASON_ORDER.index(Reason.COLUMNS_ONLY)
    return outcomes_table(codes)


# -- pass "bytes"


def carry_bytes(work: ShardWork, tools: ShardTools) -> Any:
    """Have every image of the shard (or the rows to retry) fetched or read, digested and decoded; judge the digests."""
    if tools.plan.holds_images:
        take_all(work, tools, tools.carrier.read_shard(tools.plan, work.spec))
        return finished_rows(work)
    assert work.links is not None
    if work.job.retry:
        work.rows = previous_rows(work, tools)
    else:
        work.rows = RowsBuilder(work.links.rows)
        work.vectors = no_vectors(work.links.rows, tools.settings)
    links = fetchable(work, tools)
    take_all(work, tools, tools.carrier.fetch(links))
    return finished_rows(work)


def fetchable(work: ShardWork, tools: ShardTools) -> list[tuple[int, str]]:
    """The links to fetch; rows that have none get their outcome here."""
    assert work.links is not None
    urls = work.links.url.to_pylist() if work.links.url is not None else [None] * work.links.rows
    links = []
    for row in rows_to_do(work):
        if work.links.malformed.get(row) == WHOLE_ROW:
            settle(work, tools, Carried(batch=0, key=row, reason=Reason.MALFORMED_ROW))
        elif (refused := refused_link(urls[row])) is not None:
            settle(work, tools, Carried(batch=0, key=row, reason=refused))
        else:
            links.append((row, str(urls[row])))
    return links


def refused_link(url: str | None) -> Reason | None:
    """Why a link is not even handed to the carrier; None: it is."""
    if url is None or not url.strip():
        return Reason.NO_URL
    return Reason.BAD_URL if len(url) > URL_CHARS_MAX else None


def rows_to_do(work: ShardWork) -> list[int]:
    """All rows, or those whose outcome is to be tried again."""
    assert work.links is not None
    assert work.rows is not None
    if not work.job.retry:
        return list(range(work.links.rows))
    retry = set(work.job.retry)
    return [row for row in range(work.links.rows) if work.rows.reason(row) in retry]


def previous_rows(work: ShardWork, tools: ShardTools) -> RowsBuilder:
    """What the generation before found out of this shard."""
    record = tools.run.latest_of(work.job.shard)
    if record is None or record.generation != work.job.generation - 1:
        raise InternalError(f"shard {work.job.shard} has no generation {work.job.generation - 1} to go on from")
    work.coverage.update({name: count for name, count in record.coverage.items() if name != "columns"})
    table = tools.run.rows(record)
    work.vectors = tools.run.vectors(record) if tools.settings.embed else None
    by_bytes = tools.examiner.judge(stored_evidence(table, tools.examiner.kinds))
    work.found_before = found_in(work, by_bytes, tools.examiner.policy)
    return RowsBuilder.from_table(table)


def no_vectors(rows: int, settings: ScanSettings) -> Vectors | None:
    """Rows that have no vector yet: numbers that are none, so that no search takes them for vectors. None where none are made."""
    return np.full((rows, settings.embed.dimension), np.nan, dtype=np.float16) if settings.embed else None


def stored_evidence(table: Any, kinds: Sequence[Kind]) -> Evidence:
    """The digests of these kinds in a shard file as evidence."""
    return Evidence({kind: each for kind, each in digest_arrays(table).items() if kind in kinds and len(each[0])})


def found_in(work: ShardWork, by_bytes: dict[int, Decision], policy: Policy) -> dict[int, Decision]:
    """The rows that are findings by their columns and by these digests of their bytes, together."""
    earlier = ShardWork(work.job, work.spec, by_columns=work.by_columns, by_bytes=by_bytes)
    judged = all_together(earlier, policy)
    return {row: decision for row, decision in judged.items() if decision.action is not Action.NONE}


def take_all(work: ShardWork, tools: ShardTools, answers: Iterable[Carried]) -> None:
    """Settle every answer, and judge digests by the thousand."""
    group: list[tuple[int, Digests]] = []
    containers: dict[int, Carried] = {}
    for carried in answers:
        if work.rows is None:
            containers[carried.key] = carried  # the number of images is known when the last one is read
        else:
            settle(work, tools, carried)
        if (digests := carried.digests()) is not None:
            group.append((carried.key, digests))
        if len(group) >= JUDGE_ROWS:
            work.by_bytes |= tools.examiner.judge(Evidence.from_digests(group))
            group = []
    work.by_bytes |= tools.examiner.judge(Evidence.from_digests(group)) if group else {}
    if work.rows is None:
        settle_container(work, tools, containers)


def settle_container(work: ShardWork, tools: ShardTools, containers: Mapping[int, Carried]) -> None:
    """Give the images of a container their lines. Positions must be 0 to n-1, and n what was planned."""
    rows = len(containers)
    if sorted(containers) != list(range(rows)) or work.spec.rows not in (-1, rows):
        raise SourceError(
            f"shard {work.spec.index} gave {rows} images, {work.spec.rows} were planned",
            hint="did the files change while they were read?",
        )
    work.rows = RowsBuilder(rows)
    work.vectors = no_vectors(rows, tools.settings)
    for row in range(rows):
        settle(work, tools, containers[row])


def settle(work: ShardWork, tools: ShardTools, carried: Carried) -> None:
    """Write one item's line. Of a link that once gave bytes and gives none when tried again, what was known of them is kept."""
    assert work.rows is not None
    if work.job.retry and not carried.md5 and work.rows.has_digests(carried.key):
        tools.progress(carried.reason)
        return
    examined = Outcome(carried.reason).name == "examined"
    pdq = [{"frame": p.frame, "quality": p.quality, "code": p.code, "reflections": p.reflections} for p in carried.pdq]
    work.rows.set(
        carried.key,
        reason=carried.reason.value,
        attempts=carried.attempts,
        status=carried.status or None,
        fetched_at=carried.fetched_at or None,
        size_bytes=carried.size_bytes or None,
        format=carried.format or None,
        width=carried.width or None,
        height=carried.height or None,
        md5=carried.md5 or None,
        sha1=carried.sha1 or None,
        sha256=carried.sha256 or None,
        pdq=pdq or None,
        decode_policy=tools.settings.decode_policy.value if examined else None,
    )
    if work.vectors is not None:
        work.vectors[carried.key] = np.frombuffer(carried.vector, "<f2") if carried.vector else np.nan
    work.bytes_fetched += carried.size_bytes
    if carried.final_url:
        work.final_urls[carried.key] = carried.final_url
    work.coverage["bytes"] = work.coverage.get("bytes", 0) + examined
    tools.progress(carried.reason)


def finished_rows(work: ShardWork) -> Any:
    """The table of the shard."""
    assert work.rows is not None
    return work.rows.table()


# -- findings


def findings_of(work: ShardWork, tools: ShardTools, table: Any) -> list[Finding]:
    """A finding for every row of this commit that the policy wants handed over, from both passes together."""
    policy = tools.examiner.policy
    judged = all_together(work, policy)
    if work.job.retry:
        judged = {row: judged[row] for row in work.by_bytes if row in judged}
    known = (work.found_before | judged).values()
    work.flooding = flooding_lists(known, table.num_rows, policy, tools.settings.match)
    judged = {row: held_back(decision, work.flooding, policy) for row, decision in judged.items()}
    hits = sorted(row for row, decision in judged.items() if decision.action is not Action.NONE)
    details = {d.row: d for d in row_details(tools.plan, work.spec, hits)} if hits else {}
    return [make_finding(work, tools, (row, judged[row], details[row]), table) for row in hits]


def all_together(work: ShardWork, policy: Policy) -> dict[int, Decision]:
    """One decision on every row that either pass matched."""
    return {row: together(work, row, policy) for row in work.by_columns.keys() | work.by_bytes.keys()}


def together(work: ShardWork, row: int, policy: Policy) -> Decision:
    """One decision on what both passes say of a row.

    What a column remembers of an old download excuses nothing of the bytes seen today, so its negatives do not count beside them.
    """
    columns, carried = work.by_columns.get(row), work.by_bytes.get(row)
    if columns is None or carried is None:
        return columns or carried or policy.decide(())
    remembered = [signal for signal in columns.signals if signal.role is not Role.NEGATIVE]
    return policy.decide([*remembered, *carried.signals])


def count_found(work: ShardWork, findings: Sequence[Finding]) -> Found:
    """Counts of the findings that no earlier generation had: a retried row that was one already is not counted again."""
    new = [finding for finding in findings if finding.row - work.spec.first_row not in work.found_before]
    by_list: dict[str, int] = {}
    by_rule: dict[str, int] = {}
    flooded: dict[str, int] = {}
    for finding in new:
        by_rule[finding.rule] = by_rule.get(finding.rule, 0) + 1
        lists = {match.list for match in finding.matches}
        for name in lists:
            by_list[name] = by_list.get(name, 0) + 1
        for name in lists & work.flooding if finding.rule == FLOOD_RULE else ():
            flooded[name] = flooded.get(name, 0) + 1
    return Found(rows=len(new), by_list=by_list, by_rule=by_rule, flooded=flooded)


def make_finding(work: ShardWork, tools: ShardTools, hit: tuple[int, Decision, RowDetails], table: Any) -> Finding:
    """Everything that makes a report actionable, and not the image."""
    row, decision, details = hit
    line = {name: value[0] for name, value in table.slice(row, 1).to_pydict().items()}
    manifest = tools.run.manifest
    reason = Reason(line["reason"])
    url = details.url or ""
    return Finding(
        id=finding_id(tools, work.spec, row),
        dataset=manifest.dataset,
        file=tools.plan.files[work.spec.file].path,
        row=work.spec.first_row + row,
        row_key=details.key or details.name or "",
        url=url,
        domain=domain_of(url),
        found_at=iso(time.time()),
        passes=tuple(name for name, part in (("columns", work.by_columns), ("bytes", work.by_bytes)) if row in part),
        decision=decision.action.value,
        rule=decision.rule,
        matches=tuple(match_of(signal) for signal in decision.signals),
        outcome=Outcome(reason).name.value,
        reason=reason.value,
        tool=f"custodes {__version__}",
        run_id=manifest.run_id,
        final_url=work.final_urls.get(row, ""),
        recorded=recorded_digests(work, row),
        **examined_fields(line),
    )


def recorded_digests(work: ShardWork, row: int) -> dict[str, str]:
    """The image's digests as the dataset itself records them, where they were compared."""
    found = {}
    for kind, digested in work.links.digests.items() if work.links is not None else ():
        at = int(np.searchsorted(digested.items, row))
        if kind not in URL_KINDS and at < len(digested.items) and digested.items[at] == row:
            found[kind.value] = digested.codes[at].tobytes().hex()
    return found


def examined_fields(line: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a finding that comes from the bytes; empty where they were not to be had."""
    digests = {kind: line[kind].hex() for kind in ("md5", "sha1", "sha256") if line.get(kind)}
    if line.get("pdq"):
        first = line["pdq"][0]
        digests |= {"pdq": first["code"].hex(), "pdq_quality": str(first["quality"])}
    return {
        "fetched_at": line["fetched_at"].isoformat() if line.get("fetched_at") else "",
        "http_status": line.get("status") or 0,
        "size_bytes": line.get("size_bytes") or 0,
        "format": line.get("format") or "",
        "width": line.get("width") or 0,
        "height": line.get("height") or 0,
        "digests": digests,
        "decode_policy": line.get("decode_policy") or "",
    }


def finding_id(tools: ShardTools, spec: ShardSpec, row: int) -> str:
    """The name of the finding on this row of a shard."""
    return finding_namer(tools.run.manifest, tools.run_key)(spec.index, row)


def finding_namer(manifest: Manifest, key: RunKey) -> Callable[[int, int], str]:
    """Names findings, by shard and row in it: HMAC(run key, input, shard, row, list versions), 32 hex digits: the same in every attempt."""
    name = key.naming("finding")
    versions = sorted((used.id, used.version) for used in manifest.lists)
    return lambda shard, row: name(msgspec.json.encode([manifest.input, shard, row, versions])).hex()[:32]


def header(job: ShardJob, tools: ShardTools, findings: int) -> BundleHeader:
    """The first line of the shard's bundle."""
    return BundleHeader(
        format=FORMAT,
        run_id=tools.run.manifest.run_id,
        tool=f"custodes {__version__}",
        shard=job.shard,
        generation=job.generation,
        findings=findings,
        demo=tools.run.manifest.demo_authority,
    )


def domain_of(url: str) -> str:
    """The host of a URL, for the authority's index; empty if there is none."""
    parsed = parse(url)
    return "" if isinstance(parsed, Reason) else parsed.host


def iso(seconds: float) -> str:
    """A time in UTC with its offset."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
