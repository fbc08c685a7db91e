"""The web that the benchmark fetches from: nginx for answers, and a small process for hosts that hang, on loopback only.

python bench/server.py WORK_DIRECTORY    serves until its standard input closes
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpus import Ways

__all__ = ["own_resolver", "serving"]

NGINX = """
worker_processes 2;
daemon off;
pid {work}/nginx.pid;
error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  types {{ image/jpeg jpg; }}
  client_body_temp_path {work}/t; proxy_temp_path {work}/t; fastcgi_temp_path {work}/t; uwsgi_temp_path {work}/t; scgi_temp_path {work}/t;
  server {{
    listen 0.0.0.0:{port} backlog=4096;
    root {work}/pictures;
    location /status/403/ {{ return 403; }}
    location /status/410/ {{ return 410; }}
    location /status/429/ {{ return 429; }}
    location /status/500/ {{ return 500; }}
    location /status/503/ {{ return 503; }}
  }}
}}
"""

RESOLVER = "127.53.0.1"
DRIP_BYTES_PER_S = 16
DRIP_S = 120


@contextmanager
def serving(work: Path) -> Iterator[str]:
    """Both servers, up; gives the web server's name."""
    hanging = subprocess.Popen([sys.executable, __file__, str(work)], stdin=subprocess.PIPE)
    web = _nginx(work)
    try:
        _await_port(Ways().web)
        _await_port(Ways().drip)
        yield "nginx, 2 workers"
    finally:
        for process in (web, hanging):
            process.send_signal(signal.SIGTERM)
            process.wait()


def own_resolver(work: Path) -> list[str]:
    """What to put before a command so that it asks our name server (a mount namespace, for root); nothing where that cannot be."""
    path = work.resolve() / "resolv.conf"
    path.write_text(f"nameserver {RESOLVER}\n")
    words = ["unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$@"', "sh"]
    tried = subprocess.run([*words, "true"], check=False, capture_output=True)
    return words if tried.returncode == 0 else []


def _nginx(work: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit(
            "bench: nginx is not installed, and a slower server would be what is measured: apt install nginx-light"
        )
    config = work / "nginx.conf"
    config.write_text(NGINX.format(work=work.resolve(), port=Ways().web))
    return subprocess.Popen([program, "-p", str(work.resolve()), "-c", str(config.resolve()), "-e", "/dev/null"])


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"bench: nothing listens on port {port}")


# -- hosts that hang


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the request and never answer."""
    await _until_gone(reader)
    writer.close()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(4096):
            pass
    except OSError:
        pass


async def _drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A promising head, then sixteen bytes a second for two minutes."""
    try:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 90000\r\nConnection: close\r\n\r\n"
        )
        for _ in range(DRIP_S):
            writer.write(b"\xff" * DRIP_BYTES_PER_S)
            await writer.drain()
            await asyncio.sleep(1)
    except OSError:
        pass
    finally:
        writer.close()


def _full_backlog(port: int) -> list[socket.socket]:
    """A listener whose queue is full: further SYNs are dropped, as by a host that is down."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))  # every address of 127.0.0.0/8
    listener.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        waiting.append(client)
    return [listener, *waiting]


class _NoNames(asyncio.DatagramProtocol):
    """A name server that knows no name (RFC 1035: QR, RA, RCODE 3), so that no query leaves the machine and none is lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data[:2] + b"\x81\x83" + data[4:6] + bytes(6) + data[12:], addr)


async def _hang() -> None:
    ways = Ways()
    held = _full_backlog(ways.connect)
    await asyncio.start_server(_silent, "0.0.0.0", ways.read, backlog=1024)
    await asyncio.start_server(_drip, "0.0.0.0", ways.drip, backlog=1024)
    with contextlib.suppress(OSError):  # port 53 is for root
        await asyncio.get_running_loop().create_datagram_endpoint(_NoNames, local_addr=(RESOLVER, 53))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    for each in held:
        each.close()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_hang())
