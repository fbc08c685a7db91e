"""No single change to a card, its keys, its proof or the files that it names passes; and each weakness that is planted lets some pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from custodes import verifying
from custodes.attest import policy
from custodes.attest.keyring import TrustedKey
from custodes.attest.statement import Examination, Statement
from custodes.crypto import dsse, keys
from custodes.crypto.keys import VerifierKey
from tests.attest.judging import World, changes, world

SHARE = 30
"""Of the bytes of each file every thirtieth is changed; in the soak every one."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("tampering"))


def accepted(given: World, step: int) -> tuple[int, list[str]]:
    """How many changes were made, and which of them passed."""
    tried, passed = 0, []
    for name, changed in changes(given, step):
        tried += 1
        if changed.passes():
            passed.append(name)
    return tried, passed


def test_what_was_not_changed_passes(given: World) -> None:
    assert given.verdict().passed
    for place, taken in {"dataset": "original", "cleaned": "cleaned"}.items():
        verdict = replace(given, dataset=str(given.home / place)).verdict()
        assert verdict.passed
        assert f"taken for the {taken} set" in verdict.checks[-1].means


def test_no_single_change_passes(given: World) -> None:
    tried, passed = accepted(given, SHARE)
    assert passed == []
    assert tried > 500


@pytest.mark.soak
def test_no_single_change_of_thousands_passes(given: World) -> None:
    tried, passed = accepted(given, 1)
    assert passed == []
    assert tried >= 3500


def no_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VerifierKey, "verify", lambda *_: True)


def any_spelling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dsse, "is_document", lambda *_: True)
    patch.setattr("custodes.attest.verification.is_document", lambda *_: True)


def no_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TrustedKey, "spans", lambda *_: True)


def no_revocation(patch: pytest.MonkeyPatch) -> None:
    real = policy._faults
    patch.setattr(policy, "_faults", lambda key, *rest: real(TrustedKey(key.key, key.begins, key.ends), *rest))


def weak_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keys, "_LOW_ORDER_Y", frozenset())


class LaxExamination(Examination, frozen=True, kw_only=True):
    def __post_init__(self) -> None:
        """Nothing is added up."""


class LaxStatement(Statement, frozen=True, kw_only=True):
    predicate: LaxExamination


def no_sums(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("custodes.attest.verification.Statement", LaxStatement)


def no_demands(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verifying, "check_required", lambda *_: [])


def no_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verifying, "_logged", lambda *_: ((), None))


def names_alone(patch: pytest.MonkeyPatch) -> None:
    real = verifying._compared
    patch.setattr(
        verifying,
        "_compared",
        lambda what, named, there, how: real(
            what,
            type(named)((n, "") for n, _ in named.elements()),
            type(there)((n, "") for n, _ in there.elements()),
            how,
        ),
    )


WEAKNESSES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "signatures are not checked": (no_signature, "a stranger signs"),
    "any spelling is taken": (any_spelling, "a space more"),
    "the time of a key is ignored": (no_window, "a window"),
    "revocation is ignored": (no_revocation, "compromised"),
    "weak keys are accepted": (weak_keys, "order one"),
    "sums are not checked": (no_sums, "the signer says rows"),
    "the policy's demands are ignored": (no_demands, "a demonstration"),
    "the log is not asked": (no_log, "no proof"),
    "files are compared by name": (names_alone, ".parquet, byte"),
}


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_planted_fault_is_seen(given: World, monkeypatch: pytest.MonkeyPatch, weakness: str) -> None:
    plant, seen = WEAKNESSES[weakness]
    plant(monkeypatch)
    assert any(seen in name for name in accepted(given, 400)[1])
