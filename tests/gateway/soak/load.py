"""A long mixed load on a gateway that is killed, restarted and let down by its generator. The client keeps books of its own; at the end they are compared.

python -m tests.gateway.soak.load [--minutes 30] [--clients 8] [--report FILE]

In the first third the gateway is killed (kill -9) again and again; then it is left alone, and its memory is watched. A client asks until it has an answer
that is final, with the same words each time, so that strikes must agree exactly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from custodes.demo.gateway import demo_site
from custodes.demo.generator.server import listening as drawing
from custodes.demo.generator.studio import Fault, Manner, Studio
from custodes.gateway.evidence import withheld_files
from tests.gateway.clients import CHANNELS, Heard, ask, holds_pixels

__all__ = ["Books", "Process", "soak"]

PROMPTS: Final = {
    "passed": "a boat, number {}",
    "refused": "an umbrella in a garden, number {}",
    "withheld": "a lighthouse, number {}",
    "rewritten": "a fountain, number {}",
}
FAULTS: Final = (Fault.STATUS, Fault.EARLY, Fault.DIES, Fault.GARBAGE, Fault.CUT_PICTURE, Fault.NOTHING, Fault.SLOW)
SETTINGS: Final = 'timeout_s = 2.0\nmodels = ["demo"]'
"""So that a slow generator is a fault soon."""
ENOUGH: Final = 500
"""After so many requests each channel has had something harmless to draw."""
PATIENCE_S: Final = 120.0
"""So long a client asks for one answer. A gateway that was killed starts again in seconds, on a busy machine in many: tries say nothing of that."""


@dataclass
class Books:
    """What the client saw, and what the gateway kept."""

    answered: Counter[str] = field(default_factory=Counter)
    """Requests by what should become of them and what came: ``pictures`` or ``a refusal``, which a broken picture of the generator ends in, too."""
    passed_on: set[str] = field(default_factory=set)
    """Channels on which a picture came: one that refuses all of them would prove nothing."""
    tries: int = 0
    kills: int = 0
    leaked: int = 0
    without_end: int = 0
    rss_mib: list[float] = field(default_factory=list)
    """Of the gateway's own process, while it is left alone."""
    strikes: int = 0
    sealed: int = 0
    sealed_at_least: int = 0
    """Pictures that the client was refused, whatever was asked for. More may be sealed: of an answer that a kill cut off."""
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """The last quarter's memory as a share of the second quarter's; the first warms up."""
        quarter = len(self.rss_mib) // 4
        second, last = self.rss_mib[quarter : 2 * quarter], self.rss_mib[-quarter:]
        return (sum(last) / len(last)) / (sum(second) / len(second)) if quarter else 1.0

    def wrong(self) -> list[str]:
        """Where the books do not agree."""
        refused = self.answered["refused: a refusal"]
        found = []
        if self.strikes != refused:
            found.append(f"{self.strikes} strikes for {refused} refusals")
        if self.sealed < self.sealed_at_least:
            found.append(f"{self.sealed} sealed of {self.sealed_at_least} that were withheld")
        if self.leaked or self.answered["refused: pictures"] or self.answered["withheld: pictures"]:
            found.append("a picture left that should not have")
        silent = set(CHANNELS) - self.passed_on if sum(self.answered.values()) > ENOUGH else ()
        if silent:
            found.append(f"no picture came on {', '.join(sorted(silent))}")
        if self.without_end:
            found.append(f"{self.without_end} requests had no answer in {PATIENCE_S:.0f} s")
        if self.growth > 1.1:
            found.append(f"memory grew to {self.growth:.2f} of what it was")
        return found

    def told(self) -> str:
        """As a page."""
        rss = f"{min(self.rss_mib):.0f} to {max(self.rss_mib):.0f} MiB" if self.rss_mib else "not measured"
        rows = [
            ("time", f"{self.seconds / 60:.1f} minutes"),
            ("requests with a final answer", f"{sum(self.answered.values()):,}"),
            ("tries that they took", f"{self.tries:,}"),
            ("kill -9", f"{self.kills}"),
            *((name, f"{count:,}") for name, count in sorted(self.answered.items())),
            ("strikes in the ledger", f"{self.strikes:,}"),
            ("images sealed", f"{self.sealed:,} (withheld as the client knows: {self.sealed_at_least:,})"),
            ("memory of the gateway, left alone", f"{rss}, last quarter / second quarter {self.growth:.3f}"),
            ("what does not agree", "; ".join(self.wrong()) or "nothing"),
        ]
        lines = ["# The gateway under mixed load and faults", "", "| | |", "|---|--:|"]
        return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows), ""])


