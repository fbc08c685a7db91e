"""What the benchmarks have in common: interleaved runs, medians, the machine described, results as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import Cost, measured

__all__ = ["BIN", "HERE", "PEERS", "WORK", "Bench", "interleaved", "median", "peers_ready", "site"]

HERE = Path(__file__).parent
WORK = HERE / "work"
BIN = HERE.parent / ".venv" / "bin"
PEERS = HERE.parent / ".venv-bench" / "bin"
PEER_PACKAGES = (
    "img2dataset==1.47.0",
    "albumentations==1.4.24",
    "duckdb==2.0.0",
    "polars==2.1.0",
    "faiss-cpu==1.15.1",
    "threatexchange==1.2.17",
    "pdqhash==0.2.8",
    "matplotlib==3.11.2",
    "usearch==2.26.0",
    "numkong==7.8.6",
)
PEERS_INSTALLED = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"


@dataclass
class Bench:
    """One benchmark: what was done, and a table of what came of it. Values are text as shown."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    ratios: list[str] = field(default_factory=list)
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def save(self) -> str:
        """Store both forms beside each other; the table is returned."""
        home = HERE / "results"
        home.mkdir(exist_ok=True)
        machine = machine_of()
        text = markdown(self, machine)
        document = {"machine": machine} | asdict(self)
        (home / f"{self.name}.json").write_text(json.dumps(document, indent=1) + "\n")
        (home / f"{self.name}.md").write_text(text)
        return text


def markdown(bench: Bench, machine: Mapping[str, str]) -> str:
    """The page of one benchmark."""
    lines = [f"# {bench.title}", "", "; ".join(f"{name}: {value}" for name, value in machine.items()) + ".", ""]
    lines += [f"- {note}" for note in bench.notes] + [""]
    lines += ["| " + " | ".join(bench.heads) + " |", "|---" + "|--:" * (len(bench.heads) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in bench.rows] + [""]
    lines += [f"- {ratio}" for ratio in bench.ratios]
    return "\n".join(lines) + "\n"


def machine_of() -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    return {
        "processor": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "custodes": version("custodes"),
        "packages": ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow", "pillow", "pycurl")),
        "peers": ", ".join(PEER_PACKAGES),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load average when stored": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def interleaved(cases: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run the cases one after the other, ``rounds`` times over, so that a busy minute hits all of them alike."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            found = case() | {"load": os.getloadavg()[0]}
            runs[name].append(found)
            shown = ", ".join(f"{key} {value:.3g}" for key, value in found.items() if isinstance(value, int | float))
            print(f"  {number + 1}/{rounds} {name}: {shown}", file=sys.stderr, flush=True)
    return runs


def median(runs: list[dict[str, Any]], key: str) -> float:
    """The median of one figure over runs."""
    return statistics.median(run[key] for run in runs)


def peers_ready() -> None:
    """The environment of the tools that are compared with, made if it is not there, completed if something is missing."""
    if not (PEERS / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS.parent], check=True)
    there = subprocess.run([PEERS / "python", "-c", PEERS_INSTALLED], check=True, capture_output=True, text=True)
    missing = sorted(set(PEER_PACKAGES) - set(there.stdout.split()))
    if missing:
        print(f"bench: installing {', '.join(missing)} into .venv-bench (pdqhash is compiled)", file=sys.stderr)
        subprocess.run([PEERS / "python", "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)


def site(name: str, list_file: Path) -> tuple[Path, Cost]:
    """A configuration with a throw-away authority and one imported list; what the import cost."""
    home = WORK / f"site-{name}"
    subprocess.run(["rm", "-rf", home], check=True)
    subprocess.run([BIN / "custodes", "init", home, "--demo-authority"], check=True, capture_output=True)
    config = home / "custodes.toml"
    cost = measured([BIN / "custodes", "lists", "import", list_file, "--list", "bench", "--config", config])
    return config, cost
