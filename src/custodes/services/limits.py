"""How long and how often a service is asked. Values only, apart from the client, so that settings can be read without it."""

from __future__ import annotations

import msgspec

__all__ = ["CallLimits"]


class CallLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how often a service is asked."""

    timeout_s: float = 60.0  # for one call, connection and answer together
    body_bytes_max: int = 64 << 20  # greatest answer that is read
    attempts_max: int = 5  # how often a GET is tried while the service is busy or away
    pause_s: float = 1.0  # before the second attempt; doubled before each further one
    pause_s_max: float = 300.0  # greatest pause, also when the service asks for more in Retry-After

    def __post_init__(self) -> None:
        for name in ("timeout_s", "body_bytes_max", "attempts_max"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0")
        if not 0 <= self.pause_s <= self.pause_s_max:
            raise ValueError("pause_s must be between 0 and pause_s_max")
