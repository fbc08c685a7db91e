"""Clients of every dialect, as plain as can be: each asks for one picture and gives back all that came over the wire, and what of it are pictures."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from PIL import Image

from custodes.demo.generator.drawing import Wish, drawn

__all__ = ["CHANNELS", "Heard", "ask", "graph", "holds_pixels", "size_of"]

KEY: Final = "demo"
WAIT_S: Final = 20.0


@dataclass
class Heard:
    """What a client heard. ``wire``: every byte, headers too; ``status``: of the last answer; ``pictures``: what it took for pictures."""

    status: int = 0
    wire: list[bytes] = field(default_factory=list, repr=False)
    pictures: list[bytes] = field(default_factory=list, repr=False)
    code: str = ""
    """The code of a no."""

    async def read(self, answer: aiohttp.ClientResponse) -> bytes:
        """Take an answer, as far as it came."""
        self.status = answer.status
        self.wire.append(str(dict(answer.headers)).encode())
        parts = []
        try:
            async for part in answer.content.iter_any():  # what came before it broke off was heard too
                parts.append(part)
        finally:
            self.wire.append(b"".join(parts))
        return b"".join(parts)


def holds_pixels(wire: bytes) -> bool:
    """Whether there is a beginning of a picture in it: plain, or in base64 at any of its three places."""
    for magic in (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\xff\xd8\xff\xe1",
        b"GIF89a",
        b"IHDR\x00\x00",
    ):
        shifted = [base64.b64encode(b"x" * shift + magic)[shift and 4 : -4] for shift in range(3)]
        if any(len(piece) >= 4 and piece in wire for piece in (magic, magic.hex().encode(), *shifted)):
            return True
    return b"WEBPVP8" in wire or b"<svg" in wire or b"\\u003csvg" in wire


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height; an error where it is no picture."""
    image = Image.open(io.BytesIO(picture))
    image.load()
    return image.size


def graph(prompt: str, output: str = "SaveImage", *, size: int = 64, count: int = 1) -> dict[str, Any]:
    """ComfyUI's own example, small."""
    sampled = {
        "seed": 5,
        "steps": 20,
        "cfg": 8,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
        "model": ["4", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
    }
    last = {"images": ["8", 0]} | ({"filename_prefix": "ComfyUI"} if output == "SaveImage" else {})
    return {
        "3": {"class_type": "KSampler", "inputs": sampled},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"batch_size": count, "height": size, "width": size}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": prompt}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "fog"}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": output, "inputs": last},
    }


async def ask(channel: str, url: str, prompt: str, wait_s: float = WAIT_S) -> Heard:
    """What a client of a channel hears. A connection that breaks is something heard, too."""
    heard = Heard()
    try:
        async with asyncio.timeout(wait_s):
            await _BY[channel](heard, url, prompt)
    except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as error:
        heard.code = type(error).__name__
    return heard


# -- one question each


async def openai(heard: Heard, url: str, prompt: str, **more: Any) -> None:
    """One picture as JSON, or as events with ``stream``."""
    body = {"model": "demo", "prompt": prompt, "size": "64x64", **more}
    async with _session() as session, session.post(f"{url}/v1/images/generations", json=body) as answer:
        data = await heard.read(answer)
    if heard.status == 200 and answer.content_type == "text/html":
        heard.code = "a page"
    elif heard.status == 200 and body.get("stream"):
        _events(heard, data)
    elif found := _document(data):
        heard.code = str((found.get("error") or {}).get("code") or "")
        heard.pictures = [base64.b64decode(each["b64_json"]) for each in found.get("data") or ()]


def _events(heard: Heard, data: bytes) -> None:
    for line in data.split(b"\n"):
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            heard.code = str((event.get("error") or {}).get("code") or heard.code)
            if event["type"].endswith("completed"):
                heard.pictures.append(base64.b64decode(event["b64_json"]))


async def openai_stream(heard: Heard, url: str, prompt: str) -> None:
    """As events, with partial pictures asked for."""
    await openai(heard, url, prompt, stream=True, partial_images=2)


async def openai_edit(heard: Heard, url: str, prompt: str) -> None:
    """A form with a picture."""
    form = aiohttp.FormData()
    for name, value in (("model", "demo"), ("prompt", prompt), ("size", "64x64")):
        form.add_field(name, value)
    picture = drawn(Wish("a small boat", 64, 64, 0, "png"))
    form.add_field("image", picture, filename="a.png", content_type="image/png")
    async with _session() as session, session.post(f"{url}/v1/images/edits", data=form) as answer:
        found = _document(await heard.read(answer))
    heard.code = str((found.get("error") or {}).get("code") or "")
    heard.pictures = [base64.b64decode(each["b64_json"]) for each in found.get("data") or ()]


