"""A client as ComfyUI's own examples are: a socket, a prompt, the events until nothing is executed, then history and files; or frames from the socket."""

from __future__ import annotations

import copy
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.gateway.fakes import KEY

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "cfg": 8,
            "denoise": 1,
            "latent_image": ["5", 0],
            "model": ["4", 0],
            "negative": ["7", 0],
            "positive": ["6", 0],
            "sampler_name": "euler",
            "scheduler": "normal",
            "seed": 8566257,
            "steps": 20,
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"batch_size": 1, "height": 512, "width": 512}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "a boat"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "fog"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "boats/one", "images": ["8", 0]}},
}
WS_NODE = "save_image_websocket_node"


def graph(**nodes: Any) -> dict[str, Any]:
    """The example's graph; nodes replaced, added, or (None) taken out. Names that are numbers are written ``n6``."""
    made = copy.deepcopy(GRAPH)
    for name, node in nodes.items():
        key = name[1:] if name[0] == "n" and name[1:].isdigit() else name
        if node is None:
            made.pop(key, None)
        else:
            made[key] = node
    return made


def said(text: str, negative: str = "fog", cfg: Any = 8) -> dict[str, Any]:
    """The example's graph with this prompt."""
    made = graph()
    made["6"]["inputs"]["text"], made["7"]["inputs"]["text"] = text, negative
    made["3"]["inputs"]["cfg"] = cfg
    return made


def with_frames() -> dict[str, Any]:
    """The example that gets its pictures from the socket."""
    return graph(n9=None, **{WS_NODE: {"class_type": "SaveImageWebsocket", "inputs": {"images": ["8", 0]}}})


@dataclass
class Client:
    """One client. ``everything`` is all that it ever received, to the last byte."""

    url: str
    key: str = KEY
    prefix: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    everything: bytearray = field(default_factory=bytearray)
    events: list[dict[str, Any]] = field(default_factory=list)
    status: int = 0

    async def __aenter__(self) -> Client:
        self.session = aiohttp.ClientSession()
        address = f"{self.url}{self.prefix}/ws"
        self.ws = await self.session.ws_connect(address, params={"clientId": self.id, "token": self.key})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ws.close()  # else a connection is left to the collector of garbage, which warns now and then
        await self.session.close()

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.session.request(method, self.url + self.prefix + path, headers=headers, **more) as answer:
            body = await answer.read()
            self.everything += body + str(dict(answer.headers)).encode()
            self.status = answer.status
            return json.loads(body) if answer.content_type == "application/json" else body

    async def queue_prompt(self, prompt: Any, **more: Any) -> Any:
        return await self.ask("POST", "/prompt", data=json.dumps({"prompt": prompt, "client_id": self.id, **more}))

    async def heard(self) -> Any:
        """The next message: an event, or bytes."""
        message = await self.ws.receive(timeout=5)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.everything += message.data
            return message.data
        assert message.type is aiohttp.WSMsgType.TEXT, message.type
        self.everything += message.data.encode()
        self.events.append(json.loads(message.data))
        return self.events[-1]

    async def frames(self, prompt_id: str) -> dict[str, list[bytes]]:
        """As websockets_api_example_ws_images does."""
        images: dict[str, list[bytes]] = {}
        current = ""
        while True:
            out = await self.heard()
            if isinstance(out, bytes):
                if current == WS_NODE:
                    images.setdefault(current, []).append(out[8:])
            elif out["type"] == "executing" and out["data"]["prompt_id"] == prompt_id:
                if out["data"]["node"] is None:
                    return images
                current = out["data"]["node"]

    async def images(self, prompt: Any) -> dict[str, list[bytes]]:
        """As websockets_api_example does."""
        prompt_id = (await self.queue_prompt(prompt))["prompt_id"]
        await self.frames(prompt_id)
        history = (await self.ask("GET", f"/history/{prompt_id}"))[prompt_id]
        found: dict[str, list[bytes]] = {}
        for node, output in history["outputs"].items():
            for image in output.get("images", []):
                found.setdefault(node, []).append(await self.ask("GET", "/view", params=image))
        return found

    def types(self) -> list[str]:
        """Types of events, without status."""
        return [event["type"] for event in self.events if event["type"] != "status"]
