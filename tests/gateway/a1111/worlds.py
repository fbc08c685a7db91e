"""A gateway in A1111's dialect in front of the stand-in server, and one request through it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import aiohttp
from PIL import Image

from custodes.gateway.dialects.a1111 import A1111
from custodes.gateway.dialects.a1111_fields import Offer, Style
from custodes.gateway.guard import Looked
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, NameKind, Stage, Verdict
from tests.gateway.a1111.server import Server
from tests.gateway.fakes import KEY, MODELS, Inspecting, Ruling, World

OFFER = Offer(
    model="demo",
    styles={"rainy": Style("{prompt} under an umbrella", "sun"), "plain": Style("drawn")},
    scripts=frozenset({"ControlNet", "ADetailer", "Loopback"}),
    adapters=frozenset({"ink"}),
    embeddings=frozenset({"bright-hands"}),
)
AUTH = "Basic " + base64.b64encode(f"somebody:{KEY}".encode()).decode()


class Names(Ruling):
    """As the fakes' rules; and what is not offered is refused."""

    def decide(self, facts: Sequence[Fact], stage: Stage, *, tenant: str, acknowledged: bool) -> Verdict:
        if any(fact.name.startswith("unknown:") for fact in facts):
            return Verdict(Action.REFUSE, "unknown", Grade.SOFT, Category.MODEL)
        return super().decide(facts, stage, tenant=tenant, acknowledged=acknowledged)


class Redrawing(Inspecting):
    """Writes real pictures again, as the real inspection does."""

    async def look(self, content: bytes, stage: Stage, where: str) -> Looked:
        looked = await super().look(content, stage, where)
        if not looked.released:
            return looked
        out = io.BytesIO()
        with Image.open(io.BytesIO(content)) as image:
            Image.frombytes("RGB", image.size, image.convert("RGB").tobytes()).save(out, "PNG")
        return replace(looked, released=out.getvalue(), format="png")


def world() -> World:
    made = World()
    known = {NameKind.MODEL: MODELS, NameKind.ADAPTER: OFFER.adapters, NameKind.EMBEDDING: OFFER.embeddings}
    made.checks = replace(made.checks, ruling=Names(made.faults), known=known)
    return made


class Heard(NamedTuple):
    status: int
    body: bytes
    """To the last byte: headers too, and so much as came before a cut."""
    document: Any


def ask(
    path: str,
    body: dict[str, Any] | None = None,
    *,
    world: World,
    server: Server,
    dialect: Any = None,
    auth: str = AUTH,
    method: str = "",
) -> Heard:
    async def run() -> Heard:
        async with (
            server.standing(),
            world.standing(server.address, dialect or A1111(OFFER)),
            aiohttp.ClientSession() as session,
        ):
            got, document = b"", None
            try:
                headers = {"Authorization": auth} if auth else {}
                how = method or ("GET" if body is None else "POST")
                async with session.request(how, world.url + path, headers=headers, json=body) as answer:
                    async for part in answer.content.iter_any():
                        got += part
                    if answer.content_type == "application/json":
                        document = json.loads(got)
                    return Heard(answer.status, got + str(dict(answer.headers)).encode(), document)
            except aiohttp.ClientError:
                return Heard(0, got, document)

    return asyncio.run(run())
