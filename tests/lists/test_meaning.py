"""What a category means is said by a dated table or by the operator; what nobody says is unmapped."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.lists import meaning as module
from custodes.lists.meaning import meaning_of, schemes, schemes_digest
from custodes.model import Meaning

CASES = {
    "an entry of a list without categories is confirmed by its role": ("", "", Meaning.CSAM),
    "a category whose scheme nobody stated is not guessed": ("", "A1", Meaning.UNMAPPED),
    "our own word without a scheme is not guessed either": ("", "csam", Meaning.UNMAPPED),
    "an unknown scheme is not understood": ("elsewhere", "A1", Meaning.UNMAPPED),
    "an unknown scheme without a category is not understood": ("elsewhere", "", Meaning.UNMAPPED),
    "NCMEC A1": ("ncmec", "A1", Meaning.CSAM),
    "NCMEC A2": ("ncmec", "A2", Meaning.CSAM),
    "NCMEC B1": ("ncmec", "B1", Meaning.CSAM),
    "NCMEC B2": ("ncmec", "B2", Meaning.CSAM),
    "NCMEC, not classified": ("ncmec", "", Meaning.SUSPECTED),
    "NCMEC, a class that there is not": ("ncmec", "A3", Meaning.UNMAPPED),
    "NCMEC, written otherwise": ("ncmec", "a1", Meaning.UNMAPPED),
    "NCMEC's exploitative list, not classified": ("ncmec/exploitative", "", Meaning.EXPLOITATIVE),
    "NCMEC's exploitative list, whatever the class": ("ncmec/exploitative", "A1", Meaning.EXPLOITATIVE),
    "IWF A": ("iwf", "A", Meaning.CSAM),
    "IWF C": ("iwf", "C", Meaning.CSAM),
    "IWF, not graded": ("iwf", "", Meaning.UNMAPPED),
    "VICS 1 in the United States": ("vics/us", "1", Meaning.CSAM),
    "VICS 2 in the United States is not VICS 2 in the United Kingdom": ("vics/us", "2", Meaning.EXPLOITATIVE),
    "VICS 2 in the United Kingdom": ("vics/uk", "2", Meaning.CSAM),
    "VICS 3 in the United States is computer-made": ("vics/us", "3", Meaning.UNMAPPED),
    "VICS 0": ("vics/us", "0", Meaning.UNMAPPED),
    "VICS 4 in the United Kingdom": ("vics/uk", "4", Meaning.UNMAPPED),
    "VICS without a country": ("vics", "1", Meaning.UNMAPPED),
    "INTERPOL Baseline": ("icse", "baseline", Meaning.CSAM),
    "INTERPOL, not Baseline": ("icse", "not-baseline", Meaning.UNMAPPED),
    "StopNCII, active": ("stopncii", "Active", Meaning.NCII),
    "StopNCII, unknown": ("stopncii", "Unknown", Meaning.UNMAPPED),
    "ThreatExchange, malicious, which is no class of content": ("threatexchange", "MALICIOUS", Meaning.SUSPECTED),
    "ThreatExchange, unknown": ("threatexchange", "UNKNOWN", Meaning.UNMAPPED),
    "Tech Against Terrorism": ("tat", "any", Meaning.UNMAPPED),
    "Arachnid Shield, confirmed": ("shield", "csam", Meaning.CSAM),
    "Arachnid Shield, harmful or abusive": ("shield", "harmful-abusive-material", Meaning.EXPLOITATIVE),
    "Arachnid Shield, a test": ("shield", "test", Meaning.UNMAPPED),
    "Arachnid Shield, a class that is new": ("shield", "of tomorrow", Meaning.UNMAPPED),
    "our own word for ncii": ("custodes", "ncii", Meaning.NCII),
    "our own word for nothing": ("custodes", "unmapped", Meaning.UNMAPPED),
}


@pytest.mark.parametrize(("scheme", "category", "meaning"), CASES.values(), ids=CASES)
def test_meanings(scheme: str, category: str, meaning: Meaning) -> None:
    assert meaning_of(scheme, category) is meaning


def test_every_table_has_its_date_and_source_and_a_case() -> None:
    tables = schemes()
    assert set(tables) == {scheme for scheme, _, _ in CASES.values() if scheme in tables} | {"demo"}
    for table in tables.values():
        assert datetime.date(2010, 1, 1) < table.as_of < datetime.date(2027, 1, 1)
        assert table.title
        assert table.source


def test_no_table_takes_what_it_does_not_name_for_confirmed() -> None:
    assert {table.default for table in schemes().values()} == {Meaning.UNMAPPED, Meaning.EXPLOITATIVE}


OWN = {"iwf": {"Category A": Meaning.CSAM, "C": Meaning.SUSPECTED}, "mine": {"7": Meaning.EXPLOITATIVE}}


def test_the_operators_word_counts_before_the_table_and_only_where_it_was_said() -> None:
    said = {
        (scheme, each): meaning_of(scheme, each, OWN) for scheme in ("iwf", "mine", "ncmec") for each in ("A", "C", "7")
    }
    assert said == {
        ("iwf", "A"): Meaning.CSAM,
        ("iwf", "C"): Meaning.SUSPECTED,
        ("iwf", "7"): Meaning.UNMAPPED,
        ("mine", "A"): Meaning.UNMAPPED,
        ("mine", "C"): Meaning.UNMAPPED,
        ("mine", "7"): Meaning.EXPLOITATIVE,
        **{("ncmec", each): Meaning.UNMAPPED for each in ("A", "C", "7")},
    }
    assert meaning_of("iwf", "Category A", OWN) is Meaning.CSAM


@given(st.text(), st.text())
def test_what_no_table_names_is_never_confirmed(scheme: str, category: str) -> None:
    named = {(name, each) for name, table in schemes().items() for each in table.categories}
    assert (scheme, category) in named or meaning_of(scheme, category) is not Meaning.CSAM


def test_the_digest_of_the_tables_changes_with_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert schemes_digest() == schemes_digest.__wrapped__()
    for planted in ({"A1": Meaning.NCII}, {"A1": Meaning.CSAM, "more": Meaning.CSAM}):
        table = module.Scheme(title="t", as_of=datetime.date(2026, 1, 1), source="s", categories=planted)
        monkeypatch.setattr(module, "schemes", lambda table=table: {**SHIPPED, "ncmec": table})
        assert schemes_digest.__wrapped__() != schemes_digest()


SHIPPED = schemes()


def guessed() -> bool:
    return meaning_of("", "A1") is not Meaning.UNMAPPED or meaning_of("elsewhere", "x") is not Meaning.UNMAPPED


def test_planted_fault_a_table_that_takes_everything_for_confirmed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not guessed()
    eager = module.Scheme(title="t", as_of=datetime.date(2026, 1, 1), source="s", default=Meaning.CSAM)
    monkeypatch.setattr(module, "schemes", lambda: {**SHIPPED, "": eager})
    assert guessed()
