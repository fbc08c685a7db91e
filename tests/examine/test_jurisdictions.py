"""A jurisdiction is a dated table; what it says is decided by, and a configuration that would pass over what must not be is refused."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from custodes import jurisdictions as module
from custodes.errors import ConfigError
from custodes.jurisdictions import Jurisdiction, PolicySettings, PolicyUsed, jurisdictions
from custodes.model import Action, Kind, Meaning, Role, Signal
from custodes.policy import DEFAULT_ACTIONS, DEFAULT_POLICY, Actions, Standing


def settings(**given: Any) -> PolicySettings:
    return msgspec.convert(given, PolicySettings)


def action(used: PolicyUsed, meaning: Meaning, kind: Kind = Kind.MD5, assurance: str = "") -> Action:
    signal = Signal("one", "1-one", "e1", kind, "", assurance, Role.CONFIRMED, meaning=meaning)
    return used.policy().decide([signal]).action


def test_every_table_is_dated_has_its_source_and_makes_a_policy() -> None:
    assert list(jurisdictions()) == ["us", "uk", "ca", "eu"]
    for name, table in jurisdictions().items():
        assert datetime.date(2020, 1, 1) < table.as_of < datetime.date(2027, 1, 1)
        assert table.source
        assert table.note
        used = settings(jurisdiction=name).used()
        assert (used.jurisdiction, used.as_of) == (name, table.as_of.isoformat())
        assert action(used, Meaning.CSAM) is action(used, Meaning.CSAM, Kind.PDQ) is Action.REPORT
        assert action(used, Meaning.CSAM, assurance="unreviewed") is Action.HOLD
        for meaning in set(Meaning) - {Meaning.CSAM}:
            assert action(used, meaning) is Action.HOLD, "not the same as child abuse material, in any jurisdiction"


def test_no_jurisdiction_is_the_default_policy() -> None:
    used = settings().used()
    assert used == PolicyUsed()
    assert used.policy() == DEFAULT_POLICY


def test_another_table_decides_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = {**DEFAULT_ACTIONS, Standing.NCII: Actions(exact=Action.REPORT, near=Action.NONE)}
    table = Jurisdiction(title="Elsewhere", as_of=datetime.date(2026, 1, 2), source="s", note="n", actions=eager)
    monkeypatch.setattr(module, "jurisdictions", lambda: {"elsewhere": table})
    used = settings(jurisdiction="elsewhere").used()
    assert (used.as_of, action(used, Meaning.NCII), action(used, Meaning.NCII, Kind.PDQ)) == (
        "2026-01-02",
        Action.REPORT,
        Action.NONE,
    )


def test_the_operator_changes_one_cell_and_leaves_the_rest() -> None:
    used = settings(jurisdiction="uk", actions={"unreviewed": {"exact": "report"}, "ncii": {"near": "none"}}).used()
    assert used.jurisdiction == "uk"
    assert action(used, Meaning.CSAM, assurance="unreviewed") is Action.REPORT
    assert action(used, Meaning.CSAM, Kind.PDQ, assurance="unreviewed") is Action.HOLD
    assert (action(used, Meaning.NCII), action(used, Meaning.NCII, Kind.PDQ)) == (Action.HOLD, Action.NONE)
    assert action(used, Meaning.CSAM) is Action.REPORT


REFUSED = {
    "a jurisdiction that there is not": ({"jurisdiction": "atlantis"}, "no jurisdiction 'atlantis'"),
    "confirmed entries passed over": ({"actions": {"confirmed": {"near": "none"}}}, "passes over"),
    "unmapped entries acted on": ({"actions": {"unmapped": {"exact": "report"}}}, "does not hold"),
    "a standing that there is not": ({"actions": {"csam": {"exact": "report"}}}, "Invalid enum value 'csam'"),
    "an action that there is not": ({"actions": {"ncii": {"exact": "delete"}}}, "Invalid enum value 'delete'"),
    "a sort of match that there is not": ({"actions": {"ncii": {"close": "report"}}}, "Invalid enum value 'close'"),
}


@pytest.mark.parametrize(("given", "said"), REFUSED.values(), ids=REFUSED)
def test_what_a_configuration_may_not_say(given: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, msgspec.ValidationError), match=said):
        settings(**given)


def test_what_is_used_stands_whole_in_a_manifest_and_comes_back() -> None:
    used = settings(jurisdiction="ca", actions={"suspected": {"exact": "report"}}).used()
    written = msgspec.json.decode(msgspec.json.encode(used))
    assert written["actions"]["suspected"] == {"exact": "report", "near": "hold"}
    assert msgspec.convert(written, PolicyUsed) == used
