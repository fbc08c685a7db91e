"""``[handover]``: who hands over, by which routes, and what needs two people."""

from __future__ import annotations

import msgspec

from custodes.handover.approvals import Guarded
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.routes.settings import CoopSettings, HotlineSettings, WebhookSettings
from custodes.handover.words import check_person

__all__ = ["HandoverSettings"]


class HandoverSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How findings leave this site."""

    operator: str = "operator"
    """Who does it, as the custody record names them."""
    contact: str = ""
    """How an authority reaches you: in packages, cover sheets and corrections."""
    state: str = "handover"
    """Folder of the outbox, the receipts and the custody record, beside the configuration."""
    two_person: tuple[Guarded, ...] = ()
    """What needs two people: send, unseal, delete, overturn (a hard refusal of the gateway)."""
    approvers: tuple[str, ...] = ()
    """Verifier keys (name+id+base64) of those who may ask and approve."""
    earlier_transport_keys: tuple[str, ...] = ()
    """Files of transport keys that were in use before, until ``custodes handover rotate`` has run."""
    alarm_after_hours: float = 24.0
    """After so long something that is not sent is an alarm."""
    cybertipline: CyberTiplineSettings = CyberTiplineSettings()
    webhook: dict[str, WebhookSettings] = {}
    hotline: dict[str, HotlineSettings] = {}
    coop: CoopSettings | None = None

    def __post_init__(self) -> None:
        check_person(self.operator)
        if self.alarm_after_hours <= 0:
            raise ValueError("alarm_after_hours must be more than 0")
