"""``custodes handover``, as a user types it: a run, a strict stand-in for NCMEC, a hotline that takes files, two people, and follow-ups."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.cli.main import cli
from custodes.crypto.keys import SigningKey
from custodes.errors import ConfigError, ExitCode, InputError
from custodes.handover.package import open_package, read_package
from custodes.handover.verdicts import Ruling, Verdict, make_verdicts
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.scan.shard import finding_namer
from tests.handover.cybertipline.server import PASSWORD, USER, CyberTiplineServer, Fault
from tests.stored import Earlier, earlier, md5_of

ROWS = 6
KNOWN = [0, 7, 8]
AUTHORITY = SigningKey("authority.example", Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))


@contextmanager
def served() -> Iterator[CyberTiplineServer]:
    """The stand-in, in a thread of its own, with the real time."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = CyberTiplineServer()
    server.now = datetime.now(UTC)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[CyberTiplineServer]:
    with served() as running:
        yield running


@dataclass(frozen=True)
class House:
    """A site with a run that found three images, and the stand-in that it reports to."""

    home: Path
    past: Earlier
    server: CyberTiplineServer

    def ran(self, *arguments: str | Path, exit_code: int = 0) -> str:
        config = ("--config", str(self.past.site.path))
        result = CliRunner().invoke(
            cli, ["handover", *map(str, arguments), *config], catch_exceptions=False, standalone_mode=False
        )
        assert result.return_value == exit_code, (result.return_value, result.output)
        return result.output

    def said(self, *arguments: str | Path, exit_code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ran(*arguments, "--json", exit_code=exit_code).splitlines()[-1])
        return found

    def send(self, *more: str | Path, exit_code: int = 0) -> dict[str, Any]:
        return self.said("send", self.past.run.path, "--route", "cybertipline", *more, exit_code=exit_code)

    @property
    def incidents(self) -> list[str]:
        return sorted({each["incident"] for each in self.said("list")["incidents"]})

    def configure(self, section: str, *lines: str) -> None:
        path = self.past.site.path
        text = path.read_text()
        text += "" if f"[{section}]\n" in text else f"\n[{section}]\n"
        path.write_text(text.replace(f"[{section}]\n", "\n".join([f"[{section}]", *lines, ""])))

    def names(self) -> list[str]:
        (path,) = self.past.run.path.glob("rematch/*")
        key = self.past.site.run_key()
        named = finding_namer(RunDirectory.open(path, key).manifest, key)
        return [named(row // ROWS, row % ROWS) for row in KNOWN]


@pytest.fixture
def house(tmp_path: Path, server: CyberTiplineServer, monkeypatch: pytest.MonkeyPatch) -> House:
    past = earlier(tmp_path / "run", 2, ROWS)
    site = past.site
    entries = [Entry(Kind.MD5, md5_of(row), f"planted-{row}-entry", "A") for row in KNOWN]
    site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    CliRunner().invoke(cli, ["rematch", str(past.run.path), "--quiet", *past.config], catch_exceptions=False)
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_USERNAME", USER)
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_PASSWORD", PASSWORD)
    made = House(tmp_path, past, server)
    server.faults, server.reports, server.calls, server.now = {}, {}, [], datetime.now(UTC)
    made.configure("authority", f'verifiers = ["{AUTHORITY.verifier}"]')
    made.configure("handover", 'operator = "lab.example"', 'contact = "safety@lab.example"')
    made.configure(
        "handover.cybertipline",
        'email = "safety@lab.example"',
        f'url = "{server.base}"',
        "unsafe_allow_loopback = true",
        "calls_per_minute = 100000",
    )
    return made


def test_what_a_run_found_is_reported_once_each(house: House) -> None:
    first = house.send()
    assert (first["environment"], first["new"], first["delivered"], first["waiting"]) == ("test", 3, 3, 0)
    assert [len(house.server.finished(each)) for each in house.incidents] == [1, 1, 1]
    again = house.send()
    assert (again["new"], again["delivered_before"], again["delivered"]) == (0, 3, 0)
    assert [len(house.server.finished(each)) for each in house.incidents] == [1, 1, 1]
    listed = house.said("list")["incidents"]
    assert {each["act"] for each in listed} == {"received"}
    assert {each["environment"] for each in listed} == {"TEST"}
    assert {each["receipt"] for each in listed} == set(house.server.reports)
    assert all(each["kept_until"] for each in listed)


def test_a_dry_run_shows_the_very_document_and_sends_and_keeps_nothing(house: House) -> None:
    output = house.ran("send", house.past.run.path, "--route", "cybertipline", "--dry-run", exit_code=1)
    assert output.count("<report ") == 3
    assert "environment TEST" in output
    assert "NOT SENT" in output
    assert "http://a.test/7" in output
    assert house.server.calls == []
    assert not (house.past.site.home / "handover").exists()


def test_a_service_that_fails_is_tried_again_and_nothing_is_filed_twice(house: House) -> None:
    house.server.faults = {3: Fault(acted=True), 5: Fault(code=1000)}
    first = house.send()
    assert first["delivered"] + sum(first["later"].values()) == 3
    assert "waiting" in house.ran("status")
    assert first["waiting"] > 0


def test_refused_credentials_stop_and_say_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_PASSWORD", "wrong")
    told = house.send(exit_code=int(ExitCode.WORLD))
    assert (told["delivered"], told["waiting"]) == (0, 3)
    assert told["stopped"]


def test_packages_are_sealed_and_signed_and_stand_in_the_record(house: House) -> None:
    told = house.said(
        "pack", house.past.run.path, "--out", house.home / "out", "--environment", "production", exit_code=1
    )
    (path,) = map(Path, told["packages"])
    identity = (house.past.site.home / "demo-authority.key").read_text()
    opened = open_package(read_package(path), identity, [house.past.site.signing_key().verifier])
    assert len(opened.incidents) == told["incidents"] == 3
    assert opened.header.about.environment == "production"
    assert opened.header.about.reporter.name == "lab.example"
    assert len(house.incidents) == 3


def test_nothing_that_is_written_or_said_holds_a_link_or_a_hash(house: House) -> None:
    before = {path for path in house.home.rglob("*") if path.is_file()}
    house.server.faults = {4: Fault(code=1000)}
    output = json.dumps(house.send()) + house.ran("status") + house.ran("list")
    house.ran("pack", house.past.run.path, "--out", house.home / "out", exit_code=1)
    written = [path.read_bytes() for path in house.home.rglob("*") if path.is_file() and path not in before]
    secrets = [text for row in KNOWN for text in (f"http://a.test/{row}", md5_of(row).hex(), f"planted-{row}-entry")]
    assert len(written) > 8
    assert not [each for each in secrets if each in output or any(each.encode() in data for data in written)]


def test_a_hold_keeps_what_is_due_and_a_reason_is_one_word(house: House) -> None:
    house.send()
    name = house.incidents[0]
    house.ran("hold", name, "--reason", "court-order")
    assert [each["held"] for each in house.said("list")["incidents"]].count("held") == 1
    with pytest.raises(InputError, match="held for this reason already"):
        house.ran("hold", name, "--reason", "court-order")
    house.ran("unhold", name, "--reason", "court-order")
    with pytest.raises(InputError, match="a word has"):
        house.ran("hold", name, "--reason", "two words")
    assert house.said("purge", "--dry-run")["due"] == {"receipt": 0, "package": 0}


def test_what_waits_can_be_taken_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTODES_CYBERTIPLINE_TEST_PASSWORD", "wrong")
    house.send(exit_code=3)
    house.ran("retract", house.incidents[0], "--route", "cybertipline", "--reason", "mistake")
    assert house.said("status")["waiting"] == [
        {"route": "cybertipline", "environment": "test", "state": "waiting", "items": 2}
    ]


def test_a_verdict_and_a_withdrawn_entry_are_told_once_by_the_number_of_the_report(house: House) -> None:
    house.send()
    judged = [Verdict(finding=house.names()[0], verdict=Ruling.NOT)]
    path = house.home / "verdicts.json"
    path.write_bytes(make_verdicts(judged, AUTHORITY, datetime(2026, 3, 1, tzinfo=UTC)))
    CliRunner().invoke(cli, ["verdicts", "import", str(path), *house.past.config], catch_exceptions=False)
    entries = [Entry(Kind.MD5, md5_of(row), f"planted-{row}-entry", "A") for row in (0, 7)]  # the third is withdrawn
    house.past.site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    given = ("follow-up", house.past.run.path, "--route", "cybertipline", "--out", house.home / "letters")
    assert house.said(*given, exit_code=1)["corrections"] == 2
    letters = sorted(path.name for path in (house.home / "letters").glob("*.txt"))
    assert sorted(name.split("-")[1] for name in letters) == ["not.txt", "withdrawn.txt"]
    assert {name.split("-")[0] for name in letters} < set(house.server.reports)
    assert "a.test" not in "".join((house.home / "letters" / name).read_text() for name in letters)
    assert house.said(*given)["corrections"] == 0
    acts = [each["act"] for each in house.said("list")["incidents"]]
    assert sorted(acts) == ["received", "released", "released"]


def person(house: House, number: int, name: str) -> Path:
    private = Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))
    path = house.home / f"{name}.key"
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
    path.with_suffix(".vkey").write_text(f"{SigningKey(name, private).verifier}\n")
    return path


