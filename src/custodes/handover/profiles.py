"""What each jurisdiction asks of who finds something: dated profiles (``profiles.toml``).

Promises that a profile is used only on days when it was in force, that each says where it is written and how certain that is, and that holding content is
never assumed to be allowed. A profile is data with a date and a source, and no legal advice. What a match leads to is for ``policy``.
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
from custodes.handover.clocks import Term
from custodes.handover.custody import Act
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.incident import Incident
from custodes.model import Action, Meaning

__all__ = ["Preservation", "Profile", "Wanted", "profile_of", "profiles", "terms_of", "wants"]

Wanted = Literal["report", "package", "nothing"]
"""What is asked for: a report by the jurisdiction's route, a sealed package for the authority to look into, or neither."""


class Preservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long: in days, or in calendar years."""

    days: int = 0
    years: int = 0

    def __post_init__(self) -> None:
        Term(what="receipt", since=Act.RECEIVED, days=self.days, years=self.years)  # of the same form


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One profile. ``valid_to``: its last day. ``unverified``: fields that are less certain than the whole."""

    country: str
    authority: str
    channel: str
    route: Literal["cybertipline", "hotline", "webhook", "coop"]
    trigger: str
    deadline: str
    preservation: Preservation | None = None
    preserve_what: str
    may_hold_content: bool = False
    url_only: bool = False
    categories: tuple[str, ...]
    report: tuple[Meaning, ...]
    package: tuple[Meaning, ...]
    forbidden: tuple[str, ...]
    valid_from: datetime.date
    valid_to: datetime.date | None = None
    source: str
    certainty: Literal["primary", "secondary", "unverified"]
    unverified: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not self.source or not self.authority or not self.forbidden:
            raise ValueError("a profile names its source, its authority and what is forbidden")
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise ValueError("a profile ends after it begins")
        if set(self.unverified) - set(self.__struct_fields__):
            raise ValueError("unverified names fields of the profile")
        if set(self.report) & set(self.package):
            raise ValueError("a meaning is either reported or handed over in a package")

    def holds_on(self, day: datetime.date) -> bool:
        """Whether it was in force then."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


@cache
def profiles() -> Mapping[str, tuple[Profile, ...]]:
    """All of them, by jurisdiction."""
    text = resources.files("custodes.handover").joinpath("profiles.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, tuple[Profile, ...]])


def profile_of(jurisdiction: str, on: datetime.date) -> Profile:
    """The profile that is in force on this day. Raises ConfigError where there is none."""
    known = profiles().get(jurisdiction)
    if known is None:
        raise ConfigError(
            f"there is no profile of a jurisdiction {jurisdiction!r}", hint=f"use one of {', '.join(profiles())}"
        )
    for profile in known:
        if profile.holds_on(on):
            return profile
    spans = ", ".join(f"{each.valid_from} to {each.valid_to or 'now'}" for each in known)
    raise ConfigError(
        f"no profile of {jurisdiction} is in force on {on}: there is one for {spans}",
        hint="ask your counsel what applies; hand over by a route that you name yourself",
    )


def terms_of(profile: Profile) -> tuple[Term, ...]:
    """How long receipts and packages are kept, from receipt on. None: nothing is said, and nothing is deleted by itself."""
    if (kept := profile.preservation) is None:
        return ()
    receipt = Term(what="receipt", since=Act.RECEIVED, days=kept.days, years=kept.years)
    return receipt, msgspec.structs.replace(receipt, what="package")


def wants(profile: Profile, incident: Incident | Withheld) -> Wanted:
    """What the profile asks for. What is only held is never reported; what it does not name goes nowhere."""
    if incident.meaning in profile.report:
        return "report" if incident.decision == Action.REPORT else "package"
    # Without a meaning no list confirms anything: a suspicion, or an entry that only alarms.
    return "package" if not incident.meaning or incident.meaning in profile.package else "nothing"
