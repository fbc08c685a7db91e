"""Hash lists of numbers, in the forms in which lists are given: made once into ``bench/work``, seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

__all__ = ["csv_file", "text_file", "vics_file"]

PART: Final = 100_000
CATEGORIES: Final = ("A1", "A2", "B1", "B2")
SIZES: Final = {"md5": 16, "sha1": 20, "pdq": 32}


def text_file(home: Path, kind: str, entries: int, *, named: bool) -> Path:
    """One value a line in hexadecimal, behind its kind if ``named``."""
    path = home / f"list-{kind}-{entries}{'' if named else '-bare'}.txt"
    if not path.exists():
        random, size = np.random.default_rng(entries), SIZES[kind]
        head = f"{kind} " if named else ""
        with _whole(path).open("w") as file:
            for first in range(0, entries, PART):
                file.writelines(f"{head}{value}\n" for value in _values(random, size, min(PART, entries - first)))
        _whole(path).rename(path)
    return path


def csv_file(home: Path, entries: int) -> Path:
    """``entries`` values on half as many rows: an id, MD5 and SHA-1, a category of NCMEC's."""
    path = home / f"list-wide-{entries}.csv"
    if not path.exists():
        with _whole(path).open("w") as file:
            file.write("id,md5,sha1,category\n")
            for number, md5, sha1 in _pairs(entries // 2):
                file.write(f"entry-{number:08},{md5},{sha1},{CATEGORIES[number % 4]}\n")
        _whole(path).rename(path)
    return path


def vics_file(home: Path, records: int) -> Path:
    """A hash set of Project VIC, data model 2.0, with MD5 and SHA-1 and the fields that such files have besides."""
    path = home / f"list-vics-{records}.json"
    if not path.exists():
        context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
        with _whole(path).open("w") as file:
            file.write(f'{{"@odata.context":"{context}","value":[')
            for number, md5, sha1 in _pairs(records):
                file.write(
                    f'{"," if number else ""}\n{{"MediaID":{number + 1},"Category":{number % 5},"MD5":"{md5.upper()}",'
                    f'"SHA1":"{sha1.upper()}","MediaSize":{100_000 + number},"MimeType":"image/jpeg","IsDistributed":false,'
                    '"VictimIdentified":"false","OffenderIdentified":"false","Series":"","Tags":"","IsPrecategorized":true}'
                )
            file.write("\n]}\n")
        _whole(path).rename(path)
    return path


def _pairs(count: int):  # type: ignore[no-untyped-def]
    """Number, MD5 and SHA-1 of each row."""
    random = np.random.default_rng(count)
    for first in range(0, count, PART):
        size = min(PART, count - first)
        yield from zip(range(first, first + size), _values(random, 16, size), _values(random, 20, size), strict=True)


def _values(random: np.random.Generator, size: int, count: int) -> list[str]:
    text = random.bytes(size * count).hex()
    return [text[at : at + 2 * size] for at in range(0, len(text), 2 * size)]


def _whole(path: Path) -> Path:
    return path.with_name(f".{path.name}")
