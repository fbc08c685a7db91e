"""The truth that a scan is compared with agrees, part by part, with what custodes makes of the same bytes and links."""

from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.demo.gallery import Gallery
from custodes.demo.links import DemoSet
from custodes.demo.ways import EXPECTED, OFF_SITE, Way, answer
from custodes.model import Kind, Outcome, OutcomeName, Reason, Role
from custodes.pdq import forms_of
from custodes.url import parse, url_digest

JUDGED_BY_CONTENT = [Way.OK, Way.CUT, Way.PAGE, Way.DOCUMENT, Way.BROKEN, Way.BOMB]


def codes_of(data: bytes, policy: DecodePolicy) -> np.ndarray:
    found = [each for each in examine_content(data, ImageLimits(), policy).pdq if each.quality >= 50]
    codes = np.frombuffer(b"".join(each.code + each.reflections for each in found), np.uint8).reshape(-1, 128)
    return forms_of(codes).reshape(-1, 32)


def bits(code: bytes, codes: np.ndarray) -> int:
    return int(np.bitwise_count(codes ^ np.frombuffer(code, np.uint8)).sum(axis=1).min(initial=256))


@pytest.mark.parametrize("way", JUDGED_BY_CONTENT)
def test_bodies_end_with_the_reason_that_the_truth_expects(way: Way, gallery: Gallery) -> None:
    some = [gallery.pictures[name] for name in gallery.ordinary]
    if way is Way.CUT:
        some = [picture for picture in some if picture.mime == "image/jpeg"]
    for row, picture in enumerate(some[:60]):
        body = answer(way, row, picture, again=True).body
        assert examine_content(body, ImageLimits(), DecodePolicy.FAST).reason in EXPECTED[way], picture.name


def planted(demo: DemoSet, role: Role) -> list[bytes]:
    with demo.hashes.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["kind"], row["role"]) == (Kind.PDQ, role)]
    return [bytes.fromhex(row["value"]) for row in rows]


@pytest.mark.parametrize("policy", list(DecodePolicy))
def test_planted_copies_are_within_31_bits_and_no_other_picture_is(
    policy: DecodePolicy, gallery: Gallery, demo: DemoSet
) -> None:
    listed = planted(demo, Role.CONFIRMED)
    bases = {copy.name: copy.base_code for copy in gallery.copies} | {
        copy.base: copy.base_code for copy in gallery.copies
    }
    for name, picture in gallery.pictures.items():
        codes = codes_of(picture.data, policy)
        near = {code for code in listed if bits(code, codes) <= 31}
        assert near == ({bases[name]} if name in bases else set()), name


def test_a_copy_listed_as_negative_is_near_a_listed_picture_and_still_no_finding(
    gallery: Gallery, demo: DemoSet
) -> None:
    last = [copy for copy in gallery.copies if copy.treatment == "known to be something else"]
    stories = Counter((each.story, each.finding) for each in demo.truth)
    assert stories["known to be something else", False] == len(last) == 3
    assert stories["known to be something else", True] == 0
    assert stories["the listed picture itself", True] == 3
    listed = planted(demo, Role.CONFIRMED)
    assert all(copy.base_code in listed for copy in last)


def test_a_seed_is_matched_and_reports_nothing(gallery: Gallery, demo: DemoSet) -> None:
    (seed,) = planted(demo, Role.SEED)
    row = next(each for each in demo.truth if each.story == "near a seed")
    link = pq.read_table(demo.links, columns=["URL"])["URL"][row.row].as_py()
    shown = gallery.pictures[link.rpartition("/")[2]]
    assert bits(seed, codes_of(shown.data, DecodePolicy.FAST)) <= 31
    assert not row.finding


def test_links_that_never_leave_parse_to_the_reason_that_the_truth_expects(demo: DemoSet) -> None:
    seen = Counter()
    for truth, link in zip(demo.truth, pq.read_table(demo.links, columns=["URL"])["URL"].to_pylist(), strict=True):
        if truth.way is Way.NO_URL:
            assert link is None
            continue
        parsed = parse(link)
        if Outcome(truth.reasons[0]).reason in (Reason.BAD_URL, Reason.BLOCKED_SCHEME, Reason.BLOCKED_USERINFO):
            assert parsed in truth.reasons, truth.row
            seen[truth.way] += 1
        else:
            assert not isinstance(parsed, Reason), truth.row
    assert set(seen) == {Way.BAD_URL, Way.FTP, Way.FILE, Way.DATA, Way.USERINFO}


def test_planted_link_digests_are_those_of_the_links(demo: DemoSet) -> None:
    with demo.hashes.open(newline="", encoding="utf-8") as file:
        listed = {(row["kind"], row["value"]) for row in csv.DictReader(file)}
    rows = pq.read_table(demo.links, columns=["URL"])["URL"].to_pylist()
    for truth in demo.truth:
        if truth.story.startswith("link known by "):
            kind = Kind(truth.story.removeprefix("link known by "))
            digest = url_digest(kind, rows[truth.row])
            assert digest is not None
            assert (kind, digest.hex()) in listed


def test_every_way_has_an_expected_reason_of_one_outcome_unless_the_client_may_choose() -> None:
    assert set(EXPECTED) == set(Way)
    for way, reasons in EXPECTED.items():
        names = {Outcome(reason).name for reason in reasons}
        assert len(names) == 1 or way is Way.GZIP
        assert way not in OFF_SITE or names == {OutcomeName.UNAVAILABLE}


def test_the_oracle_notices_a_planted_mistake(gallery: Gallery, demo: DemoSet) -> None:
    copy = gallery.copies[0]
    wrong = bytes(value ^ 0xFF for value in copy.base_code)
    codes = codes_of(gallery.pictures[copy.name].data, DecodePolicy.FAST)
    assert bits(copy.base_code, codes) <= 31
    assert bits(wrong, codes) > 31
