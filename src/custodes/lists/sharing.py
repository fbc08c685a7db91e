"""A shelf that the workers of a machine share although nobody who started them has one: the first to ask for it fills it, and hands it to the others.

They find each other by the name of an abstract socket, which says nothing: it is a MAC under the run key of which lists are wanted, in which versions. Both
sides see to it that the other is of the same user, and who is given memory that it is sealed. Who fills is waited for; when the one that hands out ends, one
of the others takes its place, and if there is none, the memory is gone.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Final

import msgspec

from custodes.errors import StorageError
from custodes.lists.shelf import SEALS, Shelf

__all__ = ["Sharing"]

_CREDENTIALS: Final = "3i"  # pid, uid, gid: unix(7), SO_PEERCRED
_NAMES_BYTES_MAX: Final = 1 << 20
_DESCRIPTORS_MAX: Final = 253  # SCM_MAX_FD
_AGAIN_S: Final = 0.05
_TRIES_MAX: Final = 200
_HEADER: Final = struct.Struct(">I")


class Sharing:
    """The shelf of these versions, from whoever on this machine has it. ``name``: what only this site can know; ``fill`` makes the shelf."""

    def __init__(self, name: bytes, versions: Mapping[str, str], fill: Callable[[], Shelf]) -> None:
        self._address = named(name)
        self._versions = dict(versions)
        self._fill = fill
        self._shelf: Shelf | None = None

    def shelf(self) -> Shelf:
        """The shelf. It stays this object's, which hands it out to others for as long as this process lives. Raises as ``fill`` does."""
        for _ in range(_TRIES_MAX):
            ended = self._serve() or self._ask()
            if self._shelf is not None:
                threading.Thread(target=self._stand_by, args=(ended,), daemon=True).start()
                return self._shelf
            time.sleep(_AGAIN_S)  # who was filling it has ended
        hint = "start the same command again; a process of another user may stand in the way (ss -xlp)"
        raise StorageError("the lists' memory could not be had from another worker", hint=hint)

    def _stand_by(self, held: socket.socket) -> None:
        """Hand out, or wait for the one who does to end, for ever."""
        while True:
            with closing(held):
                if held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._hand_out(held)
                with suppress(OSError):
                    held.recv(1)
            while (other := self._bound() or self._connected()) is None:
                time.sleep(_AGAIN_S)
            held = other

    def _serve(self) -> socket.socket | None:
        """The listening socket, the shelf filled behind it, if nobody else has the name."""
        listening = self._bound()
        if listening is None:
            return None
        try:
            self._shelf = self._fill()
        finally:
            if self._shelf is None:
                listening.close()
        return listening

    def _ask(self) -> socket.socket | None:
        """The connection to whoever has the shelf, from whom it was got; None if it ended before it could give it."""
        connection = self._connected()
        if connection is None:
            return None
        self._shelf = received(connection, self._versions)
        if self._shelf is None:
            connection.close()
        return connection

    def _bound(self) -> socket.socket | None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(self._address)
            listening.listen(1024)
        except OSError:
            listening.close()
            return None
        return listening

    def _connected(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._address)
        except OSError:
            connection.close()
            return None
        if same_user(connection):
            return connection
        connection.close()
        return None

    def _hand_out(self, listening: socket.socket) -> None:
        """Give the shelf to each who comes, and keep the connection: its end tells them that another must take over."""
        kept: list[socket.socket] = []
        while True:
            connection = listening.accept()[0]
            if not same_user(connection):
                connection.close()
                continue
            assert self._shelf is not None
            with suppress(OSError):
                give(connection, self._shelf.descriptors)
            kept = [each for each in kept if not has_ended(each)] + [connection]


def named(name: bytes) -> bytes:
    """The abstract socket of a name."""
    return b"\0custodes-" + hashlib.sha256(name).hexdigest().encode()


def same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end is of this user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    return bool(struct.unpack(_CREDENTIALS, credentials)[1] == os.getuid())


def has_ended(connection: socket.socket) -> bool:
    """Whether the other end, which says nothing after it was given all, is gone."""
    return bool(select.select([connection], [], [], 0)[0])


def give(connection: socket.socket, descriptors: Mapping[str, int]) -> None:
    """Names and descriptors, as many at a time as the kernel takes."""
    names = msgspec.msgpack.encode(list(descriptors))
    connection.sendall(_HEADER.pack(len(names)) + names)
    numbers = list(descriptors.values())
    for first in range(0, len(numbers), _DESCRIPTORS_MAX):
        socket.send_fds(connection, [b"."], numbers[first : first + _DESCRIPTORS_MAX])


def received(connection: socket.socket, versions: Mapping[str, str]) -> Shelf | None:
    """The shelf that is given; None where the other ends before it has given all. Raises StorageError where it is not sealed."""
    head = exactly(connection, _HEADER.size)
    names_bytes = _HEADER.unpack(head)[0] if head else 0
    if not 0 < names_bytes <= _NAMES_BYTES_MAX:
        return None
    names = msgspec.msgpack.decode(exactly(connection, names_bytes) or b"\x90", type=list[str])
    numbers: list[int] = []
    while len(numbers) < len(names):
        data, more = receive_some(connection)
        numbers += more
        if not data:
            for each in numbers:
                os.close(each)
            return None
    if any(fcntl.fcntl(each, fcntl.F_GET_SEALS) & SEALS != SEALS for each in numbers):
        raise StorageError("a worker was given lists in memory that others can change", hint="report this")
    shelf = Shelf(versions, dict(zip(names, numbers, strict=True)))
    shelf.lock()
    return shelf


def receive_some(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One byte and the descriptors that came with it, which no child of this process gets."""
    size = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
    data, messages, _, _ = connection.recvmsg(1, size, socket.MSG_CMSG_CLOEXEC)
    numbers = array.array("i")
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, numbers.tolist()


def exactly(connection: socket.socket, size_bytes: int) -> bytes | None:
    """So many bytes, or None where the other ends first."""
    data = b""
    while len(data) < size_bytes:
        try:
            more = connection.recv(size_bytes - len(data))
        except ConnectionResetError:
            return None
        if not more:
            return None
        data += more
    return data
