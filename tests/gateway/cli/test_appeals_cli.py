"""``custodes gateway appeals``: opened by a tenant's word, shown without content, decided once; a hard one by two people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custodes.errors import ConfigError, InputError
from custodes.gateway.people.appeals import Bench
from custodes.gateway.vocabulary import Grade
from tests.gateway.cli.making import Gated, decided, gated, run
from tests.gateway.people.making import refused

HARD, SOFT = decided(1), decided(2, refused(1, Grade.SOFT))


@pytest.fixture
def given(tmp_path: Path) -> Gated:
    made = gated(tmp_path)
    made.note([HARD, SOFT])
    for each in (HARD, SOFT):
        assert appeals(made, "open", each.request, "--tenant", "tenant")[0] == 0
    return made


def appeals(given: Gated, *words: str | Path) -> tuple[int, str]:
    return run("gateway", "appeals", *words, *given.config)


def waiting(given: Gated, outcome: str = "open") -> list[str]:
    told = json.loads(appeals(given, "list", "--outcome", outcome, "--json")[1])
    return [each["request"] for each in told["appeals"]]


def papers(given: Gated, request: str, tmp_path: Path) -> list[str | Path]:
    asked, agreed = tmp_path / "asked", tmp_path / "agreed"
    assert appeals(given, "ask", request, "--key", given.alice, "--out", asked)[0] == 0
    told = run("handover", "approve", asked, "--key", given.bob, "--out", agreed, *given.config)[1]
    assert "approved to overturn, as asked by alice" in told
    return ["--request", asked, "--approval", agreed]


def test_appeals_are_listed_and_shown_with_rules_and_facts_and_no_more(given: Gated) -> None:
    assert waiting(given) == [HARD.request, SOFT.request]
    assert f"{HARD.request}  tenant  " in appeals(given, "list")[1]
    code, told = appeals(given, "show", HARD.request)
    assert code == 0
    assert "input refuse, by: an umbrella in a garden; facts: context:umbrella" in told
    (made,) = json.loads(appeals(given, "show", HARD.request, "--json")[1])["decisions"]
    assert made["rule"] == HARD.verdict.rule


def test_one_person_ends_a_soft_one_and_hears_what_was_restored(given: Gated) -> None:
    code, told = appeals(given, "decide", SOFT.request, "--overturn", "--by", "carol")
    assert (code, "taken back: 1 strikes" in told) == (0, True)
    assert (waiting(given), waiting(given, "overturned")) == ([HARD.request], [SOFT.request])
    with pytest.raises(InputError, match="settled"):
        appeals(given, "decide", SOFT.request, "--uphold", "--by", "carol")


def test_two_people_overturn_a_hard_one_once(given: Gated, tmp_path: Path) -> None:
    signed = papers(given, HARD.request, tmp_path)
    told = json.loads(appeals(given, "decide", HARD.request, "--overturn", "--by", "alice", "--json", *signed)[1])
    assert (told["outcome"], told["restored"]["strikes"]) == ("overturned", 1)
    with pytest.raises(InputError, match="settled"):
        appeals(given, "ask", HARD.request, "--key", given.alice, "--out", tmp_path / "again")


WRONG = {
    "nobody agreed": (["--overturn", "--by", "alice"], "two people"),
    "a name that is none": (["--uphold", "--by", " "], "--by"),
    "no end": (["--by", "alice"], "how does it end"),
    "one paper of two": (["--overturn", "--by", "alice", "--request", "x"], "belong together"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_hard_one_is_not_ended_so(given: Gated, case: str) -> None:
    words, means = WRONG[case]
    with pytest.raises(InputError, match=means):
        appeals(given, "decide", HARD.request, *words)
    assert waiting(given) == [HARD.request, SOFT.request]


def test_planted_without_the_rule_the_same_words_end_it(given: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "_permitted", lambda *_: None)
    appeals(given, "decide", HARD.request, *WRONG["nobody agreed"][0])
    assert waiting(given) == [SOFT.request]


def test_papers_of_another_refusal_do_not_end_it(given: Gated, tmp_path: Path) -> None:
    other = decided(3)
    given.note([other])
    appeals(given, "open", other.request, "--tenant", "tenant")
    with pytest.raises(InputError, match="something else"):
        appeals(given, "decide", HARD.request, "--overturn", "--by", "a", *papers(given, other.request, tmp_path))


def test_two_people_are_asked_only_for_what_is_hard_and_open(given: Gated, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one person is enough"):
        appeals(given, "ask", SOFT.request, "--key", given.alice, "--out", tmp_path / "asked")
    with pytest.raises(InputError, match="no refusal"):
        appeals(given, "ask", "req_9-0", "--key", given.alice, "--out", tmp_path / "asked")
    assert not (tmp_path / "asked").exists()


def test_only_the_tenant_that_was_refused_appeals(given: Gated) -> None:
    for request, tenant in ((HARD.request, "other"), ("req_9-0", "tenant")):
        with pytest.raises(InputError, match="no refusal"):
            appeals(given, "open", request, "--tenant", tenant)


def test_without_a_ledger_or_a_configuration_nothing_is_made(tmp_path: Path) -> None:
    made = gated(tmp_path)
    with pytest.raises(InputError, match="no ledger"):
        appeals(made, "list")
    assert not made.ledger.exists()
    with pytest.raises(ConfigError):
        run("gateway", "appeals", "list", "--config", tmp_path / "none.toml")


def test_options_of_the_gateway_before_a_command_are_refused_and_not_passed_over(given: Gated) -> None:
    with pytest.raises(Exception, match="stand after it"):
        run("gateway", *given.config, "appeals", "list")
