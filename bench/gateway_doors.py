"""What stands in front of the generator in the benchmark: nothing, nginx, LiteLLM's proxy, the gateway. Each as a context that gives a port and a key.

LiteLLM is installed into ``.venv-litellm``, since what it asks for does not go with the other tools that are compared with.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tables import BIN, HERE, WORK

__all__ = ["LITELLM", "OURS", "THEIRS", "generator", "litellm", "nginx", "parts"]

LITELLM = "1.106.2"
CORES = sorted(os.sched_getaffinity(0))
THEIRS, OURS = (CORES[:2], CORES[2:] or CORES) if len(CORES) > 2 else (CORES, CORES)
"""The cores of the door, and those of the client and the generator."""
KEY = "demo"
_LITELLM = HERE.parent / ".venv-litellm" / "bin"
_NGINX = """
daemon off; worker_processes 2; error_log stderr crit; pid {home}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 100m; client_body_temp_path {home}/b; proxy_temp_path {home}/p;
  fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream generator {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://generator; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffers 64 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""
_CONFIG = """
model_list:
  - model_name: demo
    litellm_params: {{model: openai/demo, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
    model_info: {{mode: image_generation}}
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: sk-bench}}
"""


def pinned(cores: list[int], *argv: object) -> list[str]:
    """A command on its cores."""
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, argv)]


@contextmanager
def generator() -> Iterator[int]:
    """The stand-in generator, on the client's cores."""
    argv = pinned(OURS, BIN / "python", "-m", "custodes.demo.generator.server")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


@contextmanager
def nginx(upstream: int) -> Iterator[tuple[int, str]]:
    """A plain reverse proxy: nginx with two workers and connections that stay open."""
    home, port = WORK / "nginx", free_port()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(home=home, upstream=upstream, port=port))
    with running(pinned(THEIRS, "nginx", "-p", home, "-c", config), port, "/v1/models"):
        yield port, KEY


@contextmanager
def litellm(upstream: int) -> Iterator[tuple[int, str]]:
    """LiteLLM's proxy with two workers, a master key, no database, no guardrails."""
    litellm_ready()
    home, port = WORK / "litellm", free_port()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "config.yaml"
    config.write_text(_CONFIG.format(upstream=upstream))
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"}
    argv = [_LITELLM / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 2]
    with running(pinned(THEIRS, *argv), port, "/health/liveliness", env=os.environ | quiet, cwd=home):
        yield port, "sk-bench"


@contextmanager
def parts(upstream: int, checks: str, config: object = "") -> Iterator[tuple[int, str]]:
    """The gateway with the checks that are named (``gateway_parts`` says which there are)."""
    port = free_port()
    argv = [BIN / "python", HERE / "gateway_parts.py", port, upstream, checks, config]
    with running(pinned(THEIRS, *argv), port, "/ready"):
        yield port, KEY


@contextmanager
def running(argv: list[str], port: int, path: str, **options: Any) -> Iterator[None]:
    """A server, from when it answers; ended after."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, **options) as process:
        try:
            for _ in range(600):
                if answers(port, path):
                    break
                if process.poll() is not None:
                    sys.exit(f"{argv[3:5]} ended with {process.returncode}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def answers(port: int, path: str) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def litellm_ready() -> None:
    """LiteLLM, installed where it is not."""
    python = _LITELLM / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", _LITELLM.parent], check=True)
    asked = "from importlib.metadata import version; print(version('litellm'))"
    found = subprocess.run([python, "-c", asked], check=False, capture_output=True, text=True)
    if found.stdout.strip() != LITELLM:
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"litellm[proxy]=={LITELLM}"], check=True)
