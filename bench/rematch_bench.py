"""``custodes rematch`` end to end: the digests that an earlier scan stored, against the lists of today.

The earlier scan is made up, with the package's own planning, manifest and commits, from random digests; so are the lists, with some rows planted
in them. What is timed is the command as a person types it. Two sizes tell what starting costs from what a row costs.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from codes import flipped
from dialogue import native_levels
from measure import measured
from tables import BIN, WORK, Bench, median

from custodes.config import load_site
from custodes.handover.finding import FORMAT, BundleHeader, seal_bundle
from custodes.jobs import ScanRequest, prepare_scan
from custodes.ledger.disk import Disk
from custodes.ledger.rows import SCHEMA
from custodes.ledger.run import Found, RunDirectory, ShardCommit
from custodes.ledger.store import Folder
from custodes.lists.store import Provenance
from custodes.model import Entry, Kind
from custodes.pdq import forms_of
from custodes.scan.run import plan_of

__all__ = ["bench_rematch"]

PLANTED = 1_000
PDQ_SHARE = 0.9
BILLIONS = 5_000_000_000
WORKERS = 4


class Unsynced(Disk):
    """The disk of what is only made up: nothing of it need survive a crash."""

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync_directory(self, directory: Path) -> None:
        pass


def bench_rematch(*, quick: bool) -> Bench:
    """Ten million stored digests against ten million entries, and a tenth of the digests to tell the fixed cost."""
    native = native_levels()
    entries = 10_000_000 if native and not quick else 100_000
    sizes = (entries // 10, entries)
    runs: dict[str, list[dict[str, Any]]] = {}
    config = site_with_list(entries, sizes)
    for rows in sizes:
        run = earlier_run(config, rows)
        for _ in range(1 if quick else 3):
            runs.setdefault(f"{rows:,} rows, {entries:,} entries", []).append(rematch(config, run, rows))
    bench = Bench("rematch", "Rematch of stored digests", notes=notes(native, entries), runs=runs)
    bench.heads = ["", "wall, s", "rows/s", "CPU-s", "CPU µs a row", "peak PSS, MB", "found", "planted"]
    for name, found in runs.items():
        wall, cpu, rows = median(found, "wall_s"), median(found, "cpu_s"), found[0]["rows"]
        row = [name, f"{wall:.1f}", f"{rows / wall:,.0f}", f"{cpu:.1f}", f"{1e6 * cpu / rows:.1f}"]
        bench.rows.append([*row, f"{median(found, 'pss_mb'):,.0f}", f"{found[0]['found']:,}", f"{PLANTED:,}"])
    bench.ratios = arithmetic(runs)
    return bench


def rematch(config: Path, run: Path, rows: int) -> dict[str, Any]:
    shutil.rmtree(run / "rematch", ignore_errors=True)
    command = [BIN / "custodes", "rematch", run, "--config", config, "--workers", str(WORKERS), "--quiet", "--json"]
    cost = measured(command)
    report = json.loads(cost.output)
    assert report["findings"] == PLANTED, f"{report['findings']} rows found, {PLANTED} planted"
    work = {"work_s": report["seconds"], "found": report["findings"], "rows": rows}
    return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "pss_mb": cost.pss_bytes_max / 1e6} | work


def arithmetic(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What starting costs and what a row costs, by the line through two sizes; and five billion rows by that."""
    small, large = runs.values()
    more = large[0]["rows"] - small[0]["rows"]
    cpu_row = (median(large, "cpu_s") - median(small, "cpu_s")) / more
    wall_row = (median(large, "wall_s") - median(small, "wall_s")) / more
    fixed = median(large, "cpu_s") - cpu_row * large[0]["rows"]
    return [
        f"By the line through the two sizes: {fixed:.1f} CPU-s to start {WORKERS} workers and to end, then {1e6 * cpu_row:.2f} CPU µs and {1e6 * wall_row:.2f} µs of wall-clock time a row",
        f"Five billion rows by that line, calculated and not run: {cpu_row * BILLIONS / 3600:,.1f} core-hours, {wall_row * BILLIONS / 3600:,.1f} hours on this machine",
    ]


def notes(native: list[str], entries: int) -> list[str]:
    return [
        f"The stored run is made up: random MD5, SHA-1, SHA-256 and PDQ with reflections in shards as `custodes scan --pass bytes` commits them, one code a row, five in a hundred below the quality that is matched. The list of {entries:,} entries is nine tenths PDQ, one tenth MD5; {PLANTED:,} rows have an entry, half by MD5, half by a PDQ of any of the eight forms with 0 to 31 bits turned.",
        f"`custodes rematch RUN --workers {WORKERS}`: the list is decrypted and indexed once; workers map it, read their shards, try all eight forms, seal findings and commit; the coordinator adds the run up and writes the report. Page cache warm.",
        f"Native kernels: {native[0] if native else 'none here, so a hundredth of the size: nothing to quote'}. What was planted was found, no more and no less, or the benchmark would have stopped.",
    ]


# -- what is made up


def site_with_list(entries: int, sizes: tuple[int, ...]) -> Path:
    """A configuration with a throw-away authority and the list, made once."""
    home = WORK / f"site-rematch-{entries}"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([BIN / "custodes", "init", home, "--demo-authority"], check=True, capture_output=True)
        with ProcessPoolExecutor(1) as pool:  # in a process that ends, because it takes gigabytes
            pool.submit(import_list, home / "custodes.toml", entries, sizes).result()
        (home / "done").touch()
    return home / "custodes.toml"


