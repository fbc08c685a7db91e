"""Every way to live or die can be seen over a plain connection, and no request harms the server."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from custodes.demo.corpus import Picture
from custodes.demo.gallery import CACHE_NAME, Gallery
from custodes.demo.server import DemoServer
from custodes.demo.ways import OFF_SITE, Way

Reply = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def server(gallery: Gallery) -> Iterator[DemoServer]:
    with DemoServer(gallery.pictures) as running:
        yield running


@pytest.fixture(scope="module")
def picture(gallery: Gallery) -> Picture:
    return next(gallery.pictures[name] for name in gallery.ordinary if name.endswith(".jpg"))


def get(server: DemoServer, path: str, method: str = "GET") -> Reply:
    line = http.client.HTTPConnection("127.0.0.1", server.site.port, timeout=10)
    try:
        line.request(method, path)
        reply = line.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        line.close()


def dial(server: DemoServer, text: bytes, timeout_s: float = 10) -> socket.socket:
    plug = socket.create_connection(("127.0.0.1", server.site.port), timeout=timeout_s)
    plug.sendall(text)
    return plug


def said(server: DemoServer, text: bytes) -> bytes:
    """Everything that the server says until it closes."""
    with dial(server, text) as plug:
        return b"".join(iter(lambda: plug.recv(65_536), b""))


def request(way: Way, row: int, picture: Picture) -> bytes:
    return f"GET /{way}/{row}/{picture.name} HTTP/1.1\r\nHost: demo\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("way", "status"),
    [(Way.NOT_FOUND, 404), (Way.GONE, 410), (Way.FORBIDDEN, 403), (Way.ERROR, 500), (Way.OK, 200), (Way.CHANGED, 200)],
)
def test_plain_answers_have_their_status(server: DemoServer, picture: Picture, way: Way, status: int) -> None:
    got, headers, body = get(server, f"/{way}/1/{picture.name}")
    assert got == status
    assert (body == picture.data) == (status == 200)
    assert status != 200 or headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize(("way", "status", "wait"), [(Way.BUSY_ONCE, 503, None), (Way.LIMITED_ONCE, 429, "1")])
def test_passing_trouble_passes_at_the_second_request_for_the_same_link(
    server: DemoServer, picture: Picture, way: Way, status: int, wait: str | None
) -> None:
    first = get(server, f"/{way}/2/{picture.name}")
    assert (first[0], first[1].get("Retry-After")) == (status, wait)
    assert get(server, f"/{way}/2/{picture.name}")[2] == picture.data
    assert get(server, f"/{way}/3/{picture.name}")[0] == status


@pytest.mark.parametrize(
    ("way", "target"),
    [
        (Way.MOVED, "/ok/{row}/{name}"),
        (Way.LOOP, "/loop/{row}/{name}"),
        (Way.MOVED_DEAD, "/not-found/{row}/{name}"),
        (Way.MOVED_INSIDE, "http://169.254.169.254/latest/{row}/{name}"),
    ],
)
def test_redirects_of_every_status_point_where_they_should(
    server: DemoServer, picture: Picture, way: Way, target: str
) -> None:
    statuses = set()
    for row in range(5):
        status, headers, _ = get(server, f"/{way}/{row}/{picture.name}")
        assert headers["Location"] == target.format(row=row, name=picture.name)
        statuses.add(status)
    assert statuses == {301, 302, 303, 307, 308}


@pytest.mark.parametrize(
    ("way", "starts", "mime"),
    [
        (Way.PAGE, (b"<!doctype html>",), ("text/html; charset=utf-8",)),
        (Way.DOCUMENT, (b"%PDF-", b"PK\x03\x04"), ("application/pdf", "application/zip", "image/jpeg")),
        (Way.BROKEN, (b"\x89PNG", b"\xff\xd8\xff", b"GIF89a"), ("image/png", "image/jpeg", "image/gif")),
        (Way.BOMB, (b"\x89PNG",), ("image/png",)),
    ],
)
def test_stand_ins_begin_as_what_they_are(
    server: DemoServer, picture: Picture, way: Way, starts: tuple[bytes, ...], mime: tuple[str, ...]
) -> None:
    for row in range(3):
        status, headers, body = get(server, f"/{way}/{row}/{picture.name}")
        assert status == 200
        assert body.startswith(starts)
        assert headers["Content-Type"] == mime[row % len(mime)]


def test_bomb_is_tiny_and_claims_60000_by_60000_pixels(server: DemoServer, picture: Picture) -> None:
    body = get(server, f"/bomb/1/{picture.name}")[2]
    assert len(body) < 200
    assert body[16:24] == (60_000).to_bytes(4, "big") * 2


def test_short_empty_cut_huge_and_gzip_bodies(server: DemoServer, picture: Picture) -> None:
    with pytest.raises(http.client.IncompleteRead):
        get(server, f"/short/1/{picture.name}")
    head, _, body = said(server, request(Way.HUGE, 1, picture)).partition(b"\r\n\r\n")
    assert b"Content-Length: 1000000000000\r\n" in head
    assert body == picture.data[:4096]
    assert get(server, f"/empty/1/{picture.name}")[2] == b""
    assert get(server, f"/cut/1/{picture.name}")[2] == picture.data[: len(picture.data) * 6 // 10]
    _, headers, body = get(server, f"/gzip/1/{picture.name}")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == picture.data


def test_reset_resets(server: DemoServer, picture: Picture) -> None:
    with dial(server, request(Way.RESET, 1, picture)) as plug, pytest.raises(ConnectionResetError):
        plug.recv(1)


def test_silent_says_nothing_and_keeps_the_connection(server: DemoServer, picture: Picture) -> None:
    with dial(server, request(Way.SILENT, 1, picture), timeout_s=0.3) as plug, pytest.raises(TimeoutError):
        plug.recv(1)


def test_drip_sends_its_head_and_then_single_bytes(server: DemoServer, picture: Picture) -> None:
    with dial(server, request(Way.DRIP, 1, picture)) as plug:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += plug.recv(1)
        assert f"Content-Length: {len(picture.data)}".encode() in head
        assert [len(plug.recv(100)), len(plug.recv(100))] == [1, 1]


def test_closed_port_refuses_for_as_long_as_the_server_runs(server: DemoServer) -> None:
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.site.closed_port), timeout=5)


def test_every_way_that_reaches_the_server_was_seen_here(server: DemoServer, picture: Picture) -> None:
    said_nothing = {Way.RESET, Way.SILENT, Way.DRIP, Way.SHORT, Way.HUGE}
    for way in set(Way) - OFF_SITE - said_nothing:
        assert get(server, f"/{way}/9/{picture.name}")[0] > 0
    for way in OFF_SITE:
        assert get(server, f"/{way}/9/{picture.name}")[0] == 404


def test_one_connection_serves_many_requests_also_sent_at_once(server: DemoServer, picture: Picture) -> None:
    many = request(Way.OK, 4, picture) * 5 + request(Way.OK, 4, picture).replace(
        b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
    )
    assert said(server, many).count(picture.data) == 6


def test_head_gives_no_body(server: DemoServer, picture: Picture) -> None:
    status, headers, body = get(server, f"/ok/1/{picture.name}", "HEAD")
    assert (status, int(headers["Content-Length"]), body) == (200, len(picture.data), b"")


@pytest.mark.parametrize(
    ("sentence", "text", "status"),
    [
        ("another method", b"DELETE /ok/1/x HTTP/1.1\r\n\r\n", b"405"),
        ("not HTTP", b"\x16\x03\x01\x02\x00\r\n\r\n", b"405"),
        ("a row that is no number", b"GET /ok/one/chelsea.jpg HTTP/1.0\r\n\r\n", b"404"),
        ("a row in other digits", "GET /ok/\u0661/chelsea.jpg HTTP/1.0\r\n\r\n".encode(), b"404"),
        ("a row of 7 digits", b"GET /ok/1000000/chelsea.jpg HTTP/1.0\r\n\r\n", b"200"),
        ("a row of 8 digits", b"GET /ok/10000000/chelsea.jpg HTTP/1.0\r\n\r\n", b"404"),
        ("a row of 9,000 digits", b"GET /ok/" + b"9" * 9000 + b"/chelsea.jpg HTTP/1.0\r\n\r\n", b"404"),
        ("a path outside", b"GET /ok/1/../../etc/passwd HTTP/1.0\r\n\r\n", b"404"),
        ("no path", b"GET / HTTP/1.0\r\n\r\n", b"404"),
        ("an unknown way", b"GET /elsewhere/1/chelsea.jpg HTTP/1.0\r\n\r\n", b"404"),
        ("nothing", b"\r\n\r\n", b"405"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_requests_get_an_answer(server: DemoServer, sentence: str, text: bytes, status: bytes) -> None:
    assert said(server, text).split(b" ")[1] == status


def test_request_head_is_read_up_to_its_limit_and_not_past_it(server: DemoServer) -> None:
    start, end = b"GET /-/counts HTTP/1.0\r\nX: ", b"\r\n\r\n"
    assert b"200" in said(server, start + b"x" * (16_384 - len(start + end)) + end)
    with dial(server, start + b"x" * 16_384) as plug:
        assert plug.recv(1) == b""


def test_counts_tell_how_often_each_way_was_answered(gallery: Gallery, picture: Picture) -> None:
    with DemoServer(gallery.pictures) as server:
        for _ in range(3):
            get(server, f"/gone/1/{picture.name}")
        assert server.counts == {"gone": 3} == json.loads(get(server, "/-/counts")[2])


def test_server_listens_on_loopback_only_and_stops_when_left(gallery: Gallery) -> None:
    with DemoServer(gallery.pictures) as server:
        port = server.site.port
        hexed = f":{port:04X}"
        listening = [
            line.split()[1].removesuffix(hexed)
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[1].endswith(hexed) and line.split()[3] == "0A"
        ]
        assert set(listening) <= {"0100007F", "00000000000000000000000001000000"}
        assert listening
        hung = dial(server, b"GET /silent/1/chelsea.jpg HTTP/1.1\r\n\r\n")
    with hung, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_server_process_says_where_it_is_serves_and_ends_on_sigterm(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / CACHE_NAME).write_bytes(msgspec.msgpack.encode(gallery))
    asked = ["--dir", str(tmp_path), "--pictures", str(gallery.count), "--seed", str(gallery.seed)]
    command = [sys.executable, "-m", "custodes.demo.server", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            where = json.loads(process.stdout.readline())
            line = http.client.HTTPConnection("127.0.0.1", where["port"], timeout=10)
            line.request("GET", "/ok/1/chelsea.jpg")
            body = line.getresponse().read()
            line.close()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
    assert hashlib.sha256(body).digest() == hashlib.sha256(gallery.pictures["chelsea.jpg"].data).digest()
