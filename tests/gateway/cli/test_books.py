"""``custodes gateway card`` and ``decisions``, and ``custodes verify`` and ``log append`` of a gateway's card."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from custodes import gatebooks
from custodes.attest.gateway import GatewayMeasure
from custodes.errors import InputError
from custodes.gatebooks import CardAsked, stated
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.rules.policy import embedded
from custodes.gateway.rules.records import read_records
from custodes.gateway.vocabulary import Fact, Stage
from tests.attest.judging import LOG_POLICY, proof_of
from tests.gateway.cli.making import Gated, decided, gated, run
from tests.gateway.people.making import ALLOWED, NOON

DAY = datetime.fromtimestamp(NOON / 1000, UTC).date()
MEASURE = GatewayMeasure(what="hard negatives of 2026", of="false refusal", value=0.0, low=0.0, high=0.004, on=1_000)
SEEN = (
    Fact("explicit", Stage.OUTPUT, "open-nsfw@abc", 0.1),
    Fact("known:hold", Stage.OUTPUT, "known@older"),
    Fact("context:umbrella", Stage.INPUT, "screening/1 old"),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    made = gated(tmp_path_factory.mktemp("books"))
    made.note([decided(number, ALLOWED, facts=SEEN) for number in range(40)])
    made.note([decided(100 + number) for number in range(9)])
    return made


@pytest.fixture(scope="module")
def card(given: Gated) -> Path:
    path = given.site.home / "gateway.dsse.json"
    code, told = run("gateway", "card", "--from", str(DAY), "--to", str(DAY), "--out", path, *given.config)
    assert code == 0
    assert f"custodes verify {path} --key" in told
    return path


def verify(card: Path, *words: str | Path) -> tuple[int, dict[str, object]]:
    code, told = run("verify", card, "--key", card.parent / "gateway.vkey", "--json", *words)
    return code, json.loads(told)


def test_a_card_tells_counts_and_names_what_decided_and_what_was_noticed_by(card: Path) -> None:
    code, told = verify(card)
    assert (code, told["passed"]) == (0, True)
    period = told["statement"]["predicate"]  # type: ignore[index]
    assert period["gateway"] == "lab.example"
    assert period["decisions"][0]["decisions"]["count"] == 40
    assert period["demonstration"] is True
    assert period["tool"]["confinement"].startswith("landlock")
    assert {each["version"] for each in period["lists"] if each["id"] == "known"} >= {"older"}
    assert len(period["lists"]) == 2
    names = [(each["name"], each["version"]) for each in period["checks"]]
    assert ("open-nsfw", "abc") in names
    assert ("screening/1", "old") in names
    assert len([name for name, _ in names if name == "screening/1"]) == 2  # and that of now
    assert gatebooks.VERSIONS in period["limits"]


def test_verify_tells_each_check_and_the_counts_in_words(card: Path) -> None:
    code, told = run("verify", card, "--key", card.parent / "gateway.vkey")
    assert code == 0
    for line in ("ok      signature", "note    authority", "period    2026-10-18 to 2026-10-18", "refuse hard safety"):
        assert line in told
    assert "fewer than 10" in told
    assert "strikes fewer than 10" in told


def test_a_card_that_was_changed_or_of_another_key_is_refused(card: Path, given: Gated, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dsse.json"
    bad.write_bytes(card.read_bytes().replace(b'"sig": "', b'"sig": "A', 1))
    code, told = run("verify", bad, "--key", card.parent / "gateway.vkey")
    assert (code, "NOT to be believed" in told) == (2, True)
    code, told = run("verify", card, "--key", given.bob.with_name("signing.vkey"))
    assert (code, "no trusted key" in told) == (2, True)


REQUIRED: dict[str, tuple[str, str]] = {
    "nothing more": ("demonstration = true", ""),
    "a real authority": ("", "no demonstration"),
    "a list that is there": ('demonstration = true\nlists = ["known"]', ""),
    "a list that is not": ('demonstration = true\nlists = ["known", "other"]', "required lists"),
    "passes of a run": ('demonstration = true\npasses = ["bytes"]', "passes"),
    "a share of a run": ("demonstration = true\nexamined_share_min = 0.5", "examined_share_min"),
    "young": ("demonstration = true\nage_days_max = 1", "age"),
    "a log": ("demonstration = true\nlog = true\n[log]\npolicy = 'log.policy'", "log"),
}


@pytest.mark.parametrize("case", REQUIRED)
def test_a_policy_asks_a_gateways_card_what_it_can_tell(card: Path, tmp_path: Path, case: str) -> None:
    asked, failing = REQUIRED[case]
    (tmp_path / "log.policy").write_text(LOG_POLICY)
    key = (card.parent / "gateway.vkey").read_text().strip()
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[signers]]\nkey = "{key}"\n[require]\n{asked}\n')
    code, told = run("verify", card, "--policy", policy, "--json")
    failed = [each["name"] for each in json.loads(told)["checks"] if each["state"] == "failed"]
    assert (code, failed) == ((2, [failing]) if failing else (0, []))
    if failing == "log":
        proof, memory = tmp_path / "proof", tmp_path / "memory"
        proof.write_bytes(proof_of(card.read_bytes()))
        assert run("verify", card, "--policy", policy, "--proof", proof, "--memory", memory)[0] == 0


def test_a_gateways_card_is_about_no_dataset(card: Path, tmp_path: Path) -> None:
    code, told = verify(card, "--dataset", tmp_path)
    assert (code, told["statement"]) == (2, None)


def test_a_log_takes_a_gateways_card_of_its_own_site(card: Path, given: Gated, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run("log", "create", log, "--origin", "lab.example/log", *given.config)[0] == 0
    assert run("log", "append", log, "--card", card, *given.config)[0] == 0
    assert card.with_name("gateway.tlog-proof").exists()
    other = tmp_path / "other.dsse.json"
    other.write_bytes(card.read_bytes()[:-3])
    with pytest.raises(InputError, match="no card of this site"):
        run("log", "append", log, "--card", other, *given.config)


def asked_of(given: Gated, asked: CardAsked, now: datetime) -> object:
    with closing(SqliteLedger(given.ledger)) as ledger:
        return asyncio.run(stated(given.site, ledger, asked, now))


NOW = datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(days=1)


def test_a_period_is_over_is_one_and_is_known_whole(given: Gated) -> None:
    cases: dict[str, tuple[date, date, datetime]] = {
        "not over": (DAY, DAY, NOW - timedelta(days=1)),
        "after": (DAY, DAY - timedelta(days=1), NOW),
        "not known any more": (DAY, DAY, NOW + timedelta(days=3650)),
    }
    for means, (first, last, now) in cases.items():
        with pytest.raises(InputError, match=means):
            asked_of(given, CardAsked(first, last), now)


def test_a_policy_that_decided_and_is_gone_must_be_named(tmp_path: Path) -> None:
    made = gated(tmp_path)
    made.note([decided(1, policy=embedded("us").version)])
    with pytest.raises(InputError, match="not in force now"):
        asked_of(made, CardAsked(DAY, DAY), NOW)
    told = asked_of(made, CardAsked(DAY, DAY, policies=[embedded("us")], measured=[MEASURE]), NOW)
    assert [each.digest["sha256"] for each in told.subject] == [embedded("us").version]  # type: ignore[attr-defined]
    assert told.predicate.measured == (MEASURE,)  # type: ignore[attr-defined]


def test_planted_a_card_that_does_not_look_names_a_policy_that_did_not_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gated(tmp_path)
    made.note([decided(1, policy=embedded("us").version)])
    whole: Callable[..., list[object]] = gatebooks._policies

    def blind(site: object, used: Iterable[str], given: object) -> list[object]:
        return whole(site, set(), given)

    monkeypatch.setattr(gatebooks, "_policies", blind)
    told = asked_of(made, CardAsked(DAY, DAY), NOW)
    assert told.subject[0].digest["sha256"] == embedded("strict").version  # type: ignore[attr-defined]


def test_decisions_are_told_as_lines_that_policy_diff_reads(given: Gated, tmp_path: Path) -> None:
    code, told = run("gateway", "decisions", *given.config)
    lines = told.splitlines()
    assert (code, len(lines), len(list(read_records(line.encode() for line in lines)))) == (0, 49, 49)
    records = tmp_path / "records.ndjson"
    records.write_text(told)
    code, compared = run("policy", "diff", "strict", "demo", "--records", records)
    assert "of 49 recorded decisions would differ" in compared
    number = json.loads(lines[39])["id"].rpartition("/")[2]
    assert len(run("gateway", "decisions", "--after", number, *given.config)[1].splitlines()) == 9
    assert run("gateway", "decisions", "--after", "49", *given.config)[1] == ""
