"""Reports for tests, made of numbers: who reports, what was found, and what a gateway withheld."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.cybertipline.withheld import IpCapture, ReportedUser, Withheld, WithheldFile
from custodes.handover.incident import Incident
from tests.handover.making import finding, incidents, match

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SETTINGS = CyberTiplineSettings(
    first_name="Ada",
    last_name="Reporter",
    email="reports@provider.example",
    contact_email="legal@provider.example",
    company_template="Records are kept for one year.",
    legal_url="https://provider.example/legal",
)


def incident(image: int = 1, **changed: Any) -> Incident:
    """An image that was found at one link."""
    return incidents(finding(image, image, **changed))[0]


def withheld(number: int = 1, **changed: Any) -> Withheld:
    """An image that a gateway's generator made, with its file and its user."""
    content = b"entry %d" % number
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "decision": "report",
        "meaning": "csam",
        "exact": True,
        "matches": (match(number),),
        "digests": {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha1", "sha256")},
        "found_at": "2026-10-31T12:00:00+00:00",
        "tool": "custodes 0.1.0",
        "service": "Pictures of Numbers",
        "user": ReportedUser(
            identifier=f"user-{number}",
            service="pictures",
            screen_name="number",
            display_names=("Number", "No. 1"),
            profile_urls=("https://pictures.example/number",),
            emails=("number@pictures.example",),
            ip_captures=(
                IpCapture(address="2001:db8::1", event="Login", at="2026-10-31T11:00:00Z", port=65535),
                IpCapture(address="192.0.2.1"),
            ),
        ),
        "file": WithheldFile(
            content=content, generated=True, name="one.png", uploaded_at="2026-10-31T11:59:00+02:00",
            ip_capture=IpCapture(address="192.0.2.1", event="Upload"),
        ),
    }  # fmt: skip
    return Withheld(**(fields | changed))
