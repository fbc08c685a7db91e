"""NCMEC's CyberTipline as a route: what it says, checks and keeps is that of ``handover.cybertipline``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from custodes.errors import AuthorityError, InputError
from custodes.handover.cybertipline import filing
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.filing import Filing
from custodes.handover.cybertipline.gateway import ANY_REPORT, Submission, submission_of
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.delivery import Dead, Delivered, Ended, Later, Progress
from custodes.handover.incident import Incident
from custodes.handover.parcel import Handed, Takes
from custodes.handover.routes.sending import opened
from custodes.handover.words import Environment

__all__ = ["CyberTiplineRoute"]

_ADDED: Final = "files differ"


@dataclass(frozen=True, repr=False)
class CyberTiplineRoute:
    """One environment of the service. Without ``service``: for checks and previews."""

    takes: ClassVar[Takes] = "file"
    settings: CyberTiplineSettings
    service: CyberTipline | None
    clock: Callable[[], datetime]
    name: str = "cybertipline"

    @property
    def environment(self) -> Environment:
        """NCMEC's: reports of one are unknown to the other."""
        return self.settings.environment

    def check(self, of: Handed) -> None:
        """Raises InputError for what NCMEC could not act on, or would refuse."""
        self._submission(of, self.clock())

    def preview(self, of: Handed, now: datetime) -> str:
        """The report, byte for byte, and what is said of a file that is uploaded; of the file itself its length."""
        submission = self._submission(of, now)
        files = (f"{each.details(*ANY_REPORT).decode()}\n{len(each.content):,} bytes" for each in submission.files)
        return "\n".join([submission.report.decode(), *files])

    def _submission(self, of: Handed, now: datetime) -> Submission:
        told = of if isinstance(of, Incident) else of.told
        if told is None:
            raise InputError(
                "the image lay sealed to the authority, and cannot be opened here: NCMEC is given reports, and no sealed files",
                hint="with [gateway.evidence] hand_over = true the gateway notes what a report needs; hand the sealed file over by another route",
            )
        return submission_of(told, self.settings, now)

    async def deliver(self, of: Handed, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """File it, or go on. NCMEC knows no key; that it is filed once is what ``filing`` is for."""
        service = opened(self.service)
        try:
            ended = await Filing(service, progress, lambda now: self._submission(of, now)).run()
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
