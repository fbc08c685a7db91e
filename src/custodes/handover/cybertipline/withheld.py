"""What a gateway kept back because it matched, as it is told to NCMEC: values only. Making a report of one is for ``gateway``."""

from __future__ import annotations

from typing import Literal

import msgspec

from custodes.handover.finding import Match

__all__ = ["Event", "IpCapture", "ReportedUser", "Withheld", "WithheldFile"]

Event = Literal["Login", "Registration", "Purchase", "Upload", "Other", "Unknown"]


class IpCapture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address that a user came from, as the operator recorded it. ``at``: a time with its offset from UTC; empty, or port 0: not recorded."""

    address: str
    event: Event = "Unknown"
    at: str = ""
    port: int = 0

    def __repr__(self) -> str:
        return "<IpCapture>"


class ReportedUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator knows of the user, and chooses to tell."""

    identifier: str = ""
    service: str = ""
    screen_name: str = ""
    display_names: tuple[str, ...] = ()
    profile_urls: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ip_captures: tuple[IpCapture, ...] = ()

    def __repr__(self) -> str:
        return "<ReportedUser>"


class WithheldFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image itself, where the operator may hold it. ``generated``: a generator made it; else a user gave it."""

    content: bytes
    generated: bool
    name: str = ""
    uploaded_at: str = ""
    ip_capture: IpCapture | None = None

    def __repr__(self) -> str:
        return f"<WithheldFile {len(self.content)} bytes>"


class Withheld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image that a gateway did not let pass. Its first fields are those of an ``Incident``; ``service`` is the operator's own."""

    id: str
    decision: str
    meaning: str
    exact: bool
    matches: tuple[Match, ...]
    digests: dict[str, str]
    found_at: str
    tool: str
    service: str
    demo: bool = False
    user: ReportedUser | None = None
    file: WithheldFile | None = None
    viewed_by_a_person: Literal[False] = False

    def __repr__(self) -> str:
        return "<Withheld>"
