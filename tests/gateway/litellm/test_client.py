"""LiteLLM's own hook, as it is, asks the gateway: in a process of its own, since it wants other versions of much that is here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys

import pytest

from custodes.gateway.dialects.litellm import LiteLLM
from tests.gateway.fakes import KEY, World

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
    return told(hook.apply_guardrail(inputs={"texts": list(texts)}, request_data={}, input_type="request"))

async def main():
    lax = hook("another", unreachable_fallback="fail_open", fail_on_error=False)
    image = told(OpenAIImageGenerationHandler().process_input_messages({"prompt": "a mild boat", "model": "m"}, hook(key)))
    print(json.dumps({
        "passes": await texts(hook(key), "a boat"),
        "rewritten": await texts(hook(key), "a mild boat"),
        "blocked": await texts(hook(key), "umbrella", "garden"),
        "wrong key, told to let errors pass": await texts(lax, "a boat"),
        "image route": (await image)["prompt"],
    }))

asyncio.run(main())
"""


@pytest.mark.skipif(
    not PYTHON and importlib.util.find_spec("litellm") is None,
    reason="litellm is not installed: set CUSTODES_LITELLM_PYTHON to an interpreter that has litellm[proxy]",
)
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
    assert found["passes"] == {"texts": ["a boat"]}
    assert found["rewritten"] == {"texts": ["a wild boat"]}
    assert "rejected by the safety system at the input: safety" in found["blocked"]
    assert "nobody has this key" in found["wrong key, told to let errors pass"]
    assert found["image route"] == "a wild boat"
    assert {told.status for told in here.told} == {200}