def import_list(config: Path, entries: int, sizes: tuple[int, ...]) -> None:
    load_site(str(config)).lists().import_entries("bench", entries_of(entries, sizes), Provenance(source="bench"))


def entries_of(entries: int, sizes: tuple[int, ...]) -> Iterator[Entry]:
    """Entries for rows of each of the made-up runs, then random ones."""
    planted = [entry for rows in sizes for entry in planted_in(rows)]
    yield from planted
    random = np.random.default_rng(21)
    for kind, count in ((Kind.PDQ, int(entries * PDQ_SHARE)), (Kind.MD5, entries - int(entries * PDQ_SHARE))):
        size, left = kind.size_bytes, count - len(planted) // 2
        for first in range(0, left, 100_000):
            data = random.bytes(min(100_000, left - first) * size)
            yield from (Entry(kind, data[at : at + size], "") for at in range(0, len(data), size))


def planted_in(rows: int) -> Iterator[Entry]:
    """``PLANTED`` rows, evenly over the run: by MD5 and by PDQ in turn."""
    random = np.random.default_rng(rows)
    spread = rows // PLANTED
    for number in range(PLANTED):
        shard, row = divmod(number * spread, shard_rows(rows))
        digests = shard_digests(rows, shard)
        if number % 2:
            yield Entry(Kind.MD5, digests["md5"][row].tobytes(), "")
        else:
            forms = forms_of(digests["pdq"][row : row + 1])[0]
            yield Entry(Kind.PDQ, flipped(random, forms[number // 2 % 8][None], (0, 31)).tobytes(), "")


def shard_rows(rows: int) -> int:
    """How many rows the scan's own planning puts into a shard of this run; asked of the plan when the run is made."""
    return min(rows, 1_000)


def shard_digests(rows: int, shard: int) -> dict[str, Any]:
    """What the made-up scan found out of one shard. Each twentieth code is of too low a quality; no planted row is such a one."""
    random = np.random.default_rng([rows, shard])
    count = shard_rows(rows)
    sizes = {"md5": 16, "sha1": 20, "sha256": 32, "pdq": 128}
    found: dict[str, Any] = {
        name: np.frombuffer(random.bytes(count * size), np.uint8).reshape(count, size) for name, size in sizes.items()
    }
    low = np.arange(count) % 20 == 19
    found["quality"] = np.where(low, random.integers(0, 50, count), random.integers(50, 101, count)).astype(np.uint8)
    return found


def earlier_run(config: Path, rows: int) -> Path:
    """A finished run of ``rows`` rows, made once, as a scan of pass bytes leaves it."""
    home = config.parent / f"run-{rows}"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        site = load_site(str(config))
        settings = site.scan_settings(passes=("bytes",))
        job = prepare_scan(site, ScanRequest(str(links(home, rows)), home / "run", settings=settings))
        job.lock.close()
        shards = plan_of(job.run.manifest).shards
        assert {shard.rows for shard in shards} == {shard_rows(rows)}, "the plan cuts shards otherwise"
        with ProcessPoolExecutor() as pool:
            size = -(-len(shards) // 64)
            parts = [range(first, min(first + size, len(shards))) for first in range(0, len(shards), size)]
            list(pool.map(commit_shards, [config] * 64, [home / "run"] * 64, [rows] * 64, parts))
        (home / "done").touch()
    return home / "run"


def links(home: Path, rows: int) -> Path:
    """The table that was scanned: links alone."""
    path = home / "links.parquet"
    with pq.ParquetWriter(path, pa.schema([("URL", pa.string())]), compression="snappy") as writer:
        for first in range(0, rows, 250_000):
            urls = [f"https://img{n % 997}.example.org/{n:x}.jpg" for n in range(first, min(rows, first + 250_000))]
            writer.write_table(pa.table({"URL": urls}), row_group_size=250_000)
    return path


def commit_shards(config: Path, path: Path, rows: int, shards: range) -> None:
    site = load_site(str(config))
    run = RunDirectory.open(Folder(path, Unsynced()), site.run_key())
    for shard in shards:
        head = BundleHeader(
            format=FORMAT, run_id=run.manifest.run_id, tool="bench", shard=shard, generation=0, findings=0, demo=True
        )
        run.commit(
            ShardCommit(
                shard=shard,
                generation=0,
                table=shard_table(shard_digests(rows, shard)),
                coverage={"bytes": shard_rows(rows)},
                started=time.time(),
                finished=time.time(),
                bytes_fetched=0,
                sealed=seal_bundle(head, [], site.recipients()),
                found=Found(),
            )
        )


def shard_table(found: dict[str, Any]) -> pa.Table:
    """The same columns that ``RowsBuilder`` gives, from arrays."""
    count = len(found["md5"])
    pdq = pa.StructArray.from_arrays(
        [
            pa.array(np.zeros(count, np.int32)),
            pa.array(found["quality"]),
            fixed(found["pdq"][:, :32]),
            fixed(found["pdq"][:, 32:]),
        ],
        fields=list(SCHEMA.field("pdq").type.value_type),
    )
    constants = {"reason": "full", "attempts": 1, "status": 200, "size_bytes": 90_000, "fetched_at": 1_790_000_000}
    constants |= {"format": "jpeg", "width": 1024, "height": 768, "decode_policy": "fast"}
    columns: dict[str, Any] = {name: pa.array([value] * count) for name, value in constants.items()}
    columns |= {name: fixed(found[name]) for name in ("md5", "sha1", "sha256")}
    columns["pdq"] = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32)), pdq)
    return pa.Table.from_arrays([columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)


def fixed(codes: Any) -> pa.Array:
    """uint8[n, size] as fixed-size binary."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes.tobytes())]
    )
