"""What somebody writes against the real ``openai`` package, of whatever version: asks the gateway, and prints what came as JSON. Run as a program."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

PNG = b"\x89PNG\r\n\x1a\nof the client"


def error_of(error: Any) -> dict[str, Any]:
    body = error.body if isinstance(error.body, dict) else {}
    return {
        "class": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "type": error.type,
        "param": error.param,
        "details": body.get("moderation_details"),
        "request": getattr(error, "request_id", None),
        "message": error.message,
    }


def told(ask: Any) -> Any:
    import openai

    try:
        found = ask()
    except openai.APIError as error:
        return error_of(error)
    if not hasattr(found, "data"):
        return found
    return [
        [base64.b64decode(each.b64_json or "").decode("latin-1"), each.url, each.revised_prompt] for each in found.data
    ]


def events(ask: Any) -> Any:
    return [
        [event.type, base64.b64decode(event.b64_json).decode("latin-1"), event.usage.total_tokens] for event in ask()
    ]


def main(url: str, key: str) -> dict[str, Any]:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key)
    images = client.images
    picture = ("a.png", PNG)
    answers = {
        "generate": told(lambda: images.generate(prompt="a boat", model="gpt-image-2", n=2)),
        "extra": told(lambda: images.generate(prompt="a boat", model="demo", extra_body={"negative_prompt": "fog"})),
        "rewritten": told(lambda: images.generate(prompt="a mild boat", model="gpt-image-2")),
        "older": told(lambda: images.generate(prompt="a boat", model="dall-e-2", size="256x256", user="somebody")),
        "edit one": told(lambda: images.edit(prompt="a boat", model="gpt-image-2", image=picture)),
        "edit several": told(
            lambda: images.edit(prompt="a boat", model="gpt-image-2", image=[picture, picture], mask=picture)
        ),
        "variation": told(lambda: images.create_variation(image=picture, model="dall-e-2", response_format="b64_json")),
        "stream": told(
            lambda: events(lambda: images.generate(prompt="a boat", model="gpt-image-2", stream=True, partial_images=2))
        ),
        "edit stream": told(
            lambda: events(lambda: images.edit(prompt="a boat", model="gpt-image-2", image=picture, stream=True))
        ),
        "stream refused": told(
            lambda: events(lambda: images.generate(prompt="umbrella garden", model="gpt-image-2", stream=True))
        ),
        "refused": told(lambda: images.generate(prompt="an umbrella in a garden", model="gpt-image-2")),
        "refused edit": told(lambda: images.edit(prompt="an umbrella in a garden", model="gpt-image-2", image=picture)),
        "refused softly": told(lambda: images.generate(prompt="a hat", model="gpt-image-2")),
        "told and gone on": told(
            lambda: images.generate(prompt="a hat", model="demo", extra_headers={"x-gateway-acknowledged": "true"})
        ),
        "refused older": told(lambda: images.generate(prompt="an umbrella in a garden", model="dall-e-2")),
        "no model": told(lambda: images.generate(prompt="a boat", model="gpt-none")),
        "no field": told(lambda: images.generate(prompt="a boat", model="demo", extra_body={"lora": "x"})),
        "other path": told(
            lambda: client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "a"}])
        ),
        "responses": told(lambda: client.responses.create(model="demo", input="a")),
        "key": told(
            lambda: openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").images.generate(prompt="a", model="demo")
        ),
        "models": sorted(model.id for model in client.models.list()),
        "moderation": [
            result.model_dump() for result in client.moderations.create(input=["a boat", "umbrella garden"]).results
        ],
    }
    return {"version": openai.VERSION if hasattr(openai, "VERSION") else openai.__version__, "answers": answers}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2])))
