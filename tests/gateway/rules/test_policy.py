"""Policies as files: what is read, what is refused at reading, what stands on what."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from custodes.errors import ConfigError
from custodes.gateway.rules import policy as policies
from custodes.gateway.rules.deciding import decide
from custodes.gateway.rules.policy import EMBEDDED, Policy, Rule, embedded, load_policy, read_policy, switched
from custodes.gateway.rules.rulebook import Rulebook
from custodes.gateway.vocabulary import Action, Grade, Stage, Verdict
from tests.gateway.rules.making import HEAD, UMBRELLA, facts, policy, rule

REFUSED = {
    "no rules at all": HEAD,
    "nothing that stops": HEAD + rule(action="allow", grade=None),
    "an empty file": "",
    "no date": '[policy]\nname = "tests"\nsource = "x"\n' + UMBRELLA,
    "no source": '[policy]\nname = "tests"\nas_of = 2026-01-02\nsource = ""\n' + UMBRELLA,
    "a field nobody knows": HEAD + rule(fail_open=True),
    "a setting nobody knows": HEAD + "fail_open = true\n" + UMBRELLA,
    "a rule that asks for nothing": HEAD + rule(when=[]),
    "a rule that asks for nine facts": HEAD + rule(when=[f"context:a{n}" for n in range(9)]),
    "a rule without a name": HEAD + rule(name=""),
    "a name of 201 characters": HEAD + rule(name="x" * 201),
    "two rules of one name": HEAD + rule() + rule(),
    "a fact of everything": HEAD + rule(when=["*"]),
    "a fact that is no name": HEAD + rule(when=["Context:Umbrella"]),
    "a fact of 101 characters": HEAD + rule(when=["context:" + "a" * 93]),
    "least of what is not asked": HEAD + rule(least={"explicit": 0.1}),
    "least above one": HEAD + rule(when=["explicit"], least={"explicit": 1.01}),
    "least below nothing": HEAD + rule(when=["explicit"], least={"explicit": -0.01}),
    "unless of what is asked": HEAD + rule(unless=["context:umbrella"]),
    "a stop without a grade": HEAD + rule(grade=None),
    "a grade without a stop": HEAD + UMBRELLA + rule(action="allow", grade="soft"),
    "strikes without a stop": HEAD + UMBRELLA + rule(action="allow", grade=None, strikes=1),
    "a report without a stop": HEAD + UMBRELLA + rule(action="rewrite", grade=None, stage="input", report=True),
    "an image rewritten": HEAD + UMBRELLA + rule(action="rewrite", grade=None, stage="output"),
    "an image acknowledged": HEAD + rule(acknowledge=True),
    "changes of what is refused": HEAD + rule(add="in a park"),
    "hard and acknowledged": HEAD + rule(grade="hard", stage="input", acknowledge=True),
    "hard and switched off": HEAD + rule(grade="hard", switch="umbrellas"),
    "hard with an exception": HEAD + rule(grade="hard", unless=["context:garden"]),
    "hard and told to the caller": HEAD + rule(grade="hard", category="sexual"),
    "hard and rewritten": HEAD + UMBRELLA + rule(action="rewrite", stage="input", grade="hard"),
    "a broken check allowed": HEAD + UMBRELLA + rule(when=["fault:inspection"], action="allow", grade=None),
    "all broken checks allowed": HEAD + UMBRELLA + rule(when=["fault:*"], action="allow", grade=None),
    "a broken check rewritten": HEAD + UMBRELLA + rule(when=["fault:x"], action="rewrite", grade=None, stage="input"),
    "a broken check acknowledged": HEAD + rule(when=["fault:x"], stage="input", acknowledge=True),
    "a broken check switched off": HEAD + rule(when=["fault:x"], switch="faults"),
    "a broken check as an excuse": HEAD + rule(unless=["fault:inspection"]),
    "a broken check called harmless": HEAD + 'harmless = ["fault:*"]\n' + UMBRELLA,
    "everything called harmless": HEAD + 'harmless = ["*"]\n' + UMBRELLA,
    "off without a base": HEAD + 'off = ["explicit"]\n' + UMBRELLA,
    "a hard rule of the base off": HEAD + 'base = "us"\noff = ["a minor is not undressed"]\n',
    "a switch that the base lacks": HEAD + 'base = "strict"\noff = ["explicit"]\n',
    "a base that is not there": HEAD + 'base = "lenient"\n' + UMBRELLA,
    "a base in a file of nowhere": HEAD + 'base = "site.toml"\n' + UMBRELLA,
    "a rule of the base written again": HEAD + 'base = "us"\n' + rule(name="a minor is not undressed"),
    "no TOML": "[policy",
    "a jump of a number": HEAD + rule(strikes=101),
    "a change of nothing": HEAD
    + UMBRELLA
    + rule(action="rewrite", grade=None, stage="input")
    + 'changes = [{by = "x"}]\n',
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_at_reading(text: str) -> None:
    with pytest.raises(ConfigError):
        read_policy(text)


def test_what_is_at_its_limit_is_read() -> None:
    found = policy(
        rule(name="x" * 200, when=[f"context:a{n}" for n in range(8)], strikes=100),
        rule(when=["context:" + "a" * 92, "explicit"], least={"explicit": 1.0}),
        rule(name="a broken check is told", when=["fault:*"]),
    )
    assert len(found.rules) == 3


@pytest.mark.parametrize("name", EMBEDDED)
def test_each_of_ours_is_dated_says_its_source_and_stands_on_the_core(name: str) -> None:
    found = embedded(name)
    assert found.source
    assert found.note
    assert found.as_of.year >= 2026
    assert embedded("core").version in found.bases
    assert all(each in found.rules for each in embedded("core").rules)


def test_the_version_changes_with_anything_that_is_said_and_with_nothing_else() -> None:
    one = read_policy(HEAD + UMBRELLA)
    assert one.version == read_policy("# a comment\n" + HEAD + UMBRELLA).version
    assert one.version != read_policy(HEAD.replace("01-02", "01-03") + UMBRELLA).version
    assert one.version != read_policy(HEAD + UMBRELLA + rule()).version


def test_a_rewriting_does_not_print_its_terms() -> None:
    made = rule(action="rewrite", grade=None, stage="input") + 'changes = [{ terms = ["fountain"], by = "tree" }]\n'
    assert "fountain" not in repr(policy(UMBRELLA, made))


# -- one on top of another


def test_files_stand_on_files_beside_them_and_not_too_deep(tmp_path: Path) -> None:
    (tmp_path / "a0.toml").write_text(HEAD + UMBRELLA)
    for number in range(1, 6):
        (tmp_path / f"a{number}.toml").write_text(
            HEAD + f'base = "a{number - 1}.toml"\n' + rule(name=f"rule number {number}")
        )
    assert len(load_policy("a4.toml", tmp_path).bases) == 4
    with pytest.raises(ConfigError, match="deep"):
        load_policy("a5.toml", tmp_path)
    (tmp_path / "ring.toml").write_text(HEAD + 'base = "ring.toml"\n' + UMBRELLA)
    with pytest.raises(ConfigError, match="ring"):
        load_policy("ring.toml", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"#" * (policies.POLICY_BYTES_MAX + 1), None])
def test_a_file_that_cannot_be_a_policy_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "site.toml").write_bytes(content)
    with pytest.raises(ConfigError):
        load_policy("site.toml", tmp_path)


def test_what_a_base_lets_be_left_out_is_left_out_and_nothing_else() -> None:
    us = embedded("us")
    open_to_adults = read_policy(HEAD + 'base = "us"\noff = ["explicit"]\n')
    for found in (open_to_adults, switched(us, ["explicit"])):
        assert decide(found, facts("explicit"), Stage.OUTPUT).action is Action.ALLOW
        hard = decide(found, facts("explicit", "context:minor"), Stage.OUTPUT)
        assert (hard.action, hard.grade) == (Action.WITHHOLD, Grade.HARD)
        assert us.version in found.bases
    with pytest.raises(ConfigError, match="does not let"):
        switched(us, ["known"])
    with pytest.raises(ConfigError, match="does not let"):
        switched(embedded("strict"), ["explicit"])


# -- tenants


def test_a_tenant_has_the_rules_of_the_site_and_its_own() -> None:
    site, stricter = embedded("us"), read_policy(HEAD + 'base = "us"\n' + UMBRELLA)
    book = Rulebook(site, {"park": stricter})
    asked = facts("context:umbrella", "context:garden")
    assert book.decide(asked, Stage.INPUT, tenant="park", acknowledged=False).grade is Grade.HARD
    assert book.of("anybody") is site


WEAKER = {
    "a policy that stands on nothing": HEAD + UMBRELLA,
    "a policy that stands on another of ours": HEAD + 'base = "us"\n' + UMBRELLA,
    "a policy that changes what is kept": HEAD + 'base = "strict"\nkeep = "reported"\n' + UMBRELLA,
    "a policy that changes the jurisdiction": HEAD + 'base = "strict"\njurisdiction = "eu"\n' + UMBRELLA,
}


@pytest.mark.parametrize("text", WEAKER.values(), ids=WEAKER)
def test_a_tenant_cannot_leave_the_site(text: str) -> None:
    with pytest.raises(ConfigError, match="tenant park"):
        Rulebook(embedded("strict"), {"park": read_policy(text)})


def test_two_tenants_do_not_rewrite_differently_by_one_name() -> None:
    made = [
        read_policy(HEAD + 'base = "us"\n' + rule(action="rewrite", grade=None, stage="input", add=add))
        for add in ("in a park", "in a wood")
    ]
    Rulebook(embedded("us"), {"one": made[0], "two": made[0]})
    with pytest.raises(ConfigError, match="rewrite differently"):
        Rulebook(embedded("us"), {"one": made[0], "two": made[1]})


# -- what is kept


@pytest.mark.parametrize(
    ("keep", "hard", "reported", "soft"), [("hard", 1, 1, 0), ("reported", 0, 1, 0), ("all", 1, 1, 1)]
)
def test_what_is_sealed_and_what_is_destroyed(keep: str, hard: int, reported: int, soft: int) -> None:
    found = policy(UMBRELLA, head=f'keep = "{keep}"\n')
    verdicts = [
        Verdict(Action.WITHHOLD, "x", Grade.HARD),
        Verdict(Action.WITHHOLD, "x", Grade.HARD, report=True),
        Verdict(Action.WITHHOLD, "x", Grade.SOFT),
    ]
    assert [found.keeps(each) for each in verdicts] == [bool(hard), bool(reported), bool(soft)]
    assert not found.keeps(Verdict(Action.ALLOW, "x"))


def test_in_the_union_only_what_is_reported_is_kept() -> None:
    assert {name: embedded(name).keep for name in EMBEDDED} == {
        "strict": "hard",
        "uk": "hard",
        "us": "hard",
        "eu": "reported",
        "demo": "all",
    }


# -- planted faults


def test_planted_without_the_check_a_hard_rule_could_be_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + rule(grade="hard", stage="input", acknowledge=True)
    monkeypatch.setattr(policies, "_careful", lambda _: iter(()))
    found = read_policy(text)
    asked = facts("context:umbrella")
    assert decide(found, asked, Stage.INPUT, acknowledged=True).action is Action.ALLOW


def test_planted_without_the_check_a_tenant_would_be_weaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rulebook, "_check", lambda *_: None)
    book = Rulebook(
        embedded("strict"), {"park": read_policy(HEAD + UMBRELLA + rule(when=["known:report"], name="known"))}
    )
    asked = facts("context:minor", "context:sexual")
    assert book.decide(asked, Stage.INPUT, tenant="park", acknowledged=False).grade is not Grade.HARD


def test_a_policy_comes_back_from_its_own_words() -> None:
    found = embedded("us")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Policy).version == found.version
    assert all(isinstance(each, Rule) for each in found.rules)
