"""From the bytes of a JPEG to its digests by one tool, in a process of its own on one core; asked line by line.

digests_methods.py TOOL FOLDER       TOOL: custodes (.venv) or pdqhash (.venv-bench); FOLDER: one folder of pictures a size

It prints its cases, and answers {"case", "size"} with the CPU milliseconds of each picture of that size, read into memory beforehand.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

Work = Callable[[bytes], Any]


def custodes() -> dict[str, Work]:
    """What a carrier and its decoder do with a picture, at each level that this machine has; and the nearest thing to a floor."""
    from custodes.decoder.hashing import examine_content
    from custodes.decoder.zygote import tune_malloc
    from custodes.decoding import DecodePolicy, ImageLimits
    from custodes.digests import crypto_digests
    from custodes.model import Content

    tune_malloc()
    limits = ImageLimits()

    def work(level: str | None, policy: DecodePolicy) -> Work:
        def do(data: bytes) -> Any:
            use(level)
            return crypto_digests(Content(data)), examine_content(data, limits, policy)

        return do

    levels: list[str | None] = [*native_here(), None]
    cases = {level or "numpy": work(level, DecodePolicy.FAST) for level in levels}
    return cases | {"exact": work(levels[0], DecodePolicy.EXACT), "floor": floor}


def native_here() -> list[str]:
    try:
        from custodes import native
    except ImportError:
        return []
    return list(native.levels())


def use(level: str | None) -> None:
    try:
        from custodes import native
    except ImportError:
        return
    native.use(level)


def floor(data: bytes) -> Any:
    """Decoding of luma at an eighth: nearly all of it is entropy decoding, which nobody who looks at a JPEG's pixels is spared."""
    from PIL import Image

    image = Image.open(BytesIO(data))
    image.draft("L", (image.width // 8, image.height // 8))
    return image.load()


def pdqhash() -> dict[str, Work]:
    """The same digests with what people install for them."""
    import numpy as np
    import pdqhash as reference
    from PIL import Image

    def do(data: bytes) -> Any:
        named = [hashlib.new(name, data, usedforsecurity=False).digest() for name in ("md5", "sha1", "sha256")]
        return named, reference.compute(np.asarray(Image.open(BytesIO(data)).convert("RGB")))

    return {"pdqhash": do}


def main() -> None:
    tool, folder = sys.argv[1:3]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pictures = {
        size.name: [path.read_bytes() for path in sorted(size.glob("*.jpg"))] for size in sorted(Path(folder).iterdir())
    }
    cases = {"custodes": custodes, "pdqhash": pdqhash}[tool]()
    for work in cases.values():
        for contents in pictures.values():
            work(contents[0])
    print(json.dumps({"cases": list(cases)}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        spent = []
        for data in pictures[asked["size"]]:
            began = time.process_time_ns()
            cases[asked["case"]](data)
            spent.append((time.process_time_ns() - began) / 1e6)
        print(json.dumps({"cpu_ms": spent}), flush=True)


if __name__ == "__main__":
    main()
