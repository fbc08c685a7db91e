"""Groups whose commands are imported when they are used: all of them together take a second."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

__all__ = ["lazy_group"]


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[click.Group]:
    """A class of groups of these commands: name -> (``module:attribute`` in ``custodes.cli``, its line in the list of commands)."""

    class Commands(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
            """Names, in the order that one meets the commands in."""
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
            """The command of this name, imported now."""
            if cmd_name not in commands:
                return None
            module, _, attribute = commands[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(f"custodes.cli.{module}"), attribute)
            return command

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
            """The list of commands, without importing one."""
            with formatter.section("Commands"):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])

    return Commands
