"""Which connections are open to which host, those that libcurl keeps for another exchange included.

libcurl works on a copy of each socket that it is given and tells nobody when it closes it. So ours is kept as long as the connection may be open, and is
shut when it must not be any more: libcurl finds it dead, mostly before it gives it to another exchange.
Promises: ``count`` is never less than what is open. The attempts of one exchange at a host's several addresses count as one connection.
Leaves to others: what is allowed (``permits``), when (``fetch``).
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection

__all__ = ["Connections", "Used"]

GONE_MAX = 8_192
"""More than libcurl keeps."""

Used = tuple[int, str, int]
"""What libcurl says of the connection that an exchange used: our port, the server's address and port."""


class Connections:
    """Sockets by host: of exchanges that dialled, and kept."""

    def __init__(self) -> None:
        self._kept: defaultdict[str, list[socket.socket]] = defaultdict(list)
        self._dialled: Counter[str] = Counter()
        self._gone: OrderedDict[Used, None] = OrderedDict()

    def count(self, host: str) -> int:
        """Connections open. An exchange that did not dial uses one that was kept, or none yet."""
        return self._dialled[host] + len(self._kept.get(host, ()))

    def dialled(self, host: str) -> None:
        """An exchange makes a connection of its own."""
        self._dialled[host] += 1

    def ended(self, host: str, own: list[socket.socket] | None, used: Used, *, keep: bool) -> None:
        """An exchange is over. ``own``: the sockets of its attempts, None where it did not dial. What it used is kept or shut, its other attempts are shut."""
        if own is not None:
            self._dialled[host] -= 1
            if not self._dialled[host]:
                del self._dialled[host]
        for each in own or ():
            if keep and _tells(each) == used and not _is_over(each):
                self._kept[host].append(each)
                self._gone.pop(used, None)  # the port is in use again
            else:
                self._shut(each)
        if own is None and not keep:
            for each in [each for each in self._kept.get(host, ()) if _tells(each) == used]:
                self._kept[host].remove(each)
                self._shut(each)
        if not self._kept.get(host):
            self._kept.pop(host, None)

    @property
    def kept(self) -> list[str]:
        """Hosts of which some are kept."""
        return list(self._kept)

    def shut(self, host: str, in_use: Collection[Used] = ()) -> None:
        """End what was kept and no exchange runs on."""
        kept = self._kept.pop(host, [])
        for each in [each for each in kept if _tells(each) not in in_use]:
            kept.remove(each)
            self._shut(each)
        if kept:
            self._kept[host] = kept

    def was_shut(self, used: Used) -> bool:
        """Whether this connection was shut here, so that who was given it by libcurl did not fail of the server."""
        return used in self._gone

    def close(self) -> None:
        """End all that were kept."""
        for host in list(self._kept):
            self.shut(host)

    def _shut(self, sock: socket.socket) -> None:
        if (ends := _tells(sock)) is not None:
            self._gone[ends] = None
            if len(self._gone) > GONE_MAX:
                self._gone.popitem(last=False)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


def _tells(sock: socket.socket) -> Used | None:
    """Between which ends it lies; None where it is not connected, or no longer."""
    try:
        return sock.getsockname()[1], *sock.getpeername()[:2]
    except OSError:
        return None


def _is_over(sock: socket.socket) -> bool:
    """Whether the server has closed it."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
