"""What ``leases`` says to PostgreSQL: tables, and statements on them. Parameters that are arrays go side by side: ``shards`` with ``generations``.

Tables are described in docs/formats/ledger-postgresql.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_TABLES: Final = """
CREATE TABLE coordinators (
    name text PRIMARY KEY,
    run text NOT NULL,
    began timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL
);
CREATE TABLE shards (
    run text NOT NULL,
    shard integer NOT NULL,
    generation integer NOT NULL,
    retry text[] NOT NULL DEFAULT '{}',
    coordinator text,
    claim bigint,
    token bigint NOT NULL DEFAULT 0,
    done boolean NOT NULL DEFAULT false,
    failed boolean NOT NULL DEFAULT false,
    rows bigint,
    reasons jsonb,
    bytes_fetched bigint,
    PRIMARY KEY (run, shard, generation)
);
CREATE INDEX shards_open ON shards (run, shard, generation) WHERE NOT done AND NOT failed;
CREATE INDEX shards_claimed ON shards (coordinator, claim) WHERE coordinator IS NOT NULL;
"""
STEPS: Final[Sequence[str]] = (_TABLES,)

# -- coordinators

BEGIN: Final = """
INSERT INTO coordinators (name, run, expires) VALUES (%(name)s, %(run)s, clock_timestamp() + make_interval(secs => %(lease_s)s))
ON CONFLICT (name) DO NOTHING
"""
LIVES: Final = "SELECT 1 FROM coordinators WHERE name = %(name)s AND expires > clock_timestamp()"
PROLONG: Final = """
UPDATE coordinators SET expires = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE name = %(name)s AND expires > clock_timestamp()
"""
GIVE_BACK: Final = "UPDATE shards SET coordinator = NULL WHERE coordinator = %(name)s AND NOT done"
END: Final = "DELETE FROM coordinators WHERE name = %(name)s"

# -- what is to be done

ADD: Final = """
INSERT INTO shards AS s (run, shard, generation, retry)
SELECT %(run)s, shard, generation, string_to_array(retry, ',')
FROM unnest(%(shards)s::integer[], %(generations)s::integer[], %(retries)s::text[]) AS given (shard, generation, retry)
ORDER BY shard, generation
ON CONFLICT (run, shard, generation) DO UPDATE SET failed = false, retry = excluded.retry WHERE NOT s.done
"""
WHICH_DONE: Final = """
SELECT s.shard, s.generation FROM shards s
JOIN unnest(%(shards)s::integer[], %(generations)s::integer[]) AS given (shard, generation) USING (shard, generation)
WHERE s.run = %(run)s AND s.done
"""
REOPEN: Final = """
UPDATE shards s SET done = false, failed = false, coordinator = NULL, rows = NULL
FROM unnest(%(shards)s::integer[], %(generations)s::integer[]) AS given (shard, generation)
WHERE s.run = %(run)s AND s.shard = given.shard AND s.generation = given.generation
"""
ANY_OPEN: Final = "SELECT 1 FROM shards WHERE run = %(run)s AND NOT done AND NOT failed LIMIT 1"

# -- leases. The clock makes tokens grow even where an older database was restored.

CLAIMED_BEFORE: Final = """
SELECT shard, generation, retry, token, true FROM shards WHERE coordinator = %(name)s AND claim = %(claim)s AND NOT done
"""
CLAIM: Final = """
WITH free AS (
    SELECT s.run, s.shard, s.generation, s.coordinator FROM shards s
    WHERE s.run = %(run)s AND NOT s.done AND NOT s.failed
        AND NOT EXISTS (SELECT 1 FROM coordinators c WHERE c.name = s.coordinator AND c.expires > clock_timestamp())
    ORDER BY s.shard, s.generation LIMIT %(count)s FOR UPDATE OF s SKIP LOCKED
)
UPDATE shards s SET
    coordinator = %(name)s,
    claim = %(claim)s,
    token = greatest(s.token + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
FROM free WHERE s.run = free.run AND s.shard = free.shard AND s.generation = free.generation
RETURNING s.shard, s.generation, s.retry, s.token, free.coordinator IS NOT NULL
"""
RECORD: Final = """
INSERT INTO shards AS s (run, shard, generation, done, rows, reasons, bytes_fetched)
SELECT %(run)s, shard, generation, true, rows, reasons::jsonb, bytes
FROM unnest(%(shards)s::integer[], %(generations)s::integer[], %(rows)s::bigint[], %(reasons)s::text[], %(bytes)s::bigint[])
    AS given (shard, generation, rows, reasons, bytes)
ORDER BY shard, generation
ON CONFLICT (run, shard, generation) DO UPDATE SET
    done = true, failed = false, rows = excluded.rows, reasons = excluded.reasons, bytes_fetched = excluded.bytes_fetched
WHERE NOT s.done OR s.rows IS NULL
"""
GIVE_UP: Final = """
UPDATE shards s SET failed = true, coordinator = NULL
FROM unnest(%(shards)s::integer[], %(generations)s::integer[]) AS given (shard, generation)
WHERE s.run = %(run)s AND s.shard = given.shard AND s.generation = given.generation AND s.coordinator = %(name)s AND NOT s.done
"""

# -- the fence. KEY SHARE: who takes the shard over passes it by as long as this lasts; who renews a lease need not wait.

MAY_COMMIT: Final = """
SELECT 1 FROM shards s WHERE s.run = %(run)s AND s.shard = %(shard)s AND s.generation = %(generation)s AND s.token = %(token)s
    AND EXISTS (SELECT 1 FROM coordinators c WHERE c.name = s.coordinator AND c.expires > clock_timestamp())
FOR KEY SHARE OF s
"""
DONE: Final = """
UPDATE shards SET done = true, failed = false WHERE run = %(run)s AND shard = %(shard)s AND generation = %(generation)s AND NOT done
"""
