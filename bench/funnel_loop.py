"""The loop of ``funnel_bench``, by the command line alone: scan, search near what hashes confirmed, hand over, judge, teach, search again.

The authority is a script: it opens what was sealed to it with its own key, knows by the link what was there, and signs what it says. Nothing else reads
the truth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from funnel_world import MODEL, Photo, World

from custodes.crypto.keys import SigningKey
from custodes.handover.finding import Finding, open_bundle
from custodes.handover.verdicts import Ruling, Verdict, make_verdicts

__all__ = ["Authority", "Funnel", "RefusedError", "Round", "Suspect", "begin"]

KEY = SigningKey("authority.example", Ed25519PrivateKey.from_private_bytes(bytes([7] * 32)))
WENT_WELL = (0, 1, 5)  # nothing found, something found, much was out of reach
FETCH = "[fetch]\nper_host = 64\nconnect_timeout_s = 2.0\ntotal_timeout_s = 10.0\n"  # one host has all links


class RefusedError(Exception):
    """A command ended with an error."""


@dataclass(frozen=True)
class Suspect:
    """A photo that was handed over in a round, with all rows of it that were."""

    name: str
    photo: Photo
    findings: tuple[Finding, ...]
    live: bool


class Authority:
    """Who judges. It remembers what it was handed, and by which photo."""

    def __init__(self, identity: str, world: World) -> None:
        self._identity, self._truth = identity, world.truth
        self.handed: dict[str, Finding] = {}
        self.twice: list[str] = []

    def opened(self, run: Path) -> list[Finding]:
        """Every finding of a run, from its sealed bundles."""
        bundles = sorted((run / "findings").rglob("*.age"))
        return [finding for path in bundles for finding in open_bundle(path.read_bytes(), self._identity)[1]]

    def photos(self, findings: Sequence[Finding]) -> set[Photo]:
        """What they show."""
        return {self._truth[finding.url].photo for finding in findings}

    def receive(self, run: Path) -> list[Suspect]:
        """The suspects of a scan for similar photos."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.opened(run):
            assert finding.suspicion is not None, "a scan for similar photos says why"
            self.twice += [finding.id] if finding.id in self.handed else []
            self.handed[finding.id] = finding
            groups.setdefault(finding.suspicion.photo, []).append(finding)
        return [self._suspect(name, findings) for name, findings in groups.items()]

    def _suspect(self, name: str, findings: list[Finding]) -> Suspect:
        rows = [self._truth[finding.url] for finding in findings]
        return Suspect(name, rows[0].photo, tuple(findings), not all(row.dead for row in rows))

    def judge(self, suspects: Sequence[Suspect], made_at: datetime) -> bytes:
        """A signed file: confirmed where there is an umbrella, and not otherwise. An umbrella plays a photo of the class csam."""
        said = [
            Verdict(finding=finding.id, verdict=Ruling.CONFIRMED, meaning="csam")
            if self._truth[finding.url].photo.known_kind
            else Verdict(finding=finding.id, verdict=Ruling.NOT)
            for suspect in suspects
            for finding in suspect.findings
        ]
        return make_verdicts(said, KEY, made_at)


@dataclass(frozen=True)
class Round:
    """One search: what the commands said, and what was handed over."""

    told: dict[str, Any]
    suspects: tuple[Suspect, ...]
    imported: dict[str, Any]
    taught: dict[str, Any] | None  # before it; None where there was no probe

    @property
    def candidates(self) -> int:
        """Rows that a signal named, and that were not judged before."""
        return int(self.told["suspects"] + self.told["left_out"])

    @property
    def confirmed(self) -> set[Photo]:
        """Umbrellas."""
        return {suspect.photo for suspect in self.suspects if suspect.photo.known_kind}


@dataclass
class Funnel:
    """A site, a run, and the rounds so far."""

    home: Path
    world: World
    authority: Authority
    scan: dict[str, Any]
    by_hashes: frozenset[Photo]
    rounds: list[Round] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.home / "run"

    def round(self, budget: int, *, top: int, least: float | None, workers: int) -> Round:
        """Search, with a probe from ``least`` up or without one; hand over; judge."""
        taught = None if least is None else self._teach()
        told, suspects = self.search(budget, top=top, least=least, workers=workers)
        self.rounds.append(Round(told, tuple(suspects), self._judged(suspects), taught))
        return self.rounds[-1]

    def search(
        self, budget: int, *, top: int, least: float | None, workers: int
    ) -> tuple[dict[str, Any], list[Suspect]]:
        """What a scan for similar photos says, and what it hands over."""
        words = ["--vectors", self.world.vectors, "--model", MODEL, "--top", top, "--budget", budget]
        if least is not None:
            words += ["--probes", self.home / "probes", "--from", least]
        said = self.custodes("similar", "scan", self.run, *words, "--workers", workers, "--quiet")
        return said["similar"], self.authority.receive(Path(said["run"]))

    def _judged(self, suspects: Sequence[Suspect]) -> dict[str, Any]:
        if not suspects:
            return {}
        number = len(self.rounds) + 1
        path = self.home / f"verdicts-{number}.json"
        # An hour apart, and all in the past: the latest word counts.
        path.write_bytes(self.authority.judge(suspects, datetime.now(UTC) - timedelta(hours=24 - number)))
        return self.custodes("verdicts", "import", path)

    def _teach(self) -> dict[str, Any]:
        words = ("--vectors", self.world.vectors, "--model", MODEL, "--out", self.home / "probes")
        return self.custodes("similar", "teach", self.run, *words)

    def custodes(self, *words: Any) -> dict[str, Any]:
        """Run a command as a user does. Raises RefusedError with what it said."""
        return _command(*words, "--config", self.home / "custodes.toml")


def begin(home: Path, world: World, hashes: Path, workers: int) -> Funnel:
    """A site with a list, and the dataset scanned by hashes."""
    _command("init", home, "--demo-authority")
    config = home / "custodes.toml"
    text = config.read_text().replace("#verifiers = []", f'verifiers = ["{KEY.verifier}"]')
    config.write_text(text[: text.index("[fetch]")] + FETCH)
    authority = Authority((home / "demo-authority.key").read_text(), world)
    funnel = Funnel(home, world, authority, {}, frozenset())
    funnel.custodes("lists", "import", hashes, "--list", "known", "--scheme", "custodes")
    words = ("--workers", workers, "--unsafe-allow-loopback", "--quiet")
    funnel.scan = funnel.custodes("scan", world.metadata, "--run", funnel.run, *words)
    funnel.by_hashes = frozenset(authority.photos(authority.opened(funnel.run)))
    return funnel


def _command(*words: Any) -> dict[str, Any]:
    argv = [sys.executable, "-m", "custodes.cli.main", *map(str, words), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode not in WENT_WELL:
        raise RefusedError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found
