"""Judgements: on an incident, for all its findings; in whatever way a spreadsheet saves them; and nothing by half."""

from __future__ import annotations

import pytest

from custodes.errors import InputError
from custodes.handover import judging as module
from custodes.handover.index_page import Index, csv_index
from custodes.handover.judging import Judgement, judgements_in, runs_of, verdicts_on
from custodes.handover.verdicts import Ruling, Verdict
from tests.handover.making import finding, incidents

FOUND = incidents(finding(1, 7), finding(2, 7, run_id="b" * 16), finding(3), finding(4))
BY_FINDING = {place.finding: incident for incident in FOUND for place in incident.places}
BOTH, THIRD = BY_FINDING[f"{1:032x}"], BY_FINDING[f"{3:032x}"]


def judge(name: str, ruling: str = "confirmed", meaning: str = "", source: str = "line 2") -> Judgement:
    return Judgement(name, ruling, meaning, source)


def verdict(number: int, ruling: str = "confirmed", meaning: str = "") -> Verdict:
    return Verdict(finding=f"{number:032x}", verdict=Ruling(ruling), meaning=meaning)


JUDGED: dict[str, tuple[list[Judgement], list[Verdict]]] = {
    "an incident: all its findings": ([judge(BOTH.id, meaning="csam")], [verdict(1, meaning="csam"), verdict(2, meaning="csam")]),
    "by one of its findings": ([judge(f"{2:032x}", "not")], [verdict(1, "not"), verdict(2, "not")]),
    "by another of its names": ([judge(BOTH.aliases[0], "unsure")], [verdict(1, "unsure"), verdict(2, "unsure")]),
    "two of them": ([judge(THIRD.id, "not"), judge(BOTH.id)], [verdict(1), verdict(2), verdict(3, "not")]),
    "the same in two of its rows": ([judge(BOTH.id), judge(f"{2:032x}")], [verdict(1), verdict(2)]),
}  # fmt: skip


@pytest.mark.parametrize("case", JUDGED)
def test_a_judgement_on_an_incident_is_one_on_all_its_findings(case: str) -> None:
    judgements, expected = JUDGED[case]
    found = verdicts_on(FOUND, judgements)
    assert found == expected
    assert runs_of(FOUND, found) == sorted({place.run_id for i in FOUND for place in i.places if place.finding in {v.finding for v in found}})  # fmt: skip


REFUSED: dict[str, tuple[list[Judgement], str]] = {
    "none": ([], "no verdict was given"),
    "of what was not opened": ([judge("f" * 32)], "line 2 names none"),
    "of an id that a spreadsheet made a number of": ([judge("1.23E+31")], "line 2 names none"),
    "of nothing": ([judge("")], "line 2 names none"),
    "a word that is none": ([judge(BOTH.id, "maybe")], "line 2: the verdict is none of"),
    "a class without a verdict": ([judge(BOTH.id, "", "csam")], "line 2: the verdict is none of"),
    "a class that is none": ([judge(BOTH.id, meaning="other")], "line 2: the class"),
    "a class of what is not confirmed": ([judge(BOTH.id, "not", "csam")], "line 2: the class"),
    "two that differ": ([judge(BOTH.id), judge(BOTH.id, "not", source="line 3")], "line 3 contradicts"),
    "two that differ in class": ([judge(BOTH.id), judge(f"{2:032x}", meaning="csam", source="line 3")], "line 3 contradicts"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_stand_stops_everything(case: str) -> None:
    judgements, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        verdicts_on(FOUND, [judge(THIRD.id), *judgements] if judgements else [])


def test_planted_without_the_comparison_the_first_of_two_would_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_said", lambda judgement: (Ruling.CONFIRMED, ""))
    assert verdicts_on(FOUND, REFUSED["two that differ"][0])


TABLE = csv_index(Index(tuple(FOUND)))


def filled(text: str = TABLE, ruling: str = "Confirmed", meaning: str = " csam ") -> str:
    """The table with a verdict in the first row of an incident of two."""
    lines = text.split("\r\n")
    at = next(number for number, line in enumerate(lines) if BOTH.id in line)
    lines[at] = lines[at].replace('"",""', f'"{ruling}","{meaning}"', 1)
    return "\r\n".join(lines)


SAVED: dict[str, bytes] = {
    "as it was written": filled().encode(),
    "without the mark": filled().removeprefix("\ufeff").encode(),
    "with semicolons": filled().replace('","', '";"').encode(),
    "with tabs": filled().replace('","', '"\t"').encode(),
    "with bare line feeds": filled().replace("\r\n", "\n").encode(),
    "in another alphabet": filled().removeprefix("\ufeff").replace("links", "lünks").encode("cp1252"),
    "with capital ids": filled().replace(BOTH.id, BOTH.id.upper()).encode(),
    "with columns moved": f'"incident","note","class","verdict"\r\n"{BOTH.id}","","csam","confirmed"\r\n'.encode(),
    "with rows cut short": (filled() + '""\r\n\r\n').encode(),
}


@pytest.mark.parametrize("case", SAVED)
def test_a_filled_table_is_read_as_spreadsheets_save_it(case: str) -> None:
    (found,) = judgements_in(SAVED[case])
    assert (found.name, found.ruling, found.meaning) == (BOTH.id, "confirmed", "csam")
    assert found.source.startswith("line ")


UNREADABLE = {
    "empty": (b"", "no column incident, verdict, class"),
    "another table": (b"a,b\r\n1,2\r\n", "no column incident, verdict, class"),
    "a sheet, not a table": (b"PK\x03\x04" + bytes(range(256)), "no column|cannot be read"),
    "without the class": (b"incident,verdict\r\n", "no column class"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_table_of_ours_is_said(case: str) -> None:
    data, words = UNREADABLE[case]
    with pytest.raises(InputError, match=words):
        list(judgements_in(data))


def test_an_unfilled_table_judges_nothing() -> None:
    assert list(judgements_in(TABLE.encode())) == []
