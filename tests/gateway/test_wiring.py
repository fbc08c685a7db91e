"""People, in every dialect: the key before anything is read, their own models, a warning that is heard, and that to look is no request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import pytest

from custodes.config import Site, load_site
from custodes.demo.gateway import Pink, demo_site
from custodes.demo.generator.server import listening as drawing
from custodes.demo.generator.studio import Fault, Manner, Studio
from custodes.durable import make_folder
from custodes.errors import ConfigError
from custodes.gatebooks import ledger_of
from custodes.gatehouse import LEDGER, checked, opened_ledger, standing
from custodes.gateway.app import AppLimits, Gateway
from custodes.gateway.dialects import bodies
from custodes.gateway.dialects.a1111 import A1111
from custodes.gateway.dialects.a1111_fields import Offer
from custodes.gateway.dialects.comfyui.dialect import ComfyUI
from custodes.gateway.dialects.huggingface import HuggingFace
from custodes.gateway.dialects.litellm import PATH, LiteLLM
from custodes.gateway.dialects.openai import OpenAI
from custodes.gateway.door import DeniedError, Door
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.upstream import Upstream
from custodes.postgres.settings import DatabaseSettings
from tests.gateway.a1111.worlds import Redrawing
from tests.gateway.clients import graph
from tests.gateway.fakes import KEY, MODELS, People, World, serving
from tests.gateway.people.making import ALLOWED, asking, noted
from tests.postgres.server import Given, Server, new_schema

T = TypeVar("T")
OWN, OTHER, NONE = "demo", "gpt-image-2", "never-heard-of"
"""A model of the tenant's, one that is offered to others, one that nobody has."""


def asked(model: str) -> dict[str, tuple[str, Any]]:
    """By dialect, a request for a picture of this model."""
    prompted = graph("a boat")
    prompted["4"]["inputs"]["ckpt_name"] = model
    settings = {"override_settings": {"sd_model_checkpoint": model}} if model else {}
    small = {"prompt": "a boat", "width": 64, "height": 64, "steps": 1}
    return {
        "openai": ("/v1/images/generations", {"prompt": "a boat", "model": model, "size": "64x64"}),
        "a1111": ("/sdapi/v1/txt2img", small | settings),
        "a1111, refined": ("/sdapi/v1/txt2img", small | {"refiner_checkpoint": model, "override_settings": {}}),
        "comfyui": ("/prompt", {"prompt": prompted}),
        "huggingface": (f"/models/{model}", {"inputs": "a boat"}),
    }


DIALECTS: Final = tuple(asked(OWN))
LISTS: Final = ("/v1/models", "/sdapi/v1/sd-models", "/sdapi/v1/options", "/models/checkpoints")
POSTS: Final = (
    *(path for path, _ in asked(OWN).values()),
    *("/v1/images/edits", "/v1/images/variations", "/v1/moderations", "/sdapi/v1/img2img", "/sdapi/v1/interrogate"),
    *("/api/prompt", "/upload/image", "/upload/mask", "/queue", "/history", "/interrupt"),
    f"/hf-inference/models/{OWN}",
)
LOOKS: Final = (
    *LISTS,
    *(f"/v1/models/{OWN}", "/sdapi/v1/progress", "/sdapi/v1/samplers", "/sdapi/v1/loras", "/queue", "/history"),
    *(
        "/api/object_info",
        "/history/a",
        "/prompt",
        "/api/queue",
        "/embeddings",
        "/models",
        "/system_stats",
        "/features",
    ),
)


