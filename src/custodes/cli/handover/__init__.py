"""``custodes handover``: one file for each few of its commands."""

from __future__ import annotations

from typing import Final

import click

from custodes.cli.lazy import lazy_group

__all__ = ["handover"]

COMMANDS: Final = {
    "send": ("handover.sending:send", "Send what a run found by a route, or show what would be sent."),
    "pack": ("handover.packing:pack", "Seal and sign what a run found, as packages."),
    "status": ("handover.showing:status", "Say what waits, since when, and whether the record is whole."),
    "list": ("handover.showing:list_incidents", "List incidents: what was done with each, and until when it is kept."),
    "received": ("handover.keeping:received", "Record the receipt of what was handed over by hand."),
    "retract": ("handover.keeping:retract", "Take back what was not delivered yet."),
    "follow-up": ("handover.following:follow_up", "Correct what was delivered and turned out to be mistaken."),
    "hold": ("handover.keeping:hold_incident", "Keep everything of an incident until the hold is lifted."),
    "unhold": ("handover.keeping:unhold_incident", "Lift a hold."),
    "purge": ("handover.keeping:purge_kept", "Delete what has been kept for long enough."),
    "revive": ("handover.keeping:revive", "Try dead letters again."),
    "rotate": ("handover.keeping:rotate", "Lock what waits and what is kept under the new transport key."),
    "ask": ("handover.people:ask_for", "Ask for what needs two people."),
    "approve": ("handover.people:approve", "Approve what another person asked for."),
}
"""Each command, where it lies, and its line in the list of commands."""


@click.group(cls=lazy_group(COMMANDS))
def handover() -> None:
    """Hand findings over to the authorities, and keep the record of it. Links and hashes are never shown, but by a dry run."""
