"""Webhooks: signed, under one key, received once whatever breaks; and a fault planted in any of it is seen by the same receiver."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.crypto.dsse import verify
from custodes.crypto.keys import TransportKey
from custodes.crypto.seal import unseal
from custodes.errors import ConfigError, InputError, InternalError
from custodes.handover.delivery import Dead, Delivered, Ended, Later, key_of
from custodes.handover.desk import Desk, Means
from custodes.handover.incident import Incident
from custodes.handover.outbox import Outbox, Pace, Seams
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipts
from custodes.handover.routes.connect import connect
from custodes.handover.routes.settings import WebhookSettings
from custodes.handover.routes.webhook import PAYLOAD_TYPE, Post, Webhook
from custodes.services.limits import CallLimits
from tests.handover.hostile import hostile_strings
from tests.handover.keeping import Clock, custody_in
from tests.handover.making import KEYS, SECRET, TO, finding, incidents, signer
from tests.handover.routes.making import DROPS, NOW, Fault, Stand, Store, around, incident, sender
from tests.handover.routes.receiver import PATH, TOKEN, WebhookReceiver

LIMITS = CallLimits(timeout_s=20, body_bytes_max=1 << 16)
KEY_1 = f"webhook-police/test/{incident().id}"


def webhook(receiver: Stand, *, to: tuple[str, ...] = (), token: str = "", **changed: Any) -> Webhook:
    settings = WebhookSettings(
        url=receiver.base + PATH, recipients=to, unsafe_allow_loopback=True, calls=LIMITS, **changed
    )
    environ = {"CUSTODES_WEBHOOK_POLICE_TEST_TOKEN": token} if token else {}
    made = connect(settings, around(environ=environ), "police")
    assert isinstance(made, Webhook)
    return made


def check(act: Callable[[WebhookReceiver], Awaitable[Any]], **receiver: Any) -> Any:
    async def main() -> Any:
        async with WebhookReceiver(**receiver) as server:
            return await act(server)

    return asyncio.run(main())


def delivered(fault: Fault, store: Store | None = None) -> Ended:
    """What a delivery comes to whose first request is misserved so."""

    async def act(server: WebhookReceiver) -> Ended:
        server.faults = {1: fault}
        return await webhook(server).deliver(incident(), KEY_1, store or Store())

    ended: Ended = check(act)
    return ended


# -- what is sent


@pytest.mark.parametrize("to", [(), (str(TO),)], ids=["open", "sealed"])
def test_a_signed_incident_is_received_under_its_key_and_the_receipt_is_kept_as_it_came(to: tuple[str, ...]) -> None:
    async def act(server: WebhookReceiver) -> None:
        store = Store()
        ended = await webhook(server, to=to, token=TOKEN).deliver(incident(1, 1, 2), KEY_1, store)
        assert ended == Delivered("R-1", ("post 201",))
        assert server.got == {KEY_1: [f"{1:032x}", f"{2:032x}"]}
        assert server.wrongs() == []
        (receipt,) = store.receipts
        assert (receipt.step, receipt.body, receipt.received) == ("post", b'{"receipt": "R-1", "more": 1}', NOW)

    check(act, token=TOKEN)


def test_what_is_sealed_shows_nothing_of_the_incident() -> None:
    async def act(server: WebhookReceiver) -> None:
        route = webhook(server, to=(str(TO),))
        for image in (1, 2):
            of = incident(image, *range(1, image + 1))
            await route.deliver(of, f"webhook-police/test/{of.id}", Store())
        sizes = set()
        for body in server.bodies:
            payload = verify(body, PAYLOAD_TYPE, KEYS).payload
            post = msgspec.json.decode(payload, type=Post)
            assert post.incident is None
            assert post.package is not None
            assert not any(word in payload for word in (b"images.example", b"csam", b"hotline", b"links.parquet"))
            sizes.add(len(unseal(post.package.sealed, SECRET)))
        assert len(sizes) == 1  # padded

    check(act)


def test_every_attempt_of_a_delivery_has_the_same_bytes() -> None:
    async def act(server: WebhookReceiver) -> None:
        route = webhook(server)
        for _ in range(2):
            await route.deliver(incident(), KEY_1, Store())
        assert server.bodies[0] == server.bodies[1]

    check(act)


def test_strings_that_try_to_be_more_than_text_arrive_as_they_are_and_are_shown_as_text() -> None:
    texts = [
        text for text in hostile_strings() if len(text) < 500 and not any("\ud800" <= char < "\ue000" for char in text)
    ]
    found = [finding(number, 1, url=text, row_key=text, dataset=text) for number, text in enumerate(texts)]
    (of,) = incidents(*found)

    async def act(server: WebhookReceiver) -> None:
        route = webhook(server)
        shown = route.preview(of, NOW)
        assert all(char == "\n" or " " <= char <= "~" for char in shown)
        await route.deliver(of, KEY_1, Store())
        payload = verify(server.bodies[0], PAYLOAD_TYPE, KEYS).payload
        assert shown.endswith(payload.decode())  # the very bytes
        post = msgspec.json.decode(payload, type=Post)
        assert post.incident == of
        assert server.wrongs() == []

    check(act)


def test_a_demonstration_is_refused_in_production_and_only_there() -> None:
    demo = incident_of_demo()
    for environment, refused in (("test", False), ("production", True)):
        settings = WebhookSettings(url="https://police.example/in", environment=environment)
        route = connect(settings, around(), "police")
        if refused:
            with pytest.raises(InputError, match="a demonstration is never handed over as real"):
                route.check(demo)
        else:
            route.check(demo)


def incident_of_demo() -> Incident:
    return msgspec.structs.replace(incident(), demo=True)


def test_a_key_that_fits_into_no_header_is_not_sent() -> None:
    async def act(server: WebhookReceiver) -> None:
        for key in ("", "a" * 257, 'a"b', "a\r\nX: y", "a b", "ä"):
            with pytest.raises(InputError, match="does not fit into a header"):
                await webhook(server).deliver(incident(), key, Store())
        assert server.requests == 0

    check(act)


# -- what an answer leads to

LATER = (408, 409, 425, 429, 500, 502, 503, 504, 599, 300, 302, 307)
ACCOUNT = (401, 403, 407)
DEAD = (400, 402, 404, 405, 410, 413, 415, 422, 451, 499)


@pytest.mark.parametrize("status", [*LATER, *ACCOUNT, *DEAD])
def test_every_status_that_is_no_receipt_leads_to_something(status: int) -> None:
    store = Store()
    headers = (("Retry-After", "60"), ("Location", "https://elsewhere.example/"))
    ended = delivered(Fault(status=status, body=b'{"receipt": "R-9"}', headers=headers), store)
    requests = (f"post {status}",)
    if status in DEAD:
        assert ended == Dead(f"status-{status}", status, requests)
    else:
        assert ended == Later(f"status-{status}", 60.0, account=status in ACCOUNT, requests=requests)
    assert store.receipts == []


NO_RECEIPTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>thanks</html>",
    "no object": b'["R-1"]',
    "no receipt": b'{"id": "R-1"}',
    "a number": b'{"receipt": 1}',
    "an empty one": b'{"receipt": ""}',
    "a sentence": b'{"receipt": "thank you"}',
    "a path": b'{"receipt": "../../x"}',
    "one that is too long": b'{"receipt": "%b"}' % (b"a" * 129),
    "two": b'{"receipt": "R-1", "receipt": "R-2"}',
}


@pytest.mark.parametrize("sort", NO_RECEIPTS)
def test_an_answer_without_a_receipt_that_can_be_recorded_is_none(sort: str) -> None:
    store = Store()
    ended = delivered(Fault(status=200, body=NO_RECEIPTS[sort]), store)
    assert ended == Later("no-receipt", requests=("post 200",))
    assert store.receipts == []


def test_the_longest_receipt_is_taken_and_any_success_counts() -> None:
    for status in (200, 201, 202, 299):
        ended = delivered(Fault(status=status, body=b'{"receipt": "%b"}' % (b"a" * 128)))
        assert ended == Delivered("a" * 128, (f"post {status}",))


def test_an_answer_that_never_ends_is_none() -> None:
    assert delivered(Fault(status=200, body=b" " * (1 << 16) + b'{"receipt": "R-1"}')) == Later("no-answer")


@pytest.mark.parametrize("how", DROPS)
def test_a_connection_that_ends_anywhere_is_tried_later_and_received_once(how: str) -> None:
    async def act(server: WebhookReceiver) -> None:
        route, store = webhook(server), Store()
        server.faults = {1: Fault(how), 2: Fault(how)}
        for _ in range(2):
            assert await route.deliver(incident(), KEY_1, store) == Later("no-answer")
        ended = await route.deliver(incident(), KEY_1, store)
        assert isinstance(ended, Delivered)
        assert ended.receipt == "R-1"
        assert (len(server.got), server.wrongs(), len(store.receipts)) == (1, [], 1)
        assert server.requests == 3  # none was repeated by the client itself

    check(act)


def test_a_receiver_that_is_not_there_is_tried_later() -> None:
    async def act(server: WebhookReceiver) -> Webhook:
        return webhook(server)

    route = check(act)
    assert asyncio.run(route.deliver(incident(), KEY_1, Store())) == Later("no-answer")


# -- planted faults: the receiver sees each of them


class Unsigned(Webhook):
    def _body(self, incident: Incident, key: str) -> bytes:
        envelope = json.loads(super()._body(incident, key))
        return json.dumps(envelope | {"signatures": []}).encode()


class Altered(Webhook):
    def _body(self, incident: Incident, key: str) -> bytes:
        envelope = json.loads(super()._body(incident, key))
        other = json.loads(super()._body(msgspec.structs.replace(incident, decision="hold"), key))
        return json.dumps(envelope | {"payload": other["payload"]}).encode()


class OtherKeyEachTime(Webhook):
    """The idempotency key changes between attempts."""

    async def deliver(self, incident: Incident, key: str, progress: Any) -> Ended:
        attempts = int(progress.load().get("attempts", "0"))
        progress.save({"attempts": str(attempts + 1)})
        return await super().deliver(incident, f"{key}/{attempts}", progress)


class KeyOutside(Webhook):
    """The key in the header is not the one that is signed."""

    def _body(self, incident: Incident, key: str) -> bytes:
        assert key
        return super()._body(incident, "another")


class Believing(Webhook):
    """Whatever is answered is taken for a receipt."""

    async def deliver(self, incident: Incident, key: str, progress: Any) -> Ended:
        ended = await super().deliver(incident, key, progress)
        return Delivered("R-0") if isinstance(ended, Later) else ended


def as_planted(sort: type[Webhook], route: Webhook) -> Webhook:
    return sort(**{each.name: getattr(route, each.name) for each in dataclasses.fields(route)})


async def troubled(server: WebhookReceiver, route: Webhook) -> list[str]:
    """One delivery whose first answer is lost, until it ends; and what was wrong then."""
    server.faults = {1: Fault("after"), 2: Fault("before")}
    store = Store()
    ended: Ended = Later("not-tried")
    for _ in range(5):
        if not isinstance(ended, Later):
            break
        ended = await route.deliver(incident(), KEY_1, store)
    lost = [] if isinstance(ended, Delivered) and ended.receipt == f"R-{len(server.got)}" else ["not received"]
    return [*server.wrongs(), *lost]


@pytest.mark.parametrize("sort", [Unsigned, Altered, OtherKeyEachTime, KeyOutside, Believing])
def test_a_planted_fault_is_seen(sort: type[Webhook]) -> None:
    assert check(lambda server: troubled(server, webhook(server))) == []
    assert check(lambda server: troubled(server, as_planted(sort, webhook(server))))


def test_a_receiver_takes_nothing_that_another_site_signed() -> None:
    async def act(server: WebhookReceiver) -> None:
        settings = WebhookSettings(url=server.url, unsafe_allow_loopback=True)
        route = connect(settings, around(sender=sender(key=signer(2, "other.example"))), "police")
        assert isinstance(await route.deliver(incident(), KEY_1, Store()), Later)
        assert server.got == {}

    check(act)


# -- with the desk


def test_from_the_outbox_it_goes_out_once_under_the_key_that_was_previewed(tmp_path: Path) -> None:
    clock = Clock(NOW)

    async def act(server: WebhookReceiver) -> None:
        route = webhook(server)
        outbox = Outbox(Folder(tmp_path / "outbox"), [TransportKey(bytes([7] * 32))], Pace(), Seams(clock, lambda: 1.0))
        receipts = Receipts(Folder(tmp_path / "receipts"), [TransportKey(bytes([7] * 32))])
        desk = Desk(route, Means(outbox, receipts, custody_in(tmp_path, clock), "operator", clock))
        first, more = incident(1, 1), incident(1, 1, 2)
        server.faults = {1: Fault("after")}
        desk.queue([first])
        for hours in (0, 2, 2):
            clock.passes(hours=hours)
            await desk.work()
        assert list(server.got) == [key_of(route, first.id)]
        assert f'Idempotency-Key: "{next(iter(server.got))}"' in route.preview(first, NOW)
        desk.queue([more])
        await desk.work()
        assert server.got == {key_of(route, first.id): [f"{1:032x}"], key_of(route, first.id, 1): [f"{2:032x}"]}
        assert server.wrongs() == []
        kept = receipts.of(first.id, route.name, "test")
        assert [each.step for each in kept] == ["post", "places", "post", "places"]

    check(act)


# -- settings, and what is not told

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "plain http": ({"url": "http://police.example/in"}, "must be https"),
    "another scheme": ({"url": "ftp://police.example/in"}, "must be https"),
    "no host": ({"url": "https:///in"}, "must be https"),
    "a user": ({"url": "https://a:b@police.example/in"}, "must be https"),
    "a query": ({"url": "https://police.example/in?x=1"}, "must be https"),
    "a fragment": ({"url": "https://police.example/in#x"}, "must be https"),
    "a stand-in as production": (
        {"url": "http://127.0.0.1/in", "unsafe_allow_loopback": True, "environment": "production"},
        "never production",
    ),
    "answers too long to be kept": (
        {"url": "https://police.example/in", "calls": CallLimits(body_bytes_max=(1 << 20) + 1)},
        "body_bytes_max",
    ),
    "no environment of ours": ({"url": "https://police.example/in", "environment": "staging"}, "Invalid enum value"),
}


@pytest.mark.parametrize("sort", WRONG)
def test_settings_that_cannot_be_meant_are_refused(sort: str) -> None:
    fields, said = WRONG[sort]
    with pytest.raises((ValueError, msgspec.ValidationError), match=said):
        msgspec.convert(msgspec.to_builtins(fields), WebhookSettings)


def test_credentials_are_of_the_environment_that_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "police.toml"
    file.write_text('environment = "test"\ntoken = "t"\n')
    file.chmod(0o600)
    settings = WebhookSettings(url="https://police.example/in", environment="production", credentials="police.toml")
    with pytest.raises(ConfigError, match="another environment than production"):
        connect(settings, around(tmp_path), "police")
    connect(msgspec.structs.replace(settings, environment="test"), around(tmp_path), "police")


def test_without_an_account_nothing_is_read_and_nothing_is_sent(tmp_path: Path) -> None:
    settings = WebhookSettings(url="https://police.example/in", credentials="absent.toml")
    route = connect(settings, around(tmp_path, account=False), "police")
    assert route.preview(incident(), NOW).startswith("POST https://police.example/in\n")
    with pytest.raises(InternalError, match="for previews alone"):
        asyncio.run(route.deliver(incident(), KEY_1, Store()))


def test_neither_token_nor_path_nor_link_is_told() -> None:
    async def act(server: WebhookReceiver) -> list[object]:
        route = webhook(server, token=TOKEN)
        server.faults = {1: Fault(status=500), 2: Fault("cut"), 3: Fault(status=404), 4: Fault(status=200)}
        told: list[object] = [await route.deliver(incident(), KEY_1, Store()) for _ in range(4)]
        return [
            *told,
            route,
            route.caller,
            around(environ={"X": TOKEN}),
            Post(key="k", environment="test", reporter=sender().reporter),
        ]

    for each in check(act, token=TOKEN):
        assert not any(secret in repr(each) for secret in (TOKEN, PATH, "images.example"))
