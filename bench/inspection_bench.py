"""An image of 1024 x 1024 through the gateway's inspection, stage by stage, on one core; the default detector's time for a megapixel apart."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import asyncio
import os
import selectors
import statistics
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from scenes import scene
from tables import Bench

from custodes.decoder.image import decode
from custodes.decoder.views import view_content
from custodes.decoder.zygote import tune_malloc
from custodes.decoding import DecodePolicy
from custodes.digests import crypto_digests
from custodes.examine import Evidence, Examiner
from custodes.gateway.inspection.detectors import open_detector
from custodes.gateway.inspection.inspector import LIMITS, jail_settings
from custodes.jail import Jail
from custodes.lists.container import collect
from custodes.lists.matcher import Matcher
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import Content, Digests, Entry, Kind
from custodes.viewing import Task, Viewing

__all__ = ["bench_inspection"]

SIDE = 1024
ENTRIES = 1_000_000
FORMATS = {"JPEG": {"quality": 90}, "PNG": {}, "WEBP": {"quality": 90}}


def bench_inspection(*, quick: bool) -> Bench:
    """Milliseconds of each stage, the median of rounds."""
    tune_malloc()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    rounds, entries = (5, ENTRIES // 20) if quick else (31, ENTRIES)
    bench = Bench("inspection", "One image through the gateway", notes=notes(entries))
    bench.heads = [
        "1024 x 1024",
        "bytes",
        "decode",
        "digests, 18 codes",
        "lists",
        "judged by lists",
        "in the jail",
        "write",
        "show",
    ]
    examiner, detector = listed(entries), open_detector("open-nsfw")
    viewing = Viewing(recipes=(detector.recipe,))
    for form, options in FORMATS.items():
        content = saved(picture(1), form, **options)
        found = stages(content, viewing, examiner, rounds)
        bench.runs[form] = [found]
        bench.rows.append([form, f"{len(content):,}", *(f"{value:.1f} ms" for value in found.values())])
    bench.ratios.append(detecting(detector, viewing, rounds))
    return bench


def notes(entries: int) -> list[str]:
    return [
        "One core of the machine, everything in this process, which keeps freed buffers as decoders do, but for *in the jail*, which is the task sent to a confined decoder and answered.",
        f"Judged by lists is all of it: MD5, SHA-1, SHA-256, decoding, codes of the picture and of its 17 tiles, and a search of each code's eight forms among {entries:,} random codes.",
        "Write is the gateway's first turn: digests and the copy that leaves. Show is its second: digests of that copy, and its views for the detector.",
    ]


def stages(content: bytes, viewing: Viewing, examiner: Examiner, rounds: int) -> dict[str, float]:
    digests = crypto_digests(Content(content))
    codes = view_content(content, LIMITS, viewing, Task.JUDGE).examined.pdq
    evidence = Evidence.from_digests([(0, Digests(*digests, codes))])

    def judged() -> None:
        exact = crypto_digests(Content(content))
        seen = view_content(content, LIMITS, viewing, Task.JUDGE).examined
        examiner.judge(Evidence.from_digests([(0, Digests(*exact, seen.pdq))]))

    decoding = milliseconds(
        lambda: [frame.rows(0, 1) for frame in decode(content, LIMITS, DecodePolicy.FAST).frames], rounds
    )
    both = milliseconds(
        lambda: (crypto_digests(Content(content)), view_content(content, LIMITS, viewing, Task.JUDGE)), rounds
    )
    with (
        selectors.DefaultSelector() as selector,
        Jail(LIMITS, DecodePolicy.FAST, selector, jail_settings(1), viewing) as jail,
    ):

        def in_jail() -> None:
            jail.submit(0, Content(content), Task.JUDGE)
            jail.run_until_idle()
            jail.viewed.clear()

        jailed = milliseconds(in_jail, rounds)
    return {
        "decode": decoding,
        "digests": both - decoding,
        "lists": milliseconds(lambda: examiner.judge(evidence), rounds),
        "judged": milliseconds(judged, rounds),
        "jail": jailed,
        "write": milliseconds(lambda: view_content(content, LIMITS, viewing, Task.WRITE), rounds),
        "show": milliseconds(lambda: view_content(content, LIMITS, viewing, Task.SHOW), rounds),
    }


def detecting(detector: object, viewing: Viewing, rounds: int) -> str:
    side = viewing.recipes[0].side
    content = saved(picture(2), "JPEG")
    (view,) = view_content(content, LIMITS, viewing, Task.SHOW).views
    square = np.frombuffer(view, np.uint8).reshape(side, side, 3)
    took = milliseconds(lambda: asyncio.run(detector.score([square])), min(rounds, 11))  # type: ignore[attr-defined]
    return (
        f"Open NSFW, one thread: {took:.0f} ms for each view, whatever the picture's size; {took / SIDE / SIDE * 1e6:.0f} ms for a megapixel of a picture "
        f"of {SIDE} x {SIDE}, {5 * took / 4 / SIDE / SIDE * 1e6:.0f} ms for one of {2 * SIDE} x {2 * SIDE}, whose quarters are shown too"
    )


def listed(entries: int) -> Examiner:
    rng = np.random.default_rng(8)
    codes = rng.integers(0, 256, (entries, 32), np.uint8)
    found = collect(Entry(Kind.PDQ, code.tobytes(), str(number)) for number, code in enumerate(codes))[0]
    return Examiner(Matcher(LoadedLists((LoadedList("bench", "1", found),))))


def picture(number: int) -> Image.Image:
    """A rendered photo, square."""
    return scene("umbrella", number, SIDE * 3 // 2).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = BytesIO()
    image.convert("RGB").save(out, form, **options)
    return out.getvalue()


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    work()
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e3
