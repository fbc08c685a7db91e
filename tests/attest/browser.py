"""A headless browser, driven over a pipe by its own protocol (CDP), for pages that are tested as a reader has them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars")


class Browser:
    """One page of one browser. ``events``: what the page's console and security policy said."""

    def __init__(self, out: int, back: int) -> None:
        self._out, self._back = out, back
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write(message)
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                found: dict[str, Any] = answer["result"]
                return found
            self.events.append(answer)

    def run(self, script: str) -> Any:
        """What an expression of the page is, once it has settled."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, url: str, before: str = "") -> None:
        """Show a page. ``before``: a script that runs ahead of its own."""
        added = self.call("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._read())
        self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added)

    def _write(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._out, data) :]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._back, 1 << 20)
            assert data, "the browser ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browsing(home: Path) -> Iterator[Browser]:
    """A browser of its own. Skips, loudly, where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("NO CHROMIUM: the page was not tested in a browser")
    (to_read, out), (back, to_write) = os.pipe(), os.pipe()
    # The protocol's pipes are descriptors 3 and 4 by agreement; both are moved up first, so that neither is written over.
    pipes = {3: fcntl.fcntl(to_read, fcntl.F_DUPFD_CLOEXEC, 10), 4: fcntl.fcntl(to_write, fcntl.F_DUPFD_CLOEXEC, 10)}
    command = [found, *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={home}"]
    actions = [
        *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)),
        *((os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in pipes.items()),
    ]
    process = os.posix_spawn(found, command, os.environ, file_actions=actions)
    for each in (to_read, to_write, *pipes.values()):
        os.close(each)
    try:
        yield Browser(out, back)
    finally:
        os.close(out)  # upon which it ends
        os.waitpid(process, 0)
        os.close(back)
