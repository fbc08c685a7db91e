"""Where the CPU time of pass "bytes" goes: each stage run alone on the same pictures, in CPU milliseconds an image.

    python bench/stages.py CONFIGURATION     prints one JSON object; the benchmark of bytes runs it, and its server, and stores the figures

The stages are timed one after the other in one process, so that a stage's figure holds nothing of its neighbours; what the whole costs beyond
their sum (messages between processes, the event loop, the progress of the coordinator) is the line "rest" of the benchmark.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from corpus import link_table, pictures
from measure import measured
from tables import BIN, WORK

from custodes.carrier.protocol import Carried, PdqCarried
from custodes.channel import Frames, encode
from custodes.config import load_site
from custodes.decoder.hashing import examine_content
from custodes.decoder.image import decode
from custodes.decoding import DecodePolicy, Examined, ImageLimits
from custodes.digests import crypto_digests
from custodes.examine import Evidence
from custodes.jail import Jail
from custodes.ledger.rows import RowsBuilder
from custodes.model import Content, Digests
from custodes.net import Fetcher, FetchLimits
from custodes.net.fetch import run
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardJob, ShardWork, settle
from custodes.sources.base import ShardSpec

__all__ = ["stages"]


def stages(config: Path, images: int = 600) -> dict[str, float]:
    """CPU milliseconds an image, by stage, and the seconds that starting costs."""
    contents = [Content(path.read_bytes()) for path in sorted(pictures(WORK).glob("*.jpg"))[:images]]
    limits, policy = ImageLimits(), DecodePolicy.FAST
    each = [lambda c=content: examine_content(c.reveal(), limits, policy) for content in contents]
    found = [do() for do in each]
    whole = per_image(lambda: [do() for do in each], images)
    pixels = per_image(lambda: [decoded_only(content, limits, policy) for content in contents], images)
    return {
        "fetch": fetching(images),
        "MD5, SHA-1, SHA-256": per_image(lambda: [crypto_digests(content) for content in contents], images),
        "decode": pixels,
        "PDQ": whole - pixels,
        "jail, the carrier's side": jailing(contents, limits, policy),
        "match and decide": judging(config, found),
        "rows and their file": committing(found),
        "start-up of a scan, CPU-s": starting(config),
    }


def per_image(do: Callable[[], Any], images: int) -> float:
    """CPU milliseconds an image: the best of three, because noise only adds."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        do()
        best = min(best, time.process_time() - began)
    return best * 1000 / images


def decoded_only(content: Content, limits: ImageLimits, policy: DecodePolicy) -> None:
    for frame in decode(content.reveal(), limits, policy).frames:
        frame.rows(0, 1)


def fetching(images: int) -> float:
    """The fetcher alone, bodies dropped."""
    urls = pq.read_table(link_table(WORK, "live", 4000), columns=["URL"])["URL"].to_pylist()[:images]

    def once() -> None:
        with selectors.DefaultSelector() as selector:
            fetcher = Fetcher(FetchLimits(in_flight=64), selector, unsafe_allow_loopback=True)
            assert all(fetched.content for fetched in run(fetcher, selector, urls))
            fetcher.close()

    return per_image(once, images)


def jailing(contents: list[Content], limits: ImageLimits, policy: DecodePolicy) -> float:
    """The carrier's side of the jail: sending bodies and taking answers."""
    with selectors.DefaultSelector() as selector, Jail(limits, policy, selector) as jail:

        def once() -> None:
            for key, content in enumerate(contents):
                jail.submit(key, content)
            jail.run_until_idle()
            jail.results.clear()

        return per_image(once, len(contents))


def judging(config: Path, found: list[Any]) -> float:
    examiner = load_site(str(config)).examiner()
    digests = [(n, Digests(bytes(16), bytes(20), bytes(32), each.pdq)) for n, each in enumerate(found)]
    digests = (digests * (4096 // len(digests) + 1))[:4096]  # as many at once as a scan judges
    return per_image(lambda: examiner.judge(Evidence.from_digests(digests)), len(digests))


def committing(found: list[Any]) -> float:
    """The carrier's messages taken apart, rows collected, and the parquet file of them made."""
    messages = b"".join(encode(carried_of(n, each)) for n, each in enumerate(found))
    tools: Any = SimpleNamespace(settings=ScanSettings(), progress=lambda _reason: None)

    def once() -> None:
        work = ShardWork(ShardJob(0), ShardSpec(index=0, file=0, first_row=0, rows=len(found)))
        work.rows = RowsBuilder(len(found))
        for carried in Frames(Carried).feed(messages):
            settle(work, tools, carried)
            carried.digests()
        pq.write_table(work.rows.table(), pa.BufferOutputStream(), compression="zstd", write_page_checksum=True)

    return per_image(once, len(found))


def carried_of(number: int, examined: Examined) -> Carried:
    pdq = [PdqCarried(each.frame, each.quality, each.code, each.reflections) for each in examined.pdq]
    digests = {"md5": bytes(16), "sha1": bytes(20), "sha256": bytes(32)}
    sizes = {"width": examined.width, "height": examined.height, "size_bytes": 86_000}
    return Carried(batch=0, key=number, reason=examined.reason, pdq=pdq, format="jpeg", **digests, **sizes)


def starting(config: Path) -> float:
    with tempfile.TemporaryDirectory() as run_directory:
        command = [BIN / "custodes", "scan", link_table(WORK, "live", 4000), "--pass", "bytes", "--limit", "4"]
        command += ["--run", Path(run_directory) / "run", "--config", config, "--unsafe-allow-loopback", "--quiet"]
        return measured(command, sample=False).cpu_s


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" not in os.environ:  # as in a carrier and its decoders
        os.environ |= {
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_TRIM_THRESHOLD_": "268435456",
            "MALLOC_MMAP_THRESHOLD_": "33554432",
        }
        os.execv(sys.executable, [sys.executable, *sys.argv])
    print(json.dumps(stages(Path(sys.argv[1]))))
