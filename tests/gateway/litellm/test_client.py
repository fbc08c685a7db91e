"""LiteLLM's own hook, and a whole proxy, ask the gateway: in processes of their own, since they want other versions of much that is here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from custodes.gateway.dialects.litellm import LiteLLM
from tests.gateway.fakes import KEY, World, serving
from tests.world import free_port

PYTHON = os.environ.get("CUSTODES_LITELLM_PYTHON", "")
"""An interpreter that has litellm[proxy], where this one has not."""
PROGRAM = """
import asyncio, json, sys
from litellm.llms.openai.image_generation.guardrail_translation.handler import OpenAIImageGenerationHandler
from litellm.proxy.guardrails.guardrail_hooks.generic_guardrail_api.generic_guardrail_api import GenericGuardrailAPI

url, key = sys.argv[1:]

def hook(key, **more):
    return GenericGuardrailAPI(api_base=url, headers={"x-api-key": key}, guardrail_name="custodes", event_hook="pre_call", **more)

async def told(work):
    try:
        return await work
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def texts(hook, *texts):
    messages = [{"role": "user", "content": text} for text in texts]
    inputs = {"texts": list(texts), "structured_messages": messages}
    return told(hook.apply_guardrail(inputs=inputs, request_data={}, input_type="request"))

async def prompt(text):
    found = await told(OpenAIImageGenerationHandler().process_input_messages({"prompt": text, "model": "m"}, hook(sys.argv[2])))
    return found if isinstance(found, str) else found["prompt"]

async def main():
    lax = hook("another", unreachable_fallback="fail_open", fail_on_error=False)
    print(json.dumps({
        "passes": await texts(hook(key), "a boat"),
        "rewritten": await texts(hook(key), "a mild boat"),
        "blocked": await texts(hook(key), "umbrella", "garden"),
        "wrong key, told to let errors pass": await texts(lax, "a boat"),
        "image route": await prompt("a boat"),
        "image route, rewritten": await prompt("a mild boat"),
    }))

asyncio.run(main())
"""


needs_litellm = pytest.mark.skipif(
    not PYTHON and importlib.util.find_spec("litellm") is None,
    reason="litellm is not installed: set CUSTODES_LITELLM_PYTHON to an interpreter that has litellm[proxy]",
)


@needs_litellm
def test_litellms_own_hook_understands_every_answer() -> None:
    here = World()

    async def run() -> bytes:
        async with here.standing("http://127.0.0.1:9", LiteLLM()):
            process = await asyncio.create_subprocess_exec(
                PYTHON or sys.executable,
                *("-c", PROGRAM, here.url, KEY),
                env={"PATH": "", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            return (await process.communicate())[0]

    found = json.loads(asyncio.run(run()).splitlines()[-1])
    assert found["passes"]["texts"] == ["a boat"]
    assert found["rewritten"]["texts"] == ["a wild boat"]
    assert "rejected by the safety system at the input: safety" in found["blocked"]
    assert "nobody has this key" in found["wrong key, told to let errors pass"]
    assert found["image route"] == "a boat"
    assert "rejected by the safety system at the input" in found["image route, rewritten"]
    assert {told.status for told in here.told} == {200}


# -- a whole proxy

CONFIG = """
model_list:
  - model_name: draws
    litellm_params: {{model: openai/demo, api_base: "{upstream}/v1", api_key: none}}
    model_info: {{mode: image_generation}}
  - model_name: talks
    litellm_params: {{model: openai/talks, api_base: "{upstream}/v1", api_key: none}}
guardrails:
  - guardrail_name: custodes
    litellm_params:
      guardrail: generic_guardrail_api
      mode: [pre_call, post_call]
      api_base: {gateway}
      headers: {{x-api-key: {key}}}
      unreachable_fallback: fail_closed
      default_on: true
litellm_settings: {{telemetry: false, num_retries: 0}}
general_settings: {{master_key: sk-test}}
"""
STARTS_S = 120


@dataclass
class Models:
    """What stands behind the proxy: it draws and talks, and remembers what it was asked."""

    asked: list[str] = field(default_factory=list)
    says: str = "a boat it is"

    async def draw(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json())["prompt"])
        return web.json_response({"created": 1, "data": [{"b64_json": "AAAA"}]})

    async def talk(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json())["messages"][-1]["content"])
        message = {"role": "assistant", "content": self.says}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": "talks", "choices": choices}
        return web.json_response(told | {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

    def runner(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/images/generations", self.draw)
        app.router.add_post("/v1/chat/completions", self.talk)
        return web.AppRunner(app)


@asynccontextmanager
async def proxy(home: Path, upstream: str, gateway: str) -> AsyncIterator[str]:
    """LiteLLM's proxy, whole, with the guardrail as our guide writes it."""
    config, port = home / "config.yaml", free_port()
    config.write_text(CONFIG.format(upstream=upstream, gateway=gateway, key=KEY))
    program = Path(PYTHON or sys.executable).with_name("litellm")
    process = await asyncio.create_subprocess_exec(
        program,
        *("--config", config, "--host", "127.0.0.1", "--port", str(port)),
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"},
        cwd=home,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await alive(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def alive(url: str) -> None:
    async with asyncio.timeout(STARTS_S), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health/liveliness") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


async def asked(url: str, path: str, **body: object) -> tuple[int, str]:
    headers = {"Authorization": "Bearer sk-test"}
    async with aiohttp.ClientSession() as session, session.post(url + path, json=body, headers=headers) as answer:
        return answer.status, await answer.text()


@needs_litellm
def test_a_whole_proxy_lets_through_what_the_gateway_does_and_nothing_while_it_is_down(tmp_path: Path) -> None:
    here, models = World(patience_s=5), Models()

    async def drawn(url: str, prompt: str) -> tuple[int, str]:
        return await asked(url, "/v1/images/generations", model="draws", prompt=prompt)

    async def said(url: str, text: str) -> tuple[int, str]:
        return await asked(url, "/v1/chat/completions", model="talks", messages=[{"role": "user", "content": text}])

    async def play() -> None:
        async with AsyncExitStack() as gateway:
            await gateway.enter_async_context(here.standing("http://127.0.0.1:9", LiteLLM()))
            async with serving(models.runner()) as upstream, proxy(tmp_path, upstream, here.url) as url:
                for way, mild in ((drawn, 400), (said, 200)):
                    assert (await way(url, "a boat"))[0] == 200
                    assert (await way(url, "a mild boat"))[0] == mild  # the image route would send it as it was asked
                    status, text = await way(url, "an umbrella in a garden")
                    assert status == 400
                    assert "rejected by the safety system" in text
                assert models.asked == ["a boat", "a boat", "a wild boat"]
                models.says = "an umbrella in a garden"
                status, text = await said(url, "a boat")
                assert status == 400
                assert "umbrella" not in text
                models.asked.clear()
                await gateway.aclose()
                assert (await drawn(url, "a boat"))[0] >= 400
                assert models.asked == []

    asyncio.run(play())
