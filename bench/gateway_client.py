"""Asks for pictures as fast as they come, over so many connections: gateway_client.py PORT KEY CONNECTIONS SECONDS SIZE FORMAT

POST /v1/images/generations with one of 48 prompts, so that the generator draws from its memory. Prints one JSON object: requests a second, percentiles of the
time that a request took, in ms, and the bytes of an answer. Any answer but a picture ends the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count

import numpy as np

PROMPTS = 48


def requests(key: str, size: str, form: str) -> list[bytes]:
    """The requests in turn, as bytes. The prompts are of about 200 characters, as people write them."""
    made = []
    for number in range(PROMPTS):
        told = (
            f"a wide view of a harbour with {number} small boats, a stone wall, calm water and low clouds, soft light, "
        )
        prompt = told + "muted colours, fine detail, in the manner of an old travel poster printed on rough paper"
        fields = {"model": "demo", "prompt": prompt, "n": 1, "size": size, "output_format": form}
        body = json.dumps(fields).encode()
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        made.append(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def answered(reader: asyncio.StreamReader) -> bytes:
    """One answer's body, whole, however it is framed."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size + 2))
        await reader.readline()
        body = b"".join(part[:-2] for part in parts)
    else:
        body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    if b" 200 " not in head.split(b"\r\n")[0] or b'"b64_json":' not in body.replace(b": ", b":"):
        sys.exit(f"{head[:200]!r} {body[:400]!r}")
    return body


async def main() -> None:
    port, key, connections, seconds, size, form = sys.argv[1:]
    asked, numbers, taken = requests(key, size, form), count(), []
    length = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port), limit=1 << 20)
    for each in asked:  # everything is drawn once before the clock runs
        writer.write(each)
        await answered(reader)
    writer.close()
    end = time.perf_counter() + float(seconds)

    async def client() -> None:
        nonlocal length
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port), limit=1 << 20)
        while (began := time.perf_counter()) < end:
            writer.write(asked[next(numbers) % PROMPTS])
            length = len(await answered(reader))
            taken.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(int(connections))))
    wall = time.perf_counter() - began
    p50, p95, p99 = np.percentile(taken, [50, 95, 99]) * 1000
    told = {"requests_s": len(taken) / wall, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
    print(json.dumps(told | {"requests": len(taken), "answer_bytes": length}))


if __name__ == "__main__":
    asyncio.run(main())
