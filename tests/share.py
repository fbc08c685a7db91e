"""Cases of which ``make test`` runs a share, spread over all of them, and ``make soak`` the rest: those that take seconds each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["share"]


def share(cases: Iterable[Any], most: int) -> list[Any]:
    """The cases as parameters; all but ``most`` of them carry the mark of the soak. The first and the last are in the share."""
    listed = list(cases)
    step = max(1, -(-(len(listed) - 1) // max(1, most - 1)))
    kept = {*range(0, len(listed), step), len(listed) - 1}
    return [
        case if number in kept else pytest.param(case, marks=pytest.mark.soak) for number, case in enumerate(listed)
    ]
