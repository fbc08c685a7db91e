"""NCMEC's CyberTipline as a route: what it says, checks and keeps is that of ``handover.cybertipline``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from custodes.errors import AuthorityError
from custodes.handover.cybertipline import filing
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.filing import Filing
from custodes.handover.cybertipline.gateway import submission_of
from custodes.handover.cybertipline.report import report_xml
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.delivery import Dead, Delivered, Ended, Later, Progress
from custodes.handover.incident import Incident
from custodes.handover.routes.sending import opened
from custodes.handover.words import Environment

__all__ = ["CyberTiplineRoute"]

_ADDED: Final = "files differ"


@dataclass(frozen=True, repr=False)
class CyberTiplineRoute:
    """One environment of the service. Without ``service``: for checks and previews."""

    settings: CyberTiplineSettings
    service: CyberTipline | None
    clock: Callable[[], datetime]
    name: str = "cybertipline"

    @property
    def environment(self) -> Environment:
        """NCMEC's: reports of one are unknown to the other."""
        return self.settings.environment

    def check(self, incident: Incident) -> None:
        """Raises InputError for what NCMEC could not act on, or would refuse."""
        report_xml(incident, self.settings, self.clock())

    def preview(self, incident: Incident, now: datetime) -> str:
        """The report, byte for byte."""
        return report_xml(incident, self.settings, now).decode()

    async def deliver(self, incident: Incident, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """File it, or go on. NCMEC knows no key; that it is filed once is what ``filing`` is for."""
        service = opened(self.service)
        try:
            ended = await Filing(service, progress, lambda now: submission_of(incident, self.settings, now)).run()
        except AuthorityError:  # this machine's clock cannot be believed
            return Later("clock-ahead", account=True)
        return _ended(ended)

    async def close(self) -> None:
        """Close the connections."""
        if self.service is not None:
            await self.service.close()


def _ended(ended: filing.Ended) -> Ended:
    if isinstance(ended, filing.Filed):
        return Delivered(ended.report_id, ended.requests if ended.files_agree else (*ended.requests, _ADDED))
    if isinstance(ended, filing.Later):
        return Later(ended.why, ended.after_s, ended.account, ended.requests)
    why = "fate-unknown" if ended.report_id else f"code-{ended.code}"
    return Dead(why, ended.code, ended.requests, ended.report_id)
