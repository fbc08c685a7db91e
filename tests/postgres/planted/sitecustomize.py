"""Makes time matter less: leases that run out soon, commits that take a while. Tests put this folder on PYTHONPATH; nothing else does."""

from __future__ import annotations

import os
import time


def leases_are_short() -> None:
    from custodes.ledger import leases
    from custodes.postgres import address

    address._SESSION = {**address._SESSION, "idle_in_transaction_session_timeout": "2s"}  # type: ignore[misc]
    leases.Leases.__init__.__kwdefaults__["lease_s"] = float(os.environ["CUSTODES_LEASE_S"])  # type: ignore[index]


def commits_are_slow() -> None:
    """As if each shard took so long; and, with a fault planted, without a fence."""
    from custodes.ledger import run

    real = run.RunDirectory.commit

    def commit(self, commit):  # type: ignore[no-untyped-def]
        time.sleep(float(os.environ["CUSTODES_SLOW_S"]))
        return real(self, commit)

    run.RunDirectory.commit = commit  # type: ignore[method-assign]


def no_fence() -> None:
    """The fault: whoever worked a shard publishes it, lease or no lease."""
    from contextlib import nullcontext

    from custodes.ledger import leases

    leases.PostgresFence.held = lambda self, *asked: nullcontext()  # type: ignore[method-assign,assignment]


if "CUSTODES_LEASE_S" in os.environ:
    leases_are_short()
if "CUSTODES_SLOW_S" in os.environ:
    commits_are_slow()
if "CUSTODES_NO_FENCE" in os.environ:
    no_fence()
