"""The loop of search, verdict and teaching as a user runs it: a run, vectors of its rows, and what a scripted authority says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.cli.main import cli
from custodes.crypto.keys import SigningKey
from custodes.handover.verdicts import Ruling, Verdict, make_verdicts
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.scan.shard import finding_namer
from tests.similar.teaching import photos
from tests.stored import Earlier, earlier, md5_of

KEY = SigningKey("authority.example", Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
FILES, ROWS = 3, 120
LISTED, CONFIRMED, REJECTED = range(10), range(10, 50), range(50, 110)


@dataclass(frozen=True)
class Loop:
    """A run with vectors; photos of a kind lean one way, whether anybody knows them or not."""

    home: Path
    past: Earlier

    def verdicts(
        self, said: dict[int, Ruling], name: str = "verdicts.json", day: int = 1, key: SigningKey = KEY
    ) -> Path:
        named = finding_namer(self.past.run.manifest, self.past.site.run_key())
        given = [Verdict(finding=named(row // ROWS, row % ROWS), verdict=ruling) for row, ruling in said.items()]
        path = self.home / name
        path.write_bytes(make_verdicts(given, key, datetime(2026, 3, day, tzinfo=UTC)))
        return path

    def run(self, *arguments: str | Path) -> str:
        config = ("--config", str(self.past.site.path))
        result = CliRunner().invoke(cli, [*map(str, arguments), *config], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def teach(self, *arguments: str | Path) -> str:
        given = ("--vectors", self.home / "vectors", "--model", "numbers", "--out", self.home / "probes", *arguments)
        return self.run("similar", "teach", self.past.run.path, *given)

    def teach_few(self) -> str:
        """Teach, and put it into service in any case: what few verdicts there are leave little to compare on."""
        return self.teach("--anyway")

    @staticmethod
    def day(number: int) -> datetime:
        return datetime(2026, 3, number, tzinfo=UTC)


def first_words() -> dict[int, Ruling]:
    return dict.fromkeys(CONFIRMED, Ruling.CONFIRMED) | dict.fromkeys(REJECTED, Ruling.NOT)


def looped(tmp_path: Path, rows: int = ROWS) -> Loop:
    """So many rows a file."""
    past = earlier(tmp_path / "run", FILES, rows)
    entries = [Entry(Kind.MD5, md5_of(row), str(row), "A") for row in LISTED]
    past.site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    text = past.site.path.read_text().replace("#verifiers = []", f'verifiers = ["{KEY.verifier}"]')
    past.site.path.write_text(text)
    vectors = np.concatenate([photos(50, 3, 1), photos(60, -0.5, 2), photos(FILES * rows - 110, 0, 3)])
    (tmp_path / "vectors").mkdir()
    for number in range(FILES):
        part = vectors[number * rows : (number + 1) * rows].astype("<f2")
        np.save(tmp_path / "vectors" / f"{number:03}.npy", part)
    return Loop(tmp_path, past)
