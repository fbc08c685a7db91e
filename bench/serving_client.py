"""Asks a match service as fast as it answers, over so many connections: serving_client.py PORT KEY KIND CONNECTIONS SECONDS QUERIES [PICTURE]

KIND is ``one`` (GET /m/lookup, one code a request), ``batch`` (POST /v1/digests, 1,000 codes) or ``image`` (POST /v1/images, the file PICTURE).
Prints one JSON object: items and requests a second, and percentiles of the time a request took, in ms.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np

BATCH = 1_000


def requests(kind: str, key: str, words: list[str]):
    """Request number so and so, as bytes, and how many items it has."""
    head = f"Host: bench\r\nAuthorization: Bearer {key}\r\n"
    if kind == "image":
        body = Path(words[1]).read_bytes()
        whole = f"POST /v1/images HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        return lambda _: (whole, 1)
    codes = [bytes(code).hex() for code in np.load(words[0], mmap_mode="r")[:200_000]]
    if kind == "one":
        lines = [f"GET /m/lookup?signal_type=pdq&signal={code} HTTP/1.1\r\n{head}\r\n".encode() for code in codes]
        return lambda number: (lines[number % len(lines)], 1)

    def batch(number: int) -> tuple[bytes, int]:
        first = number * BATCH % len(codes)
        body = json.dumps([{"pdq": code, "quality": 100} for code in codes[first : first + BATCH]]).encode()
        return f"POST /v1/digests HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, BATCH

    made = [batch(number) for number in range(20)]
    return lambda number: made[number % len(made)]


async def main() -> None:
    port, key, kind, connections, seconds, *words = sys.argv[1:]
    request = requests(kind, key, words)
    numbers, taken, items = count(), [], 0
    end = time.perf_counter() + float(seconds)

    async def client() -> None:
        nonlocal items
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        while (began := time.perf_counter()) < end:
            sent, size = request(next(numbers))
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"{head!r} {body!r}")
            taken.append(time.perf_counter() - began)
            items += size
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(int(connections))))
    wall = time.perf_counter() - began
    p50, p99 = np.percentile(taken, [50, 99]) * 1000
    print(json.dumps({"items_s": items / wall, "requests_s": len(taken) / wall, "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    asyncio.run(main())
