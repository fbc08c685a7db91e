"""Lists on their way in: imports of files of ten million entries, syncs from a service, and what a version costs afterwards.

The files and the service's records are random numbers. ThreatExchange's command line reads the same file, and its client the same pages, in the same rounds.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lists_files import csv_file, text_file, vics_file
from measure import Cost, measured
from tables import BIN, HERE, PEERS, WORK, Bench, interleaved, median, peers_ready

__all__ = ["bench_lists"]

HOME = WORK / "lists"
METHODS = HERE / "lists_methods.py"
WIDE = "import, csv with ids, MD5 and SHA-1"
PDQ = "import, text, PDQ"
PEER_IMPORT = "ThreatExchange, config and fetch"
OWN_IMPORT = "custodes, import"
OWN_LOAD = "custodes, load"
FIRST, CHANGES = "first sync", "sync of 1,000 changes"


@dataclass(frozen=True)
class Sizes:
    """How much of each is done. ``known``: records of the list that the changes meet, of three entries each."""

    entries: int = 10_000_000
    media: int = 1_000_000
    beside: int = 1_000_000
    first: int = 200_000
    known: int = 333_334
    rounds: int = 3


def bench_lists(*, quick: bool) -> Bench:
    """Imports alone and beside ThreatExchange, the work on an imported list, and syncs beside ThreatExchange's client."""
    peers_ready()
    sizes = Sizes(100_000, 20_000, 20_000, 5_000, 4_000, rounds=1) if quick else Sizes()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    bench = Bench("lists", "Lists: import, sync, load", notes=notes(sizes))
    bench.heads = ["", "number", "wall, s", "a second", "CPU-s", "CPU µs each", "peak RSS, MB", "at rest, MB"]
    bench.runs = interleaved(imports(sizes), sizes.rounds)
    bench.runs |= interleaved(afterwards(), sizes.rounds)
    beside = interleaved(beside_peer(sizes), sizes.rounds)
    synced = syncs(sizes)
    bench.runs |= beside | synced
    bench.rows = [row(name, found) for name, found in bench.runs.items()]
    bench.ratios = [*import_ratios(*beside.values()), *sync_ratios(synced)]
    shutil.rmtree(HOME)
    return bench


def row(name: str, found: list[dict[str, Any]]) -> list[str]:
    number, wall, cpu = found[0]["number"], median(found, "wall_s"), median(found, "cpu_s")
    at_rest = f"{found[0]['at_rest_mb']:,.0f}" if found[0]["at_rest_mb"] else ""
    shown = [name, f"{number:,}", f"{wall:.1f}", f"{number / wall:,.0f}", f"{cpu:.1f}", f"{1e6 * cpu / number:.2f}"]
    return [*shown, f"{median(found, 'rss_mb'):,.0f}", at_rest]


def figures(cost: Cost, number: int, at_rest: Path | None = None) -> dict[str, Any]:
    """What is kept of a run. ``number``: how many entries, or records, it was about."""
    assert cost.exit_code == 0, f"it ended with status {cost.exit_code}"
    files = [at_rest, *at_rest.rglob("*")] if at_rest else []
    bytes_at_rest = sum(file.stat().st_size for file in files if file.is_file())
    found = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "rss_mb": cost.rss_bytes_max / 1e6}
    return found | {"number": number, "at_rest_mb": bytes_at_rest / 1e6}


# -- files


def imports(sizes: Sizes) -> dict[str, Callable[[], dict[str, Any]]]:
    """Each form of file, into a site of its own."""
    files: dict[str, tuple[str, Path, list[str]]] = {
        "import, text, MD5": ("md5", text_file(WORK, "md5", sizes.entries, named=True), []),
        PDQ: ("pdq", text_file(WORK, "pdq", sizes.entries, named=False), ["--kind", "pdq"]),
        WIDE: ("wide", csv_file(WORK, sizes.entries), ["--scheme", "ncmec"]),
        "import, VICS JSON with MD5 and SHA-1": ("vics", vics_file(WORK, sizes.media), []),
    }
    return {name: partial(imported, *each) for name, each in files.items()}


