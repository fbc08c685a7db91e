"""``[lists.ID]``: from where a list is had over the network, and how its versions are judged. Values only: adapters are for ``connect``.

Credentials never stand here: a file that only its owner can read holds them, or the environment.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from custodes.lists.checks import ListChecks
from custodes.services.limits import CallLimits

__all__ = ["BundleSettings", "ListSettings"]


class BundleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list that another site publishes."""

    source: str  # https://host/path of the publisher's files, or a folder that they were copied to
    list: str  # the publisher's id of the list
    trusted_root: str  # a file that the publisher handed over by another way
    identity: str  # key file that the list is sealed to: custodes lists identity
    size_bytes_max: int = 4 << 30  # greatest sealed list that is fetched
    bytes_per_s_min: int = 64 << 10  # a source that is slower than this is given up
    timeout_s: float = 60.0  # for each file, beside the time that its size takes

    def __post_init__(self) -> None:
        for name in ("size_bytes_max", "bytes_per_s_min", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0")


class ListSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list: where it comes from and what is asked of its versions."""

    authority: Literal["", "ncmec", "stopncii", "threatexchange", "tat", "bundle"] = ""
    """Whose service gives the list; "" for one that is imported from files."""
    environment: str = "production"
    """Of NCMEC: one of its environments, such as ngo or ngo-test; a wrong one is answered with all their names."""
    member_ids: tuple[str, ...] = ()
    """Of NCMEC: the numbers of the members whose entries are wanted; none: of all."""
    privacy_group: str = ""
    """Of ThreatExchange: the number of the privacy group."""
    credentials: str = ""
    """TOML file (mode 0600) with the service's credentials; "": the environment, CUSTODES_ID_FIELD for each."""
    url: str = ""
    """Another address of the service, of a stand-in on this machine: with unsafe_allow_loopback alone."""
    unsafe_allow_loopback: bool = False
    """Allow a service on this machine, without TLS. For tests and demonstrations."""
    bundle: BundleSettings | None = None
    """Where another site publishes the list, for authority = "bundle"."""
    calls: CallLimits = CallLimits()
    """How long and how often the service is asked."""
    checks: ListChecks = ListChecks()
    """What a version must look like to come into force by itself."""

    def __post_init__(self) -> None:
        if (self.authority == "bundle") != (self.bundle is not None):
            raise ValueError('authority = "bundle" and the table bundle belong together')
        if bool(self.url) != self.unsafe_allow_loopback and self.authority != "bundle":
            raise ValueError("url and unsafe_allow_loopback belong together: services have one address of their own")
