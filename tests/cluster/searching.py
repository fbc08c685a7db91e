"""Looks for what must not be there in everything that Ray writes, maps or holds: its folder, its store in shared memory, its processes."""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from nodes import Cluster, processes

REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r\S+) \S+ \S+ \S+ *(.*)")
AT_ONCE = 64 << 20
OURS = ("custodes.cli", "custodes.carrier", "custodes.decoder.zygote")


def written(secret: bytes) -> list[bytes]:
    """How a secret could be written: as it is, in hex, in base64 wherever it begins in a group of three."""
    forms = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        forms.append(base64.b64encode(b"\0" * shift + secret)[4 : 4 * ((shift + len(secret)) // 3)])
    return forms


Places = Callable[[Cluster], Iterator[tuple[str, bytes]]]


def search(made: Cluster, secrets: dict[str, bytes], *places: Places) -> set[tuple[str, str]]:
    """Which secret was found where: in ``files`` and in ``memory``, or in some of them."""
    found = set()
    needles = [(name, form) for name, secret in secrets.items() for form in written(secret)]
    raw = [(name, form) for name, secret in secrets.items() for form in (secret, secret.hex().encode())]
    for place in places or (files, memory):
        wanted = raw if place is memory else needles
        for where, data in place(made):
            found |= {(name, where) for name, form in wanted if form in data}
    return found


def files(made: Cluster) -> Iterator[tuple[str, bytes]]:
    """Ray's folder, logs, spilled objects and all; and names of files, which may tell as well."""
    for path in made.home.rglob("*"):
        yield "a file's name", str(path).encode()
        with contextlib.suppress(OSError):
            if path.is_file():
                yield str(path.relative_to(made.home)), path.read_bytes()


def memory(made: Cluster) -> Iterator[tuple[str, bytes]]:
    """What Ray's own processes have in memory, the store that they share among it. Not our workers': there it belongs."""
    members = set[int]().union(*(made.of(name) for name in made.nodes))
    for pid, _, line, _ in processes():
        if pid in members and not any(word in line for word in OURS):
            name = re.sub(r"\W+", " ", Path(line.split()[0]).name) if line.split() else "?"
            for data in memory_of(pid):
                yield f"memory of {name}", data


def memory_of(pid: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for region in Path(f"/proc/{pid}/maps").read_text().splitlines():
            matched = REGION.fullmatch(region)
            if matched is None or "w" not in matched[3] or matched[4].startswith(("[vvar", "[vsyscall")):
                continue
            first, last = int(matched[1], 16), int(matched[2], 16)
            yield from stretch(file.fileno(), first, last)


def stretch(descriptor: int, first: int, last: int) -> Iterator[bytes]:
    """Pages that hold something: of what was only reserved there is nothing to read."""
    for at in range(first, last, AT_ONCE):
        with contextlib.suppress(OSError):
            yield os.pread(descriptor, min(AT_ONCE, last - at), at)
