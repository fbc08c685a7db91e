"""``[handover.webhook.NAME]``, ``[handover.coop]`` and ``[handover.hotline.NAME]``.

Credentials never stand here: a file that only its owner can read holds them, or the environment.
"""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.words import Environment
from custodes.services.limits import CallLimits

__all__ = ["CoopSettings", "CoopValue", "HotlineSettings", "RouteSettings", "WebhookSettings"]

ANSWER_BYTES_MAX: Final = 1 << 20  # of an answer that is kept as a receipt
_ANSWERS: Final = CallLimits(body_bytes_max=1 << 16)

CoopValue = Literal[
    "incident", "environment", "decision", "rule", "meaning", "exact", "found_at", "places", "datasets", "links", "matches"
]  # fmt: skip
"""What of an incident can be given to Coop. No digest: the values of an authority's list are not Coop's."""


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver that takes incidents by HTTP, each signed with this site's key."""

    url: str
    """Where they are posted: https://host/path."""
    environment: Environment = "test"
    """"test", or "production". Receivers see it in what is signed."""
    credentials: str = ""
    """TOML file (mode 0600): environment, token; "": CUSTODES_WEBHOOK_NAME_TEST_TOKEN and the like, if it is set."""
    recipients: tuple[str, ...] = ()
    """age public keys that incidents are sealed to; none: they are signed, and the receiver's server reads them."""
    unsafe_allow_loopback: bool = False
    """Allow a receiver on this machine, without TLS. For tests and demonstrations."""
    calls: CallLimits = _ANSWERS
    """How long the receiver is waited for."""

    def __post_init__(self) -> None:
        _check_service(self.url, self.environment, self.calls, unsafe=self.unsafe_allow_loopback)


class CoopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ROOST Coop where your own reviewers work. It is no authority, and its reviewers see no image."""

    url: str
    """Where your Coop is: https://host."""
    item_type: str
    """Id of the item type in Coop."""
    fields: dict[str, CoopValue]
    """Field of the item type -> what stands in it. All of them must be strings, numbers or dates in Coop, never images or URLs."""
    environment: Environment = "test"
    """"test", or "production": which of your Coops it is."""
    credentials: str = ""
    """TOML file (mode 0600): environment, api_key; "": CUSTODES_COOP_TEST_API_KEY and the like."""
    unsafe_allow_loopback: bool = False
    """Allow a Coop on this machine, without TLS. For tests and demonstrations."""
    calls: CallLimits = _ANSWERS
    """How long Coop is waited for."""

    def __post_init__(self) -> None:
        _check_service(self.url, self.environment, self.calls, unsafe=self.unsafe_allow_loopback)
        if urlsplit(self.url).path not in ("", "/"):
            raise ValueError("url must be https://host: Coop's own paths follow")
        if not self.item_type or not self.fields or "" in self.fields:
            raise ValueError("an item has a type and at least one field, and each field a name")
        if "images" in self.fields:
            raise ValueError("Coop fetches what stands in a field of the name images: use another name")


class HotlineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A hotline or police without an API: sealed files are written, and a person sends them."""

    title: str
    """Whom the cover sheet is addressed to."""
    recipients: tuple[str, ...]
    """age public keys that the files are sealed to."""
    folder: str = "outgoing"
    """Where the files are written, beside the configuration."""
    form: Literal["package", "addresses"] = "package"
    """"package": all that is known, for custodes open; "addresses": a list of Internet addresses alone, for a form that takes nothing else."""
    environment: Environment = "test"
    """"test", or "production". It stands in every file and on the cover sheet."""

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("title must name whom the files are for")
        if not self.recipients:
            raise ValueError("nothing is sealed to nobody: name at least one of recipients")


RouteSettings = CyberTiplineSettings | WebhookSettings | CoopSettings | HotlineSettings


def _check_service(url: str, environment: Environment, calls: CallLimits, *, unsafe: bool) -> None:
    parts = urlsplit(url)
    more = parts.username is not None or parts.query or parts.fragment
    if parts.scheme not in (("https", "http") if unsafe else ("https",)) or not parts.hostname or more:
        raise ValueError("url must be https://host/path, without user, query or fragment")
    if unsafe and environment == "production":
        raise ValueError("a stand-in on this machine is never production")
    if calls.body_bytes_max > ANSWER_BYTES_MAX:
        raise ValueError(f"calls.body_bytes_max is at most {ANSWER_BYTES_MAX}: answers are kept as receipts")
