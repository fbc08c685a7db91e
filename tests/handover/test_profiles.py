"""Profiles of jurisdictions: in force on their days and no other, each with its source; and what they ask for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from custodes.errors import ConfigError
from custodes.handover.clocks import Term, due, kept
from custodes.handover.custody import Act, Deed
from custodes.handover.incident import Incident
from custodes.handover.profiles import Preservation, Profile, profile_of, profiles, terms_of, wants
from custodes.jurisdictions import jurisdictions
from custodes.model import Meaning
from tests.handover.keeping import Clock, custody_in
from tests.handover.making import finding, incidents, match

DAY = timedelta(days=1)
TODAY = date(2026, 11, 23)

EDGES = {
    "us": (date(2024, 5, 7), None),
    "uk": (date(2026, 4, 7), None),
    "ca": (date(2011, 12, 8), None),
    "eu": (date(2021, 8, 2), date(2026, 4, 3)),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_profile_is_in_force_from_its_first_day_to_its_last(name: str) -> None:
    first, last = EDGES[name]
    with pytest.raises(ConfigError, match=f"no profile of {name} is in force on {first - DAY}"):
        profile_of(name, first - DAY)
    assert profile_of(name, first).valid_from == first
    if last is None:
        assert profile_of(name, date.max) == profile_of(name, first)
        return
    assert profile_of(name, last).valid_to == last
    with pytest.raises(ConfigError, match=f"there is one for {first} to {last}"):
        profile_of(name, last + DAY)


def test_there_is_a_profile_for_each_jurisdiction_of_the_policy_and_no_other() -> None:
    assert set(profiles()) == set(jurisdictions()) == set(EDGES)
    with pytest.raises(ConfigError, match="'fr'"):
        profile_of("fr", TODAY)


def all_of_them() -> list[tuple[str, Profile]]:
    return [(name, profile) for name, dated in profiles().items() for profile in dated]


@pytest.mark.parametrize(("name", "profile"), all_of_them(), ids=[f"{n} {p.valid_from}" for n, p in all_of_them()])
def test_every_profile_says_where_it_is_written_and_holds_no_content(name: str, profile: Profile) -> None:
    assert len(profile.source) > 20
    assert all(
        (
            profile.authority,
            profile.channel,
            profile.trigger,
            profile.deadline,
            profile.preserve_what,
            profile.forbidden,
        )
    )
    assert not profile.may_hold_content
    assert "legal advice" not in profile.note
    assert profile.url_only == (name == "ca")


def test_no_two_profiles_of_a_jurisdiction_are_in_force_on_a_day() -> None:
    for dated in profiles().values():
        ordered = sorted(dated, key=lambda profile: profile.valid_from)
        for earlier, later in pairwise(ordered):
            assert earlier.valid_to is not None
            assert earlier.valid_to < later.valid_from


def test_what_was_not_read_is_marked() -> None:
    assert set(profile_of("uk", TODAY).unverified) >= {"deadline", "preservation"}
    assert "preservation" in profile_of("ca", TODAY).unverified
    assert profile_of("us", TODAY).unverified == ()


# -- how long things are kept

TERMS = {
    "us": ("receipt", "package"),
    "uk": ("receipt", "package"),
    "ca": ("receipt", "package"),
    "eu": (),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_those_that_the_profile_names(name: str) -> None:
    expected = tuple(Term(what=what, since=Act.RECEIVED, years=1) for what in TERMS[name])
    assert terms_of(profile_of(name, EDGES[name][0])) == expected


def test_days_make_terms_of_days() -> None:
    profile = msgspec.structs.replace(profile_of("ca", TODAY), preservation=Preservation(days=21))
    assert {(term.days, term.years) for term in terms_of(profile)} == {(21, 0)}


def test_a_receipt_is_due_after_a_calendar_year_in_the_united_states(tmp_path: Any) -> None:
    clock = Clock(datetime(2027, 3, 1, 12, tzinfo=UTC))
    custody = custody_in(tmp_path, clock)
    deed = Deed(act=Act.RECEIVED, who="op", incident="0" * 32, environment="test", route="cybertipline", receipt="1")
    custody.append(deed)
    things = kept(custody.records(), terms_of(profile_of("us", TODAY)))
    assert [len(due(things, clock.now + timedelta(days=days))) for days in (365, 366)] == [0, 1]  # 2028 has a leap day


# -- what is asked for


def told(decision: str, meaning: str) -> Incident:
    matches = (match(1, meaning=meaning),) if meaning != "none" else ()
    return incidents(finding(1, 1, decision=decision, matches=matches))[0]


WANTS = {
    ("us", "report", "csam"): "report",
    ("us", "hold", "csam"): "package",
    ("us", "report", "suspected"): "package",
    ("us", "hold", "exploitative"): "package",
    ("us", "hold", "unmapped"): "package",
    ("us", "hold", ""): "package",
    ("us", "hold", "none"): "package",
    ("us", "report", "ncii"): "nothing",
    ("us", "hold", "ncii"): "nothing",
    ("us", "report", "of tomorrow"): "nothing",
    ("uk", "report", "csam"): "report",
    ("uk", "hold", "ncii"): "nothing",
    ("ca", "report", "csam"): "report",
    ("ca", "hold", "csam"): "package",
    ("eu", "report", "csam"): "package",
    ("eu", "hold", "suspected"): "package",
    ("eu", "hold", "ncii"): "nothing",
}


@pytest.mark.parametrize("case", WANTS, ids=" ".join)
def test_what_a_profile_asks_for(case: tuple[str, str, str]) -> None:
    name, decision, meaning = case
    assert wants(profile_of(name, EDGES[name][0]), told(decision, meaning)) == WANTS[case]


def test_nothing_but_what_is_confirmed_is_ever_a_report() -> None:
    for _, profile in all_of_them():
        assert set(profile.report) <= {Meaning.CSAM}
        assert not {Meaning.NCII} & {*profile.report, *profile.package}


# -- data that cannot be meant


GIVEN: dict[str, Any] = msgspec.to_builtins(profiles()["us"][0])
WRONG: dict[str, dict[str, Any]] = {
    "no source": {"source": ""},
    "no authority": {"authority": ""},
    "nothing forbidden": {"forbidden": []},
    "it ends before it begins": {"valid_to": "2024-05-06"},
    "a field that is none is marked": {"unverified": ["deadlines"]},
    "a meaning in both": {"package": ["csam"]},
    "a meaning that is none": {"report": ["bad"]},
    "a field too many": {"duty": "yes"},
    "a preservation of nothing": {"preservation": {}},
    "a preservation of both": {"preservation": {"days": 1, "years": 1}},
    "a certainty that is none": {"certainty": "sure"},
    "a route that is none": {"route": "fax"},
}


@pytest.mark.parametrize("sort", WRONG)
def test_a_profile_that_cannot_be_meant_is_refused(sort: str) -> None:
    msgspec.convert(GIVEN, Profile)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(GIVEN | WRONG[sort], Profile)


def test_a_profile_of_one_day_is_one() -> None:
    profile = msgspec.convert(GIVEN | {"valid_to": "2024-05-07"}, Profile)
    days = [date(2024, 5, 6), date(2024, 5, 7), date(2024, 5, 8)]
    assert [profile.holds_on(day) for day in days] == [False, True, False]
