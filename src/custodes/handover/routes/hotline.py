"""A hotline or police without an API: sealed files and a cover sheet in a folder, which a person sends by e-mail or uploads.

The cover sheet may go by open mail: it holds no link, no digest and nothing of the dataset. Its last written file is the mark that all are there, so an
attempt after a crash leaves what may have been sent already as it is. The receiver's own number is recorded later: ``custodes handover received``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from custodes.crypto.keys import VerifierKey
from custodes.crypto.seal import Recipient
from custodes.durable import make_folder, replace_file
from custodes.handover.delivery import Delivered, Ended, Progress, key_of
from custodes.handover.incident import Incident
from custodes.handover.index_page import visible
from custodes.handover.package import how_to_verify, save_package
from custodes.handover.routes.addresses import (
    ENVELOPE_SUFFIX,
    SEALED_SUFFIX,
    addresses_of,
    addresses_text,
    save_addresses,
    sealed_addresses,
)
from custodes.handover.routes.sending import Sender, check_real, name_of, packed, plain_json
from custodes.handover.routes.settings import HotlineSettings
from custodes.handover.words import Environment, text_of

__all__ = ["COVER_SUFFIX", "Hotline"]

COVER_SUFFIX: Final = ".txt"


@dataclass(frozen=True, repr=False)
class Hotline:
    """One receiver. ``folder``: where its files are written."""

    name: str
    settings: HotlineSettings
    recipients: Sequence[Recipient]
    folder: Path
    sender: Sender

    @property
    def environment(self) -> Environment:
        """Whether it is meant."""
        return self.settings.environment

    def check(self, incident: Incident) -> None:
        """Raises InputError for a demonstration where it would be taken for real, and for what has no address where addresses are all there is."""
        check_real(incident, self.environment)
        if self.settings.form == "addresses":
            addresses_of(incident)

    def preview(self, incident: Incident, now: datetime) -> str:
        """The cover sheet, and what would be sealed, open."""
        self.check(incident)
        cover = self._cover(name_of(key_of(self, incident.id)), now)
        to = "\n".join(f"sealed to {recipient}:" for recipient in self.recipients)
        return f"{cover}\n{to}\n{self._plain(incident, now)}"

    async def deliver(self, incident: Incident, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """Write the files. The receipt is their name, until the receiver gives a number."""
        self.check(incident)
        name = name_of(key)
        cover = self.folder / f"{name}{COVER_SUFFIX}"
        if not cover.exists():
            make_folder(self.folder)
            self._seal(incident, name)
            replace_file(cover, self._cover(name, self.sender.clock()).encode())
        return Delivered(name)

    async def close(self) -> None:
        """Nothing is open."""

    def _plain(self, incident: Incident, now: datetime) -> str:
        if self.settings.form == "addresses":
            return addresses_text(incident, self.environment, self.sender, now)
        return plain_json(incident).decode()

    def _seal(self, incident: Incident, name: str) -> None:
        if self.settings.form == "addresses":
            save_addresses(
                sealed_addresses(incident, self.recipients, self.environment, self.sender), self.folder, name
            )
        else:
            save_package(packed(incident, self.recipients, self.environment, self.sender), self.folder, name)

    def _cover(self, name: str, now: datetime) -> str:
        reporter, addresses = self.sender.reporter, self.settings.form == "addresses"
        test = self.environment == "test"
        verify = how_to_verify_addresses if addresses else how_to_verify
        lines = [
            *(["THIS IS A TEST. IT REPORTS NOTHING.", ""] if test else []),
            f"To:          {visible(self.settings.title)}",
            f"From:        {visible(reporter.name)}",
            f"Contact:     {visible(reporter.contact)}",
            f"Date:        {text_of(now)}",
            f"Reference:   {name}",
            f"Environment: {self.environment}",
            "",
            f"Enclosed, sealed for you: {'Internet addresses' if addresses else 'a finding'} from a dataset, by automatic comparison of hash",
            "values with lists of authorities. No person viewed what was found, and no image is enclosed.",
            "",
            "Please answer to the contact above with this reference, and with your own number.",
            "",
            "How to open and verify it (NAME is the reference):",
            verify(self.sender.key.verifier),
        ]
        return "".join(f"{line}\n" for line in lines)


def how_to_verify_addresses(key: VerifierKey) -> str:
    """In words, for those without this program."""
    return (
        f"NAME{ENVELOPE_SUFFIX} is a DSSE v1 envelope. Check its Ed25519 signature with the key {key}, which you have "
        f"from the reporter by another way. Its payload gives size and SHA-256 of NAME{SEALED_SUFFIX}: compare them before you "
        "decrypt. That file is in the age v1 format. Inside is text: lines that begin with # say who reports, and must name "
        "the same reporter and key; every other line is an address."
    )
