"""A stand-in for NCMEC's hash sharing service that serves pages rendered before it is asked, so that it is not what is measured.

lists_server.py FIRST KNOWN CHANGES

It prints its address as JSON, and ends with its standard input. Under ``/first`` are FIRST records, under ``/changes`` CHANGES records of which three
fifths change one of KNOWN, one fifth withdraws one, one fifth is new. A thousand records a page, whatever times are asked for.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

__all__ = ["MEMBER", "PAGE", "digests"]

PAGE = 1000
MEMBER = 42
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
TIME = "2026-05-01T12:00:00Z"


def digests(number: int, edition: int = 1) -> dict[str, str]:
    """What a record has: three digests, made of its number."""
    made = hashlib.sha512(f"entry {number}, edition {edition}".encode()).hexdigest()
    return {"md5": made[:32], "sha1": made[32:72], "pdq": made[64:]}


def name(number: int) -> str:
    return f"entry-{number:08}"


def image(number: int, edition: int) -> str:
    prints = "".join(f"<{kind}>{value}</{kind}>" for kind, value in digests(number, edition).items())
    return (
        f'<image><member id="{MEMBER}">Example Member</member><timestamp>{TIME}</timestamp><id>{name(number)}</id>'
        f"<fingerprints>{prints}</fingerprints><classification>A{1 + number % 2}</classification></image>"
    )


def deleted(number: int) -> str:
    return (
        f'<deletedImage><member id="{MEMBER}">Example Member</member><timestamp>{TIME}</timestamp>'
        f"<id>{name(number)}</id></deletedImage>"
    )


def changes(known: int, count: int) -> Iterator[str]:
    for number in range(count):
        if number % 5 == 0:
            yield image(known + number, 1)
        elif number % 5 == 1:
            yield deleted(number * known // count)
        else:
            yield image(number * known // count, 2)


def pages(elements: list[str]) -> list[bytes]:
    parts = [elements[first : first + PAGE] for first in range(0, len(elements), PAGE)]
    return [page(part, 1 + PAGE * (number + 1), number + 1 < len(parts)) for number, part in enumerate(parts)]


def page(elements: list[str], start: int, more: bool) -> bytes:
    following = f"/v2/entries?from={TIME}&amp;to={TIME}&amp;start={start}&amp;size={PAGE}&amp;max=90000000"
    paging = f"<paging><next>{following}</next></paging>" if more else ""
    body = f'<images count="{len(elements)}" maxTimestamp="{TIME}">{"".join(elements)}</images>{paging}'
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    return f'{head}\n<queryResult xmlns="{NAMESPACE}">{body}</queryResult>'.encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    pages: ClassVar[dict[str, list[bytes]]] = {}

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        start = int(parse_qs(asked.query).get("start", ["1"])[0])
        body = self.pages[asked.path.split("/")[1]][start // PAGE]
        self.send_response(200)
        self.send_header("Content-Type", "application/xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    first, known, changed = map(int, sys.argv[1:])
    Handler.pages["first"] = pages([image(number, 1) for number in range(first)])
    Handler.pages["changes"] = pages(list(changes(known, changed)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"base": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