def test_where_two_people_are_needed_one_alone_sends_nothing(house: House) -> None:
    one, other = person(house, 11, "ada"), person(house, 12, "bela")
    keys = ", ".join(f'"{path.with_suffix(".vkey").read_text().strip()}"' for path in (one, other))
    house.configure("handover", 'two_person = ["send"]', f"approvers = [{keys}]")
    with pytest.raises(InputError, match="to send needs two people here"):
        house.send()
    assert house.server.calls == []
    request, approval = house.home / "request.json", house.home / "approval.json"
    asking = ("ask", "send", "--run", house.past.run.path, "--route", "cybertipline", "--key", one, "--out", request)
    assert house.said(*asking)["things"] == 3
    with pytest.raises(InputError, match="who asks cannot be who approves"):
        house.ran("approve", request, "--key", one, "--out", approval)
    house.ran("approve", request, "--key", other, "--out", approval)
    assert house.send("--request", request, "--approval", approval)["delivered"] == 3
    assert house.send()["delivered_before"] == 3  # nothing new: nobody need agree
    with pytest.raises(InputError, match="belong together"):
        house.send("--request", request)


def test_where_two_people_are_needed_to_unseal_one_alone_opens_nothing(house: House) -> None:
    one, other = person(house, 11, "ada"), person(house, 12, "bela")
    keys = ", ".join(f'"{path.with_suffix(".vkey").read_text().strip()}"' for path in (one, other))
    (path,) = house.said("pack", house.past.run.path, "--out", house.home / "out", exit_code=1)["packages"]
    house.configure("handover", 'two_person = ["unseal"]', f"approvers = [{keys}]")
    site = house.past.site
    given = [
        "open",
        path,
        "--identity",
        str(site.home / "demo-authority.key"),
        "--reporter",
        str(site.signing_key().verifier),
    ]
    with pytest.raises(InputError, match="to unseal needs two people here"):
        CliRunner().invoke(cli, [*given, *house.past.config], catch_exceptions=False, standalone_mode=False)
    request, approval = house.home / "request.json", house.home / "approval.json"
    house.ran("ask", "unseal", "--file", path, "--key", one, "--out", request)
    house.ran("approve", request, "--key", other, "--out", approval)
    papers = ["--request", str(request), "--approval", str(approval)]
    result = CliRunner().invoke(cli, [*given, *papers, *house.past.config], catch_exceptions=False)
    assert "3 incidents" in result.output
    assert "opened" in (site.home / "handover" / "custody" / "record.jsonl").read_text()


