"""From settings to routes; and NCMEC's CyberTipline as one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from custodes.errors import ConfigError, InputError, InternalError
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.delivery import Dead, Delivered, Ended, Later, Route, key_of
from custodes.handover.routes.connect import connect
from custodes.handover.routes.cybertipline import CyberTiplineRoute
from custodes.handover.routes.settings import CoopSettings, HotlineSettings, RouteSettings, WebhookSettings
from custodes.handover.words import check_word
from tests.handover.cybertipline.making import NOW, SETTINGS, incident
from tests.handover.cybertipline.server import CyberTiplineServer, Fault
from tests.handover.cybertipline.test_client import run
from tests.handover.making import TO
from tests.handover.routes.making import Store, around

WEBHOOK = WebhookSettings(url="https://police.example/in")
HOTLINE = HotlineSettings(title="T", recipients=(str(TO),))
COOP = CoopSettings(url="https://coop.example", item_type="t", fields={"f": "links"})


@pytest.mark.parametrize(
    ("settings", "name", "word"),
    [(SETTINGS, "", "cybertipline"), (COOP, "", "coop"), (WEBHOOK, "police", "webhook-police"), (HOTLINE, "n1", "hotline-n1")],
)  # fmt: skip
def test_each_sort_of_settings_makes_its_route(settings: RouteSettings, name: str, word: str) -> None:
    route: Route = connect(settings, around(account=False), name)
    assert (route.name, route.environment) == (word, "test")
    check_word(route.name)
    assert key_of(route, "0" * 32) == f"{word}/test/{'0' * 32}"
    assert key_of(route, "0" * 32, 2) == f"{word}/test/{'0' * 32}/2"
    asyncio.run(route.close())


@pytest.mark.parametrize(
    ("settings", "name"),
    [(SETTINGS, "x"), (COOP, "x"), (WEBHOOK, ""), (HOTLINE, ""), (WEBHOOK, "UP"), (WEBHOOK, "a/b"), (HOTLINE, "a" * 25)],
)  # fmt: skip
def test_a_name_is_a_word_and_only_webhooks_and_hotlines_have_one(settings: RouteSettings, name: str) -> None:
    with pytest.raises(ConfigError):
        connect(settings, around(account=False), name)


def test_the_longest_name_fits_into_records() -> None:
    check_word(connect(HOTLINE, around(), "a" * 24).name)


def test_credentials_are_read_where_something_will_be_sent_and_not_before(tmp_path: Path) -> None:
    for settings in (SETTINGS, COOP):
        connect(settings, around(account=False))
        with pytest.raises(ConfigError, match="no credentials of"):
            connect(settings, around())
        absent = msgspec.structs.replace(settings, credentials="absent.toml")
        with pytest.raises(ConfigError, match=r"absent\.toml"):
            connect(absent, around(tmp_path))


NO_ENDS: dict[str, Callable[[], Ended]] = {
    "delivered without a receipt": lambda: Delivered(""),
    "delivered with a sentence": lambda: Delivered("thank you"),
    "delivered with a link": lambda: Delivered("https://police.example/1"),
    "later for a sentence": lambda: Later("no answer"),
    "later for nothing": lambda: Later(""),
    "dead for a link": lambda: Dead("https://police.example/1"),
    "dead with a receipt that is none": lambda: Dead("refused", receipt="a b"),
}


@pytest.mark.parametrize("sort", NO_ENDS)
def test_what_a_record_could_not_hold_is_no_end_of_a_delivery(sort: str) -> None:
    with pytest.raises(ValueError, match="has 1 to"):
        NO_ENDS[sort]()


# -- the CyberTipline


def route_to(client: CyberTipline) -> CyberTiplineRoute:
    return CyberTiplineRoute(SETTINGS, client, client.clock)


def test_a_report_is_filed_and_its_number_is_the_receipt() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        route, store = route_to(client), Store()
        route.check(incident())
        ended = await route.deliver(incident(), "any", store)
        (report,) = server.finished(incident().id)
        assert ended == Delivered(report.id, ("submit 0 r-2", "finish 0 r-3"))
        assert [receipt.step for receipt in store.receipts] == ["submit", "finish"]
        assert route.preview(incident(), await client.now()) == report.document.decode()
        assert server.complaints == []

    run(check)


ENDS: dict[str, tuple[dict[int, Fault], Later | Dead]] = {
    "not now": ({2: Fault(code=1000)}, Later("service-error", requests=("submit 1000 r-2",))),
    "the account": ({2: Fault(code=3000)}, Later("account-refused", account=True, requests=("submit 3000 r-2",))),
    "never as it is": ({2: Fault(code=4100)}, Dead("code-4100", 4100, ("submit 4100 r-2",))),
}


@pytest.mark.parametrize("sort", ENDS)
def test_ends_of_a_filing_are_ends_of_a_delivery(sort: str) -> None:
    faults, expected = ENDS[sort]

    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        server.faults = faults
        assert await route_to(client).deliver(incident(), "any", Store()) == expected

    run(check)


def test_a_report_whose_fate_is_not_told_is_dead_with_its_number() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        route, store = route_to(client), Store()
        server.faults = {3: Fault(acted=True), 4: Fault(code=1210)}
        assert isinstance(await route.deliver(incident(), "any", store), Later)
        ended = await route.deliver(incident(), "any", store)
        (report,) = server.finished(incident().id)
        assert isinstance(ended, Dead)
        assert (ended.why, ended.code, ended.receipt) == ("fate-unknown", 1210, report.id)

    run(check)


def test_files_that_ncmec_does_not_name_are_told() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        told = b"<reportDoneResponse><responseCode>0</responseCode><reportId>7000000001</reportId><files><fileId>%b</fileId></files></reportDoneResponse>"
        server.faults = {3: Fault(body=told % (b"0" * 32), acted=True)}
        ended = await route_to(client).deliver(incident(), "any", Store())
        assert isinstance(ended, Delivered)
        assert ended.requests[-1] == "files differ"

    run(check)


def test_a_clock_that_cannot_be_believed_stops_the_route_and_loses_nothing() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        server.skew = timedelta(hours=-2)
        ended = await route_to(client).deliver(incident(), "any", Store())
        assert ended == Later("clock-ahead", account=True)
        assert server.reports == {}

    run(check)


def test_what_ncmec_could_not_act_on_is_refused_before_it_is_queued() -> None:
    route = connect(SETTINGS, replace(around(account=False), account=False))
    for wrong in (incident(decision="hold"), incident(url=""), incident(found_at="2030-01-01T00:00:00Z")):
        with pytest.raises(InputError):
            route.check(wrong)
    route.check(incident())


def test_without_an_account_a_report_is_shown_and_not_filed() -> None:
    route = connect(SETTINGS, around(account=False))
    assert route.preview(incident(), NOW).startswith("<?xml")
    with pytest.raises(InternalError, match="for previews alone"):
        asyncio.run(route.deliver(incident(), "any", Store()))


def test_the_environment_is_that_of_the_settings() -> None:
    settings = CyberTiplineSettings(environment="production", email="reports@provider.example")
    assert connect(settings, around(account=False)).environment == "production"
    environ = {f"CUSTODES_CYBERTIPLINE_PRODUCTION_{field}": "x" for field in ("USERNAME", "PASSWORD")}
    route = connect(settings, around(environ=environ))
    assert isinstance(route, CyberTiplineRoute)
    assert route.service is not None
    assert route.service.environment == "production"
