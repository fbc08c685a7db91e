"""``custodes serve match``: look-ups by digest and images over HTTP, beside a dictionary in the asking process and the index under hasher-matcher-actioner.

The service has two cores, its clients the others, and a list of a million codes. What a client does is in ``serving_client``.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from codes import code_file, query_file
from dialogue import Dialogue
from tables import BIN, HERE, WORK, Bench, interleaved, median, peers_ready

__all__ = ["bench_serving"]

ENTRIES = 1_000_000
ROUNDS = 3
SECONDS = 10.0
CORES = sorted(os.sched_getaffinity(0))
THEIRS, OURS = (CORES[:2], CORES[2:] or CORES) if len(CORES) > 2 else (CORES, CORES)
KEY = hashlib.sha256(b"the key of the benchmark").hexdigest()
SETTINGS = f"""
[serve]
port = 0
{{settings}}

[serve.tenants.bench]
key_sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
trusted_digests = true
requests_per_minute = 1_000_000_000
hits_per_day = 1_000_000_000
hits_kept = 1_000_000_000
"""
CASES = {
    "one code a request, 64 connections": ("one", 64),
    "one code a request, 1 connection": ("one", 1),
    "1,000 codes a request, 4 connections": ("batch", 4),
    "one JPEG of 600x400 a request, 32 connections": ("image", 32),
}
RECORDED_HMA = 172


def bench_serving(*, quick: bool) -> Bench:
    """Throughput and latency of each kind of request."""
    peers_ready()
    entries = ENTRIES // 10 if quick else ENTRIES
    codes, seconds = code_file(WORK, "random", entries), 2.0 if quick else SECONDS
    queries, picture = misses(codes), painted()
    config = site(codes)
    with served(config) as port:
        cases = {
            name: (
                lambda kind=kind, connections=connections: client(port, kind, connections, seconds, queries, picture)
            )
            for name, (kind, connections) in CASES.items()
        }
        runs = interleaved(cases, 1 if quick else ROUNDS)
    bench = Bench("serving", "The match service", notes=notes(entries))
    bench.heads = ["", "items/s", "requests/s", "p50, ms", "p99, ms"]
    bench.rows = [
        [
            name,
            *(f"{median(each, key):,.0f}" for key in ("items_s", "requests_s")),
            *(f"{median(each, key):.1f}" for key in ("p50_ms", "p99_ms")),
        ]
        for name, each in runs.items()
    ]
    engine = pdqindex(codes, queries, seconds)
    table = dictionary(entries, seconds)
    bench.rows.append(
        [
            "in the process that asks: ThreatExchange PDQIndex, one code a call",
            f"{engine:,.0f}",
            "",
            f"{1e3 / engine:.1f}",
            "",
        ]
    )
    bench.rows.append(["in the process that asks: a Python dictionary of MD5, one a call", f"{table:,.0f}", "", "", ""])
    one = median(runs["one code a request, 64 connections"], "items_s")
    bench.ratios = [
        f"One code a request: {one / RECORDED_HMA:.1f} times the {RECORDED_HMA} look-ups/s that were recorded for hasher-matcher-actioner (recorded, not run here)",
        f"One code a request over HTTP: {one / engine:.1f} times what PDQIndex does in one process without HTTP",
    ]
    bench.runs = runs | {"pdqindex": [{"items_s": engine}], "dictionary": [{"items_s": table}]}
    return bench


def misses(codes: Path) -> Path:
    """Queries that match nothing, but one in a thousand: as most of what a platform asks."""
    path = codes.with_name(f"{codes.stem}-asked.npy")
    if not path.exists():
        random = np.random.default_rng(7)
        asked = np.frombuffer(random.bytes(200_000 * 32), np.uint8).reshape(-1, 32).copy()
        asked[::1000] = np.load(query_file(WORK, codes), mmap_mode="r")[:200]
        np.save(path, asked)
    return path


def painted() -> Path:
    """A picture of noise and shapes; what it shows does not matter."""
    path = WORK / "asked.jpg"
    if not path.exists():
        from PIL import Image

        noise = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((600, 400), Image.Resampling.BICUBIC).save(path, quality=80)
    return path


def site(codes: Path) -> Path:
    """A configuration with the list, imported once for each code file."""
    home = WORK / f"site-serving-{codes.stem}"
    config = home / "custodes.toml"
    if not (home / "done").exists():
        subprocess.run(["rm", "-rf", home], check=True)
        subprocess.run([BIN / "custodes", "init", home, "--demo-authority"], check=True, capture_output=True)
        listed = home / "list.csv"
        with listed.open("w") as file:
            file.write("kind,value,id,category\n")
            file.writelines(
                f"pdq,{bytes(code).hex()},e{n},A1\n" for n, code in enumerate(np.load(codes, mmap_mode="r"))
            )
        subprocess.run([BIN / "custodes", "lists", "import", listed, "--list", "bench", "--config", config], check=True)
        listed.unlink()
        (home / "done").touch()
    text = config.read_text()
    config.write_text(text[: text.index("[serve]")] + SETTINGS.format(settings=""))
    return config


@contextmanager
def served(config: Path) -> Iterator[int]:
    """The service on its cores, with its lists loaded."""
    subprocess.run(["rm", "-rf", config.parent / "state"], check=True)
    argv = [
        "taskset",
        "-c",
        ",".join(map(str, THEIRS)),
        BIN / "custodes",
        "serve",
        "match",
        "--json",
        "--config",
        config,
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["listening"].rpartition(":")[2])
        try:
            ask = [sys.executable, "-c", f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/status')"]
            while subprocess.run(ask, check=False, capture_output=True).returncode:
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()


def client(port: int, kind: str, connections: int, seconds: float, *files: Path) -> dict[str, Any]:
    """One round."""
    argv = ["taskset", "-c", ",".join(map(str, OURS)), sys.executable, HERE / "serving_client.py"]
    words = [port, KEY, kind, connections, seconds, *files]
    done = subprocess.run([*argv, *map(str, words)], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pdqindex(codes: Path, queries: Path, seconds: float) -> float:
    """Look-ups a second of the index that hasher-matcher-actioner holds, on one core, no HTTP around it."""
    with Dialogue("search_methods.py", "pdqindex", codes, queries, peer=True) as process:
        case = next(name for name, batch in process.ready["cases"].items() if batch == 1)
        return 1e6 / process.ask(case=case, first=0, seconds=seconds)["wall_us"]


def dictionary(entries: int, seconds: float) -> float:
    """Look-ups a second in a dictionary of digests: what equality costs where the asking program may hold the list."""
    known = {hashlib.md5(str(number).encode()).digest(): number for number in range(entries)}
    asked = [hashlib.md5(str(number).encode()).digest() for number in range(0, 2 * entries, 20)]
    done, began = 0, time.perf_counter()
    while (wall := time.perf_counter() - began) < seconds / 5:
        for digest in asked:
            known.get(digest)
        done += len(asked)
    return done / wall


def notes(entries: int) -> list[str]:
    return [
        f"A list of {entries:,} random PDQ codes; all its entries within 31 bits of any of the eight forms are asked for. One query in 1,000 is near an entry, and is remembered on disk before it is answered; the rest match nothing.",
        f"The service (keeper, front, matcher, two decoders) has {len(THEIRS)} cores, clients have {len(OURS)}; HTTP without TLS on loopback; medians of {ROUNDS} interleaved rounds of {SECONDS:.0f} s. Answers leave at steps of 5 ms, as by default: of the latency of one request half a step on average is waiting.",
        "one code a request: GET /m/lookup, the route of hasher-matcher-actioner. 1,000 codes a request: POST /v1/digests. JPEG: POST /v1/images; it is digested, decoded in the jail at full resolution, and looked up.",
        "hasher-matcher-actioner itself was not run: 172 look-ups/s by hash (145 with 500,000 hashes; 1 worker, 4 threads, 4 clients) and 53 to 68 JPEGs/s of 10 kB were recorded earlier, under another load. PDQIndex, the index that it asks, is run here: threatexchange 1.2.17, one core, hexadecimal text in, within one process.",
        "The dictionary compares for equality alone and has no protocol, no tenant and no defence around it: it is the floor of what a look-up can cost in Python.",
    ]
