"""A process that keeps something large in memory and answers questions about it, one JSON line each: so that rounds can be interleaved.

What it is asked and answers is between a benchmark and its ``*_methods`` program.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tables import BIN, HERE, PEERS

__all__ = ["Dialogue", "native_levels"]

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Dialogue:
    """The program, started; ``ready`` is the first thing that it says."""

    def __init__(
        self, program: str, *words: str | Path, peer: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        python = (PEERS if peer else BIN) / "python"
        self._process = subprocess.Popen(
            [python, HERE / program, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD, **(environment or {})},
        )
        self._name = f"{program} {words[0]}"
        self.ready = self._answer()

    def ask(self, **question: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {self._name} ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def native_levels() -> list[str]:
    """The levels of native kernels that this machine has, best first; none where they are not built."""
    asked = "from custodes import native; print(*native.levels())"
    said = subprocess.run([BIN / "python", "-c", asked], check=False, capture_output=True, text=True)
    return said.stdout.split() if said.returncode == 0 else []
