"""``make bench``: runs the benchmarks, prints their tables, stores them in ``bench/results``, and writes them into ``docs/performance.md``.

python bench/run.py [--only NAME] [--quick]
python bench/run.py --docs      only write the stored tables into the page, and draw its plots
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from bytes_bench import bench_bytes
from cluster_bench import bench_cluster
from columns_bench import bench_columns
from commit_bench import bench_commit
from digests_bench import bench_crypto, bench_digests
from drift_bench import bench_drift
from funnel_bench import bench_funnel
from gateway_bench import bench_gateway
from inspection_bench import bench_inspection
from lists_bench import bench_lists
from log_bench import bench_log
from membership_bench import bench_membership
from rematch_bench import bench_rematch
from screening_bench import bench_screening
from search_bench import bench_search
from serving_bench import bench_serving
from similar_bench import bench_similar
from sizing_bench import bench_sizing
from start_bench import bench_start
from tables import HERE, PEERS, WORK, peers_ready

BENCHES = {
    "start": bench_start,
    "crypto": bench_crypto,
    "digests": bench_digests,
    "drift": bench_drift,
    "columns": bench_columns,
    "membership": bench_membership,
    "search": bench_search,
    "rematch": bench_rematch,
    "sizing": bench_sizing,
    "cluster": bench_cluster,
    "lists": bench_lists,
    "bytes": bench_bytes,
    "serving": bench_serving,
    "commit": bench_commit,
    "log": bench_log,
    "similar": bench_similar,
    "funnel": bench_funnel,
    "inspection": bench_inspection,
    "screening": bench_screening,
    "gateway": bench_gateway,
}

PLOTS = {
    "search": "Microseconds a query against the number of entries, for custodes, faiss and ThreatExchange",
    "membership": "Million rows a second of each engine, for MD5 and SHA-256, with one thread and four",
    "digests": "CPU milliseconds an image in four sizes, for custodes, pdqhash and entropy decoding alone",
    "drift": "Share of files by the number of bits in which fast decoding changes their code",
}
"""What each plot shows, for people who cannot see it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(BENCHES))
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; nothing to quote")
    parser.add_argument(
        "--docs", action="store_true", help="write the stored tables into docs/performance.md, run nothing"
    )
    options = parser.parse_args()
    if options.docs:
        draw()
        write_pages()
        return
    WORK.mkdir(exist_ok=True)
    for name in [options.only] if options.only else BENCHES:
        bench = BENCHES[name](quick=options.quick)
        if options.quick:
            bench.name += "-quick"
        print(bench.save())
    draw()
    write_pages()


def draw() -> None:
    """The plots, by the environment that has matplotlib."""
    peers_ready()
    subprocess.run([PEERS / "python", HERE / "plots.py"], check=True)


def write_pages() -> None:
    """Put the plots and the stored tables between their marks. What stands around them is written by hand."""
    docs = HERE.parent / "docs"
    for page in (docs / "performance.md", docs / "guides" / "operations.md"):
        page.write_text(filled(page))


def filled(page: Path) -> str:
    """A page with the tables that it has marks for."""
    parts = page.read_text()
    for name in BENCHES:
        stored = HERE / "results" / f"{name}.md"
        before, start, rest = parts.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if stored.exists() and end:
            body = stored.read_text().partition("\n")[2].strip()
            drawn = name in PLOTS and (page.parent / "plots" / f"{name}.svg").exists()
            plot = f"![{PLOTS[name]}](plots/{name}.svg)\n\n" if drawn else ""
            parts = f"{before}{start}\n\n{plot}{body}\n\n{end}{after}"
    return parts


if __name__ == "__main__":
    main()
