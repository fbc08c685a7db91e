"""``custodes gateway --demo`` as a process of its own, and what it leaves on its disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from custodes.gateway.evidence import open_withheld, withheld_files
from custodes.handover.cybertipline.withheld import Withheld

__all__ = ["Demo", "demonstrating"]


@dataclass
class Demo:
    """A gateway that runs. ``log``: what it says of requests."""

    url: str
    home: Path
    process: subprocess.Popen[str] = field(repr=False)

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    @property
    def state(self) -> Path:
        return self.home / "site" / "state" / "gateway"

    def withheld(self) -> list[Withheld]:
        """What the authority reads of what was sealed."""
        identity = (self.home / "site" / "demo-authority.key").read_text()
        return [open_withheld(path.read_bytes(), identity) for path in withheld_files(self.state / "withheld")]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


@contextmanager
def demonstrating(home: Path) -> Iterator[Demo]:
    """The demonstration, until the context ends."""
    argv = [sys.executable, "-m", "custodes.cli.main", "gateway", "--demo", "--listen", "127.0.0.1:0", "--json"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*argv, "--dir", str(home / "site")], stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ)
        )
        assert process.stdout is not None
        try:
            yield Demo(json.loads(process.stdout.readline())["listening"], home, process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
