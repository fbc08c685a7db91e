"""The calls: each once, in their documented form, to the environment that was named; answers believed only where they can be."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import traceback
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.errors import AuthorityError, ConfigError
from custodes.handover.cybertipline.answers import Asked, NotAnsweredError, Reply, asked_by
from custodes.handover.cybertipline.client import BASES, BEHIND, CyberTipline, connect
from custodes.handover.cybertipline.gateway import submission_of
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.services.calls import Caller, CallLimits
from tests.authorities.service import Pauses
from tests.handover.cybertipline.making import NOW, SETTINGS, incident, withheld
from tests.handover.cybertipline.server import PASSWORD, USER, CyberTiplineServer, Fault

REPORT = submission_of(incident(), SETTINGS, NOW).report


def client_of(server: CyberTiplineServer, password: str = PASSWORD) -> CyberTipline:
    limits = CallLimits(timeout_s=20, body_bytes_max=1 << 16)
    caller = Caller(server.base, "CyberTipline test", basic=(USER, password), limits=limits, unsafe_allow_loopback=True)
    return CyberTipline(caller, "test", calls_per_minute=1_000_000, clock=lambda: server.now, sleep=Pauses())


def run(check: Callable[[CyberTiplineServer, CyberTipline], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with CyberTiplineServer() as server:
            client = client_of(server)
            try:
                return await check(server, client)
            finally:
                await client.close()

    return asyncio.run(main())


def faulty(fault: Fault, call: Callable[[CyberTipline], Awaitable[Reply]]) -> Reply:
    """The reply to a call whose answer is this."""

    async def check(server: CyberTiplineServer, client: CyberTipline) -> Reply:
        server.faults = {1: fault}
        return await call(client)

    return run(check)


# What is sent, and what comes back


def test_a_report_with_a_file_goes_through_every_call() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        submission = submission_of(withheld(), SETTINGS, await client.now())
        assert (await client.status()).description == f"Remote User : {USER}, Remote Ip : 127.0.0.1"
        opened = await client.submit(submission.report)
        (file,) = submission.files
        added = await client.upload(opened.report_id, file.content)
        assert (added.md5, len(added.file_id)) == (file.md5, 32)
        assert (await client.file_info(opened.report_id, file.details(opened.report_id, added.file_id))).code == 0
        done = await client.finish(opened.report_id)
        assert (done.asked, done.files, done.environment) == (Asked.NOTHING, (added.file_id,), "test")
        assert [reply.request_id for reply in (opened, done)] == ["r-3", "r-6"]
        assert done.body.startswith(b"<reportDoneResponse>")
        assert (await client.retract(opened.report_id)).code == 5102
        assert server.complaints == []
        assert (await client.submit(submission.report)).report_id != opened.report_id

    run(check)


def test_any_bytes_are_received_as_they_were_sent() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        opened = await client.submit(REPORT)
        for content in (b"\r\n--", b"--\r\n\r\n", bytes(range(256)) * 100, secrets.token_bytes(1 << 20), b"\r\n"):
            added = await client.upload(opened.report_id, content)
            assert added.md5 == hashlib.md5(content).hexdigest()

    run(check)


CODES = {
    0: Asked.NOTHING, 1000: Asked.AGAIN, 1100: Asked.AGAIN, 1110: Asked.AGAIN, 1111: Asked.AGAIN, 1300: Asked.AGAIN, 1210: Asked.PERSON,
    2000: Asked.ACCOUNT, 3000: Asked.ACCOUNT, 3100: Asked.ACCOUNT, 3300: Asked.ACCOUNT, 4000: Asked.PERSON, 4100: Asked.PERSON,
    4110: Asked.PERSON, 4200: Asked.PERSON, 5001: Asked.AFRESH, 5002: Asked.AFRESH, 5101: Asked.AFRESH, 5102: Asked.FILED, 9999: Asked.PERSON,
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
def test_every_documented_code_asks_for_something(code: int) -> None:
    assert asked_by(code) is CODES[code]
    if code:
        for status in (200, 400, 500):
            reply = faulty(Fault(code=code, status=status), lambda client: client.submit(REPORT))
            assert (reply.code, reply.asked) == (code, CODES[code])


def body(text: str) -> Fault:
    return Fault(body=text.encode(), status=200)


NO_ANSWERS: dict[str, Fault] = {
    "the connection ends before the request is read": Fault(unread=True),
    "the connection ends after it is read": Fault(),
    "the connection ends after it is acted on": Fault(acted=True),
    "the answer is cut": Fault(acted=True, sent_bytes=30),
    "the service is busy": Fault(status=503, body=b"<html>busy</html>", headers=(("Retry-After", "77"),)),
    "no XML": body("busy"),
    "empty": body(""),
    "another document": body("<reportStatus><responseCode>0</responseCode></reportStatus>"),
    "no code": body("<reportResponse/>"),
    "two codes": body(
        "<reportResponse><responseCode>0</responseCode><responseCode>1000</responseCode></reportResponse>"
    ),
    "a code that is none": body("<reportResponse><responseCode>-1</responseCode></reportResponse>"),
    "success with a status of failure": Fault(
        status=500, body=b"<reportResponse><responseCode>0</responseCode><reportId>1</reportId></reportResponse>"
    ),
    "success without the id of a report": body("<reportResponse><responseCode>0</responseCode></reportResponse>"),
    "the id of a report is none": body(
        "<reportResponse><responseCode>0</responseCode><reportId>x</reportId></reportResponse>"
    ),
    "a document type": body(
        '<!DOCTYPE r [<!ENTITY a "0">]><reportResponse><responseCode>&a;</responseCode></reportResponse>'
    ),
    "a redirect": Fault(status=302, headers=(("Location", "http://127.0.0.1:1/"),), body=b"x"),
    "longer than the bound": Fault(status=200, body=b"<reportResponse>" + b" " * (1 << 16) + b"</reportResponse>"),
    "nested without end": body("<reportResponse>" + "<a>" * 1000 + "</a>" * 1000 + "</reportResponse>"),
}


@pytest.mark.parametrize("sort", NO_ANSWERS)
def test_an_answer_that_cannot_be_relied_on_is_none(sort: str) -> None:
    with pytest.raises(NotAnsweredError) as caught:
        faulty(NO_ANSWERS[sort], lambda client: client.submit(REPORT))
    assert caught.value.after_s == (77 if "busy" in sort else 0)


def test_an_answer_about_another_report_is_none() -> None:
    other = body("<reportResponse><responseCode>0</responseCode><reportId>2</reportId></reportResponse>")
    calls: list[Callable[[CyberTipline], Awaitable[Reply]]] = [
        lambda client: client.finish("1"),
        lambda client: client.retract("1"),
        lambda client: client.upload("1", b"x"),
        lambda client: client.file_info("1", b"x"),
    ]
    for call in calls:
        with pytest.raises(NotAnsweredError, match="another report"):
            faulty(other, call)


def test_an_upload_without_the_id_of_a_file_has_no_answer() -> None:
    with pytest.raises(NotAnsweredError, match="no id of a file"):
        faulty(
            body("<reportResponse><responseCode>0</responseCode><reportId>1</reportId></reportResponse>"),
            lambda client: client.upload("1", b"x"),
        )


@pytest.mark.parametrize(("status", "code"), [(401, 2000), (403, 3000)])
def test_a_refused_account_is_known_by_its_status_where_nothing_else_is_said(status: int, code: int) -> None:
    reply = faulty(Fault(status=status, body=b"<html>"), lambda client: client.submit(REPORT))
    assert (reply.code, reply.asked) == (code, Asked.ACCOUNT)


def test_a_wrong_password_is_an_account_that_may_not() -> None:
    async def check(server: CyberTiplineServer, _: CyberTipline) -> None:
        client = client_of(server, "wrong")
        assert (await client.status()).asked is Asked.ACCOUNT
        await client.close()

    run(check)


def test_errors_and_reprs_hold_nothing_of_what_was_sent_answered_or_known() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        secret = "https://images.example/1.jpg"
        server.faults = {n: Fault(status=500, body=secret.encode()) for n in range(1, 3)}
        for call in (client.submit(REPORT), client.upload("1234567", secret.encode())):
            with pytest.raises(NotAnsweredError) as caught:
                await call
            told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client)
            assert not any(word in told for word in (secret, PASSWORD, USER, "1234567"))
        reply = await client.submit(REPORT)
        assert repr(reply) == "<Reply test submit 0>"

    run(check)


# Time and pace


def test_times_stay_behind_the_earlier_of_both_clocks() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        for skew, behind in ((0, 0), (-300, 300), (-3600, 3600), (300, 0), (86_400, 0)):
            server.skew = timedelta(seconds=skew)
            await client.status()
            assert await client.now() == server.now - timedelta(seconds=behind) - BEHIND
        server.skew = timedelta(seconds=-3601)
        await client.status()
        with pytest.raises(AuthorityError, match="more than an hour ahead"):
            await client.now()

    run(check)


def test_their_clock_is_asked_for_once_and_done_without_where_it_is_not_told() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        server.date = False
        assert await client.now() == server.now - BEHIND
        await client.now()
        assert server.calls == ["status"]

    run(check)


def test_calls_are_made_at_their_pace() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        client.calls_per_minute = 6
        pauses = client.sleep
        assert isinstance(pauses, Pauses)
        await asyncio.gather(*(client.status() for _ in range(4)))
        assert [round(asked / 10) for asked in pauses.asked] == [1, 2, 3]

    run(check)


# Environments and credentials


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_each_environment_has_its_address_and_its_credentials(tmp_path: Path) -> None:
    assert BASES == {"test": "https://exttest.cybertip.org/ispws", "production": "https://report.cybertip.org/ispws"}
    environ = {
        f"CUSTODES_CYBERTIPLINE_{name}_{of}": f"{name}-{of}"
        for name in ("TEST", "PRODUCTION")
        for of in ("USERNAME", "PASSWORD")
    }
    for name in ("test", "production"):
        settings = msgspec.convert({"environment": name}, CyberTiplineSettings)
        client = connect(settings, tmp_path, environ)
        assert (client.environment, client.caller.base) == (name, BASES[client.environment])
        assert client.caller.basic == (f"{name.upper()}-USERNAME", f"{name.upper()}-PASSWORD")
        assert name in client.caller.service
    with pytest.raises(ConfigError, match="CUSTODES_CYBERTIPLINE_PRODUCTION_USERNAME"):
        connect(
            CyberTiplineSettings(environment="production"), tmp_path, {k: v for k, v in environ.items() if "TEST" in k}
        )


def test_a_file_of_credentials_says_which_environment_they_are_for(tmp_path: Path) -> None:
    write(tmp_path / "ct.toml", 'environment = "test"\nusername = "a"\npassword = "b"\n')
    settings = CyberTiplineSettings(credentials="ct.toml")
    assert connect(settings, tmp_path, {}).caller.basic == ("a", "b")
    with pytest.raises(ConfigError, match="of another environment than production"):
        connect(msgspec.structs.replace(settings, environment="production"), tmp_path, {})


def test_a_stand_in_is_on_this_machine(tmp_path: Path) -> None:
    environ = {"CUSTODES_CYBERTIPLINE_TEST_USERNAME": "a", "CUSTODES_CYBERTIPLINE_TEST_PASSWORD": "b"}
    there = CyberTiplineSettings(url="http://127.0.0.1:1", unsafe_allow_loopback=True)
    assert connect(there, tmp_path, environ).caller.base == "http://127.0.0.1:1"
    with pytest.raises(ConfigError):
        connect(msgspec.structs.replace(there, url="http://stand-in.example"), tmp_path, environ)
