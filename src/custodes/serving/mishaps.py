"""How a process of the match service tells of a bug: by type and place, since the text of a foreign exception may hold anything."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["tell_crash"]


def tell_crash(kind: type[BaseException], _: BaseException | None, trace: TracebackType | None) -> None:
    """One line on standard error. Takes what ``sys.excepthook`` is given."""
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(traceback.extract_tb(trace)[-4:])]
    sys.stderr.write(f"custodes: a bug of ours in the match service: {kind.__name__} at {' < '.join(places)}\n")
