"""The plots of ``docs/performance.md``, drawn from ``bench/results`` alone: what a benchmark did not store is not shown.

Run by the interpreter of ``.venv-bench``, which has matplotlib; ``bench/run.py`` does so when it has run. The same results give the same bytes.
Colours are Okabe and Ito's, which people of any colour vision tell apart; every series has a marker or a label of its own beside its colour.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

HERE = Path(__file__).parent
RESULTS = HERE / "results"
OUT = HERE.parent / "docs" / "plots"

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK, GREY = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#888888",
)
LEVELS = ("avx512", "avx2", "neon", "baseline", "numpy")
PEERS = {
    "pdqindex": ("ThreatExchange PDQIndex", RED, "s"),
    "flat": ("faiss flat", ORANGE, "^"),
    "multihash-11x23": ("faiss MultiHash 11x23", PINK, "v"),
    "multihash-16x16": ("faiss MultiHash 16x16", GREY, "D"),
}

Runs = dict[str, list[dict[str, Any]]]


def runs_of(name: str) -> Runs | None:
    """What the whole benchmark stored; a quick one is never drawn."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["runs"] if path.exists() else None


def save(figure: Any, name: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUT / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)
    print(f"docs/plots/{name}.svg")


def plain(value: float, _at: Any = None) -> str:
    """A number on a logarithmic axis as people write it."""
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


# -- search


def plot_search(runs: Runs) -> None:
    """Microseconds a query against the number of entries: one panel for each kind of codes."""
    cases = [found[0] | {"us": statistics.median(each["cpu_us"] for each in found)} for found in runs.values() if found]
    kinds = [kind for kind in ("random", "clustered") if any(case["kind"] == kind for case in cases)]
    figure, panels = plt.subplots(1, len(kinds), figsize=(4.6 * len(kinds), 4.2), sharey=True, squeeze=False)
    for panel, kind in zip(panels[0], kinds, strict=True):
        here = [case for case in cases if case["kind"] == kind]
        for label, colour, marker, dashed, points in search_series(here):
            x, y = zip(*sorted(points), strict=True)
            panel.plot(x, y, "--" if dashed else "-", color=colour, marker=marker, markersize=5, lw=1.6, label=label)
        panel.set(xscale="log", yscale="log", xlabel="entries", title=f"{kind} codes")
        panel.xaxis.set_major_formatter(FuncFormatter(plain))
        panel.yaxis.set_major_formatter(FuncFormatter(plain))
        panel.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
        panel.grid(which="major", color="#dddddd", lw=0.6)
    panels[0][0].set_ylabel("CPU µs a query, one core")
    handles = {
        label: handle for panel in panels[0] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 0), ncol=3, frameon=False)
    save(figure, "search")


def search_series(cases: list[dict[str, Any]]) -> list[tuple[str, str, str, bool, list[tuple[int, float]]]]:
    """Peers one query at a time; ours one at a time and in the largest batch, at the best level and in NumPy."""
    series = []
    for method, (label, colour, marker) in PEERS.items():
        points = [(case["codes"], case["us"]) for case in cases if case["method"] == method and case["batch"] == 1]
        if points:
            series.append((label, colour, marker, False, points))
    own = [case for case in cases if case["method"] in ("custodes", "numpy") and case["case"].endswith("/1")]
    levels = sorted({case["case"].split("/")[0] for case in own}, key=LEVELS.index)
    for level, colour in zip(dict.fromkeys([levels[0], levels[-1]]), (BLUE, GREEN), strict=False):
        of = [case for case in own if case["case"].split("/")[0] == level]
        largest = max(case["batch"] for case in of)
        for batch, how in ((1, "one at a time"), (largest, f"batches of {largest:,}")):
            points = [(case["codes"], case["us"]) for case in of if case["batch"] == batch]
            series.append((f"custodes {level}, {how}", colour, "o", batch > 1, points))
    bulk = [(case["codes"], case["us"]) for case in cases if case["method"] == "bulk" and case["case"].endswith("/1")]
    return [*series, ("custodes, bulk form", BLACK, "*", True, bulk)] if bulk else series


# -- bars


def bars(panel: Any, rows: list[tuple[str, float, str, str]]) -> None:
    """Horizontal bars from the top: label, value, what is written behind it, colour."""
    labels, values, texts, colours = zip(*rows, strict=True)
    places = range(len(rows))
    panel.barh(places, values, color=colours, height=0.66)
    panel.set_yticks(places, labels)
    panel.invert_yaxis()
    panel.set_xlim(0, max(values) * 1.28)
    for place, value, text in zip(places, values, texts, strict=True):
        panel.text(value + max(values) * 0.015, place, text, va="center", fontsize=8.5)
    panel.tick_params(left=False)
    panel.grid(axis="x", color="#eeeeee", lw=0.6)
    panel.set_axisbelow(True)


