"""What a gateway withholds reaches the authority by the route that is configured, once, whatever breaks; and nobody on the way can look at it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from custodes.attest.gateway import sealed_told
from custodes.cli import open as cli_open
from custodes.cli.gateway.serving import hand_over
from custodes.cli.main import cli
from custodes.config import load_site
from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import create_keys, load_signing_key
from custodes.errors import ConfigError, InputError, StorageError
from custodes.gateway.evidence import read_withheld, withheld_files
from custodes.gateway.people.metrics import Metrics
from custodes.handover.clocks import due, kept, purge
from custodes.handover.custody import Act, Custody
from custodes.handover.cybertipline.gateway import FILE_BYTES_MAX
from custodes.handover.desk import Desk
from custodes.handover.outbox import Outbox, Seams
from custodes.handover.parcel import SEALED_SUFFIX, Parcel, handed_in, payload_of
from custodes.handover.place import Folder
from custodes.handover.routes import enclosed
from custodes.handover.routes.enclosed import WITHHELD_TYPE
from custodes.office import Office, route_of, withheld_folder
from custodes.withheld import Handing, Taking, counted, noting, unqueued, waiting
from tests.gateway.cli.making import run
from tests.handover.cybertipline.server import FINISHED, PASSWORD, USER, CyberTiplineServer, Fault
from tests.handover.making import match, signer
from tests.handover.test_handover_cli import served
from tests.handover.withholding import HOLD, WITHHOLD, House, content_of, house

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[CyberTiplineServer]:
    with served() as running:
        yield running


@pytest.fixture
def reporting(tmp_path: Path, server: CyberTiplineServer, monkeypatch: pytest.MonkeyPatch) -> House:
    """A site that reports to NCMEC's stand-in."""
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_USERNAME", USER)
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_PASSWORD", PASSWORD)
    server.faults, server.reports, server.calls, server.complaints = {}, {}, [], []
    server.now = datetime.now(UTC)
    stand_in = f'url = "{server.base}"\nunsafe_allow_loopback = true'
    return house(tmp_path, "cybertipline", stand_in)


@pytest.fixture
def hotline(tmp_path: Path) -> House:
    return house(tmp_path)


def ran(of: House, *arguments: str | Path, exit_code: int = 0) -> str:
    config = ("--config", str(of.site.path))
    result = CliRunner().invoke(
        cli, ["handover", *map(str, arguments), *config], catch_exceptions=False, standalone_mode=False
    )
    assert result.return_value == exit_code, (result.return_value, result.output)
    return result.output


def said(of: House, *arguments: str | Path, exit_code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran(of, *arguments, "--json", exit_code=exit_code).splitlines()[-1])
    return found


def identity(of: House) -> str:
    return (of.site.home / "demo-authority.key").read_text()


def outgoing(of: House) -> list[Path]:
    folder = of.site.home / "outgoing"
    return sorted(folder.iterdir()) if folder.exists() else []


# -- what is noted