@dataclass
class Place:
    """A gateway that speaks everything, before a generator that does."""

    world: World = field(default_factory=World)
    studio: Studio = field(default_factory=Studio)

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[Place]:
        self.world.checks = replace(self.world.checks, inspecting=Redrawing(self.world.faults))
        self.comfyui = ComfyUI()
        dialects = [OpenAI(), A1111(Offer(model=OTHER)), self.comfyui, HuggingFace(), LiteLLM()]
        async with drawing(self.studio) as address, Upstream(address) as upstream:
            self.gateway = Gateway(self.world.door(upstream), dialects, self.world.limits, self.world.told.append)
            async with serving(self.gateway.runner()) as self.world.url, aiohttp.ClientSession() as self.session:
                try:
                    yield self
                finally:
                    await self.comfyui.close()

    async def ask(self, method: str, path: str, sent: Any = None, key: str = KEY) -> tuple[int, Mapping[str, str], Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.session.request(method, self.world.url + path, headers=headers, json=sent) as answer:
            body = await answer.read()
            told = json.loads(body) if body and answer.content_type == "application/json" else None
            return answer.status, answer.headers, told

    async def status(self, path: str, key: str = KEY) -> int:
        return (await self.ask("GET", path, key=key))[0]


def run(work: Callable[[Place], Awaitable[T]], place: Place | None = None) -> T:
    async def inside() -> T:
        async with (place or Place()).standing() as standing:
            return await work(standing)

    return asyncio.run(inside())


def held() -> Place:
    """The tenant may ask for one model alone."""
    place = Place()
    place.world.people.models = frozenset({OWN, "not offered any more"})
    return place


# -- models of a tenant


async def only_its_models_exist(place: Place, dialect: str) -> None:
    """Its own is drawn; another's is answered to the last letter as one that there is not."""
    answers = {}
    for model in (OWN, OTHER, NONE):
        status, _, document = await place.ask("POST", *asked(model)[dialect])
        answers[model] = status, document
    assert answers[OWN][0] == 200
    assert answers[OTHER] == answers[NONE]
    assert answers[NONE][0] in (400, 404)


async def only_its_models_are_listed(place: Place, path: str) -> None:
    status, _, document = await place.ask("GET", path)
    assert status == 200
    assert OWN in json.dumps(document)
    assert OTHER not in json.dumps(document)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_of_others_does_not_exist_for_a_tenant(dialect: str) -> None:
    run(lambda place: only_its_models_exist(place, dialect), held())


@pytest.mark.parametrize("path", LISTS)
def test_a_tenant_is_shown_its_own_models(path: str) -> None:
    run(lambda place: only_its_models_are_listed(place, path), held())


def test_who_is_held_to_no_list_has_all_that_is_offered_and_who_has_none_of_it_nothing() -> None:
    async def listed(place: Place) -> set[str]:
        return {model["id"] for model in (await place.ask("GET", "/v1/models"))[2]["data"]}

    assert run(listed) == MODELS
    nothing = held()
    nothing.world.people.models = frozenset({"not offered any more"})
    assert run(listed, nothing) == set()
    assert run(lambda place: place.status(f"/v1/models/{OWN}"), held()) == 200
    assert run(lambda place: place.status(f"/v1/models/{OTHER}"), held()) == 404


def test_a_request_that_names_no_model_gets_the_only_one_that_it_may_have() -> None:
    async def work(place: Place) -> int:
        return (await place.ask("POST", *asked("")["a1111"]))[0]

    assert run(work, held()) == 200


@pytest.mark.parametrize("dialect", DIALECTS)
def test_planted_models_of_all_are_noticed(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(door: Door, key: str) -> frozenset[str]:
        door.people.known(key)
        return door.models

    monkeypatch.setattr(Door, "models_of", all_of_them)
    with pytest.raises(AssertionError):
        run(lambda place: only_its_models_exist(place, dialect), held())


# -- the key, first


async def turned_away_at_once(place: Place, path: str) -> None:
    """Told by the head alone: the body never comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(place.world.url.rpartition(":")[2]))
    kind = "multipart/form-data; boundary=a" if "upload" in path or "/edits" in path else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer nobodys\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode())
    try:
        async with asyncio.timeout(0.5):
            told = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    finally:
        writer.close()
    assert told == (b"200" if path == PATH else b"401"), path  # LiteLLM hears every no in a 200
    assert place.world.people.seen == []


def test_an_unknown_key_is_turned_away_before_its_body_is_read() -> None:
    async def work(place: Place) -> None:
        await asyncio.gather(*(turned_away_at_once(place, path) for path in (*POSTS, PATH)))

    run(work)


def test_planted_a_key_that_is_asked_for_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(People, "known", lambda self, _: self.models)
    paths = ("/v1/images/generations", "/v1/moderations", "/sdapi/v1/txt2img", "/prompt", f"/models/{OWN}", PATH)

    async def work(place: Place) -> list[object]:
        tried = (turned_away_at_once(place, path) for path in paths)
        return list(await asyncio.gather(*tried, return_exceptions=True))

    assert [type(each) for each in run(work)] == [TimeoutError] * len(paths)


def test_a_dialect_that_forgets_to_ask_for_the_key_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.gateway.dialects.huggingface.known", lambda *_: None)
    monkeypatch.setattr("custodes.gateway.dialects.openai.known", lambda *_: None)

    async def work(place: Place) -> list[int]:
        found = [(await place.ask("POST", *asked(OWN)[each]))[0] for each in ("openai", "huggingface")]
        return [*found, await place.status("/v1/models")]

    assert run(work) == [401, 401, 503]


BASIC: dict[str, tuple[str, tuple[str, str] | None]] = {
    "name and password": ("Basic " + base64.b64encode(b"jo:demo").decode(), ("jo", "demo")),
    "a password with colons": ("Basic " + base64.b64encode(b"jo:a:b").decode(), ("jo", "a:b")),
    "a name alone": ("basic " + base64.b64encode(b"demo").decode(), ("demo", "")),
    "spaces around": ("Basic   " + base64.b64encode(b"jo:demo").decode() + " ", ("jo", "demo")),
    "a bearer": ("Bearer demo", ("", "demo")),
    "nothing": ("", None),
    "no base64": ("Basic %%%", None),
    "no text": ("Basic " + base64.b64encode(b"\xff:demo").decode(), None),
    "another scheme": ("Digest demo", None),
}


@pytest.mark.parametrize("case", BASIC)
def test_a_key_is_read_in_one_way(case: str) -> None:
    header, told = BASIC[case]

    class Request:
        headers: Final = {"Authorization": header}

    if told is None:
        with pytest.raises(DeniedError):
            bodies.basic(Request())  # type: ignore[arg-type]
    else:
        assert bodies.basic(Request()) == told  # type: ignore[arg-type]


# -- what is told


@pytest.mark.parametrize("dialect", DIALECTS)
def test_who_stands_warned_is_told_so_with_every_answer(dialect: str) -> None:
    async def work(place: Place) -> list[str | None]:
        found = []
        for place.world.people.warned in (False, True):
            path, body = asked(OWN)[dialect]
            refused = json.loads(json.dumps(body).replace("a boat", "an umbrella in a garden"))
            for each in (body, refused):
                found.append((await place.ask("POST", path, each))[1].get("x-gateway-warning"))
            found.append((await place.ask("GET", "/queue"))[1].get("x-gateway-warning"))
        return found

    assert run(work) == [None] * 3 + ["strikes"] * 3


def test_a_socket_is_told_of_a_warning_when_it_is_opened() -> None:
    async def work(place: Place) -> str | None:
        place.world.people.warned = True
        async with place.session.ws_connect(f"{place.world.url}/ws", params={"token": KEY}) as socket:
            return socket._response.headers.get("x-gateway-warning")

    assert run(work) == "strikes"


WORDS: dict[str, Callable[[Any], object]] = {
    "openai": lambda document: document["error"]["code"],
    "a1111": lambda document: document["error"],
    "comfyui": lambda document: document["error"]["type"],
    "huggingface": lambda document: document["error_type"],
}


@pytest.mark.parametrize("dialect", WORDS)
@pytest.mark.parametrize("draining", [False, True], ids=["no room", "draining"])
def test_there_being_no_room_is_said_in_the_words_of_the_dialect(dialect: str, draining: bool) -> None:
    async def work(place: Place) -> tuple[int, Mapping[str, str], Any]:
        if draining:
            await place.gateway.drain()
        return await place.ask("POST", *asked(OWN)[dialect])

    status, headers, document = run(work, Place(World(limits=AppLimits(requests_max=1 if draining else 0))))
    assert headers["Retry-After"] == "1"
    assert WORDS[dialect](document)
    if dialect == "huggingface":
        assert (status, document["error_type"]) == ((500, "draining") if draining else (429, "rate"))
    else:
        assert status == (503 if draining else 429)
    if dialect != "openai":
        assert not isinstance(document["error"], dict) or "param" not in document["error"]


def test_a_litellm_proxy_hears_that_there_is_no_room_as_blocked() -> None:
    async def work(place: Place) -> tuple[int, Any]:
        status, _, document = await place.ask("POST", PATH, {"input_type": "request", "texts": ["a boat"]})
        return status, document["action"]

    assert run(work, Place(World(limits=AppLimits(requests_max=0)))) == (200, "BLOCKED")


# -- to look is no request


@pytest.mark.parametrize("path", LOOKS)
def test_to_look_how_far_it_is_spends_no_request(path: str) -> None:
    async def work(place: Place) -> None:
        await place.ask("GET", path)
        assert place.world.people.looks == 1
        assert place.world.people.seen == []

    run(work)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_to_have_something_drawn_is_one_request(dialect: str) -> None:
    async def work(place: Place) -> None:
        await place.ask("POST", *asked(OWN)[dialect])
        assert place.world.people.looks == 0
        assert len(place.world.people.seen) == 1

    run(work)


def test_two_uploads_are_two_requests_and_the_same_one_again_is_not() -> None:
    async def work(place: Place) -> int:
        for content in (b"one", b"two", b"two"):
            form = aiohttp.FormData()
            form.add_field("image", b"\x89PNG\r\n\x1a\n" + content, filename="a.png")
            headers = {"Authorization": f"Bearer {KEY}"}
            async with place.session.post(f"{place.world.url}/upload/image", data=form, headers=headers) as answer:
                await answer.read()
        return len({caller.request for caller in place.world.people.seen})

    assert run(work) == 2


# -- counts


def test_what_is_turned_away_and_what_the_generator_fails_is_counted() -> None:
    async def work(place: Place) -> None:
        counted = place.world.counted
        await place.ask("GET", "/v1/models", key="nobodys")
        await place.ask("POST", *asked(NONE)["comfyui"])
        await place.ask("GET", "/no/such/path")
        await place.ask("POST", "/v1/images/generations", {"prompt": "a boat", "model": NONE})
        assert counted.why == ["key", "malformed", "route", "model"]
        place.studio.manner = Manner(Fault.DIES)
        openai = {**asked(OWN)["openai"][1], "stream": True}
        headers = {"Authorization": f"Bearer {KEY}"}
        async with place.session.post(
            f"{place.world.url}/v1/images/generations", json=openai, headers=headers
        ) as answer:
            assert b"gateway_fault" in await answer.read()
        assert counted.upstream == 1
        for dialect in ("openai", "a1111", "huggingface"):
            await place.ask("POST", *asked(OWN)[dialect])
        assert counted.upstream == 4
        await place.ask("POST", *asked(OWN)["comfyui"])
        while place.comfyui.jobs.active("tenant"):
            await asyncio.sleep(0.01)
        assert counted.upstream == 5
        assert len(counted.why) == 4

    run(work)


# -- as a site has it


def site_of(home: Path, models: str) -> Site:
    site = demo_site(home, "http://127.0.0.1:9")
    text = site.path.read_text()
    site.path.write_text(text.replace("[gateway.tenants.demo]", f"[gateway.tenants.demo]\nmodels = {models}"))
    return load_site(str(site.path))


def test_a_tenant_that_may_ask_for_what_is_not_offered_is_refused_at_the_start(tmp_path: Path) -> None:
    assert checked(site_of(tmp_path / "one", '["demo"]'))
    with pytest.raises(ConfigError, match="is not offered"):
        checked(site_of(tmp_path / "other", '["demo", "gpt-image-2"]'))


def test_a_gateway_of_a_site_counts_whom_it_turns_away_and_forgets_what_is_too_old(tmp_path: Path) -> None:
    site = site_of(tmp_path / "site", '["demo"]')
    state = site.home / site.config.gateway.state
    make_folder(state)
    with closing(SqliteLedger(state / LEDGER)) as ledger:
        asyncio.run(ledger.note(noted(1, ALLOWED, at=1_000_000)))

    async def work() -> str:
        async with standing(site, lambda _: None, [Pink()]) as stood, serving(stood.gateway.runner()) as url:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/queue") as answer:
                assert answer.status == 401
            return stood.metrics.text().decode()

    assert 'denied_total{why="key"} 1.0' in asyncio.run(work())
    with closing(SqliteLedger(state / LEDGER)) as ledger:
        assert asyncio.run(ledger.decisions(0, 9)) == []


def test_a_tenant_who_is_new_is_let_in_after_a_reload_and_a_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    site = site_of(tmp_path / "site", '["demo"]')
    text = site.path.read_text()

    async def status(url: str, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/v1/models") as answer:
            return answer.status

    async def work() -> list[int]:
        async with standing(site, lambda _: None, [Pink()]) as stood, serving(stood.gateway.runner()) as url:
            before = await status(url, "new key")
            digest = hashlib.sha256(b"new key").hexdigest()
            site.path.write_text(f'{text}\n[gateway.tenants.new]\nkey_sha256 = "{digest}"\nmodels = ["none such"]\n')
            with pytest.raises(ConfigError, match="is not offered"):
                stood.reload(load_site(str(site.path)), policy=True)
            wrong = await status(url, "new key")
            site.path.write_text(f'{text}\n[gateway.tenants.new]\nkey_sha256 = "{digest}"\n')
            assert stood.reload(load_site(str(site.path)), policy=True)
            return [before, wrong, await status(url, "new key"), await status(url, "demo")]

    assert asyncio.run(work()) == [401, 401, 200, 200]


def test_gateways_of_a_site_with_a_database_share_one_ledger(tmp_path: Path, postgres: Server | Given) -> None:
    site = site_of(tmp_path / "site", '["demo"]')
    database = DatabaseSettings(url=postgres.url, schema=new_schema("wiring"))
    site = Site(site.path, msgspec.structs.replace(site.config, database=database))

    async def work() -> int:
        with closing(opened_ledger(site)) as one, closing(opened_ledger(site)) as other:
            await one.note(noted(1))
            return (await other.standing(asking())).strikes

    assert asyncio.run(work()) == 1
    with ledger_of(site) as ledger:
        assert len(asyncio.run(ledger.decisions(0, 9))) == 1
    file = site.home / site.config.gateway.state / LEDGER
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    with pytest.raises(ConfigError, match="not in it"):
        opened_ledger(site)
