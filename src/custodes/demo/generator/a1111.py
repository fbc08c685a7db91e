"""The stand-in speaks AUTOMATIC1111's API: pictures with a grid before them, a preview in its progress, prompts echoed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from custodes.demo.generator.drawing import Wish
from custodes.demo.generator.studio import Fault, Studio, base64_of, whole_number

__all__ = ["A1111"]

_LISTS: Final[Mapping[str, Any]] = {
    "sd-models": [
        {"title": "demo", "model_name": "demo", "hash": "0", "sha256": "0", "filename": "/models/demo", "config": None}
    ],
    "samplers": [{"name": "Euler", "aliases": ["k_euler"], "options": {}}],
    "schedulers": [{"name": "automatic", "label": "Automatic"}],
    "upscalers": [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 4}],
    "latent-upscale-modes": [{"name": "Latent"}],
    "loras": [{"name": "hats", "alias": "hats", "path": "/models/hats.safetensors", "metadata": {}}],
    "embeddings": {"loaded": {}, "skipped": {}},
    "prompt-styles": [{"name": "plain", "prompt": "", "negative_prompt": ""}],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "sd-vae": [],
    "scripts": {"txt2img": [], "img2img": []},
    "cmd-flags": {},
    "memory": {"ram": {}, "cuda": {}},
}


@dataclass
class A1111:
    """The routes. ``last``: the picture that is being made, for whoever asks."""

    studio: Studio
    last: bytes = b""

    def add_to(self, app: web.Application) -> None:
        """Its routes."""
        for work in ("txt2img", "img2img"):
            app.router.add_post(f"/sdapi/v1/{work}", self._made)
        for name in _LISTS:
            app.router.add_get(f"/sdapi/v1/{name}", self._listed)
        app.router.add_get("/sdapi/v1/options", self._options)
        app.router.add_post("/sdapi/v1/options", self._options)
        app.router.add_get("/sdapi/v1/progress", self._progress)
        app.router.add_post("/internal/progress", self._progress)
        app.router.add_post("/sdapi/v1/interrupt", self._nothing)
        app.router.add_post("/sdapi/v1/skip", self._nothing)

    async def _listed(self, request: web.Request) -> web.Response:
        return web.json_response(_LISTS[request.path.rpartition("/")[2]])

    async def _options(self, _: web.Request) -> web.Response:
        return web.json_response({"sd_model_checkpoint": "demo", "samples_save": True, "outdir_samples": "/outputs"})

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _progress(self, _: web.Request) -> web.Response:
        picture = base64_of(self.last) if self.studio.manner.leaks and self.last else None
        state = {"skipped": False, "interrupted": False, "job": "", "job_count": 0, "sampling_step": 10}
        told = {"progress": 0.5, "eta_relative": 1.0, "state": state, "textinfo": None}
        return web.json_response(told | {"current_image": picture, "live_preview": picture})

    async def _made(self, request: web.Request) -> web.StreamResponse:
        if self.studio.manner.fault is Fault.REFUSES:
            return web.json_response({"detail": "content policy"}, status=400)
        try:
            given = await request.json()
            wish, count = _wish(given), _count(given)
            pictures = await self.studio.pictures(request.path, wish, count)
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"detail": str(error)}, status=422)
        self.last = pictures[0] if pictures else b""
        shown = [base64_of(picture) for picture in pictures]
        if self.studio.manner.leaks and len(pictures) > 1:
            shown.insert(0, base64_of(pictures[0]))  # a grid comes first
        document = {"images": shown, "parameters": given, "info": json.dumps(_info(wish, count))}
        return await self.studio.told(request, document, pictures)


def _wish(given: Mapping[str, Any]) -> Wish:
    seed = whole_number(given.get("seed"), 0)
    words = " ".join(str(given.get(name) or "") for name in ("prompt", "hr_prompt"))
    return Wish(
        words.strip(), whole_number(given.get("width"), 512), whole_number(given.get("height"), 512), max(seed, 0)
    )


def _count(given: Mapping[str, Any]) -> int:
    return whole_number(given.get("batch_size"), 1) * whole_number(given.get("n_iter"), 1)


def _info(wish: Wish, count: int) -> dict[str, Any]:
    text = f"{wish.words}\nSteps: 20, Sampler: Euler, Size: {wish.width}x{wish.height}, Model: demo"
    return {
        "prompt": wish.words,
        "all_prompts": [wish.words] * count,
        "negative_prompt": "",
        "all_negative_prompts": [""] * count,
        "seed": wish.seed,
        "all_seeds": [wish.seed + number for number in range(count)],
        "subseed": 0,
        "all_subseeds": [0] * count,
        "width": wish.width,
        "height": wish.height,
        "sampler_name": "Euler",
        "cfg_scale": 7.0,
        "steps": 20,
        "batch_size": count,
        "sd_model_name": "demo",
        "sd_model_hash": "0",
        "index_of_first_image": 1 if count > 1 else 0,
        "infotexts": [text] * count,
        "styles": [],
    }
