"""``[log]``: who witnesses this site's log, and what this site witnesses. Values only, so that settings can be read without the log."""

from __future__ import annotations

import msgspec

__all__ = ["LogSettings", "WitnessSettings"]


class WitnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log.witness]``: what `custodes log witness` signs."""

    name: str = ""
    """Name that this site signs others' logs under, like `witness.example/1`; the key is the site's signing key."""
    logs: str = ""
    """File with the keys of the logs that are witnessed, a policy (C2SP tlog-policy); its `log` lines count."""
    memory: str = "witness.memory"
    """Folder in which is kept what was signed last. Never put it back from an old copy."""
    tls_certificate: str = ""
    """File of the certificate and its chain, PEM."""
    tls_key: str = ""
    """File of the certificate's private key, PEM."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log]``: who must have seen this site's log before it is published."""

    policy: str = ""
    """File with the log's own key, its witnesses with their addresses, and how many must sign (C2SP tlog-policy). None: nobody is asked."""
    witness_timeout_s: float = 30.0
    """Longest wait for a witness."""
    unsafe_allow_loopback: bool = False
    """Allow witnesses on this machine, without TLS: for tests and demonstrations."""
    witness: WitnessSettings = WitnessSettings()

    def __post_init__(self) -> None:
        if self.witness_timeout_s <= 0:
            raise ValueError("witness_timeout_s must be greater than 0")
