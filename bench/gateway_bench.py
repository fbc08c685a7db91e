"""The gateway's door beside LiteLLM's proxy and a plain reverse proxy, in front of the same stand-in generator: what each adds to a request, and what passes.

Doors have two cores, the client and the generator the others. Doors are in ``gateway_doors``, the client in ``gateway_client``.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from codes import code_file
from gateway_doors import LITELLM, OURS, THEIRS, generator, litellm, nginx, parts, pinned
from serving_bench import site
from tables import HERE, WORK, Bench, interleaved, median

__all__ = ["bench_gateway"]

ENTRIES = 100_000
ROUNDS = 3
SECONDS = 1.5
PICTURES = (("256x256", "jpeg"), ("1024x1024", "jpeg"), ("1024x1024", "png"))
CLIENTS = (1, 4, 16, 64)
DIRECT, NGINX, PEER = "no door", "nginx", f"LiteLLM {LITELLM}"
NONE, JUDGED = "gateway, checks off", "gateway, texts and lists, no copy"
LISTS, ALL = "gateway, texts and lists", "gateway, texts, lists, Open NSFW"
Run = tuple[str, str, int]


def bench_gateway(*, quick: bool) -> Bench:
    """Latency and throughput of each door, for each picture and number of clients."""
    entries, seconds = (ENTRIES // 10, 1.0) if quick else (ENTRIES, SECONDS)
    clients = CLIENTS[::2] if quick else CLIENTS
    config = site(code_file(WORK, "random", entries))
    with ExitStack() as stack:
        upstream = stack.enter_context(generator())
        doors = {
            DIRECT: (upstream, "-"),
            NGINX: stack.enter_context(nginx(upstream)),
            PEER: stack.enter_context(litellm(upstream)),
            NONE: stack.enter_context(parts(upstream, "none")),
            JUDGED: stack.enter_context(parts(upstream, "judged", config)),
            LISTS: stack.enter_context(parts(upstream, "lists", config)),
            ALL: stack.enter_context(parts(upstream, "all", config)),
        }
        cases = {
            json.dumps((door, " ".join(picture), number)): (
                lambda door=door, picture=picture, number=number: asked(doors[door], number, seconds, picture)
            )
            for picture in PICTURES
            for number in clients
            for door in doors
        }
        runs = interleaved(cases, 1 if quick else ROUNDS)
    return table({tuple(json.loads(name)): each for name, each in runs.items()}, entries, runs)


def asked(door: tuple[int, str], clients: int, seconds: float, picture: tuple[str, str]) -> dict[str, Any]:
    """One round with one door."""
    argv = pinned(OURS, sys.executable, HERE / "gateway_client.py", *door, clients, seconds, *picture)
    found: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return found


def table(runs: Mapping[Run, list[dict[str, Any]]], entries: int, raw: Mapping[str, list[dict[str, Any]]]) -> Bench:
    """The table, and what each door adds."""
    bench = Bench("gateway", "The gateway's door", notes=notes(entries), runs=dict(raw))
    bench.heads = ["picture, clients, door", "requests/s", "p50, ms", "p95, ms", "p99, ms"]
    for (door, picture, clients), each in runs.items():
        figures = [f"{median(each, 'requests_s'):,.0f}"]
        figures += [f"{median(each, key):,.1f}" for key in ("p50_ms", "p95_ms", "p99_ms")]
        bench.rows.append([f"{picture}, {clients}: {door}", *figures])
    bench.ratios = [added(runs, " ".join(picture)) for picture in PICTURES]
    return bench


def added(runs: Mapping[Run, list[dict[str, Any]]], picture: str) -> str:
    """What each door adds to the median of one client."""
    floor = median(runs[DIRECT, picture, 1], "p50_ms")
    doors = (NGINX, PEER, NONE, JUDGED, LISTS, ALL)
    told = ", ".join(f"{door} {median(runs[door, picture, 1], 'p50_ms') - floor:.1f} ms" for door in doors)
    return f"{picture}, one client, added to the median of {floor:.1f} ms without a door: {told}."


def notes(entries: int) -> list[str]:
    return [
        f"POST /v1/images/generations, a prompt of about 200 characters, one picture as b64_json, HTTP without TLS on loopback, connections that stay open. The door has {len(THEIRS)} cores; the client and the generator have {len(OURS)}. The generator draws each picture once and then answers from memory: in use, a generator takes seconds. Medians of {ROUNDS} interleaved rounds of {SECONDS} s.",
        "The generator is one Python process; where the doors without checks come near to what it gives alone, it is what is measured.",
        f"nginx: two workers, connections to the generator kept open. LiteLLM {LITELLM}: two workers, a master key, no database, no guardrails; it does not look at pictures at all. Neither is doing the gateway's work.",
        "gateway, checks off: the door, the dialect, and the guard with checks that look at nothing. It exists for this measurement alone; the program has no such setting.",
        f"gateway, texts and lists, no copy: keys and limits, the starter lexicon, rules, a list of {entries:,} PDQ codes, all frames, forms and tiles, the picture decoded in the jail; two decisions are durable in the ledger before the answer. For this measurement alone, too: what came is released as it came. It tells what screening and matching cost apart from the copy.",
        "gateway, texts and lists: as it ships, the picture is written again without anything but its pixels, and what was written is decoded and judged once more by another process. In the detector's place stands one that looks at nothing.",
        "gateway, texts, lists, Open NSFW: the same with the default detector, on the processor, two threads.",
    ]
