"""Pass "columns" beside the same join in DuckDB and Polars: ten million rows of LAION's columns against a million MD5 entries."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from corpus import PLANTED, column_tables, exact_list
from measure import measured
from tables import BIN, HERE, PEERS, WORK, Bench, interleaved, median, peers_ready, site

__all__ = ["bench_columns"]


def bench_columns(*, quick: bool) -> Bench:
    """Rows a second of whole commands and of the work itself."""
    rows = 1_000_000 if quick else 10_000_000
    peers_ready()
    tables = column_tables(WORK, rows)
    list_file = exact_list(WORK, tables, PLANTED)
    config, imported = site("columns", list_file)
    without, _ = site("columns-without", exact_list(WORK, tables, 0))
    cases = {
        "custodes scan --pass columns": lambda: ours(config, tables),
        "the same, nothing to be found": lambda: ours(without, tables),
        "DuckDB, list from CSV": lambda: peer("duckdb", tables, list_file),
        "Polars, list from CSV": lambda: peer("polars", tables, list_file),
    }
    runs = interleaved(cases, 3)
    bench = Bench("columns", "Pass “columns”: the dataset's MD5 column against a list", runs=runs)
    bench.notes = [
        f"{rows:,} rows, {len(list(tables.glob('*.parquet')))} files, row groups of 250,000, snappy, page cache warm; list of 1,000,000 MD5 entries, {PLANTED:,} of them planted; 4 threads or workers.",
        "`custodes scan TABLES --pass columns --run DIR --config …`, defaults otherwise. It decrypts the list, compares, seals the findings with all their columns, commits each shard with its outcomes (four syncs) and writes the report.",
        "DuckDB and Polars read the same files and the list's CSV, and count the rows of a semi-join on the hexadecimal text. Nothing is stored.",
        f"“work” is, for custodes, from the first shard's start to the last commit; for the others the query with the list loaded and indexed inside. Importing the list once takes custodes {imported.wall_s:.1f} s ({imported.cpu_s:.1f} CPU-s).",
    ]
    bench.heads = [
        "",
        "whole command, s",
        "million rows/s",
        "work, s",
        "million rows/s",
        "CPU-s",
        "peak PSS, MB",
        "found",
    ]
    for name, found in runs.items():
        whole, work = median(found, "wall_s"), median(found, "work_s")
        row = [name, f"{whole:.2f}", f"{rows / whole / 1e6:.1f}", f"{work:.2f}", f"{rows / work / 1e6:.1f}"]
        row += [f"{median(found, 'cpu_s'):.1f}", f"{median(found, 'pss_mb'):.0f}", f"{found[0]['found']:,}"]
        bench.rows.append(row)
    first = runs["custodes scan --pass columns"]
    for name in ("DuckDB, list from CSV", "Polars, list from CSV"):
        ratio, cpu = (median(runs[name], key) / median(first, key) for key in ("wall_s", "cpu_s"))
        bench.ratios.append(
            f"{name} / custodes: {ratio:.2f} of the wall-clock time of the whole command, {cpu:.2f} of the CPU-seconds"
        )
    return bench


def ours(config: Path, tables: Path) -> dict[str, Any]:
    run = WORK / "run-columns"
    shutil.rmtree(run, ignore_errors=True)
    command = [BIN / "custodes", "scan", tables / "*.parquet", "--pass", "columns", "--run", run, "--config", config]
    cost = measured([*command, "--workers", "4", "--json", "--quiet"])
    report = json.loads(cost.output)
    return figures(cost, report["seconds"], report["findings"])


def peer(name: str, tables: Path, list_file: Path) -> dict[str, Any]:
    environment = {"POLARS_MAX_THREADS": "4"}
    cost = measured([PEERS / "python", HERE / "join_peers.py", name, tables, list_file], environment)
    said = json.loads(cost.output)
    return figures(cost, said["query_s"], said["found"])


def figures(cost: Any, work_s: float, found: int) -> dict[str, Any]:
    return {
        "wall_s": cost.wall_s,
        "work_s": work_s,
        "cpu_s": cost.cpu_s,
        "pss_mb": cost.pss_bytes_max / 1e6,
        "found": found,
    }
