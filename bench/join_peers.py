"""The join of the columns benchmark in DuckDB or Polars, in a process of its own.

Run by the interpreter of ``.venv-bench``: join_peers.py duckdb|polars TABLES LIST
"""

from __future__ import annotations

import json
import sys
import time

ENGINE, TABLES, LIST = sys.argv[1:4]


def with_duckdb() -> tuple[int, float]:
    import duckdb

    engine = duckdb.connect()
    engine.execute("SET threads = 4")
    engine.execute("CREATE TABLE known AS SELECT value FROM read_csv(?) WHERE kind = 'md5'", [LIST])
    began = time.perf_counter()
    query = f"SELECT count(*) FROM read_parquet('{TABLES}/*.parquet') WHERE md5 IN (SELECT value FROM known)"
    found = engine.execute(query).fetchone()[0]
    return found, time.perf_counter() - began


def with_polars() -> tuple[int, float]:
    import polars as pl

    known = pl.read_csv(LIST).filter(pl.col("kind") == "md5").select(md5="value")
    began = time.perf_counter()
    rows = pl.scan_parquet(f"{TABLES}/*.parquet").select("md5")
    found = rows.join(known.lazy(), on="md5", how="semi").select(pl.len()).collect(engine="streaming").item()
    return found, time.perf_counter() - began


found, query_s = with_duckdb() if ENGINE == "duckdb" else with_polars()
print(json.dumps({"found": found, "query_s": query_s}))