CSAM, NCII, NEAR = match(1), match(1, meaning="ncii"), match(1, meaning="suspected")
CASES = {
    "a confirmed one is reported": ("us", "cybertipline", WITHHOLD, (CSAM,), True),
    "what is held is not reported": ("us", "cybertipline", HOLD, (CSAM,), False),
    "what a detector says is no report": ("us", "cybertipline", WITHHOLD, (), False),
    "a suspected one is no report": ("us", "cybertipline", WITHHOLD, (NEAR,), False),
    "an intimate image of an adult goes to no such authority": ("us", "hotline.north", WITHHOLD, (NCII,), False),
    "a suspected one goes in a package": ("us", "hotline.north", WITHHOLD, (NEAR,), True),
    "what a detector says goes in a package": ("uk", "hotline.north", HOLD, (), True),
    "without a jurisdiction a package of all": ("", "hotline.north", HOLD, (NCII,), True),
    "without a jurisdiction a report of what is to be reported": ("", "cybertipline", WITHHOLD, (CSAM,), True),
    "without a jurisdiction no report of what is held": ("", "cybertipline", HOLD, (CSAM,), False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_handed_over_is_what_the_jurisdiction_asks_for(tmp_path: Path, case: str) -> None:
    jurisdiction, route, verdict, matches, expected = CASES[case]
    of = house(tmp_path, route)
    path = of.site.path
    path.write_text(path.read_text().replace('jurisdiction = "us"', f'jurisdiction = "{jurisdiction}"'))
    of = House(load_site(str(path)))
    of.withholds(1, verdict, matches=matches)
    assert (unqueued(of.site), len(withheld_files(withheld_folder(of.site)))) == (int(expected), 1)


def test_without_hand_over_an_image_is_sealed_and_nothing_is_noted(hotline: House) -> None:
    path = hotline.site.path
    path.write_text(path.read_text().replace("hand_over = true", "hand_over = false"))
    of = House(load_site(str(path)))
    of.withholds(1)
    assert unqueued(of.site) == 0
    assert not (of.site.home / "state" / "gateway" / "slips").exists()
    assert noting(of.site, lambda: None) is None


REFUSED_AT_START = {
    "a route that is not configured": ('route = "hotline.north"', 'route = "hotline.south"'),
    "no route and none that the jurisdiction names alone": ('route = "hotline.north"\n', ""),
    "a report that names nobody": ('route = "hotline.north"', 'route = "cybertipline"'),
}


@pytest.mark.parametrize("case", REFUSED_AT_START)
def test_a_gateway_that_could_not_hand_over_does_not_start(hotline: House, case: str) -> None:
    path = hotline.site.path
    text = path.read_text().replace(*REFUSED_AT_START[case]).replace('email = "safety@lab.example"', "")
    path.write_text(text.replace('jurisdiction = "us"', "") if "alone" in case else text)
    with pytest.raises(ConfigError):
        noting(load_site(str(path)), lambda: None)


# -- to NCMEC


def test_a_report_with_its_file_is_filed_and_the_file_is_forgotten(
    reporting: House, server: CyberTiplineServer
) -> None:
    name = reporting.withholds(1)
    assert reporting.plain(1) == []
    told = said(reporting, "send", "--route", "cybertipline")
    assert (told["new"], told["delivered"], told["waiting"], told["refused"]) == (1, 1, 0, {})
    (report,) = server.finished(name)
    (content,) = report.files.values()
    (details,) = report.details.values()
    assert content == content_of(1)
    assert b"<generativeAi>true</generativeAi>" in details
    assert b"<fileViewedByEsp>false</fileViewedByEsp>" in details
    assert server.complaints == []
    assert reporting.acts(name) == ["sealed", "queued", "sent", "received"]
    assert (unqueued(reporting.site), reporting.plain(1)) == (0, [])
    items = list((reporting.site.home / "handover" / "outbox").glob("*.item"))
    assert items == []


def test_a_request_that_is_sent_again_is_one_incident_before_and_after(
    reporting: House, server: CyberTiplineServer
) -> None:
    name = reporting.withholds(1)
    assert reporting.withholds(1) == name
    said(reporting, "send", "--route", "cybertipline")
    reporting.withholds(1)
    told = said(reporting, "send", "--route", "cybertipline")
    assert (told["new"], told["delivered_before"], told["delivered"]) == (0, 1, 0)
    assert len(server.finished(name)) == 1
    assert (len(withheld_files(withheld_folder(reporting.site))), unqueued(reporting.site)) == (1, 0)
    assert reporting.acts(name).count("sealed") == 1


def test_after_midnight_a_request_that_is_sent_again_is_the_same_file(tmp_path: Path) -> None:
    of = house(tmp_path)
    late = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    replace(of, clock=lambda: late).withholds(1)
    replace(of, clock=lambda: late + timedelta(seconds=2)).withholds(1)
    (path,) = withheld_files(withheld_folder(of.site))
    assert (path.parent.name, unqueued(of.site)) == ("2026-11-22", 1)


def test_an_image_that_is_too_large_to_upload_is_reported_without_it(
    reporting: House, server: CyberTiplineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, most in ((1, len(content_of(1))), (2, len(content_of(2)) - 1)):
        monkeypatch.setattr("custodes.withheld.FILE_BYTES_MAX", most)
        reporting.withholds(number)
    assert FILE_BYTES_MAX == 15 << 20
    said(reporting, "send", "--route", "cybertipline")
    reports = [report for report in server.reports.values() if report.state == FINISHED]
    assert sorted(len(report.files) for report in reports) == [0, 1]
    (without,) = (report for report in reports if not report.files)
    assert b"It is not attached." in without.document


def test_a_dry_run_shows_the_report_and_never_the_image(reporting: House, server: CyberTiplineServer) -> None:
    reporting.withholds(1)
    shown = ran(reporting, "send", "--route", "cybertipline", "--dry-run", exit_code=1)
    assert "<report " in shown
    assert "<generativeAi>true</generativeAi>" in shown
    assert f"{len(content_of(1))} bytes" in shown
    assert "stand-in for picture" not in shown
    assert base64.b64encode(content_of(1)[:30]).decode() not in shown
    assert (server.calls, unqueued(reporting.site)) == ([], 1)


# -- to those who open it themselves


def test_a_hotline_gets_the_file_as_it_was_sealed_with_a_signed_envelope(hotline: House) -> None:
    name = hotline.withholds(1)
    (sealed,) = withheld_files(withheld_folder(hotline.site))
    assert said(hotline, "send", "--route", "hotline.north")["delivered"] == 1
    stem = f"hotline-north-test-{name}"
    assert [path.name for path in outgoing(hotline)] == [
        f"{stem}.txt",
        f"{stem}.withheld.age",
        f"{stem}.withheld.dsse.json",
    ]
    sheet, age, envelope = outgoing(hotline)
    assert age.read_bytes() == sealed.read_bytes()
    header, told = read_withheld(age.read_bytes(), identity(hotline))
    assert told.file is not None
    assert (told.file.content, told.id, header.stage) == (content_of(1), name, "output")
    outside = json.loads(verify(envelope.read_bytes(), WITHHELD_TYPE, [hotline.site.signing_key().verifier]).payload)
    digest = hashlib.sha256(age.read_bytes()).hexdigest()
    assert (outside["id"], outside["environment"], outside["sha256"]) == (name, "test", digest)
    assert outside["size_bytes"] == len(age.read_bytes())
    text = sheet.read_text()
    assert "AN IMAGE that an automatic check withheld" in text
    assert "no image is enclosed" not in text
    assert hashlib.sha256(content_of(1)).hexdigest() not in text
    assert hotline.acts(name) == ["sealed", "queued", "sent", "received"]
    assert hotline.plain(1) == []


def delivered_to(of: House) -> tuple[Path, Path]:
    """A withheld image as a hotline has it: the sealed file and its envelope."""
    of.withholds(1)
    assert said(of, "send", "--route", "hotline.north")["delivered"] == 1
    _, sealed, envelope = outgoing(of)
    return sealed, envelope


def opened(of: House, sealed: Path, *words: str | Path, by: Path) -> tuple[int, str]:
    """What an authority sees that takes files of this house alone."""
    held = by / "authority.key"
    held.write_text(identity(of))
    reporter = str(of.site.signing_key().verifier)
    return run("open", sealed, "--identity", held, "--reporter", reporter, *words)


def test_who_opens_it_is_told_who_sent_it(hotline: House, tmp_path: Path) -> None:
    sealed, _ = delivered_to(hotline)
    key = hotline.site.signing_key().verifier
    code, told = opened(hotline, sealed, by=tmp_path)
    assert code == 1
    assert f"signed with key {key.name}, id {key.key_id.hex()}: a TEST" in told
    sent = json.loads(opened(hotline, sealed, "--json", by=tmp_path)[1])["sent"]
    assert (sent["key"], sent["environment"]) == (str(key), "test")


def test_where_no_sender_is_named_none_is_told(hotline: House, tmp_path: Path) -> None:
    sealed, _ = delivered_to(hotline)
    (tmp_path / "authority.key").write_text(identity(hotline))
    code, told = run("open", sealed, "--identity", tmp_path / "authority.key")
    assert code == 1
    assert "not checked: give the key" in told


def by_a_stranger(envelope: bytes) -> bytes:
    payload = base64.b64decode(json.loads(envelope)["payload"])
    return sign(WITHHELD_TYPE, payload, signer(9, "stranger"))


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "without its envelope": (lambda _, envelope: envelope.unlink(), "cannot be read"),
    "an empty envelope": (lambda _, envelope: envelope.write_bytes(b""), "envelope"),
    "cut short": (lambda sealed, _: sealed.write_bytes(sealed.read_bytes()[:-1]), "shorter than what was signed"),
    "changed": (lambda sealed, _: sealed.write_bytes(sealed.read_bytes()[:-1] + b"?"), "not the one that was signed"),
    "signed by a stranger": (
        lambda _, envelope: envelope.write_bytes(by_a_stranger(envelope.read_bytes())),
        "no trusted key signed this",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_its_sender_did_not_sign_is_not_opened(hotline: House, tmp_path: Path, change: str) -> None:
    sealed, envelope = delivered_to(hotline)
    do, expected = CHANGES[change]
    do(sealed, envelope)
    with pytest.raises(InputError, match=expected) as refused:
        opened(hotline, sealed, "--extract", tmp_path / "images", "--unsafe-may-hold-images", by=tmp_path)
    assert sealed.name in str(refused.value)
    assert not (tmp_path / "images").exists()


def test_planted_without_that_check_a_file_that_nobody_signed_is_opened(
    hotline: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, envelope = delivered_to(hotline)
    envelope.unlink()
    monkeypatch.setattr(cli_open, "reporter_keys", lambda _: [])
    assert opened(hotline, sealed, by=tmp_path)[0] == 1


def test_a_webhook_gets_the_sealed_file_whoever_it_seals_incidents_to(tmp_path: Path) -> None:
    of = house(
        tmp_path,
        "webhook.north",
        more='[handover.webhook.north]\nurl = "http://127.0.0.1:9/in"\nunsafe_allow_loopback = true',
    )
    name = of.withholds(1)
    (sealed,) = withheld_files(withheld_folder(of.site))
    of.taking().slips()
    item = Office(of.site).outbox.take("webhook-north", "test")
    assert item is not None
    parcel = handed_in(item.payload)
    assert isinstance(parcel, Parcel)
    post = json.loads(
        verify(
            of.route()._body(parcel, item.head.key),
            "application/vnd.custodes.incident+json",
            [of.site.signing_key().verifier],
        ).payload
    )
    assert (post["incident"], post["key"]) == (None, f"webhook-north/test/{name}")
    assert base64.b64decode(post["package"]["sealed"]) == sealed.read_bytes()
    verify(base64.b64decode(post["package"]["envelope"]), WITHHELD_TYPE, [of.site.signing_key().verifier])


def test_reviewers_of_a_coop_are_told_and_given_neither_image_nor_digest(tmp_path: Path) -> None:
    of = house(tmp_path, "coop")
    name = of.withholds(1)
    shown = ran(of, "send", "--route", "coop", "--dry-run", exit_code=1)
    body = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    (item,) = body["items"]
    assert (item["data"]["incident"], item["data"]["class"], item["data"]["why"]) == (name, "csam", "a known picture")
    assert (item["data"]["where"], item["data"]["many"]) == ("", 0)
    digests = [hashlib.new(kind, content_of(1)).hexdigest() for kind in ("md5", "sha256")]
    assert not any(digest in shown for digest in digests)


def test_a_list_of_addresses_has_none_of_it_and_the_slip_stays(hotline: House) -> None:
    path = hotline.site.path
    path.write_text(path.read_text().replace('title = "Example', 'form = "addresses"\ntitle = "Example'))
    of = House(load_site(str(path)))
    of.withholds(1)
    told = said(of, "send", "--route", "hotline.north")
    assert list(told["refused"]) == ["what a gateway withheld has no address"]
    assert unqueued(of.site) == 1
    assert of.acts(withheld_files(withheld_folder(of.site))[0].name.removesuffix(SEALED_SUFFIX)) == []


@pytest.mark.parametrize("more", [0, 1])
def test_a_sealed_file_that_fits_no_item_is_told_and_kept(
    hotline: House, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hotline.withholds(1)
    (sealed,) = withheld_files(withheld_folder(hotline.site))
    monkeypatch.setattr(enclosed, "SEALED_BYTES_MAX", sealed.stat().st_size - more)
    told = hotline.taking().slips()
    assert (len(told.new), len(told.refused), unqueued(hotline.site)) == ((1, 0, 0), (0, 1, 1))[more]


def test_a_sealed_file_that_is_gone_is_told(hotline: House) -> None:
    hotline.withholds(1)
    withheld_files(withheld_folder(hotline.site))[0].unlink()
    told = hotline.taking().slips()
    assert list(told.refused) == ["the sealed file is not there"]
    assert unqueued(hotline.site) == 1


# -- by hand


def test_what_nobody_noted_goes_by_hand_to_those_who_open_it_and_never_as_a_report(reporting: House) -> None:
    names = [reporting.withholds(number, HOLD) for number in range(2)]
    folder = withheld_folder(reporting.site)
    told = said(reporting, "send", "--withheld", folder, "--route", "cybertipline")
    assert [why[:16] for why in told["refused"]] == ["the image lay se"]
    told = said(reporting, "send", "--withheld", folder, "--route", "hotline.north")
    assert (told["new"], told["delivered"]) == (2, 2)
    assert said(reporting, "send", "--withheld", folder, "--route", "hotline.north")["new"] == 0
    assert all(reporting.acts(name) == ["sealed", "queued", "sent", "received"] for name in names)


def test_what_is_noted_goes_as_it_was_noted_and_not_by_hand(reporting: House) -> None:
    reporting.withholds(1)
    assert reporting.taking("hotline.north").files(withheld_folder(reporting.site)).new != []
    assert reporting.taking().files(withheld_folder(reporting.site)).refused == Counter()
    assert unqueued(reporting.site) == 1


def test_a_file_with_another_name_is_refused_by_it(hotline: House, tmp_path: Path) -> None:
    path = tmp_path / "in" / "2026-11-22" / f"report{SEALED_SUFFIX}"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    with pytest.raises(InputError, match="not named as a gateway"):
        hotline.taking().files(tmp_path / "in")
    with pytest.raises(InputError, match="one after the other"):
        ran(hotline, "send", "run", "--withheld", tmp_path)


# -- in the gateway's own process


def test_the_gateway_takes_up_what_it_notes_and_an_outbox_that_fails_stops_no_request(
    hotline: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, fails = Outbox.put, [True]

    def put(self: Outbox, letter: Any) -> Any:
        if fails[0]:
            raise StorageError("no room")
        return real(self, letter)

    async def gateway() -> None:
        handing = Handing(hotline.site, asyncio.Event())
        working = asyncio.create_task(hand_over(handing))
        await asyncio.to_thread(hotline.withholds, 1)
        handing.stirred.set()
        while "no room" not in capsys.readouterr().err:
            await asyncio.sleep(0.01)
        assert unqueued(hotline.site) == 1
        fails[0] = False
        handing.stirred.set()
        while unqueued(hotline.site):
            await asyncio.sleep(0.01)
        working.cancel()

    monkeypatch.setattr(Outbox, "put", put)
    asyncio.run(asyncio.wait_for(gateway(), 20))
    (head,) = Office(hotline.site).outbox.survey().items
    assert head.route == "hotline-north"


def with_two_people(tmp_path: Path) -> House:
    """Alice and Bob send together, or nobody does."""
    people = []
    for name in ("alice", "bob"):
        create_keys(tmp_path / name, name)
        people.append(load_signing_key(tmp_path / name / "signing.key").verifier)
    of = house(tmp_path)
    path = of.site.path
    rule = f'two_person = ["send"]\napprovers = ["{people[0]}", "{people[1]}"]\n'
    path.write_text(path.read_text().replace('operator = "lab.example"\n', f'operator = "lab.example"\n{rule}', 1))
    return House(load_site(str(path)))


def test_where_two_people_are_needed_the_gateway_queues_nothing_and_two_may(tmp_path: Path) -> None:
    of = with_two_people(tmp_path)
    of.withholds(1)
    with pytest.raises(InputError, match="needs two people"):
        of.taking().slips()
    assert "wait for two people" in ran(of, "send", "--route", "hotline.north")
    assert unqueued(of.site) == 1
    asked, agreed = tmp_path / "asked", tmp_path / "agreed"
    ran(of, "ask", "send", "--route", "hotline.north", "--key", tmp_path / "alice" / "signing.key", "--out", asked)
    ran(of, "approve", asked, "--key", tmp_path / "bob" / "signing.key", "--out", agreed)
    of.withholds(2)  # another set than the one that was agreed to
    with pytest.raises(InputError, match="something else"):
        ran(of, "send", "--route", "hotline.north", "--request", asked, "--approval", agreed)
    ran(of, "ask", "send", "--route", "hotline.north", "--key", tmp_path / "alice" / "signing.key", "--out", asked)
    ran(of, "approve", asked, "--key", tmp_path / "bob" / "signing.key", "--out", agreed)
    told = said(of, "send", "--route", "hotline.north", "--request", asked, "--approval", agreed)
    assert (told["new"], told["delivered"], unqueued(of.site)) == (2, 2, 0)


# -- who looks after it


def test_status_and_metrics_tell_what_the_outbox_has_not_and_an_old_one_is_an_alarm(tmp_path: Path) -> None:
    of = house(tmp_path)
    of.withholds(1)
    file = tmp_path / "handover.prom"
    told = said(of, "status", "--metrics", file)
    assert (told["withheld"]["unqueued"], told["alarm"]) == (1, False)
    assert "custodes_handover_noted 1.0" in file.read_text()
    assert "not queued yet: 1" in ran(of, "status")
    long_ago = datetime.now(UTC) - timedelta(hours=25)
    replace(of, clock=lambda: long_ago).withholds(2)
    told = said(of, "status", "--metrics", file, exit_code=3)
    assert (told["withheld"]["unqueued"], told["alarm"]) == (2, True)
    assert "custodes_handover_alarm 1.0" in file.read_text()


def test_a_slip_that_cannot_be_read_is_an_alarm_and_in_the_way_of_no_other(hotline: House) -> None:
    hotline.withholds(1)
    (slip,) = (hotline.site.home / "state" / "gateway" / "slips").glob("*.item")
    hotline.withholds(2)
    slip.write_bytes(slip.read_bytes()[:-1])
    assert len(hotline.taking().slips().new) == 1
    found = waiting(hotline.site)
    assert (found.slips, found.damaged, found.alarming(datetime.now(UTC), 1e9)) == (1, 1, True)


def test_a_new_transport_key_takes_over_what_is_noted(hotline: House) -> None:
    hotline.withholds(1)
    keys, path = hotline.site.keys, hotline.site.path
    (keys / "transport.key").rename(keys / "old.key")
    create_keys(hotline.site.home / "more", "more")
    (hotline.site.home / "more" / "transport.key").rename(keys / "transport.key")
    text = path.read_text().replace("[handover]\n", f'[handover]\nearlier_transport_keys = ["{keys / "old.key"}"]\n')
    path.write_text(text)
    ran(hotline, "rotate")
    path.write_text(text.replace(f'"{keys / "old.key"}"', ""))
    (keys / "old.key").unlink()
    of = House(load_site(str(path)))
    assert len(of.taking().slips().new) == 1


def test_after_its_time_the_sealed_file_goes_with_its_receipt_and_not_a_day_before(hotline: House) -> None:
    name = hotline.withholds(1)
    other = hotline.withholds(2, HOLD, matches=(match(2, meaning="ncii"),))  # not handed over: no term runs
    hotline.taking().slips()
    hotline.works()
    office = Office(hotline.site)
    early, late = (datetime.now(UTC) + timedelta(days=days) for days in (364, 367))
    assert due(kept(office.custody.records(), office.terms()), early) == []
    gone = purge(office.custody, office.terms(), late, "officer", lambda thing: office.remove(thing, None))
    assert sorted(thing.what for thing in gone) == ["package", "receipt"]
    assert [path.name for path in withheld_files(withheld_folder(hotline.site))] == [f"{other}{SEALED_SUFFIX}"]
    assert hotline.acts(name)[-2:] == ["deleted"] * 2 or Act.DELETED.value in hotline.acts(name)


def test_a_period_counts_what_was_sealed_in_it_and_received_by_now(hotline: House) -> None:
    day = datetime(2026, 11, 20, 12, tzinfo=UTC)
    for number in range(3):
        replace(hotline, clock=lambda: day).withholds(number)
    replace(hotline, clock=lambda: day + timedelta(days=1)).withholds(7)
    replace(hotline, clock=lambda: day).withholds(8, HOLD, matches=(match(8, meaning="ncii"),))
    hotline.taking().slips()
    hotline.works()
    custody = Office(hotline.site).custody
    found = counted(hotline.site, custody, day.date(), day.date())
    assert (found.sealed, found.received) == (4, 3)
    assert counted(hotline.site, custody, day.date() + timedelta(days=2), day.date() + timedelta(days=9)).sealed == 0


TOLD = {
    "nothing": (0, 0, (None, 10), (None, 10), (None, 10)),
    "few": (9, 9, (None, 10), (None, 10), (None, 10)),
    "all received": (10, 10, (10, None), (10, None), (None, 10)),
    "one is not, which the rest would tell": (25, 24, (25, None), (None, 26), (None, 10)),
    "nine are": (25, 9, (25, None), (None, 10), (None, 26)),
    "both parts are large": (25, 10, (25, None), (10, None), (15, None)),
    "both parts are small": (12, 5, (12, None), (None, 10), (None, 10)),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_card_tells_no_small_part_and_nothing_that_it_could_be_reckoned_from(case: str) -> None:
    sealed, received, *expected = TOLD[case]
    told = sealed_told(sealed, received)
    assert [(each.count, each.below) for each in (told.sealed, told.received, told.unsent)] == expected


def test_metrics_of_the_gateway_tell_how_many_the_outbox_has_not(hotline: House) -> None:
    notes, metrics = noting(hotline.site, lambda: None), Metrics()
    assert notes is not None
    metrics.watch_withheld(notes.slips.count)
    hotline.withholds(1)
    assert b"custodes_gateway_withheld_unqueued 1.0" in metrics.text()
    hotline.taking().slips()
    assert b"custodes_gateway_withheld_unqueued 0.0" in metrics.text()


def test_planted_without_the_question_what_nobody_asks_for_is_handed_over(
    hotline: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custodes.withheld._asked", lambda site, route, told: True)
    hotline.withholds(1, matches=(NCII,))
    assert len(hotline.taking().slips().new) == 1


def test_planted_without_their_word_the_gateway_queues_what_two_people_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = with_two_people(tmp_path)
    of.withholds(1)
    monkeypatch.setattr(Taking, "_permitted", lambda *_: None)
    assert len(of.taking().slips().new) == 1


# -- whatever breaks


def died(*arguments: object) -> list[str]:
    """What was wrong when a process died at many of its steps."""
    argv = [sys.executable, "-m", "tests.handover.withholding", *map(str, arguments)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("stride", [20, pytest.param(1, marks=pytest.mark.soak)])
def test_a_death_at_any_step_loses_no_image_and_hands_none_over_twice(stride: int) -> None:
    assert died(stride) == []


@pytest.mark.parametrize("fault", ["slip_first", "new_names", "open_slips"])
def test_planted_a_step_in_the_wrong_order_or_an_open_slip_is_caught_by_a_death(fault: str) -> None:
    assert died(8, fault) != []


FAULTS = [
    Fault(unread=True), Fault(), Fault(acted=True), Fault(code=1000), Fault(code=1000, acted=True), Fault(code=2000),
    Fault(status=503, body=b"busy"), Fault(damaged=True),
]  # fmt: skip


class Crashed(Exception):  # noqa: N818 - the process ended here
    """Nothing after this point happened."""


class Trouble:
    """The process ends at one of its next steps on the disk, before the step or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.after = -1, False
        for owner, name in ((Folder, "write"), (Folder, "remove"), (Folder, "spend"), (Custody, "append")):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Any) -> Any:
        def step(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crashed
            done = real(*arguments)
            if self.left == 0:
                raise Crashed
            return done

        return step


def history(of: House, server: CyberTiplineServer, chance: random.Random, trouble: Trouble) -> list[str]:
    """Requests come, and come again; slips are taken up; reports are filed; all of it breaks, and in the end nothing does. What was wrong."""
    now, asked = [datetime.now(UTC)], {}
    for turn in range(60):
        calm = turn >= 30
        trouble.left, trouble.after = (-1 if calm else chance.choice([-1, *range(1, 9)])), chance.random() < 0.5
        server.faults = {} if calm else {len(server.calls) + chance.randint(1, 5): chance.choice(FAULTS)}
        number = chance.randrange(4)
        try:
            if not calm:
                asked[of.withholds(number)] = number
            taking(of, now).slips()
            asyncio.run(worked(of, now))
        except Crashed:
            pass
        now[0] += timedelta(seconds=chance.choice([1, 3600]) if not calm else 90_000)
    server.faults = {}
    wrong = [
        f"{len(server.finished(name))} reports of {number}"
        for name, number in asked.items()
        if len(server.finished(name)) != 1
    ]
    files = [list(report.files.values()) for name in asked for report in server.finished(name)]
    wrong += ["another file"] * (sorted(files) != sorted([content_of(number)] for number in asked.values()))
    left = Office(of.site).outbox.survey().items
    return (
        wrong
        + server.complaints
        + [f"left: {len(left)} items, {unqueued(of.site)} slips"] * bool(left or unqueued(of.site))
    )


def office_of(of: House, now: list[datetime]) -> Office:
    office = Office(of.site)
    seams = Seams(clock=lambda: now[0])
    office.outbox = Outbox(Folder(of.site.home / "handover" / "outbox"), of.site.transport_keys(), seams=seams)
    return office


def taking(of: House, now: list[datetime]) -> Taking:
    return Taking(office_of(of, now), of.route())


async def worked(of: House, now: list[datetime]) -> None:
    route = route_of(of.site, "cybertipline")
    try:
        await office_of(of, now).desk(route).work()
    finally:
        await route.close()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.soak)])
def test_random_histories_of_requests_deaths_and_a_service_that_fails_lose_nothing_and_file_nothing_twice(
    reporting: House, server: CyberTiplineServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    trouble = Trouble(monkeypatch)
    for seed in range(count):
        text = reporting.site.path.read_text()
        made = house(tmp_path / str(seed), "cybertipline")
        made.site.path.write_text(text)
        server.reports.clear()
        assert history(House(load_site(str(made.site.path))), server, random.Random(seed), trouble) == [], seed


def test_planted_without_the_memory_of_what_went_an_image_is_filed_twice(
    reporting: House, server: CyberTiplineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = reporting.withholds(1)
    said(reporting, "send", "--route", "cybertipline")
    reporting.withholds(1)
    monkeypatch.setattr(Desk, "_deliveries", lambda self, of: 0)
    monkeypatch.setattr(
        "custodes.handover.desk.key_of", lambda route, name, number=0: f"cybertipline/test/{name}/9{number}"
    )
    said(reporting, "send", "--route", "cybertipline")
    assert len(server.finished(name)) == 2


def test_a_parcel_in_the_outbox_is_read_back_and_nothing_else_is() -> None:
    parcel = Parcel(id="0" * 31 + "1", demo=True, sealed=b"age")
    assert handed_in(payload_of(parcel)) == parcel
    payload = payload_of(parcel)
    for broken in (
        payload[:-1],
        payload[: payload.index(b"\n")],
        payload + b"x",
        payload.replace(b"parcel/1", b"parcel/2"),
        b"",
    ):
        with pytest.raises(Exception, match="neither an incident nor a parcel"):
            handed_in(broken)
    assert "age" not in repr(parcel)
