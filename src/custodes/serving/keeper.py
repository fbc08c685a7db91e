"""The keeper: starts the front and the matchers, hands a matcher to the front when its lists are loaded, and replaces it when they change or it dies.

Promises: only a matcher that has all its lists is ever handed over; while there is none the front answers 503. A new version that cannot be loaded
leaves the old one in force. When the front ends the service ends, and with the keeper everything.
"""

from __future__ import annotations

import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from custodes.channel import Frames, receive, send
from custodes.errors import CustodesError, WorldError
from custodes.serving.messages import FrontHello, Listening, MatcherHello, Ready

__all__ = ["Keeper", "Service"]

FRONT: Final = (sys.executable, "-P", "-m", "custodes.serving.front")
RESTART_S: Final = 1.0
"""Between two starts of a matcher; doubled, up to ``reload_s``, while none comes to stand."""
RETIRE_S: Final = 10.0
"""How long a matcher that was replaced may take to end by itself."""

_SIGNALS: Final = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Service:
    """What is kept: how a matcher is started, which versions of lists are current, how the front is started, who hears what happens."""

    matcher: tuple[str, ...]
    config: str
    versions: Callable[[], Mapping[str, str]]
    front: FrontHello
    tell: Callable[[str], None]


@dataclass
class _Matcher:
    process: subprocess.Popen[bytes]
    versions: dict[str, str]
    channel: socket.socket
    """The front's end, until the front has it."""
    ends_at: float = float("inf")


class Keeper:
    """One service. ``run`` returns when it is asked to stop by a signal."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._selector = selectors.DefaultSelector()
        self._loading: _Matcher | None = None
        self._used: _Matcher | None = None
        self._retired: list[_Matcher] = []
        self._start_at = 0.0
        self._pause_s = RESTART_S
        self._look_at = 0.0
        self._refused: dict[str, str] = {}
        """Versions that could not be loaded, and are not tried again before someone asks."""
        self._stopped = False

    def run(self, listening: Callable[[Listening], None]) -> None:
        """Serve. ``listening`` is called when the front listens; the lists may take longer. Raises WorldError when the front ends."""
        with _heard() as signals, self._front_started() as front:
            assert front.stdout is not None
            try:
                self._start(dict(self._service.versions()))  # while the front starts too
                said = receive(front.stdout.fileno(), Frames(Listening), [])
                if said is None:
                    raise _front_ended()
                listening(said)
                self._selector.register(signals, selectors.EVENT_READ, lambda: self._hear(signals))
                self._selector.register(self._control, selectors.EVENT_READ, self._matcher_lost)
                self._selector.register(front.stdout, selectors.EVENT_READ, self._front_lost)
                while not self._stopped:
                    self._turn()
            finally:
                self._stopped = True
                for each in [self._loading, self._used, *self._retired]:
                    self._end(each)

    def _turn(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._service.front.settings.reload_s
            self._look()
        if self._used is None and self._loading is None and now >= self._start_at:
            self._start(dict(self._service.versions()))
        for each in [each for each in self._retired if each.ends_at <= now]:
            self._end(each)
        for key, _ in self._selector.select(max(0.0, min(self._look_at, now + RESTART_S) - now)):
            if self._selector.get_map().get(key.fd) is key:  # not ended by an event before it in this turn
                key.data()

    # -- matchers

    def _look(self) -> None:
        """Load new versions of the lists, if there are any and none are being loaded."""
        if self._used is None or self._loading is not None:
            return
        try:
            versions = dict(self._service.versions())
        except CustodesError as error:
            self._service.tell(f"the lists stay as they are: {error}")
            return
        if versions not in (self._used.versions, self._refused):
            self._start(versions)

    def _start(self, versions: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
                self._service.matcher, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]
            )
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its end is noticed on the other pipe
                send(process.stdin.fileno(), MatcherHello(self._service.config, versions, theirs.fileno()))
        started = self._loading = _Matcher(process, versions, ours)
        self._start_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, max(RESTART_S, self._service.front.settings.reload_s))
        self._selector.register(process.stdout, selectors.EVENT_READ, lambda: self._heard_of(started))  # type: ignore[arg-type]

    def _heard_of(self, matcher: _Matcher) -> None:
        """A matcher has loaded its lists, or ended."""
        assert matcher.process.stdout is not None
        said = receive(matcher.process.stdout.fileno(), Frames(Ready), [])
        if said is not None and matcher is self._loading:
            self._hand_over(matcher)
        elif said is None:
            self._end(matcher)

    def _hand_over(self, matcher: _Matcher) -> None:
        socket.send_fds(self._control, [b"next"], [matcher.channel.fileno()])
        matcher.channel.close()
        if self._used is not None:
            self._used.ends_at = time.monotonic() + RETIRE_S
            self._retired.append(self._used)
        self._used, self._loading, self._refused, self._pause_s = matcher, None, {}, RESTART_S
        self._service.tell(f"lists in use: {', '.join(sorted(matcher.versions))}")

    def _end(self, matcher: _Matcher | None) -> None:
        """End a matcher, if it has not ended, and say what follows from it."""
        if matcher is None:
            return
        assert matcher.process.stdout is not None
        assert matcher.process.stdin is not None
        self._selector.unregister(matcher.process.stdout)
        matcher.process.kill()
        matcher.process.wait()
        matcher.process.stdout.close()
        with suppress(BrokenPipeError):
            matcher.process.stdin.close()
        matcher.channel.close()
        if matcher is self._used:
            self._used = None
            self._tell_none()
        elif matcher is self._loading:
            self._loading, self._refused = None, matcher.versions
            if not self._stopped:
                self._service.tell("the lists were not loaded" + ("; those before stay in use" if self._used else ""))
        else:
            self._retired.remove(matcher)

    def _tell_none(self) -> None:
        with suppress(OSError):  # the front is gone too
            self._control.send(b"none")
        if not self._stopped:
            self._service.tell("the matcher has ended: answering 503 until another has loaded the lists")

    def _matcher_lost(self) -> None:
        """The front does not get an answer from its matcher."""
        self._control.recv(16)
        if self._used is not None:
            self._end(self._used)

    # -- the front, and signals

    @contextmanager
    def _front_started(self) -> Iterator[subprocess.Popen[bytes]]:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
                FRONT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]
            )
            assert process.stdin is not None
            hello = _with_channel(self._service.front, theirs.fileno())
            with suppress(BrokenPipeError):
                send(process.stdin.fileno(), hello)
        try:
            with process:
                try:
                    yield process
                finally:
                    process.kill()  # before it is waited for, whatever ended the service
        finally:
            self._control.close()
            self._selector.close()

    def _front_lost(self) -> None:
        raise _front_ended()

    def _hear(self, signals: socket.socket) -> None:
        for number in signals.recv(64):
            if number == signal.SIGHUP:
                self._refused = {}
                self._look_at = 0.0
            else:
                self._stopped = True


def _with_channel(hello: FrontHello, descriptor: int) -> FrontHello:
    return FrontHello(hello.settings, hello.image, descriptor, hello.unsafe_no_jail)


def _front_ended() -> WorldError:
    return WorldError("the front of the match service has ended", hint="see the messages above")


@contextmanager
def _heard() -> Iterator[socket.socket]:
    """The signals that concern a service, as bytes on a socket; as before when it ends."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before: dict[int, Any] = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    waking = signal.set_wakeup_fd(theirs.fileno())
    try:
        yield ours
    finally:
        signal.set_wakeup_fd(waking)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()
