"""libcurl's multi handle on a selector that the caller owns, so that one loop serves fetches and everything else.

Promises: registers only its own descriptors, each with ``data`` a callable of the event mask; never blocks.
Leaves to others: calling ``select`` and the callables (the caller), and what the transfers mean (transfer, fetch).
"""

from __future__ import annotations

import selectors
from collections.abc import Iterator
from functools import partial
from time import monotonic

import pycurl

__all__ = ["CurlLoop"]

_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}
_ACTIONS = (0, pycurl.CSELECT_IN, pycurl.CSELECT_OUT, pycurl.CSELECT_IN | pycurl.CSELECT_OUT)


class CurlLoop:
    """Adds, drives and returns easy handles by libcurl's socket_action interface."""

    def __init__(self, selector: selectors.BaseSelector, connections_max: int, per_host: int) -> None:
        self._selector = selector
        self._due: float | None = None
        self._watched: set[int] = set()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections_max)  # idle connections kept
        # A second line behind HostQueue.
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, per_host)

    def add(self, handle: pycurl.Curl) -> None:
        """Start a transfer; it moves at the next ``run_due``."""
        self._multi.add_handle(handle)

    def remove(self, handle: pycurl.Curl) -> None:
        """End a transfer, finished or not."""
        self._multi.remove_handle(handle)

    def run_due(self) -> None:
        """Do what libcurl wanted done by now."""
        if self._due is not None and self._due <= monotonic():
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def finished(self) -> Iterator[tuple[pycurl.Curl, int]]:
        """Handles that ended, with libcurl's code, removed from the loop."""
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for handle in good:
                self._multi.remove_handle(handle)
                yield handle, 0
            for handle, code, _ in bad:  # the third is libcurl's text, which can hold the URL's host: never kept
                self._multi.remove_handle(handle)
                yield handle, code

    def timeout_s(self, longest_s: float) -> float:
        """How long a select may wait before ``run_due`` has work."""
        return longest_s if self._due is None else min(longest_s, max(0.0, self._due - monotonic()))

    def close(self) -> None:
        """Drop all connections and leave the selector as it was."""
        self._multi.close()
        for fd in tuple(self._watched):
            self._unwatch(fd)

    def _watch(self, action: int, fd: int, _multi: object, _data: object) -> None:
        if action == pycurl.POLL_REMOVE:
            self._unwatch(fd)
        elif fd in self._watched:
            self._selector.modify(fd, _EVENTS[action], self._selector.get_key(fd).data)
        else:
            self._selector.register(fd, _EVENTS[action], partial(self._act, fd))
            self._watched.add(fd)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.discard(fd)
            self._selector.unregister(fd)

    def _act(self, fd: int, mask: int) -> None:
        if fd in self._watched:  # an earlier event of the same select may have closed it
            self._multi.socket_action(fd, _ACTIONS[mask & 3])

    def _set_timer(self, timeout_ms: int) -> None:
        self._due = None if timeout_ms < 0 else monotonic() + timeout_ms / 1000
