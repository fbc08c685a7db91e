"""What each jurisdiction asks for when a row matches: dated tables (``jurisdictions.toml``), and what an operator changes of them.

Promises that the actions in force say which table, of which date, they come from, so that they can stand in a run's manifest. Deciding
is for ``policy``. What a table says is data with a date and a source, and no legal advice.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from custodes.errors import ConfigError
from custodes.model import Action
from custodes.policy import DEFAULT_ACTIONS, Actions, Policy, Standing, rules_of

__all__ = ["Jurisdiction", "PolicySettings", "PolicyUsed", "jurisdictions"]


class Jurisdiction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table: what is asked for, as of when, and where that is written."""

    title: str
    as_of: datetime.date
    source: str
    note: str
    actions: dict[Standing, Actions]


class PolicyUsed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run decides by: the actions, and the table that they were taken from."""

    jurisdiction: str = ""
    as_of: str = ""
    actions: dict[Standing, Actions] = msgspec.field(default_factory=lambda: dict(DEFAULT_ACTIONS))

    def policy(self) -> Policy:
        """As rules. Raises ConfigError for actions that would pass over what must not be passed over."""
        return Policy(rules_of(self.actions))


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[policy]``: what a match leads to."""

    jurisdiction: str = ""
    """Whose rules apply: us, uk, ca or eu; empty: report what an authority confirmed as child abuse material, and hold all else."""
    actions: dict[Standing, dict[Literal["exact", "near"], Action]] = {}
    """What to do otherwise than the jurisdiction says, for each standing."""

    def __post_init__(self) -> None:
        self.used().policy()

    def used(self) -> PolicyUsed:
        """The actions of the jurisdiction with these changes."""
        base = self._base()
        changed = {
            standing: msgspec.structs.replace(actions, **self.actions.get(standing, {}))
            for standing, actions in base.actions.items()
        }
        return msgspec.structs.replace(base, actions=changed)

    def _base(self) -> PolicyUsed:
        if not self.jurisdiction:
            return PolicyUsed()
        if (table := jurisdictions().get(self.jurisdiction)) is None:
            raise ConfigError(
                f"there is no jurisdiction {self.jurisdiction!r}",
                hint=f"use one of {', '.join(jurisdictions())}, or none",
            )
        return PolicyUsed(jurisdiction=self.jurisdiction, as_of=table.as_of.isoformat(), actions=table.actions)


@cache
def jurisdictions() -> Mapping[str, Jurisdiction]:
    """The tables, by their short names."""
    text = resources.files("custodes").joinpath("jurisdictions.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Jurisdiction])
