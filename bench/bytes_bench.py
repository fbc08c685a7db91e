"""Pass "bytes" beside img2dataset: the same table of links, the same server on loopback, the same number in flight."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from corpus import MIX, link_table, mixed_list, pictures
from measure import measured
from server import own_resolver, serving
from tables import BIN, HERE, PEERS, WORK, Bench, interleaved, median, peers_ready, site

__all__ = ["bench_bytes"]

IN_FLIGHT = 256
MANY_IN_FLIGHT = 1_024
QUIET = {"WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}
RAW = ("--disable_all_reencoding", "True", "--output_format", "dummy")
RESIZED = ("--image_size", "256", "--output_format", "webdataset")


def bench_bytes(*, quick: bool) -> Bench:
    """Images and rows a second, and CPU-seconds for a thousand images, on a list whose links all live and on one with dead links."""
    sizes = {"live": 4_000 if quick else 12_000, "mix": 2_000 if quick else 8_000}
    peers_ready()
    pictures(WORK)
    config, _ = site("bytes", mixed_list(WORK))
    many = in_flight(config, MANY_IN_FLIGHT)
    live, mix = (link_table(WORK, kind, rows) for kind, rows in sizes.items())
    cases = {
        "live: custodes": lambda: ours(config, live),
        "live: img2dataset": lambda: theirs(live, sizes["live"], RESIZED),
        "live: img2dataset, fetch only": lambda: theirs(live, sizes["live"], RAW),
        "mix: custodes": lambda: ours(config, mix),
        f"mix: custodes, {MANY_IN_FLIGHT:,} in flight": lambda: ours(many, mix),
        "mix: img2dataset": lambda: theirs(mix, sizes["mix"], RESIZED),
    }
    with serving(WORK) as server:
        runs = interleaved(cases, 3)
        where = stages_of(config)
    bench = Bench("bytes", "Pass “bytes”: fetch, digest, decode, PDQ, match", notes=notes(sizes, server), runs=runs)
    bench.heads = ["", "wall, s", "rows/s", "images", "images/s", "CPU-s per 1,000 images", "peak PSS, MB"]
    for name, found in runs.items():
        rows = sizes[name.partition(":")[0]]
        wall, images = median(found, "wall_s"), median(found, "images")
        row = [name, f"{wall:.1f}", f"{rows / wall:,.0f}", f"{images:,.0f}", f"{images / wall:,.0f}"]
        row += [f"{1000 * median(found, 'cpu_s') / images:.2f}", f"{median(found, 'pss_mb'):.0f}"]
        bench.rows.append(row)
    bench.ratios = [ratio(runs, name) for name in runs if "img2dataset" in name]
    bench.ratios.append(where_it_goes(where, runs["live: custodes"], sizes["live"]))
    bench.runs["stages"] = [where]
    return bench


def in_flight(config: Path, number: int) -> Path:
    """The same site, with another number of links in flight."""
    other = config.with_name("many.toml")
    text, changed = re.subn(r"(?m)^#? ?in_flight = \d+", f"in_flight = {number}", config.read_text())
    assert changed == 1
    other.write_text(text)
    return other


def stages_of(config: Path) -> dict[str, float]:
    """The stages, each alone, in a process of their own (see ``stages``)."""
    command = [sys.executable, HERE / "stages.py", config]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def where_it_goes(where: dict[str, float], runs: list[dict[str, Any]], rows: int) -> str:
    """The stages and what is left of the whole."""
    stages = {name: cost for name, cost in where.items() if not name.startswith("start-up")}
    start = where["start-up of a scan, CPU-s"] * 1000 / rows
    whole = 1000 * median(runs, "cpu_s") / rows
    parts = [f"{name} {cost:.2f}" for name, cost in stages.items()]
    rest = whole - sum(stages.values()) - start
    return f"Where custodes' {whole:.2f} CPU-ms an image go (live list; each stage timed alone): {', '.join(parts)}; start-up of the coordinator and one worker {start:.2f}; the rest (the other workers' start-up, messages between processes, the event loop, contention) {rest:.2f}"


def notes(sizes: dict[str, int], server: str) -> list[str]:
    dead = ", ".join(f"{share / 10:g} % {way}" for way, share in MIX.items() if way != "ok")
    return [
        f"live: {sizes['live']:,} links, mix: {sizes['mix']:,} links, to 3,000 procedural JPEGs (600x360 to 1600x1280, a fifth progressive) on {server}, spread over 4,000 addresses of 127.0.0.0/8; three interleaved runs, medians.",
        f"mix: {dead}; the status is one of 403, 410, 429, 500, 503; “connect” never completes, “read” never answers, “drip” sends 16 bytes a second for two minutes.",
        f"Both: {IN_FLIGHT} links in flight, 4 processes. custodes: a list of 10,000 entries, half of them PDQ, `--pass bytes --unsafe-allow-loopback`, defaults otherwise. It digests, decodes, computes PDQ, matches all eight forms, commits; it stores no image.",
        "img2dataset 1.47.0: 4 processes of 64 threads, timeout 10 s, a quarter of the rows a shard (with its default of 10,000 some processes would idle; with smaller shards every one of them waits for its slowest links), no wandb, defaults otherwise. Its usual output resizes to 256 and writes webdataset; “fetch only” neither decodes nor writes (`--disable_all_reencoding --output_format dummy`).",
        "Names in .invalid are denied by a name server of the benchmark's own."
        if own_resolver(WORK)
        else "Names in .invalid are denied by the machine's resolver, which may lose queries.",
        "The server shares the four cores. CPU-seconds are those of the tool's whole process tree, without the server.",
    ]


def ratio(runs: dict[str, list[dict[str, Any]]], name: str) -> str:
    ours, theirs = runs[f"{name.partition(':')[0]}: custodes"], runs[name]
    per_image = [median(found, "cpu_s") / median(found, "images") for found in (theirs, ours)]
    faster = median(theirs, "wall_s") / median(ours, "wall_s")
    return f"{name} / custodes: {per_image[0] / per_image[1]:.2f} times the CPU-seconds for an image, {faster:.2f} times the wall-clock time"


def ours(config: Path, table: Path) -> dict[str, Any]:
    run = WORK / "run-bytes"
    shutil.rmtree(run, ignore_errors=True)
    command = [BIN / "custodes", "scan", table, "--pass", "bytes", "--run", run, "--config", config]
    cost = measured([*own_resolver(WORK), *command, "--unsafe-allow-loopback", "--workers", "4", "--quiet", "--json"])
    report = json.loads(cost.output)
    return figures(cost, report["outcomes"]["examined"]) | {
        "report": {k: report[k] for k in ("outcomes", "reasons", "seconds")}
    }


def theirs(table: Path, rows: int, options: tuple[str, ...]) -> dict[str, Any]:
    out = WORK / "img2dataset"
    shutil.rmtree(out, ignore_errors=True)
    command = [PEERS / "img2dataset", "--url_list", table, "--input_format", "parquet", "--url_col", "URL"]
    command += ["--output_folder", out, "--processes_count", "4", "--thread_count", str(IN_FLIGHT // 4)]
    command += ["--timeout", "10", "--number_sample_per_shard", str(rows // 4), "--enable_wandb", "False", *options]
    cost = measured([*own_resolver(WORK), *command], QUIET)
    counts = [json.loads(file.read_text()) for file in out.glob("*_stats.json")]
    shutil.rmtree(out, ignore_errors=True)
    return figures(cost, sum(count["successes"] for count in counts))


def figures(cost: Any, images: int) -> dict[str, Any]:
    return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "images": images, "pss_mb": cost.pss_bytes_max / 1e6}
