"""What a verifier asks for: read strictly, judged in words, and careful where nothing is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from custodes.attest import policy
from custodes.attest.keyring import TrustedKey
from custodes.attest.policy import Require, check_key, check_required, read_policy
from custodes.attest.statement import Examination
from custodes.cards import statement_of
from custodes.errors import ConfigError
from tests.attest.signers import KEYS, day
from tests.stored import earlier

SIGNER = f'[[signers]]\nkey = "{KEYS[0].verifier}"\n'
NOW = datetime(2031, 1, 1, tzinfo=UTC)


def test_what_is_left_out_is_the_careful_choice() -> None:
    found = read_policy(SIGNER)
    assert found.require == Require(complete=True, demonstration=False, guards=True)
    assert found.keys() == (TrustedKey(KEYS[0].verifier),)


def test_days_are_of_utc_and_the_last_one_counts() -> None:
    found = read_policy(f"{SIGNER}from = 2030-01-01\nuntil = 2030-01-31\n").keys()[0]
    assert found.begins == day(1)
    assert not found.spans(day(1) - timedelta(seconds=1))
    assert found.spans(datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC))
    assert not found.spans(datetime(2030, 2, 1, tzinfo=UTC))


WEAK = "lab.example+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
REFUSED = {
    "no signer": ("", "signers"),
    "an empty list of signers": ("signers = []", "signers"),
    "a signer without a key": ("[[signers]]\nfrom = 2030-01-01", "key"),
    "a weak key": (f'[[signers]]\nkey = "{WEAK}"', "weak"),
    "a key that is none": ('[[signers]]\nkey = "lab"', "signers"),
    "one key twice": (SIGNER + SIGNER, "twice"),
    "one key under two names": (
        SIGNER + f'[[signers]]\nkey = "{policy.VerifierKey("else", KEYS[0].verifier.public)}"',
        "twice",
    ),
    "until before from": (f"{SIGNER}from = 2030-01-02\nuntil = 2030-01-01", "until is before"),
    "the last of all days": (f"{SIGNER}until = 9999-12-31", "last of all"),
    "a time for a day": (f"{SIGNER}from = 2030-01-02T00:00:00Z", "from"),
    "a day in words": (f'{SIGNER}from = "2030-01-02x"', "from"),
    "revoked without a reason": (f"{SIGNER}revoked = 2030-01-02", "reason"),
    "a reason without a day": (f'{SIGNER}reason = "superseded"', "reason"),
    "another reason": (f'{SIGNER}revoked = 2030-01-02\nreason = "lost"', "reason"),
    "a field more": (f"{SIGNER}note = 1", "note"),
    "a demand that is not known": (f"{SIGNER}[require]\nfresh = true", "fresh"),
    "a pass that is not known": (f'{SIGNER}[require]\npasses = ["all"]', "require.passes"),
    "a share above one": (f"{SIGNER}[require]\nexamined_share_min = 1.01", "examined_share_min"),
    "no day of age": (f"{SIGNER}[require]\nage_days_max = 0", "age_days_max"),
    "a log that is not named": (f"{SIGNER}[require]\nlog = true", "names none"),
    "a log without a policy": (f'{SIGNER}[log]\npolicy = ""', "log.policy"),
    "no TOML": ("[[", "policy cannot be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_that_is_none_is_refused_and_the_field_named(case: str) -> None:
    text, said = REFUSED[case]
    with pytest.raises(ConfigError, match=said):
        read_policy(text)


def held(signed: int, witnessed: int | None = None, **key: object) -> bool:
    trusted = TrustedKey(KEYS[0].verifier, **key)  # type: ignore[arg-type]
    return check_key(trusted, day(signed), day(witnessed) if witnessed else None).state == "passed"


TIMES: dict[str, tuple[bool, dict[str, object]]] = {
    "no window": (True, {"signed": 5}),
    "on its first moment": (True, {"signed": 5, "begins": day(5)}),
    "before it": (False, {"signed": 4, "begins": day(5)}),
    "before its end": (True, {"signed": 4, "ends": day(5)}),
    "at its end": (False, {"signed": 5, "ends": day(5)}),
    "seen by witnesses in its time": (True, {"signed": 3, "witnessed": 4, "ends": day(5)}),
    "seen by witnesses only after its time": (False, {"signed": 3, "witnessed": 5, "ends": day(5)}),
    "signed after witnesses saw it": (False, {"signed": 6, "witnessed": 4}),
    "signed within a day of that": (True, {"signed": 5, "witnessed": 4}),
    "superseded later, by the signer's clock alone": (False, {"signed": 3, "revoked": day(5), "reason": "superseded"}),
    "superseded later, and witnessed": (
        True,
        {"signed": 3, "witnessed": 4, "revoked": day(5), "reason": "superseded"},
    ),
    "superseded when it was witnessed": (
        False,
        {"signed": 3, "witnessed": 5, "revoked": day(5), "reason": "superseded"},
    ),
    "compromised later, and witnessed": (
        False,
        {"signed": 3, "witnessed": 4, "revoked": day(5), "reason": "compromised"},
    ),
}


def failing_times() -> list[str]:
    return [case for case, (good, given) in TIMES.items() if held(**given) != good]  # type: ignore[arg-type]


def test_a_key_counts_in_its_time_and_a_witness_is_believed_before_the_signer() -> None:
    assert failing_times() == []


def test_planted_fault_a_window_that_is_ignored_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrustedKey, "spans", lambda *_: True)
    assert set(failing_times()) == {"before it", "at its end"}


def test_planted_fault_revocation_that_is_ignored_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = policy._faults
    monkeypatch.setattr(policy, "_faults", lambda key, *rest: real(TrustedKey(key.key, key.begins, key.ends), *rest))
    assert set(failing_times()) == {case for case, (good, given) in TIMES.items() if "revoked" in given and not good}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Examination:
    past = earlier(tmp_path_factory.mktemp("policy"), 1, 10)
    return msgspec.structs.replace(statement_of(past.run, past.site.run_key()).predicate, demonstration=False)


def failed(told: Examination, require: Require) -> list[str]:
    now = datetime.fromisoformat(told.began) + timedelta(days=10)
    return [check.name for check in check_required(told, require, now) if check.state == "failed"]


def test_a_card_that_says_all_that_is_asked_for_passes(told: Examination) -> None:
    asked = Require(lists=("other",), passes=("bytes",), age_days_max=10, examined_share_min=1.0)
    assert failed(told, asked) == []


def test_each_demand_fails_by_itself(told: Examination) -> None:
    cases: dict[str, tuple[dict[str, object], Require]] = {
        "required lists": ({}, Require(lists=("other", "ncmec"))),
        "required passes": ({}, Require(passes=("columns",))),
        "whole": ({"complete": False}, Require()),
        "no demonstration": ({"demonstration": True}, Require()),
        "guards on": ({"tool": msgspec.structs.replace(told.tool, unsafe=("--unsafe-no-jail",))}, Require()),
        "age": ({}, Require(age_days_max=9)),
        "share": ({"outcomes": dict.fromkeys(told.outcomes, 0) | {"failed": 10}}, Require(examined_share_min=0.1)),
    }
    for name, (changes, require) in cases.items():
        fields = {field: getattr(told, field) for field in told.__struct_fields__} | changes
        made = cast(Examination, SimpleNamespace(**fields))
        assert failed(made, require) == [name]
    off = Require(complete=False, demonstration=True, guards=False)
    assert failed(msgspec.structs.replace(told, complete=False, demonstration=True, commitment=None), off) == []


def test_a_policy_needs_nothing_but_crypto_and_model() -> None:
    text = (Path(policy.__file__)).read_text()
    found = {line.split()[1].split(".")[1] for line in text.splitlines() if line.startswith("from custodes.")}
    assert found <= {"attest", "crypto", "errors", "model"}
