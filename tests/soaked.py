"""``bench/results/soak.md``: how each full fault or fuzz run ended, the last time that it ran. A run of some leaves the lines of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PAGE", "told"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "bench" / "results" / "soak.md"
_HEAD = """# Soak

How each test of `make soak` ended, the last time that it ran.

| test | result | seconds | when, and on what |
|---|---|--:|---|
"""
_GROUP = re.compile(r"@[^@\]]*$")
"""What a test's worker was chosen by: pytest-xdist writes it behind the name."""
_LINE = re.compile(r"\| `(?P<test>.+)` \| .* \|")


def told(page: str, ended: Iterable[tuple[str, str, float]], when: str) -> str:
    """The page with these (test, result, seconds) put in. Tests whose file is gone are left out."""
    lines = {match["test"]: line for line in page.splitlines() if (match := _LINE.fullmatch(line))}
    for test, result, seconds in ended:
        name = _GROUP.sub("", test)
        lines[name] = f"| `{name}` | {result} | {seconds:.0f} | {when} |"
    there = [line for test, line in sorted(lines.items()) if (ROOT / test.partition("::")[0]).exists()]
    return _HEAD + "".join(f"{line}\n" for line in there)
