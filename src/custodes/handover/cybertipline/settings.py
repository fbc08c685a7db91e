"""``[handover.cybertipline]``: who reports, to which environment. Credentials never stand here: a file that only its owner can read holds them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from custodes.handover.cybertipline import rules
from custodes.handover.words import Environment
from custodes.services.limits import CallLimits

__all__ = ["CyberTiplineSettings"]


class CyberTiplineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who reports to NCMEC's CyberTipline, and how."""

    environment: Environment = "test"
    """"test": NCMEC discards what it is sent there. Reports are made with "production" alone."""
    credentials: str = ""
    """TOML file (mode 0600): environment, username, password; "": CUSTODES_CYBERTIPLINE_TEST_USERNAME and the like."""
    first_name: str = ""
    """Of the person who reports."""
    last_name: str = ""
    """Of the person who reports."""
    email: str = ""
    """Of the person who reports; NCMEC takes no report without it."""
    contact_email: str = ""
    """Of those whom law enforcement may ask, if others."""
    company_template: str = ""
    """Text for every report: who you are, how to serve legal process, how long you preserve."""
    terms_of_service: str = ""
    """What your terms say of such material."""
    legal_url: str = ""
    """A page with more."""
    calls_per_minute: int = 60  # calls that are made at most
    url: str = ""
    """Another address of the service, of a stand-in on this machine: with unsafe_allow_loopback alone."""
    unsafe_allow_loopback: bool = False
    """Allow a service on this machine, without TLS. For tests and demonstrations."""
    calls: CallLimits = CallLimits(body_bytes_max=1 << 20)
    """How long the service is waited for."""

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        checked = (("email", rules.email), ("contact_email", rules.email), ("legal_url", rules.url))
        for name, rule in checked:
            if (given := getattr(self, name)) and (wrong := rule(given, now)):
                raise ValueError(f"{name} {wrong}")
        if self.calls_per_minute <= 0:
            raise ValueError("calls_per_minute must be greater than 0")
        if bool(self.url) != self.unsafe_allow_loopback:
            raise ValueError("url and unsafe_allow_loopback belong together: the service has one address of its own")
        if self.url and self.environment == "production":
            raise ValueError("a stand-in is never production")
