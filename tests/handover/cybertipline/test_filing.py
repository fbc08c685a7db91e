"""Filing: once, whatever breaks; nothing forgotten, nothing left open; and every part of that planted away is seen by the same check."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from custodes.errors import AuthorityError, InputError, InternalError
from custodes.handover.cybertipline import answers
from custodes.handover.cybertipline.answers import Asked, Reply
from custodes.handover.cybertipline.client import CyberTipline
from custodes.handover.cybertipline.filing import Dead, Filed, Filing, Later
from custodes.handover.cybertipline.gateway import File, submission_of
from custodes.handover.outbox import PROGRESS_CHARS_MAX, PROGRESS_MAX
from custodes.handover.words import check_word
from tests.handover.cybertipline.histories import ENDS, ERRS, Case, Store, go_on, history, wrongs
from tests.handover.cybertipline.making import SETTINGS, incident, withheld
from tests.handover.cybertipline.server import OPEN, RETRACTED, CyberTiplineServer, Fault
from tests.handover.cybertipline.test_client import client_of, run


def filing(client: CyberTipline, case: Case) -> Filing:
    return Filing(client, case.store, lambda now: submission_of(case.of, SETTINGS, now))


def reported(number: int = 1) -> Case:
    return Case(incident(number), Store())


def with_file(number: int = 1) -> Case:
    return Case(withheld(number), Store())


# The way without trouble


def test_a_report_is_submitted_given_its_file_and_finished() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = with_file()
        ended = await filing(client, case).run()
        assert server.calls == ["status", "submit", "upload", "fileinfo", "finish"]
        assert isinstance(ended, Filed)
        assert (ended.environment, ended.files_agree) == ("test", True)
        assert ended.requests == ("submit 0 r-2", "upload 0 r-3", "fileinfo 0 r-4", "finish 0 r-5")
        case.ended = ended
        assert list(wrongs(server, [case])) == []

    run(check)


def test_receipts_are_kept_as_they_came() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        answer = b"<reportResponse >\n <responseCode>0</responseCode><reportId>77</reportId>\r\n</reportResponse >"
        server.faults = {2: Fault(body=answer, status=201)}
        assert (await filing(client, case).run()) == Later(
            "test", "report-expired", ("submit 0 r-2", "finish 5001 r-3")
        )
        (receipt,) = case.store.receipts
        assert (receipt.step, receipt.request_id, receipt.body, receipt.received) == (
            "submit",
            "r-2",
            answer,
            server.now,
        )

    run(check)


def test_what_is_filed_is_not_asked_about_again() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        first = await filing(client, case).run()
        calls = len(server.calls)
        assert await filing(client, case).run() == first
        assert len(server.calls) == calls

    run(check)


def test_progress_fits_into_an_item_of_the_outbox() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        for _ in range(60):
            server.faults = {len(server.calls) + 2: Fault(code=1000), len(server.calls) + 3: Fault(code=1000)}
            assert isinstance(await filing(client, case).run(), Later)
        progress = case.store.progress
        assert len(progress) <= PROGRESS_MAX
        assert all(len(value) <= PROGRESS_CHARS_MAX for value in progress.values())
        for name in progress:
            check_word(name)
        assert sum(name.startswith("request-") for name in progress) == 100
        assert "images.example" not in str(progress)

    run(check)


# What an answer leads to

LATER: dict[str, tuple[Fault, Later]] = {
    "the service errs": (Fault(code=1000), Later("test", "service-error", ("submit 1000 r-2",))),
    "the service is busy": (
        Fault(status=503, body=b"busy", headers=(("Retry-After", "60"),)),
        Later("test", "no-answer", after_s=60),
    ),
    "the account is refused": (Fault(code=3000), Later("test", "account-refused", ("submit 3000 r-2",), account=True)),
    "nothing is answered": (Fault(acted=True), Later("test", "no-answer")),
}


@pytest.mark.parametrize("sort", LATER)
def test_trouble_that_passes_is_tried_later_and_filed_then(sort: str) -> None:
    fault, expected = LATER[sort]

    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        server.faults = {2: fault}
        assert await filing(client, case).run() == expected
        assert isinstance(await filing(client, case).run(), Filed)
        assert len(server.finished(case.of.id)) == 1

    run(check)


@pytest.mark.parametrize("code", [1210, 4000, 4100, 4110, 4200, 8888])
def test_what_will_never_be_taken_is_for_a_person_and_nothing_is_left_open(code: int) -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        for call, case in ((2, reported()), (3, with_file()), (4, with_file(2)), (5, with_file(3))):
            server.calls.clear()
            server.faults = {call: Fault(code=code)}
            client._ahead = None
            ended = await filing(client, case).run()
            assert isinstance(ended, Dead)
            assert (ended.code, ended.request_id, ended.report_id) == (code, f"r-{call}", "")
            assert server.finished(case.of.id) == []
        assert [report.state for report in server.reports.values()] == [RETRACTED] * 3

    run(check)


def test_a_dead_letter_that_is_revived_begins_anew() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = with_file()
        server.faults = {5: Fault(code=4100)}
        assert isinstance(await filing(client, case).run(), Dead)
        case.ended = await filing(client, case).run()
        assert list(wrongs(server, [case])) == []

    run(check)


def test_a_report_whose_fate_is_not_told_is_for_a_person_and_is_not_filed_again() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        server.faults = {3: Fault(acted=True), 4: Fault(code=1210), 5: Fault(code=5002)}
        assert isinstance(await filing(client, case).run(), Later)
        for code in (1210, 5002):
            ended = await filing(client, case).run()
            assert isinstance(ended, Dead)
            assert (ended.code, ended.report_id) == (code, server.finished(case.of.id)[0].id)
        case.ended = await filing(client, case).run()
        assert list(wrongs(server, [case])) == []

    run(check)


def test_a_report_that_expired_while_nobody_looked_is_begun_again() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        server.faults = {3: Fault()}
        assert isinstance(await filing(client, case).run(), Later)
        server.now += timedelta(hours=24)
        case.ended = await filing(client, case).run()
        assert server.calls == ["status", "submit", "finish", "retract", "submit", "finish"]
        assert list(wrongs(server, [case])) == []

    run(check)


def test_a_file_that_arrived_damaged_is_never_finished() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = with_file()
        server.faults = {3: Fault(damaged=True)}
        assert isinstance(await filing(client, case).run(), Later)
        assert "finish" not in server.calls
        case.ended = await filing(client, case).run()
        assert list(wrongs(server, [case])) == []

    run(check)


def test_files_that_ncmec_does_not_name_are_told() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        first = f"{7_000_000_001}"
        told = f"<reportDoneResponse><responseCode>0</responseCode><reportId>{first}</reportId><files/></reportDoneResponse>"
        server.faults = {5: Fault(body=told.encode(), acted=True)}
        ended = await filing(client, with_file()).run()
        assert isinstance(ended, Filed)
        assert not ended.files_agree

    run(check)


def test_a_filing_goes_on_only_where_it_was_begun() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = reported()
        server.faults = {3: Fault(acted=True)}
        await filing(client, case).run()
        calls = len(server.calls)
        client.environment = "production"
        with pytest.raises(InputError, match="begun in the environment test, not production"):
            await filing(client, case).run()
        assert len(server.calls) == calls

    run(check)


def test_what_cannot_be_read_back_is_not_guessed() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        for progress in (
            {"phase": "open"},
            {"phase": "closed", "environment": "test"},
            {"x": "y", "environment": "test"},
        ):
            with pytest.raises(InternalError, match="cannot be read back"):
                await filing(client, Case(incident(), Store(progress=progress))).run()
        assert server.calls == []

    run(check)


def test_what_cannot_be_reported_opens_nothing() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        with pytest.raises(InputError, match="what is held is not reported"):
            await filing(client, Case(incident(decision="hold"), Store())).run()
        server.skew = timedelta(hours=-2)
        client._ahead = None
        with pytest.raises(AuthorityError, match="more than an hour ahead"):
            await filing(client, reported()).run()
        assert server.calls == ["status", "status"]

    run(check)


# Every point at which it can break


@pytest.mark.parametrize("fault", [*ENDS, *ERRS], ids=range(len(ENDS + ERRS)))
@pytest.mark.parametrize("then", [timedelta(minutes=5), timedelta(hours=25)], ids=["soon", "after it expired"])
def test_any_request_may_fail_in_any_way(fault: Fault, then: timedelta) -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        for request in range(1, 8):
            server.reports.clear()
            server.calls.clear()
            client._ahead = None
            case = with_file()
            server.faults = {request: fault, request + 1: fault}
            for _ in range(5):
                await go_on(client, case)
                server.now += then
            assert list(wrongs(server, [case])) == []

    run(check)


@pytest.mark.parametrize("how", ["before", "after"])
def test_the_process_may_end_at_any_save(how: str) -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        for step in range(1, 7):
            server.reports.clear()
            case = with_file(step)
            case.store.crashes = {step: how}
            await go_on(client, case)
            assert case.ended is None
            await go_on(client, case)
            assert list(wrongs(server, [case])) == []

    run(check)


def lived(seeds: range, make: Callable[[], Store] = Store, until: tuple[str, ...] = ()) -> list[str]:
    """What was wrong in these histories, or in those up to the first in which something of a sort was."""

    async def main() -> list[str]:
        found: list[str] = []
        async with CyberTiplineServer() as server:
            client = client_of(server)
            for seed in seeds:
                server.complaints.clear()
                found += [f"{seed}: {wrong}" for wrong in await history(server, client, random.Random(seed), make)]
                if any(word in wrong for wrong in found for word in until):
                    break
            await client.close()
        return found

    return asyncio.run(main())


def test_random_histories_lose_nothing_file_nothing_twice_and_leave_nothing_open() -> None:
    assert lived(range(40)) == []


@pytest.mark.soak
def test_500_random_histories_lose_nothing_file_nothing_twice_and_leave_nothing_open() -> None:
    assert lived(range(1000, 1500)) == []


# Planted: the same histories, with a part of it gone


class LateStore(Store):
    """Saves a state when the next one comes: after the call that it was to come before."""

    late: dict[str, str] | None = None

    def save(self, progress: dict[str, str]) -> None:
        if self.late is not None:
            super().save(self.late)
        self.late = progress
        self.known.add(progress["report_id"])

    def load(self) -> dict[str, str]:
        self.late = None
        return super().load()


async def forgets(self: Filing) -> None:
    """Instead of asking what became of it."""
    self._save(phase="new", report_id="")


async def trusts(self: Filing) -> Any:
    """Finishes what it finds, whatever is in it."""
    reply = await self._service.finish(self._state.report_id)
    if reply.asked in (Asked.NOTHING, Asked.FILED):
        return self._finished(reply, [])
    self._save(phase="new", report_id="")
    return None


async def does_not_compare(self: Filing, file: File) -> str:
    reply = self._done(await self._service.upload(self._state.report_id, file.content))
    self._done(await self._service.file_info(self._state.report_id, file.details(self._state.report_id, reply.file_id)))
    return reply.file_id


async def leaves_open(self: Filing, reply: Reply) -> Dead:
    return self._dead(reply.code, reply.request_id)


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], object], type[Store], tuple[str, ...]]] = {
    "state is saved after the call": (
        lambda _: None,
        LateStore,
        (
            "filed twice",
            "left open",
        ),
    ),
    "nobody asks what became of an open report": (
        lambda p: p.setattr(Filing, "_settle", forgets),
        Store,
        ("filed twice",),
    ),
    "an open report is finished as it is found": (
        lambda p: p.setattr(Filing, "_settle", trusts),
        Store,
        ("without its file",),
    ),
    "5102 is an error": (lambda p: p.setitem(answers._CODES, 5102, Asked.PERSON), Store, ("lost",)),
    "5001 is an error": (
        lambda p: p.setattr("custodes.handover.cybertipline.filing._GONE", {0, 5101}),
        Store,
        ("without a cause",),
    ),
    "a service error is taken for success": (lambda p: p.setitem(answers._CODES, 1000, Asked.FILED), Store, ("lost",)),
    "what arrived is not compared": (lambda p: p.setattr(Filing, "_send", does_not_compare), Store, ("with another",)),
    "what is given up is left open": (lambda p: p.setattr(Filing, "_give_up", leaves_open), Store, ("left open",)),
    "receipts are not kept": (lambda p: p.setattr(Filing, "_keep", lambda *_: None), Store, ("without its receipt",)),
}


@pytest.mark.parametrize("sort", PLANTED)
def test_planted_the_same_histories_see_it(sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, store, told = PLANTED[sort]
    plant(monkeypatch)
    found = lived(range(200), store, told)
    assert [wrong for wrong in found if any(word in wrong for word in told)]


def test_the_stand_in_forgets_what_was_not_finished_in_time() -> None:
    async def check(server: CyberTiplineServer, client: CyberTipline) -> None:
        case = with_file()
        server.faults = {5: Fault()}
        await filing(client, case).run()
        for hours, state in ((23.9, OPEN), (24.1, "expired")):
            (report,) = server.reports.values()
            server.now = report.opened + timedelta(hours=hours)
            server.expire()
            assert report.state == state

    run(check)