class Process:
    """A gateway as a process, and its lives."""

    def __init__(self, config: Path) -> None:
        self._config, self.url = config, ""
        self._process: asyncio.subprocess.Process | None = None
        self._log = (config.parent / "gateway.log").open("w")

    async def start(self) -> None:
        words = [
            "gateway",
            "--config",
            str(self._config),
            "--listen",
            self.url.removeprefix("http://") or "127.0.0.1:0",
        ]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "custodes.cli.main",
            *words,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        self.url = json.loads(line)["listening"]

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()
        self.close()

    def close(self) -> None:
        self._log.close()

    def rss_mib(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@asynccontextmanager
async def _standing(home: Path) -> AsyncIterator[tuple[Process, Studio]]:
    studio = Studio()
    async with drawing(studio) as address:
        site = demo_site(home, address)
        site.path.write_text(site.path.read_text().replace('models = ["demo"]', SETTINGS))
        gateway = Process(site.path)
        await gateway.start()
        try:
            yield gateway, studio
        finally:
            await gateway.end()


async def soak(home: Path, seconds: float, clients: int = 8, seed: int = 8) -> Books:
    """Load for so many seconds, and the books after it."""
    books, rng = Books(), random.Random(seed)
    began = time.monotonic()
    end, calm = began + seconds, began + seconds / 3
    async with _standing(home) as (gateway, studio):
        numbers = iter(range(1 << 60))

        async def client() -> None:
            while time.monotonic() < end:
                wanted = rng.choice(list(PROMPTS))
                await _answered(gateway, books, rng.choice(CHANNELS), wanted, next(numbers))

        async def weather() -> None:
            """The generator's faults, and the kills."""
            while time.monotonic() < end:
                studio.manner = Manner(rng.choice(FAULTS), slow_s=3.0) if rng.random() < 0.3 else Manner()
                await asyncio.sleep(rng.uniform(0.1, 0.6))
                if time.monotonic() < calm and rng.random() < 0.1:
                    await gateway.kill()
                    books.kills += 1
                    await gateway.start()
                elif time.monotonic() >= calm:
                    books.rss_mib.append(gateway.rss_mib())
            studio.manner = Manner()

        await asyncio.gather(weather(), *(client() for _ in range(clients)))
    books.seconds = time.monotonic() - began
    state = home / "state" / "gateway"
    with sqlite3.connect(state / "ledger.sqlite") as database:
        books.strikes = database.execute("SELECT count(*) FROM strikes").fetchone()[0]
    books.sealed = len(withheld_files(state / "withheld"))
    return books


async def _answered(gateway: Process, books: Books, channel: str, wanted: str, number: int) -> None:
    """One request until it has a final answer, for the record."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        books.tries += 1
        heard = await ask(channel, gateway.url, PROMPTS[wanted].format(number), wait_s=10.0)
        became = _became(heard)
        if wanted in ("refused", "withheld") and any(holds_pixels(piece) for piece in heard.wire):
            books.leaked += 1
        if became:
            books.answered[f"{wanted}: {became}"] += 1
            books.sealed_at_least += wanted != "refused" and became == "a refusal"  # of a picture, known or broken
            if became == "pictures":
                books.passed_on.add(channel)
            return
        await asyncio.sleep(0.05)
    books.without_end += 1


def _became(heard: Heard) -> str:
    """What an answer is, if it is final."""
    if heard.pictures and heard.status == 200:
        return "pictures"
    return "a refusal" if b"safety system" in b"".join(heard.wire) else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--report", type=Path, default=None)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="custodes-soak-"))
    books = asyncio.run(soak(home / "site", options.minutes * 60, options.clients))
    print(books.told())
    if options.report is not None:
        options.report.write_text(books.told())
    shutil.rmtree(home)
    sys.exit(1 if books.wrong() else 0)


if __name__ == "__main__":
    main()
