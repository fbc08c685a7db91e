"""URL reading: what the standard says, what may be asked for, what the URL kinds digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.model import URL_KINDS, Kind, Reason
from custodes.url import URL_CHARS_MAX, Url, normalise, parse, url_digest


def test_all_http_cases_of_the_web_platform_tests_read_as_the_standard_says(vectors: Path) -> None:
    cases = json.loads((vectors / "url-wpt/tests/wpt/urltestdata.json").read_text())
    count = 0
    for case in (case for case in cases if isinstance(case, dict)):
        base = parse(case["base"]) if case.get("base") else None
        if isinstance(base, Reason):
            continue
        try:
            case["input"].encode()
        except UnicodeEncodeError:
            continue
        got = parse(case["input"], base)
        if case.get("failure"):
            assert got is Reason.BAD_URL, case["input"]
        elif case["protocol"] not in ("http:", "https:"):
            assert got is Reason.BLOCKED_SCHEME, case["input"]
        elif case["username"] or case["password"]:
            assert got is Reason.BLOCKED_USERINFO, case["input"]
        else:
            assert isinstance(got, Url), case["input"]
            assert got.href == case["href"].partition("#")[0]
            assert got.host == case["hostname"]
            assert got.port == int(case["port"] or (443 if case["protocol"] == "https:" else 80))
        count += 1
    assert count >= 445


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "a backslash ends the host": ("http://example.com\\@127.0.0.1/", "http://example.com/@127.0.0.1/"),
        "numeric hosts are addresses": ("http://0x7f.1/a", "http://127.0.0.1/a"),
        "one number is an address": ("http://2130706433/", "http://127.0.0.1/"),
        "fullwidth digits are digits": ("http://\uff11\uff12\uff17.1/", "http://127.0.0.1/"),
        "ideographic dots are dots": ("http://127\u30020\u30020\u30021/", "http://127.0.0.1/"),
        "names go to Punycode": ("HTTP://B\u00dcCHER.example/", "http://xn--bcher-kva.example/"),
        "default ports go": ("https://a.example:443/", "https://a.example/"),
        "fragments go": ("http://a.example/x#y", "http://a.example/x"),
        "empty fragments go": ("http://a.example/x#", "http://a.example/x"),
        "newlines go": ("http://a.exa\nmple/\tx", "http://a.example/x"),
        "dot segments go": ("http://a.example/b/%2e%2e/c", "http://a.example/c"),
        "an encoded hash stays": ("http://a.example/%23?q=%23", "http://a.example/%23?q=%23"),
        "userinfo that is empty is none": ("http://@a.example/", "http://a.example/"),
        "other schemes do not pass": ("file:///etc/passwd", Reason.BLOCKED_SCHEME),
        "data URLs do not pass": ("data:,x", Reason.BLOCKED_SCHEME),
        "gopher does not pass": ("gopher://a.example/", Reason.BLOCKED_SCHEME),
        "names in front of the host do not pass": ("http://a@b.example/", Reason.BLOCKED_USERINFO),
        "passwords do not pass": ("http://:p@b.example/", Reason.BLOCKED_USERINFO),
        "no scheme is no URL": ("//a.example/", Reason.BAD_URL),
        "zones are no hosts": ("http://[fe80::1%25lo]/", Reason.BAD_URL),
        "a lone surrogate is no text": ("http://a.example/\ud800", Reason.BAD_URL),
        "nothing is no URL": ("", Reason.BAD_URL),
        "a bad port is no URL": ("http://a.example:65536/", Reason.BAD_URL),
    }.values(),
)
def test_a_text_is_read_once_and_judged(text: str, expected: str | Reason) -> None:
    got = parse(text)
    assert (got.href if isinstance(got, Url) else got) == expected


def test_the_longest_text_is_read_and_one_more_is_not() -> None:
    text = "http://a.example/"
    assert isinstance(parse(text.ljust(URL_CHARS_MAX, "x")), Url)
    assert parse(text.ljust(URL_CHARS_MAX + 1, "x")) is Reason.BAD_URL
    assert normalise(text.ljust(URL_CHARS_MAX + 1, "x")) is None


def test_a_literal_address_is_known_as_one() -> None:
    cases = {"http://0x7f.1/": True, "http://[::1]/": True, "http://a.example/": False}
    assert {text: parse(text).is_literal_ip for text in cases} == cases  # type: ignore[union-attr]


def test_a_url_never_prints_itself() -> None:
    url = parse("https://secret-host.example/secret?secret")
    assert repr(url) == str(url) == f"{url}" == "<Url https>"


@given(st.text() | st.text("/:@#?\\[].%0123456789abcdefx \t\uff11\u3002").map(lambda tail: "http://" + tail))
def test_reading_a_canonical_url_again_changes_nothing(text: str) -> None:
    url = parse(text)
    if isinstance(url, Url):
        assert parse(url.href) == url
        assert url.href.isascii()
        assert "#" not in url.href
        assert normalise(text) == url.href


RAW = "HTTP://Example.COM:80/a/../b#c"


@pytest.mark.parametrize(
    ("kind", "hexed"),
    [
        # printf '%s' 'HTTP://Example.COM:80/a/../b#c' | md5sum (and so on); printf '%s' 'http://example.com/b' | md5sum
        (Kind.URL_RAW_MD5, "9a71ab2b971e95286a7b47e756797fe7"),
        (Kind.URL_RAW_SHA1, "75469fcf0e4c0f39ca8da94f9977af96f6aab516"),
        (Kind.URL_RAW_SHA256, "d2adea139b5f7a05ac08b75b9c7699b6473f6cff0ff92114b0965f11da6cbcaf"),
        (Kind.URL_NORMALISED_MD5, "4e800d900cc5dc5011993dc880f82233"),
        (Kind.URL_NORMALISED_SHA1, "943da6fa61f2465b1757f0bde93a817b77b9d4d5"),
        (Kind.URL_NORMALISED_SHA256, "042d7954292c1f4368071906f2dba5a9f850d1890ae5f7fdccb4b6af09f77d39"),
    ],
)
def test_url_kinds_digest_the_text_as_given_or_its_normal_form(kind: Kind, hexed: str) -> None:
    digest = url_digest(kind, RAW)
    assert digest is not None
    assert digest.hex() == hexed
    assert len(digest) == kind.size_bytes


def test_what_is_no_url_has_a_raw_digest_and_no_normalised_one() -> None:
    for kind in URL_KINDS:
        assert (url_digest(kind, "no url") is None) == ("normalised" in kind.value)
        assert url_digest(kind, "http://a.example/\ud800") is None
    with pytest.raises(ValueError, match="URL_KINDS"):
        url_digest(Kind.MD5, "http://a.example/")


def test_normalising_keeps_what_it_does_not_name() -> None:
    text = "https://User@A.example/P/?b=2&a=1&utm_source=x"
    assert normalise(text) == "https://User@a.example/P/?b=2&a=1&utm_source=x"
    assert normalise("ftp://A.example/") == "ftp://a.example/"
