"""Options and output that commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from custodes.cluster import Cluster, wanted_cluster
from custodes.errors import InputError

__all__ = [
    "as_json",
    "cluster_of",
    "config_option",
    "config_unused",
    "executor_options",
    "json_option",
    "metrics_option",
    "printable",
    "workers_option",
]

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """``--config FILE``."""
    text = "Configuration file (default: $CUSTODES_CONFIG, then ./custodes.toml)."
    return click.option("--config", "config", metavar="FILE", default=None, help=text)(function)


def config_unused(function: F) -> F:
    """``--config FILE`` on a command that needs none, so that a script may give every command the same options."""
    text = "Accepted by every command; this one needs no configuration."
    return click.option("--config", "config", metavar="FILE", default=None, expose_value=False, help=text)(function)


def json_option(function: F) -> F:
    """``--json``."""
    return click.option("--json", "json_", is_flag=True, help="Answer in JSON on standard output.")(function)


def workers_option(function: F) -> F:
    """``--workers N``."""
    text = "Worker processes (default: one for each processor)."
    count = click.IntRange(min=0)
    return click.option("--workers", type=count, default=0, metavar="N", help=text)(function)


def executor_options(function: F) -> F:
    """``--executor`` and ``--address``: where shards are worked. The command is given ``executor`` and ``address``, for ``cluster_of``."""
    where = "Where the workers run: on this machine, or on a Ray cluster (needs custodes[ray])."
    named = "Head of the Ray cluster, on a node of it (default: a Ray of its own on this machine)."
    function = click.option("--address", default=None, metavar="HOST:PORT", help=named)(function)
    kinds = click.Choice(["local", "ray"])
    return click.option("--executor", type=kinds, default="local", show_default=True, help=where)(function)


def cluster_of(executor: str, address: str | None, workers: int) -> Cluster | None:
    """The cluster that is asked for; None: this machine. Raises InputError where there can be none."""
    if executor == "ray":
        return wanted_cluster(address or "", workers)
    if address is not None:
        raise InputError("--address is about a Ray cluster", hint="give --executor ray too, or leave it out")
    return None


def metrics_option(function: F) -> F:
    """``--metrics HOST:PORT``."""
    text = "While it works, count for Prometheus: GET /metrics there. PORT alone: on this machine only."
    return click.option("--metrics", default=None, metavar="HOST:PORT", help=text)(function)


def as_json(value: object) -> None:
    """One JSON line on standard output. What a terminal could obey is escaped, which changes no value: it can only stand in a string."""
    line = msgspec.json.encode(value).decode()
    click.echo(line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line))


def printable(text: str) -> str:
    """Text without control characters, safe for a terminal: captions, paths and URLs may hold anything."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