async def a1111(heard: Heard, url: str, prompt: str) -> None:
    """One picture, and what its progress tells while it is made."""
    body = {"prompt": prompt, "width": 64, "height": 64, "steps": 5}
    async with _session(basic=True) as session:
        async with session.get(f"{url}/sdapi/v1/progress") as answer:
            await heard.read(answer)
        async with session.post(f"{url}/sdapi/v1/txt2img", json=body) as answer:
            found = _document(await heard.read(answer))
        status = heard.status
        async with session.get(f"{url}/sdapi/v1/progress") as answer:
            await heard.read(answer)
    heard.status = status
    heard.pictures = [base64.b64decode(each) for each in found.get("images") or ()]
    heard.code = str(found.get("error") or found.get("detail") or "")


async def huggingface(heard: Heard, url: str, prompt: str) -> None:
    """One picture as its bytes."""
    body = {"inputs": prompt, "parameters": {"width": 64, "height": 64}}
    async with _session() as session, session.post(f"{url}/models/demo", json=body) as answer:
        data = await heard.read(answer)
        if heard.status == 200 and answer.content_type.startswith("image/"):
            heard.pictures = [data]
    heard.code = str(_document(data).get("error") or "")


async def comfyui(heard: Heard, url: str, prompt: str, output: str = "SaveImage") -> None:
    """ComfyUI's example clients: a socket, a graph, the history, the files."""
    async with _session() as session:
        me = uuid.uuid4().hex
        async with session.ws_connect(f"{url}/ws", params={"clientId": me}) as socket:
            body = {"prompt": graph(prompt, output), "client_id": me}
            async with session.post(f"{url}/prompt", json=body) as got:
                found = _document(await heard.read(got))
            if got.status != 200 or "prompt_id" not in found:
                heard.code = str((found.get("error") or {}).get("type") or "")
                return
            await _followed(heard, socket, found["prompt_id"])
        await _viewed(heard, session, url, found["prompt_id"])


async def comfyui_socket(heard: Heard, url: str, prompt: str) -> None:
    """The same with pictures over the socket."""
    await comfyui(heard, url, prompt, "SaveImageWebsocket")


async def _followed(heard: Heard, socket: aiohttp.ClientWebSocketResponse, job: str) -> None:
    node = ""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.ERROR:
            break
        if message.type is aiohttp.WSMsgType.BINARY:
            heard.wire.append(message.data)
            if node == "9":
                heard.pictures.append(message.data[8:])
            continue
        heard.wire.append(str(message.data).encode())
        told = json.loads(message.data)
        if told["type"] == "execution_error" and told["data"].get("prompt_id") == job:
            heard.code = str(told["data"].get("exception_type"))
            return
        if told["type"] == "executing" and told["data"].get("prompt_id") == job:
            node = str(told["data"]["node"] or "")
            if not node:
                return
    heard.code = heard.code or f"closed {socket.close_code}"


async def _viewed(heard: Heard, session: aiohttp.ClientSession, url: str, job: str) -> None:
    async with session.get(f"{url}/history/{job}") as got:
        found = _document(await heard.read(got))
    outputs: Mapping[str, Any] = (found.get(job) or {}).get("outputs") or {}
    for node in outputs.values():
        for image in node.get("images") or ():
            async with session.get(f"{url}/view", params=image) as got:
                data = await heard.read(got)
                if got.status == 200:
                    heard.pictures.append(data)


def _session(*, basic: bool = False) -> aiohttp.ClientSession:
    key = "Basic " + base64.b64encode(f":{KEY}".encode()).decode() if basic else f"Bearer {KEY}"
    return aiohttp.ClientSession(headers={"Authorization": key}, timeout=aiohttp.ClientTimeout(total=WAIT_S))


def _document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_BY: Final[Mapping[str, Callable[[Heard, str, str], Awaitable[None]]]] = {
    "openai": openai,
    "openai stream": openai_stream,
    "openai edit": openai_edit,
    "a1111": a1111,
    "huggingface": huggingface,
    "comfyui": comfyui,
    "comfyui socket": comfyui_socket,
}
"""Each channel that a client can get a picture by."""
CHANNELS: Final = sorted(_BY)
