"""``custodes lists``: one file per subcommand or pair of them; a subcommand's module is imported when the group is."""

from __future__ import annotations

import click

from custodes.cli.lists.importing import import_list
from custodes.cli.lists.showing import remove, show

__all__ = ["lists"]


@click.group()
def lists() -> None:
    """Import, show and remove hash lists. Values are never shown."""


for command in (import_list, show, remove):
    lists.add_command(command)