def test_the_route_is_the_one_that_the_jurisdiction_asks_for(house: House) -> None:
    with pytest.raises(ConfigError, match="no jurisdiction that would name one"):
        house.ran("send", house.past.run.path)
    house.configure("policy", 'jurisdiction = "us"')
    assert house.said("send", house.past.run.path)["route"] == "cybertipline"
    house.past.site.path.write_text(house.past.site.path.read_text().replace('"us"', '"uk"'))
    with pytest.raises(ConfigError, match="asks for a hotline, and 0 are configured"):
        house.ran("send", house.past.run.path)
    house.past.site.path.write_text(house.past.site.path.read_text().replace('"uk"', '"eu"'))
    with pytest.raises(ConfigError, match="no profile of eu is in force"):
        house.ran("send", house.past.run.path)


def test_a_hotline_without_an_api_gets_sealed_files(house: House) -> None:
    site = house.past.site
    house.configure("policy", 'jurisdiction = "uk"')
    house.configure("handover.hotline.iwf", 'title = "IWF"', f'recipients = ["{site.recipients()[0]}"]')
    assert house.said("send", house.past.run.path)["delivered"] == 3
    folder = site.home / "outgoing"
    assert len(list(folder.rglob("*.age"))) == len(list(folder.rglob("*.txt"))) == 3
    name = house.incidents[0]
    house.ran("received", name, "IWF-2026-77", "--route", "hotline.iwf")
    assert "IWF-2026-77" in {each["receipt"] for each in house.said("list")["incidents"]}


def test_a_lost_transport_key_is_told_before_anything_is_done(house: House) -> None:
    house.send()
    keys = house.past.site.home / "keys"
    (keys / "transport.key").rename(keys / "old.key")
    (keys / "transport.key").write_bytes((keys / "old.key").read_bytes().replace(b"=", b"=", 1))
    other = earlier(house.home / "another", 1, 2).site.home / "keys" / "transport.key"
    (keys / "transport.key").write_bytes(other.read_bytes())
    (keys / "transport.key").chmod(0o600)
    with pytest.raises(ConfigError, match="key"):
        house.ran("status")
    house.configure("handover", 'earlier_transport_keys = ["keys/old.key"]')
    assert house.send()["delivered_before"] == 3
    assert house.said("rotate")["rotated"] >= 3
    text = house.past.site.path.read_text().replace('earlier_transport_keys = ["keys/old.key"]', "")
    house.past.site.path.write_text(text)
    assert house.send()["delivered_before"] == 3


def test_an_unknown_route_says_which_there_are(house: House) -> None:
    with pytest.raises(ConfigError, match="no route 'ncmec' is configured") as raised:
        house.ran("send", house.past.run.path, "--route", "ncmec")
    assert "cybertipline" in (raised.value.hint or "")
    with pytest.raises(InputError, match="there is nothing to show"):
        house.ran("send", "--route", "cybertipline", "--dry-run")