def plot_digests(runs: Runs) -> None:
    """CPU milliseconds an image, a panel for each size."""
    found: dict[str, dict[str, float]] = {}
    for each in runs.values():
        times = [min(spent) for spent in zip(*(one["cpu_ms"] for one in each), strict=True)]
        found.setdefault(each[0]["size"], {})[each[0]["case"]] = statistics.fmean(times)
    figure, panels = plt.subplots(len(found), 1, figsize=(7.4, 1.75 * len(found)))
    for panel, size in zip(panels, found, strict=True):
        of = found[size]
        best = next(level for level in LEVELS if level in of)
        named = {"pdqhash": ("hashlib + Pillow + pdqhash", RED), "exact": ("custodes exact", SKY)}
        named |= {"numpy": ("custodes without native kernels", GREEN), best: (f"custodes {best}", BLUE)}
        named |= {"floor": ("entropy decoding (Pillow at 1/8)", GREY)}
        rows = []
        for case, (label, colour) in named.items():
            times = "" if case in ("pdqhash", "floor") else f"   {of['pdqhash'] / of[case]:.1f} times as fast"
            rows.append((label, of[case], f"{of[case]:.3g} ms{times}", colour))
        bars(panel, rows)
        panel.set_title(size, loc="left", fontsize=10)
    panels[-1].set_xlabel("CPU ms an image, one core")
    figure.tight_layout()
    save(figure, "digests")


def plot_membership(runs: Runs) -> None:
    """Million rows a second on the largest list that all engines share; of custodes' levels the best."""
    titles = {"set": "Python set", "polars": "Polars", "duckdb-blob": "DuckDB, BLOB", "duckdb-hex": "DuckDB, hex text"}
    cases = [found[0] | {"search": statistics.median(each["search_s"] for each in found)} for found in runs.values()]
    shared = max(case["entries"] for case in cases if case["engine"] == "polars")
    best = next((case["case"] for case in cases if case["engine"] == "custodes"), "numpy")
    shown = {*titles, "numpy"}
    cases = [case for case in cases if case["entries"] == shared and (case["engine"] in shown or case["case"] == best)]
    groups = [(kind, threads) for kind in ("md5", "sha256") for threads in (1, 4)]
    figure, panels = plt.subplots(2, 2, figsize=(9.2, 5.2), squeeze=False)
    colours = {"set": GREY, "polars": ORANGE, "duckdb-blob": RED, "duckdb-hex": PINK, "numpy": GREEN, "custodes": BLUE}
    for panel, (kind, threads) in zip(panels.flat, groups, strict=True):
        rows = []
        for case in (case for case in cases if (case["kind"], case["threads"]) == (kind, threads)):
            speed = case["queries"] / case["search"] / 1e6
            label = titles.get(case["engine"], f"custodes {case['case']}")
            rows.append((label, speed, f"{speed:.3g}", colours[case["engine"]]))
        bars(panel, rows)
        panel.set_title(f"{kind}, {'one thread' if threads == 1 else f'{threads} threads'}", loc="left", fontsize=10)
    for panel in panels[1]:
        panel.set_xlabel("million rows a second")
    figure.suptitle(f"membership in a list of {shared // 1_000_000} million", fontsize=10)
    figure.tight_layout()
    save(figure, "membership")


# -- drift


def plot_drift(runs: Runs) -> None:
    """Share of the files by the bits that fast decoding moved their code; quality 50 and above."""
    files = [each for each in runs["files"] if each["quality"] >= 50]
    groups = {"photographs": BLUE, "scenes": SKY, "pages of letters alone": ORANGE}
    most = max(each["bits"] for each in files)
    step = 1 if any(each["bits"] % 2 for each in files) else 2  # codes with equally many ones differ in an even number
    figure, panel = plt.subplots(figsize=(6.4, 3.2))
    for number, (group, colour) in enumerate(groups.items()):
        counted = Counter(each["bits"] for each in files if each["group"].startswith(group))
        total = counted.total()
        if total:
            width = 0.28 * step
            places = [bits + width * (number - 1) for bits in range(0, most + 1, step)]
            shares = [100 * counted[bits] / total for bits in range(0, most + 1, step)]
            panel.bar(places, shares, width=width, color=colour, label=f"{group} ({total:,} files)")
    panel.set(xlabel="bits of 256 in which the fast code differs", ylabel="% of files")
    panel.set_xticks(range(0, most + 1, 2 if most > 8 else step))
    panel.legend(frameon=False)
    panel.grid(axis="y", color="#eeeeee", lw=0.6)
    panel.set_axisbelow(True)
    save(figure, "drift")


PLOTS = {"search": plot_search, "digests": plot_digests, "membership": plot_membership, "drift": plot_drift}


def main() -> None:
    style = {"svg.hashsalt": "custodes", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    plt.rcParams.update(style | {"axes.titlesize": 10, "figure.facecolor": "white"})
    for name, plot in PLOTS.items():
        runs = runs_of(name)
        if runs:
            plot(runs)


if __name__ == "__main__":
    main()
