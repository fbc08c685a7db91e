"""Coop: an item once, by its documentation; and never a link that it could open or show."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import msgspec
import pytest

from custodes.errors import ConfigError, InputError, InternalError
from custodes.handover.delivery import Dead, Delivered, Ended, Later, key_of
from custodes.handover.incident import Incident
from custodes.handover.routes.connect import connect
from custodes.handover.routes.coop import Coop
from custodes.handover.routes.settings import CoopSettings, CoopValue
from custodes.services.limits import CallLimits
from tests.handover.hostile import hostile_strings
from tests.handover.making import finding, incidents
from tests.handover.routes.coop_server import API_KEY, TYPE, CoopServer, is_url
from tests.handover.routes.making import DROPS, NOW, Fault, Store, around, incident

TYPES = {"exact": "BOOLEAN", "places": "NUMBER", "found_at": "DATETIME"}
FIELDS = {f"f_{value}": value for value in get_args(CoopValue)}
SCHEMA = {name: TYPES.get(value, "STRING") for name, value in FIELDS.items()}
ENVIRON = {"CUSTODES_COOP_TEST_API_KEY": API_KEY}


def coop(server: CoopServer, fields: dict[str, Any] | None = None, **environ: str) -> Coop:
    settings = CoopSettings(
        url=server.base, item_type=TYPE, fields=fields or FIELDS, unsafe_allow_loopback=True,
        calls=CallLimits(timeout_s=20, body_bytes_max=1 << 16),
    )  # fmt: skip
    made = connect(settings, around(environ=environ or ENVIRON))
    assert isinstance(made, Coop)
    return made


def check(act: Callable[[CoopServer], Awaitable[Any]], **schema: str) -> Any:
    async def main() -> Any:
        async with CoopServer(**(schema or SCHEMA)) as server:
            return await act(server)

    return asyncio.run(main())


async def submitted(server: CoopServer, of: Incident, route: Coop | None = None) -> Ended:
    route = route or coop(server)
    try:
        return await route.deliver(of, key_of(route, of.id), Store())
    finally:
        await route.close()


def test_an_incident_is_one_item_with_the_fields_that_the_operator_chose() -> None:
    async def act(server: CoopServer) -> None:
        of = incident(1, 1, 2)
        item = f"coop-test-{of.id}"
        assert await submitted(server, of) == Delivered(item, ("items 202",))
        assert server.items == {
            item: {
                "f_incident": of.id,
                "f_environment": "test",
                "f_decision": "report",
                "f_rule": "exact-confirmed",
                "f_meaning": "csam",
                "f_exact": True,
                "f_found_at": "2026-03-01T12:00:00Z",
                "f_places": 2,
                "f_datasets": "- links[.]parquet",
                "f_links": "- hxxps://images[.]example/1[.]jpg\n- hxxps://images[.]example/2[.]jpg",
                "f_matches": "- hotline 2026-03-01-0a1b2c: md5, equal, category A1",
            }
        }
        assert (server.undocumented, server.fetched) == ([], [])

    check(act)


def test_no_digest_goes_to_coop() -> None:
    of = incident()

    async def act(server: CoopServer) -> None:
        await submitted(server, of)
        assert not any(value in json.dumps(server.items) for value in of.digests.values())

    check(act)


def hostile_incident() -> Incident:
    texts = [
        text for text in hostile_strings() if len(text) < 500 and not any("\ud800" <= char < "\ue000" for char in text)
    ]
    links = [*texts, "https://images.example/x.jpg", "http://localhost/x", "https://[::1]/x", "ftp://host/x", "x://y"]
    found = [finding(number, 1, url=text, dataset=text, final_url=text) for number, text in enumerate(links)]
    return incidents(*found)[0]


@pytest.mark.parametrize("sort", ["IMAGE", "VIDEO", "URL"])
@pytest.mark.parametrize("value", ["links", "datasets", "matches", "incident", "meaning"])
def test_a_field_that_coop_would_open_or_show_refuses_whatever_we_send(value: str, sort: str) -> None:
    async def act(server: CoopServer) -> None:
        for of in (incident(), hostile_incident(), one_link("ftp://host/x"), one_link("https://localhost/x")):
            ended = await submitted(server, of, coop(server, {"f": value}))
            assert ended == Dead("status-400", 400, ("items 400",))
        assert (server.fetched, server.items) == ([], {})

    check(act, f=sort)


def one_link(url: str) -> Incident:
    return incident(1, url=url, dataset=url)


def test_no_link_that_works_and_nothing_that_is_obeyed_is_ever_in_an_item() -> None:
    of = hostile_incident()

    async def act(server: CoopServer) -> None:
        assert isinstance(await submitted(server, of), Delivered)
        (data,) = server.items.values()
        lines = data["f_links"].split("\n")
        assert (len(lines), lines[-1].endswith(" more")) == (201, True)
        for text in data.values():
            lines = str(text).split("\n")
            assert not any(is_url(line) or "http://" in line or "https://" in line for line in lines)
            assert all(line.isprintable() for line in lines)

    check(act)


class Showing(Coop):
    """Links as they are."""

    def _value(self, incident: Incident, what: CoopValue) -> Any:
        return incident.places[0].url if what == "links" else super()._value(incident, what)


def test_a_link_that_works_is_seen_by_the_same_check() -> None:
    async def act(server: CoopServer) -> None:
        route = coop(server, {"f": "links"})
        planted = Showing(**{each.name: getattr(route, each.name) for each in dataclasses.fields(route)})
        assert isinstance(await submitted(server, incident(), planted), Delivered)
        assert server.fetched == ["https://images.example/1.jpg"]

    check(act, f="IMAGE")


# -- what an answer leads to


@pytest.mark.parametrize("status", [202, 200, 201, 204, 302, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504])
def test_every_status_leads_to_something(status: int) -> None:
    async def act(server: CoopServer) -> None:
        server.faults = {1: Fault(status=status, headers=(("Retry-After", "30"),))}
        ended = await submitted(server, incident())
        requests = (f"items {status}",)
        if status == 202:
            assert ended == Delivered(f"coop-test-{incident().id}", requests)
        elif status in (400, 404, 413):
            assert ended == Dead(f"status-{status}", status, requests)
        else:
            assert ended == Later(f"status-{status}", 30.0, account=status in (401, 403), requests=requests)

    check(act)


def test_a_wrong_key_is_told_as_the_accounts() -> None:
    async def act(server: CoopServer) -> None:
        ended = await submitted(server, incident(), coop(server, CUSTODES_COOP_TEST_API_KEY="another"))
        assert isinstance(ended, Later)
        assert (ended.account, server.items) == (True, {})

    check(act)


@pytest.mark.parametrize("how", DROPS)
def test_a_connection_that_ends_anywhere_is_tried_later_and_makes_one_item(how: str) -> None:
    async def act(server: CoopServer) -> None:
        server.faults = {1: Fault(how)}
        first = await submitted(server, incident())
        assert first == Later("no-answer") or isinstance(first, Delivered)  # a 202 has no body that could be cut
        assert isinstance(await submitted(server, incident()), Delivered)
        assert (list(server.items), server.requests) == ([f"coop-test-{incident().id}"], 2)

    check(act)


def test_another_key_each_time_makes_two_items_which_is_seen() -> None:
    async def act(server: CoopServer) -> None:
        route = coop(server)
        for number in range(2):
            await route.deliver(incident(), f"{key_of(route, incident().id)}/{number}", Store())
        assert len(server.items) == 2
        await route.close()

    check(act)


# -- settings


def test_a_preview_is_what_is_sent_and_needs_no_key() -> None:
    settings = CoopSettings(url="https://coop.example", item_type=TYPE, fields={"links": "links"})
    route = connect(settings, around(account=False))
    shown = route.preview(hostile_incident(), NOW)
    assert shown.startswith("POST https://coop.example/api/v1/items/async/\n")
    assert all(char == "\n" or " " <= char <= "~" for char in shown)
    with pytest.raises(InternalError, match="for previews alone"):
        asyncio.run(route.deliver(incident(), "k", Store()))
    with pytest.raises(ConfigError, match="API_KEY is not set"):
        connect(settings, around())


def test_a_demonstration_is_not_real_in_production() -> None:
    settings = CoopSettings(url="https://coop.example", item_type=TYPE, fields={"l": "links"}, environment="production")
    with pytest.raises(InputError, match="never handed over as real"):
        connect(settings, around(account=False)).check(msgspec.structs.replace(incident(), demo=True))


GIVEN = {"url": "https://coop.example", "item_type": "t", "fields": {"f": "links"}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a field that Coop fetches": ({"fields": {"images": "links"}}, "Coop fetches"),
    "a value that is none": ({"fields": {"f": "digests"}}, "Invalid enum value"),
    "no field": ({"fields": {}}, "at least one field"),
    "a field without a name": ({"fields": {"": "links"}}, "each field a name"),
    "no item type": ({"item_type": ""}, "an item has a type"),
    "a path": ({"url": "https://coop.example/api"}, "Coop's own paths follow"),
    "plain http": ({"url": "http://coop.example"}, "must be https"),
    "a stand-in as production": ({"url": "http://127.0.0.1", "unsafe_allow_loopback": True, "environment": "production"}, "never"),
}  # fmt: skip


@pytest.mark.parametrize("sort", WRONG)
def test_settings_that_cannot_be_meant_are_refused(sort: str) -> None:
    fields, said = WRONG[sort]
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(GIVEN | fields, CoopSettings)
