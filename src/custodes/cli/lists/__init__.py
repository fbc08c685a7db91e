"""``custodes lists``: one file for each few of its commands."""

from __future__ import annotations

from typing import Final

import click

from custodes.cli.lazy import lazy_group

__all__ = ["lists"]

COMMANDS: Final = {
    "import": ("lists.importing:import_list", "Make the entries of a file the whole of a list."),
    "export": ("lists.exporting:export_list", "Write a list to a file, sealed."),
    "sync": ("lists.syncing:sync_lists", "Bring lists up to date from their authorities."),
    "status": ("lists.syncing:status", "Ask services who they take us for."),
    "show": ("lists.showing:show", "Show how many entries lists have."),
    "verify": ("lists.judging:verify", "Read and check every version."),
    "accept": ("lists.judging:accept", "Put a version that was held into force."),
    "reject": ("lists.judging:reject", "Throw a held version away."),
    "feedback": ("lists.syncing:feedback", "Say to an authority that an entry is right or wrong."),
    "remove": ("lists.showing:remove", "Delete a list, with all its versions."),
    "identity": ("lists.publishing:identity", "Make the key that lists of other sites are sealed to."),
    "publish": ("lists.publishing:publish", "Publish a list for other sites."),
    "publisher": ("lists.publishing:publisher", "Make and keep the keys of what is published."),
}
"""Each command, where it lies, and its line in the list of commands."""


@click.group(cls=lazy_group(COMMANDS))
def lists() -> None:
    """Import, sync, show and share hash lists. Values are never shown."""