def imported(name: str, file: Path, options: list[str]) -> dict[str, Any]:
    """``custodes lists import`` into a new site, as a person types it."""
    home = HOME / f"site-{name}"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([BIN / "custodes", "init", home, "--demo-authority"], check=True, capture_output=True)
    config = ["--config", home / "custodes.toml"]
    cost = measured([BIN / "custodes", "lists", "import", file, "--list", name, "--json", *options, *config])
    return figures(cost, sum(json.loads(cost.output)["entries"].values()), home / "lists" / name)


def afterwards() -> dict[str, Callable[[], dict[str, Any]]]:
    """What an imported list costs from then on."""
    config = HOME / "site-wide" / "custodes.toml"
    return {
        "load, MD5": lambda: method("load", HOME / "site-md5" / "custodes.toml", "md5"),
        "load, PDQ": lambda: method("load", HOME / "site-pdq" / "custodes.toml", "pdq"),
        "load, MD5 and SHA-1 with ids": lambda: method("load", config, "wide"),
        "update of one id of these": lambda: method("update", config, "wide", "entry-00000007"),
    }


def method(*words: str | Path, peer: bool = False, at_rest: Path | None = None) -> dict[str, Any]:
    """A piece of work of ``lists_methods``: by its own clocks, without the start of Python; the memory is its process's."""
    cost = measured([(PEERS if peer else BIN) / "python", METHODS, *words])
    said = json.loads(cost.output or "{}")
    return figures(cost, said.get("records") or said.get("entries", 0), at_rest) | said


def beside_peer(sizes: Sizes) -> dict[str, Callable[[], dict[str, Any]]]:
    """The same file of PDQ codes, imported here and there."""
    file = text_file(WORK, "pdq", sizes.beside, named=False)
    config = HOME / "site-beside" / "custodes.toml"
    return {
        f"{OWN_IMPORT}, the same {sizes.beside:,} PDQ": lambda: imported("beside", file, ["--kind", "pdq"]),
        f"{OWN_LOAD}, the same": lambda: method("load", config, "beside"),
        f"{PEER_IMPORT}, the same": lambda: fetched(file, sizes.beside),
    }


def fetched(file: Path, number: int) -> dict[str, Any]:
    """``tx``, told of the file, reads it, and builds its index."""
    state = HOME / "tx"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    tx, environment = PEERS / "tx", {"TX_STATEDIR": str(state)}
    told = ["--create", "--filename", file, "--signal-type", "pdq", "bench"]
    subprocess.run(
        [tx, "config", "collab", "edit", "local_file", *told],
        check=True,
        env={**os.environ, **environment},
        capture_output=True,
    )
    return figures(measured([tx, "fetch", "--only-collab", "bench"], environment), number, state)


def import_ratios(own: list[dict[str, Any]], loaded: list[dict[str, Any]], peer: list[dict[str, Any]]) -> list[str]:
    """The peer's fetch ends with an index; ours is made when a scan starts, so both comparisons are given."""
    both = [
        first | {key: first[key] + then[key] for key in ("wall_s", "cpu_s")}
        for first, then in zip(own, loaded, strict=True)
    ]
    return [
        ratio(f"{PEER_IMPORT} / {OWN_IMPORT}", peer, own),
        ratio(f"{PEER_IMPORT} / {OWN_IMPORT} and load", peer, both),
    ]


