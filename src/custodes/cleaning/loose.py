"""A folder of loose images written again: each file that stays is copied under its name, and captions leave with the last image of their key.

Copied, not linked: what is changed in one folder later must not change the other. Links and other things that are no files are left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from custodes.cleaning.mask import Flags
from custodes.cleaning.writing import ASIDE, NOTE, Maker
from custodes.errors import InputError, SourceError
from custodes.sources.base import Plan
from custodes.sources.files import check_name, open_file, read_exactly, reading, shown, size_of
from custodes.sources.folder import listing
from custodes.sources.members import key_of

__all__ = ["loose_makers"]

_PIECE_BYTES: Final = 1 << 20


def loose_makers(plan: Plan, stay: Flags) -> dict[str, Maker]:
    """What writes each file that stays, by its name below the folder. Raises SourceError if the folder has other images than ``stay``."""
    root = plan.files[0].path
    images = listing(root, plan.options).names
    if len(images) != len(stay):
        raise SourceError(f"{shown(root)} has other images than were scanned", hint="scan it anew")
    stays = dict(zip(images, stay.tolist(), strict=True))
    kept = {key_of(name) for name, flag in stays.items() if flag}
    gone = {key_of(name) for name, flag in stays.items() if not flag} - kept
    makers: dict[str, Maker] = {}
    for name, path in _files(Path(root)):
        is_image = os.fsencode(name) in stays
        if name == NOTE and not is_image:  # of an earlier cleaning
            continue
        if stays[os.fsencode(name)] if is_image else key_of(os.fsencode(name)) not in gone:
            check_name(path)
            if name == NOTE or path.endswith(f"/{ASIDE}"):
                raise InputError(f"{path} has a name that is needed for what is written", hint="rename it")
            makers[name] = partial(_copy, path)
    return makers


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Every plain file by its name below a folder, links not followed."""
    with reading(str(root)):
        for at, _, names in os.walk(root):
            for path in (Path(at, name) for name in names):
                if stat.S_ISREG(path.lstat().st_mode):
                    yield str(path.relative_to(root)), str(path)


def _copy(path: str, target: BinaryIO) -> None:
    with open_file(path) as file, reading(path):
        left_bytes = size_of(file)
        while left_bytes:
            piece = read_exactly(file, min(_PIECE_BYTES, left_bytes), path)
            target.write(piece)
            left_bytes -= len(piece)
