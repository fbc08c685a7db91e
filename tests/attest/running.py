"""The command line, in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from custodes.cli.main import cli


def run(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and standard output."""
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return int(result.return_value or 0), result.output
