"""The papers of the two-person rule, as commands take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from custodes.errors import InputError
from custodes.handover.approvals import Papers

__all__ = ["papers_of", "papers_options"]

F = TypeVar("F", bound=Callable[..., Any])


def papers_options(function: F) -> F:
    """``--request FILE --approval FILE``."""
    path = click.Path(path_type=Path)
    asked = "Where two people are needed: what was asked."
    agreed = click.option("--approval", type=path, default=None, metavar="FILE", help="And the approval of it.")
    return click.option("--request", type=path, default=None, metavar="FILE", help=asked)(agreed(function))


def papers_of(request: Path | None, approval: Path | None) -> Papers | None:
    """Both papers, or none. Raises InputError for one of them."""
    if (request is None) != (approval is None):
        raise InputError("a request and its approval belong together", hint="give both: --request FILE --approval FILE")
    if request is None or approval is None:
        return None
    try:
        return Papers(request.read_bytes(), approval.read_bytes())
    except OSError as error:
        raise InputError(f"a paper cannot be read: {error.strerror}") from error
