"""A hard refusal is overturned by two people, a soft one by one; each once, and on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from custodes.errors import ConfigError, InputError
from custodes.gateway.people.appeals import Bench, Judgement, overturning
from custodes.gateway.people.ledger import Outcome
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.vocabulary import Grade
from custodes.handover.approvals import Guarded, Papers, TwoPerson, agree, ask
from custodes.handover.custody import Act
from tests.gateway.people.making import NOON as NOON_MS
from tests.gateway.people.making import asking, noted, refused, run
from tests.handover.keeping import NOON, custody_in, signing_key

ALICE, BOB = (signing_key(number, name) for number, name in enumerate(("alice", "bob"), 1))
PEOPLE = [ALICE.verifier, BOB.verifier]
RULE = TwoPerson([Guarded.OVERTURN], PEOPLE)
HARD, SOFT = noted(1), noted(2, refused(1, Grade.SOFT))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        for each in (HARD, SOFT):
            run(ledger.note(each))
            run(ledger.appeal("tenant", each.request, NOON_MS))
        yield Bench(ledger, RULE, custody_in(tmp_path))


def papers(request: str) -> Papers:
    asked = ask(overturning(request), ALICE, NOON)
    return Papers(asked, agree(asked, PEOPLE, BOB))


def overturn(request: str, with_papers: Papers | None = None) -> Judgement:
    return Judgement(request, Outcome.OVERTURNED, "alice", with_papers)


def strikes(bench: Bench) -> int:
    return run(bench.ledger.standing(asking())).strikes


def test_those_that_wait_are_listed_the_oldest_first(bench: Bench) -> None:
    assert run(bench.waiting()) == [HARD.request, SOFT.request]


def test_one_person_overturns_a_soft_refusal(bench: Bench) -> None:
    assert run(bench.decide(overturn(SOFT.request), NOON)).strikes == 1
    assert (strikes(bench), run(bench.waiting())) == (1, [HARD.request])
    assert run(bench.ledger.appealed(SOFT.request)).people == ("alice",)


def test_two_people_overturn_a_hard_one_and_are_on_record(bench: Bench) -> None:
    assert run(bench.decide(overturn(HARD.request, papers(HARD.request)), NOON)).strikes == 1
    told = [(line.act, line.who, line.reason) for line in bench.custody.records()]
    assert told == [(Act.ASKED, "alice", "overturn"), (Act.APPROVED, "bob", "overturn")]


def test_one_person_upholds_a_hard_one(bench: Bench) -> None:
    run(bench.decide(Judgement(HARD.request, Outcome.UPHELD, "alice"), NOON))
    assert strikes(bench) == 2


def test_without_agreement_on_this_refusal_in_time_nothing_is_taken_back(bench: Bench) -> None:
    asked = ask(overturning(HARD.request), ALICE, NOON)
    cases = {
        "nobody agreed": None,
        "to another refusal": papers(SOFT.request),
        "alone": Papers(asked, asked),
    }
    for each in cases.values():
        with pytest.raises(InputError):
            run(bench.decide(overturn(HARD.request, each), NOON))
    with pytest.raises(InputError, match="good until"):
        run(bench.decide(overturn(HARD.request, papers(HARD.request)), NOON + timedelta(days=2)))
    assert strikes(bench) == 2


def test_where_nobody_is_named_a_hard_one_stays(bench: Bench) -> None:
    alone = replace(bench, rule=TwoPerson([], []))
    with pytest.raises(ConfigError, match="two people"):
        run(alone.decide(overturn(HARD.request), NOON))
    assert strikes(bench) == 2


def test_planted_without_the_rule_one_person_is_enough(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "_permitted", lambda *_: None)
    run(bench.decide(overturn(HARD.request), NOON))
    assert strikes(bench) == 1


def test_what_is_settled_spends_no_permission(bench: Bench) -> None:
    run(bench.decide(Judgement(HARD.request, Outcome.UPHELD, "alice"), NOON))
    with pytest.raises(InputError, match="settled"):
        run(bench.decide(overturn(HARD.request, papers(HARD.request)), NOON))
    assert list(bench.custody.records()) == []


def test_an_unknown_appeal_and_a_name_that_is_none_are_refused(bench: Bench) -> None:
    with pytest.raises(InputError, match="no refusal"):
        run(bench.decide(overturn("req_9-0"), NOON))
    with pytest.raises(ValueError, match="name"):
        Judgement(HARD.request, Outcome.UPHELD, "")
    with pytest.raises(ValueError, match="upheld or overturned"):
        Judgement(HARD.request, Outcome.OPEN, "alice")
