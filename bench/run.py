"""``make bench``: runs the benchmarks, prints their tables, and stores them in ``bench/results``.

    python bench/run.py [--only bytes|columns|start] [--quick]
"""

from __future__ import annotations

import argparse

from bytes_bench import bench_bytes
from columns_bench import bench_columns
from start_bench import bench_start
from tables import WORK

BENCHES = {"start": bench_start, "columns": bench_columns, "bytes": bench_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(BENCHES))
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows; nothing to quote")
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    for name in [options.only] if options.only else BENCHES:
        bench = BENCHES[name](quick=options.quick)
        if options.quick:
            bench.name += "-quick"
        print(bench.save())


if __name__ == "__main__":
    main()
