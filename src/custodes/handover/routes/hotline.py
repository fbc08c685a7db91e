"""A hotline or police without an API: sealed files and a cover sheet in a folder, which a person sends by e-mail or uploads.

The cover sheet may go by open mail: it holds no link, no digest and nothing of the dataset. Its last written file is the mark that all are there, so an
attempt after a crash leaves what may have been sent already as it is. The receiver's own number is recorded later: ``custodes handover received``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from custodes.crypto.keys import VerifierKey
from custodes.crypto.seal import Recipient
from custodes.durable import make_folder, replace_file
from custodes.errors import InputError
from custodes.handover.delivery import Delivered, Ended, Progress, key_of
from custodes.handover.incident import Incident
from custodes.handover.index_page import visible
from custodes.handover.package import how_to_verify, save_package
from custodes.handover.parcel import Handed, Parcel, Takes
from custodes.handover.routes.addresses import (
    ENVELOPE_SUFFIX,
    SEALED_SUFFIX,
    addresses_of,
    addresses_text,
    save_addresses,
    sealed_addresses,
)
from custodes.handover.routes.enclosed import check_enclosed, enclosed, how_to_verify_withheld, save_enclosed
from custodes.handover.routes.sending import Sender, check_real, name_of, packed, plain_json
from custodes.handover.routes.settings import HotlineSettings
from custodes.handover.words import Environment, text_of

__all__ = ["COVER_SUFFIX", "Hotline"]

COVER_SUFFIX: Final = ".txt"
_NO_IMAGE: Final = "values with lists of authorities. No person viewed what was found, and no image is enclosed."
_WITHHELD: Final = (
    "Enclosed, sealed for you: AN IMAGE that an automatic check withheld at an image generator, with what is known of it.",
    "No person viewed it, and nobody but you can open it. Open it only where the law lets you hold such an image.",
)


@dataclass(frozen=True, repr=False)
class Hotline:
    """One receiver. ``folder``: where its files are written."""

    takes: ClassVar[Takes] = "sealed"
    name: str
    settings: HotlineSettings
    recipients: Sequence[Recipient]
    folder: Path
    sender: Sender

    @property
    def environment(self) -> Environment:
        """Whether it is meant."""
        return self.settings.environment

    def check(self, of: Handed) -> None:
        """Raises InputError for a demonstration where it would be taken for real, and for what has no address where addresses are all there is."""
        if isinstance(of, Parcel):
            self._check_withheld(of)
            return
        check_real(of, self.environment)
        if self.settings.form == "addresses":
            addresses_of(of)

    def preview(self, of: Handed, now: datetime) -> str:
        """The cover sheet, and what would be sealed, open; of what is sealed already its length."""
        self.check(of)
        name = name_of(key_of(self, of.id))
        if isinstance(of, Parcel):
            return f"{self._cover_of_withheld(name, now)}\na withheld image, sealed: {len(of.sealed):,} bytes"
        to = "\n".join(f"sealed to {recipient}:" for recipient in self.recipients)
        return f"{self._cover(name, now)}\n{to}\n{self._plain(of, now)}"

    async def deliver(self, of: Handed, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """Write the files. The receipt is their name, until the receiver gives a number."""
        self.check(of)
        name = name_of(key)
        cover = self.folder / f"{name}{COVER_SUFFIX}"
        if not cover.exists():
            make_folder(self.folder)
            self._seal(of, name)
            made = self._cover_of_withheld if isinstance(of, Parcel) else self._cover
            replace_file(cover, made(name, self.sender.clock()).encode())
        return Delivered(name)

    async def close(self) -> None:
        """Nothing is open."""

    def _plain(self, incident: Incident, now: datetime) -> str:
        if self.settings.form == "addresses":
            return addresses_text(incident, self.environment, self.sender, now)
        return plain_json(incident).decode()

    def _check_withheld(self, parcel: Parcel) -> None:
        check_enclosed(parcel, self.environment)
        if self.settings.form == "addresses":
            raise InputError(
                "what a gateway withheld has no address", hint='hand it over with form = "package", or by another route'
            )

    def _seal(self, of: Handed, name: str) -> None:
        if isinstance(of, Parcel):
            save_enclosed(enclosed(of, self.environment, self.sender), self.folder, name)
        elif self.settings.form == "addresses":
            save_addresses(sealed_addresses(of, self.recipients, self.environment, self.sender), self.folder, name)
        else:
            save_package(packed(of, self.recipients, self.environment, self.sender), self.folder, name)

    def _cover(self, name: str, now: datetime) -> str:
        addresses = self.settings.form == "addresses"
        what = "Internet addresses" if addresses else "a finding"
        first = f"Enclosed, sealed for you: {what} from a dataset, by automatic comparison of hash"
        verify = how_to_verify_addresses if addresses else how_to_verify
        return self._sheet(name, now, (first, _NO_IMAGE), verify(self.sender.key.verifier))

    def _cover_of_withheld(self, name: str, now: datetime) -> str:
        return self._sheet(name, now, _WITHHELD, how_to_verify_withheld(self.sender.key.verifier))

    def _sheet(self, name: str, now: datetime, what: tuple[str, str], verify: str) -> str:
        reporter, test = self.sender.reporter, self.environment == "test"
        lines = [
            *(["THIS IS A TEST. IT REPORTS NOTHING.", ""] if test else []),
            f"To:          {visible(self.settings.title)}",
            f"From:        {visible(reporter.name)}",
            f"Contact:     {visible(reporter.contact)}",
            f"Date:        {text_of(now)}",
            f"Reference:   {name}",
            f"Environment: {self.environment}",
            "",
            *what,
            "",
            "Please answer to the contact above with this reference, and with your own number.",
            "",
            "How to open and verify it (NAME is the reference):",
            verify,
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
