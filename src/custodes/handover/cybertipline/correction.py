"""Corrections of reports that were filed: a list withdrew an entry, or an authority judged otherwise.

After ``/finish`` the API takes nothing back, and it has no report that corrects another (``priorCTReports`` names earlier reports about one user). A new
report would say again that something is there. So a correction is a document for the agreed channel, by the number of the report; the custody
record has its digest. It holds no link and no hash value: NCMEC has them.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from custodes.handover.words import Environment, check_incident, check_receipt

__all__ = ["FORMAT", "Correction", "Why"]

FORMAT: Final = "custodes-correction/1"
Why = Literal["withdrawn", "not"]

_WORDS: Final[dict[Why, str]] = {
    "withdrawn": "the authority whose list it matched has withdrawn the entries",
    "not": "the authority that judged it says that it is not what was reported",
}


class Correction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of one report, in the environment where it was filed. ``why``: ``withdrawn`` by the list, or ``not``, by a verdict."""

    format: str = FORMAT
    environment: Environment
    report_id: str
    incident: str
    why: Why
    made_at: str
    contact: str

    def __post_init__(self) -> None:
        check_incident(self.incident)
        check_receipt(self.report_id)

    def document(self) -> bytes:
        """The bytes that are sent and digested."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def text(self) -> str:
        """For a letter."""
        test = "TEST: this corrects nothing. " if self.environment == "test" else ""
        return (
            f"{test}Correction of CyberTipline report {self.report_id} (our incident {self.incident}), made {self.made_at}: "
            f"{_WORDS[self.why]}. Please treat the report accordingly. Nothing else is known to us. Contact: {self.contact}"
        )