def ratio(name: str, theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> str:
    times = {key: median(theirs, key) / median(ours, key) for key in ("wall_s", "cpu_s", "rss_mb")}
    return f"{name}: {times['wall_s']:.2f} times the wall-clock time, {times['cpu_s']:.2f} times the CPU time, {times['rss_mb']:.2f} times the memory"


# -- a service


def syncs(sizes: Sizes) -> dict[str, list[dict[str, Any]]]:
    """Ours and the peer's client, in turn, from the same server."""
    python = {"custodes": BIN / "python", "ThreatExchange's client": PEERS / "python"}
    kept = {"custodes": HOME / "kept", "ThreatExchange's client": HOME / "kept.pickle"}
    for tool, word in zip(python, ("prepare", "prepare-peer"), strict=True):
        subprocess.run([python[tool], METHODS, word, kept[tool], str(sizes.known)], check=True)
    with served(sizes) as base:
        cases = {
            f"{what}: {tool}": partial(synced, f"{base}/{path}", tool, kept if what == CHANGES else {})
            for what, path in ((FIRST, "first"), (CHANGES, "changes"))
            for tool in python
        }
        return interleaved(cases, sizes.rounds)


def synced(base: str, tool: str, kept: Mapping[str, Path]) -> dict[str, Any]:
    """One sync into nothing, or into a copy of what is kept."""
    peer = tool != "custodes"
    place = HOME / ("synced.pickle" if peer else "synced")
    shutil.rmtree(place, ignore_errors=True)
    place.unlink(missing_ok=True)
    if kept:
        (shutil.copy if peer else shutil.copytree)(kept[tool], place)
    return method("sync-peer" if peer else "sync", place, base, peer=peer, at_rest=None if kept else place)


@contextmanager
def served(sizes: Sizes) -> Iterator[str]:
    """The server's address, while it serves."""
    words = [sys.executable, HERE / "lists_server.py", *map(str, (sizes.first, sizes.known, 1000))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())[
            "base"
        ]  # it ends with its standard input, which is closed after this


def sync_ratios(runs: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    own = {what: runs[f"{what}: custodes"] for what in (FIRST, CHANGES)}
    return [
        ratio(f"{what}: ThreatExchange's client / custodes", runs[f"{what}: ThreatExchange's client"], own[what])
        for what in own
    ]


def notes(sizes: Sizes) -> list[str]:
    return [
        f"Random digests, seeded. import: `custodes lists import FILE` into a new site, as whole commands; text is a kind and a value a line (PDQ: the value alone, `--kind pdq`), csv has an id, MD5, SHA-1 and one of four categories a row (`--scheme ncmec`), VICS is {sizes.media:,} media records. Every row is parsed and checked, equal entries are folded, and the version is encrypted, written and made durable.",
        "load: what a scan does once before its first row: decrypt, check the digest, index, put into shared memory. update: one id gets another value in that list, and the list is written anew as a version of its own. Both by the clocks of their process, without the start of Python.",
        f"ThreatExchange 1.2.17: `tx config collab edit local_file` and `tx fetch` (fetch is what is timed) on the same file of {sizes.beside:,} PDQ codes. It ends with an index for matching, which custodes makes when a scan starts; so the ratio with loading is the one of equal work. What it keeps is not encrypted, and no code is checked as it is read.",
        f"sync: a stand-in for NCMEC's service on loopback serves pages of 1,000 records that were rendered beforehand (MD5, SHA-1 and PDQ each). {FIRST}: {sizes.first:,} records into nothing. {CHANGES}: onto a list of {sizes.known:,} records, so {3 * sizes.known:,} entries; 600 change one, 200 withdraw one, 200 are new.",
        "ThreatExchange's client (`NCMECHashAPI.get_entries_iter`) reads the same pages from the same server into a dictionary, and pickles that whole, as its command line does between fetches; it makes a connection for every page, keeps nothing of a walk that stops, and its index is not made here. custodes makes every page durable, encrypted, before it asks for the next, then folds them into a new version.",
        "number: entries in the list, of syncs the records that came. Peak RSS is of the largest process, by the kernel. At rest: of an import all of the list's files, of ThreatExchange all that it keeps. Three interleaved rounds, medians; the page cache is warm.",
    ]
