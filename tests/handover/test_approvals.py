"""The two-person rule: two people, one act, once, in time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.crypto import dsse
from custodes.crypto.keys import SigningKey, VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.handover import approvals as module
from custodes.handover.approvals import (
    APPROVAL_TYPE,
    REQUEST_TYPE,
    Guarded,
    Papers,
    Statement,
    TwoPerson,
    Wanted,
    agree,
    ask,
    read_request,
    subject_of,
)
from custodes.handover.custody import Act, Custody
from tests.handover.keeping import NOON, custody_in, signing_key

ALICE, BOB, CAROL = (signing_key(number, name) for number, name in enumerate(("alice", "bob", "carol"), 1))
PEOPLE = [ALICE.verifier, BOB.verifier]
SEND = Wanted(Guarded.SEND, "a" * 64, "production")
RULE = TwoPerson([Guarded.SEND, Guarded.DELETE], PEOPLE)


def papers(wanted: Wanted = SEND, by: SigningKey = ALICE, second: SigningKey = BOB, **asked: Any) -> Papers:
    request = ask(wanted, by, asked.pop("now", NOON), **asked)
    payload = dsse.verify(request, REQUEST_TYPE, [by.verifier]).payload
    return Papers(request, dsse.sign(APPROVAL_TYPE, payload, second))


def test_two_people_permit_one_act_and_the_record_says_who(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    request = ask(SEND, ALICE, NOON)
    assert read_request(request, PEOPLE).wanted == SEND
    RULE.permit(SEND, Papers(request, agree(request, PEOPLE, BOB)), custody, NOON)
    asked, approved = custody.records()
    assert [(line.act, line.who, line.reason, line.digest) for line in (asked, approved)] == [
        (Act.ASKED, "alice", "send", "a" * 64),
        (Act.APPROVED, "bob", "send", "a" * 64),
    ]


def test_what_the_configuration_does_not_name_needs_nobody(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    RULE.permit(replace(SEND, act=Guarded.UNSEAL), None, custody, NOON)
    TwoPerson([], []).permit(SEND, None, custody, NOON)
    assert list(custody.records()) == []
    with pytest.raises(InputError, match="needs two people"):
        RULE.permit(SEND, None, custody, NOON)


OTHER = replace(SEND, subject="b" * 64)
REFUSED: dict[str, tuple[Papers, str]] = {
    "the same person": (papers(second=ALICE), "no second person"),
    "the same person under another name": (papers(second=signing_key(1, "bob")), "no second person"),
    "a stranger approves": (papers(second=CAROL), "no second person"),
    "a stranger asks": (papers(by=CAROL), "no trusted key"),
    "in the name of another": (
        Papers(
            dsse.sign(
                REQUEST_TYPE,
                dsse.verify(papers().request, REQUEST_TYPE, PEOPLE).payload.replace(b"alice", b"carol"),
                ALICE,
            ),
            papers().approval,
        ),
        "in the name of another",
    ),
    "expired": (papers(now=NOON - timedelta(days=1)), "was good until"),
    "not yet": (papers(now=NOON + timedelta(minutes=6)), "was good until"),
    "another act": (papers(replace(SEND, act=Guarded.DELETE)), "something else"),
    "another subject": (papers(OTHER), "something else"),
    "another environment": (papers(replace(SEND, environment="test")), "something else"),
    "the approval of another request": (Papers(papers().request, papers().approval), "another request"),
    "the approval of another subject": (Papers(papers().request, papers(OTHER).approval), "another request"),
    "the request given twice": (Papers(papers().request, papers().request), "no second person"),
    "the request signed as one by both": (Papers(papers().request, papers(by=BOB).request), "no second person"),
    "no approval": (Papers(papers().request, b""), "no second person"),
    "no request": (Papers(b"{}", papers().approval), "not a DSSE envelope"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_less_than_two_people_agreeing_to_this_in_time_permit_nothing(tmp_path: Path, case: str) -> None:
    custody = custody_in(tmp_path)
    given, said = REFUSED[case]
    with pytest.raises(InputError, match=said):
        RULE.permit(SEND, given, custody, NOON)
    assert list(custody.records()) == []


def test_the_last_moment_counts_and_the_next_does_not(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    RULE.permit(SEND, papers(), custody, NOON + timedelta(days=1, seconds=-1))
    with pytest.raises(InputError, match="was good until"):
        RULE.permit(SEND, papers(), custody, NOON + timedelta(days=1))


def test_an_approval_is_good_for_once_also_after_a_restart(tmp_path: Path) -> None:
    given = papers()
    RULE.permit(SEND, given, custody_in(tmp_path), NOON)
    with pytest.raises(InputError, match="used already"):
        RULE.permit(SEND, given, custody_in(tmp_path), NOON)
    with pytest.raises(InputError, match="used already"):  # signed once more, it is still the same request
        RULE.permit(SEND, given._replace(approval=agree(given.request, PEOPLE, BOB)), custody_in(tmp_path), NOON)
    RULE.permit(SEND, papers(), custody_in(tmp_path), NOON)


# -- planted: each control taken away, and the table above would let its case pass


def permits(tmp_path: Path, case: str) -> None:
    RULE.permit(SEND, REFUSED[case][0], custody_in(tmp_path), NOON)


def test_planted_without_telling_people_apart_one_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = module._read

    def by_nobody(request: bytes, people: Any) -> Any:
        return read(request, people)._replace(key=CAROL.verifier)

    monkeypatch.setattr(module, "_read", by_nobody)
    permits(tmp_path, "the same person")


def test_planted_without_a_clock_what_expired_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Statement, "holds_at", lambda *_: True)
    permits(tmp_path, "expired")


def test_planted_without_comparing_another_act_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Statement, "wanted", SEND)
    for case in ("another act", "another subject", "another environment"):
        permits(tmp_path, case)


def test_planted_without_the_record_one_approval_is_good_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Custody, "records", lambda _: iter(()))
    given = papers()
    for _ in range(2):
        RULE.permit(SEND, given, custody_in(tmp_path), NOON)


def test_planted_without_signatures_a_stranger_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifierKey, "verify", lambda *_: True)
    permits(tmp_path, "a stranger approves")


# -- asking


def test_who_asks_cannot_agree_and_a_stranger_has_nothing_to_agree_to() -> None:
    request = ask(SEND, ALICE, NOON)
    with pytest.raises(InputError, match="who asks cannot"):
        agree(request, PEOPLE, ALICE)
    with pytest.raises(InputError, match="no trusted key"):
        agree(ask(SEND, CAROL, NOON), PEOPLE, BOB)


def statement(**changed: Any) -> bytes:
    fields = {
        "format": "custodes-request/1",
        "act": "send",
        "subject": "a" * 64,
        "environment": "test",
        "asked_by": "alice",
        "asked_at": "2026-03-01T12:00:00+00:00",
        "expires": "2026-03-08T12:00:00+00:00",
        "nonce": "0" * 32,
    }
    return json.dumps(fields | changed).encode()


UNFIT: dict[str, dict[str, Any]] = {
    "longer than a week": {"expires": "2026-03-08T12:00:01+00:00"},
    "over before it begins": {"expires": "2026-03-01T12:00:00+00:00"},
    "a time without its zone": {"expires": "2026-03-02T12:00:00"},
    "a subject that is no digest": {"subject": "https://images.example/1.jpg"},
    "another format": {"format": "custodes-request/2"},
    "another act": {"act": "publish"},
    "another field": {"note": ""},
}


def test_a_request_of_a_week_is_read_and_what_does_not_fit_is_refused() -> None:
    assert read_request(dsse.sign(REQUEST_TYPE, statement(), ALICE), PEOPLE).asked_by == "alice"
    for changed in UNFIT.values():
        with pytest.raises(InputError, match="does not fit"):
            read_request(dsse.sign(REQUEST_TYPE, statement(**changed), ALICE), PEOPLE)
    with pytest.raises(ValueError, match="up to 7 days"):
        ask(SEND, ALICE, NOON, timedelta(days=8))


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ([], "two approvers at least"),
        ([ALICE.verifier], "two approvers at least"),
        ([ALICE.verifier, signing_key(1, "alias").verifier], "are the same"),
        ([ALICE.verifier, signing_key(2, "alice").verifier], "are the same"),
        ([ALICE.verifier, signing_key(2, "https://b").verifier], "a name has"),
    ],
)
def test_a_rule_that_could_not_be_kept_is_refused(people: list[VerifierKey], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TwoPerson([Guarded.SEND], people)


def test_incidents_are_one_subject_in_any_order_and_another_with_any_more() -> None:
    one, two = f"{1:032x}", f"{2:032x}"
    assert subject_of([one, two]) == subject_of([two, one, two]) != subject_of([one])
    assert msgspec.structs.asdict(read_request(papers().request, PEOPLE))["subject"] == "a" * 64
