"""``make bench``: runs the benchmarks, prints their tables, stores them in ``bench/results``, and writes them into ``docs/performance.md``.

python bench/run.py [--only NAME] [--quick]
python bench/run.py --docs      only write the stored tables into the page, and draw its plots
"""

from __future__ import annotations

import argparse
import subprocess

from bytes_bench import bench_bytes
from columns_bench import bench_columns
from digests_bench import bench_crypto, bench_digests
from membership_bench import bench_membership
from rematch_bench import bench_rematch
from search_bench import bench_search
from start_bench import bench_start
from tables import HERE, PEERS, WORK, peers_ready

BENCHES = {
    "start": bench_start,
    "crypto": bench_crypto,
    "digests": bench_digests,
    "columns": bench_columns,
    "membership": bench_membership,
    "search": bench_search,
    "rematch": bench_rematch,
    "bytes": bench_bytes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(BENCHES))
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; nothing to quote")
    parser.add_argument(
        "--docs", action="store_true", help="write the stored tables into docs/performance.md, run nothing"
    )
    options = parser.parse_args()
    if options.docs:
        write_page()
        draw()
        return
    WORK.mkdir(exist_ok=True)
    for name in [options.only] if options.only else BENCHES:
        bench = BENCHES[name](quick=options.quick)
        if options.quick:
            bench.name += "-quick"
        print(bench.save())
    write_page()
    draw()


def draw() -> None:
    """The plots, by the environment that has matplotlib."""
    peers_ready()
    subprocess.run([PEERS / "python", HERE / "plots.py"], check=True)


def write_page() -> None:
    """Put the stored tables between their marks. What stands around them is written by hand."""
    page = HERE.parent / "docs" / "performance.md"
    parts = page.read_text()
    for name in BENCHES:
        stored = HERE / "results" / f"{name}.md"
        before, start, rest = parts.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if stored.exists() and end:
            body = stored.read_text().partition("\n")[2].strip()
            parts = f"{before}{start}\n\n{body}\n\n{end}{after}"
    page.write_text(parts)


if __name__ == "__main__":
    main()
