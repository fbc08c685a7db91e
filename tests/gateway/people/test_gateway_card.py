"""The gateway's card says what was counted, tells small counts as fewer than, and is verified like a run's card."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.attest.gateway import GatewayCheck, GatewayMeasure, GatewayStatement, verify_gateway_card
from custodes.attest.statement import FLOOR, PAYLOAD_TYPE, ListCommitment
from custodes.attest.verification import card_bytes, verify_card
from custodes.crypto.dsse import pae
from custodes.errors import ConfigError, InputError
from custodes.gateway.people.card import (
    Setting,
    period_of,
    read_measures,
    recorded,
    statement_of,
    write_gateway_card,
)
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.rules.policy import embedded
from custodes.gateway.rules.records import compared
from custodes.gateway.vocabulary import Fact, Stage
from tests.gateway.people.making import ALLOWED, NOON, noted, run
from tests.handover.keeping import signing_key

KEY, OTHER = signing_key(1, "gateway.example"), signing_key(2, "other.example")
DAY = datetime.fromtimestamp(NOON / 1000, UTC).date()
NOW = datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(days=1)
MEASURE = GatewayMeasure(what="hard negatives of 2026", of="false refusal", value=0.0, low=0.0, high=0.004, on=1_000)
SETTING = Setting(
    gateway="tests",
    policies=[embedded("strict")],
    checks=[GatewayCheck(name="lexicon", version="1")],
    lists=[ListCommitment(id="other", version="3")],
    measured=[MEASURE],
)


@pytest.fixture
def statement(tmp_path: Path) -> GatewayStatement:
    """Of a day with 40 decisions that allowed and 9 that refused."""

    async def day(ledger: SqliteLedger) -> GatewayStatement:
        for number in range(40):
            await ledger.note(noted(number, ALLOWED))
        for number in range(9):
            await ledger.note(noted(100 + number))
        return statement_of(await period_of(ledger, DAY, DAY), SETTING, NOW)

    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        return run(day(ledger))


def signed(payload: bytes) -> bytes:
    return card_bytes(payload, KEY.sign(pae(PAYLOAD_TYPE, payload)), KEY.verifier)


def changed(statement: GatewayStatement, **fields: Any) -> bytes:
    """A card whose predicate says something else, signed."""
    whole = json.loads(statement.encode())
    whole["predicate"] |= fields
    return signed(msgspec.json.encode(whole, order="sorted"))


def test_a_card_tells_counts_and_small_ones_as_fewer(statement: GatewayStatement) -> None:
    allowed, refused = statement.predicate.decisions
    assert (allowed.action, allowed.category, allowed.decisions.count) == ("allow", "", 40)
    assert (refused.action, refused.decisions.count, refused.decisions.below) == ("refuse", None, FLOOR)
    assert statement.predicate.strikes.below == FLOOR
    assert statement.subject[0].digest == {"sha256": embedded("strict").version}
    assert "umbrella" not in statement.encode().decode()


def test_a_card_is_written_with_its_key_and_verified(statement: GatewayStatement, tmp_path: Path) -> None:
    beside = write_gateway_card(statement, KEY, tmp_path / "gateway.dsse.json")
    assert beside.name == "gateway.vkey"
    told = verify_gateway_card((tmp_path / "gateway.dsse.json").read_bytes(), [OTHER.verifier, KEY.verifier], NOW)
    assert (told.statement, told.key) == (statement, KEY.verifier)
    assert [check.name for check in told.checks if check.state == "note"] == ["measured"]


BAD: dict[str, dict[str, Any]] = {
    "a count below the floor": {"strikes": {"count": 9}},
    "a floor that is lower": {"strikes": {"below": 3}},
    "a count told twice": {"strikes": {"count": 10, "below": 10}},
    "a count not told": {"strikes": {}},
    "a period that is not over": {"last": NOW.date().isoformat()},
    "a period that ends before it begins": {"first": "2027-01-01"},
    "a time without an offset": {"signed": "2026-10-19T12:00:00"},
    "no checks": {"checks": []},
    "no limits": {"limits": []},
    "a field that is not known": {"harmless": True},
    "a share outside its interval": {"measured": [msgspec.to_builtins(MEASURE) | {"value": 0.5}]},
    "a sort told twice": {
        "decisions": [{"stage": "input", "action": "allow", "grade": "none", "decisions": {"count": 10}}] * 2
    },
}


@pytest.mark.parametrize("case", BAD)
def test_a_card_that_contradicts_itself_is_none(statement: GatewayStatement, case: str) -> None:
    told = verify_gateway_card(changed(statement, **BAD[case]), [KEY.verifier], NOW)
    assert (told.passed, told.checks[-1].name) == (False, "statement")


def test_what_is_not_signed_so_is_not_believed(statement: GatewayStatement) -> None:
    card = signed(statement.encode())
    assert verify_gateway_card(card, [KEY.verifier], NOW).passed
    cases = {
        "another key": (card, OTHER, NOW),
        "cut short": (card[:-2], KEY, NOW),
        "empty": (b"", KEY, NOW),
        "spaces around": (card + b"\n", KEY, NOW),
        "signed tomorrow": (card, KEY, NOW - timedelta(days=2)),
        "other spelling": (signed(statement.encode().replace(b":", b": ", 1)), KEY, NOW),
    }
    for name, (data, key, now) in cases.items():
        told = verify_gateway_card(data, [key.verifier], now)
        assert not told.passed, name
        assert told.statement is None
    with pytest.raises(ConfigError):
        verify_gateway_card(card, [])


def test_every_byte_of_a_card_counts(statement: GatewayStatement) -> None:
    card = signed(statement.encode())
    for place in range(0, len(card), 37):
        assert not verify_gateway_card(
            card[:place] + bytes([card[place] ^ 1]) + card[place + 1 :], [KEY.verifier], NOW
        ).passed


def test_a_gateways_card_is_no_runs_card(statement: GatewayStatement) -> None:
    assert not verify_card(signed(statement.encode()), [KEY.verifier], NOW).passed


def test_a_period_that_is_not_over_is_not_stated(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        with pytest.raises(InputError, match="not over"):
            statement_of(run(period_of(ledger, DAY, NOW.date())), SETTING, NOW)
        with pytest.raises(InputError, match="after"):
            run(period_of(ledger, DAY, date(2026, 1, 1)))


def test_measures_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_bytes(msgspec.json.encode([MEASURE]))
    assert read_measures(path) == (MEASURE,)
    for wrong in (b"", b"{}", b'[{"what": "x"}]', b"[" + b" " * (1 << 20) + b"]"):
        path.write_bytes(wrong)
        with pytest.raises(InputError):
            read_measures(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_measures(tmp_path / "none.json")


def test_decisions_are_given_as_policies_are_compared_by(tmp_path: Path) -> None:
    facts = tuple(Fact(name, Stage.INPUT, "lexicon 1") for name in ("context:umbrella", "context:garden"))

    async def all_of(ledger: SqliteLedger) -> Any:
        for number in range(3):
            await ledger.note(noted(number, facts=facts))
        return [each async for each in recorded(ledger)]

    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        lines = run(all_of(ledger))
    assert [each.policy for each in lines] == ["strict"] * 3
    told = compared(embedded("demo"), embedded("strict"), lines)
    assert told.records == 3
