"""The pure parts of net: turns, answers, robots.txt, limits."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime
from typing import Any

import msgspec
import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.model import REASONS, OutcomeName, Reason
from custodes.net import FetchLimits
from custodes.net.answer import Head, inflate, reason_of_code, reason_of_status, retry_after_s
from custodes.net.hosts import HostQueue
from custodes.net.robots import ROBOTS_BYTES_MAX, parse_robots

# Turns


def drain(queue: HostQueue[Any]) -> list[Any]:
    out = []
    while turn := queue.pop():
        out.append(turn[1])
    return out


def test_hosts_take_turns() -> None:
    queue: HostQueue[str] = HostQueue(slots=100, allowed=lambda _: 10, failures_max=0)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.push(item[0], item)
    assert drain(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_host_has_no_more_than_its_slots_and_all_no_more_than_theirs() -> None:
    queue: HostQueue[int] = HostQueue(slots=5, allowed=lambda _: 2, failures_max=0)
    for n in range(30):
        queue.push("abc"[n % 3], n)
    assert drain(queue) == [0, 1, 2, 3, 4]
    queue.done("a", answered=True)
    assert drain(queue) == [5]
    queue.done("b", answered=True)
    assert drain(queue) == [6]


def test_hosts_in_trouble_share_half_of_the_slots_and_come_last() -> None:
    queue: HostQueue[str] = HostQueue(slots=4, allowed=lambda _: 4, failures_max=0)
    queue.push("bad", "probe")
    queue.pop()
    queue.done("bad", answered=False)
    for n in range(4):
        queue.push("bad", f"bad{n}")
        queue.push("good", f"good{n}")
    assert queue.troubled == 1
    assert drain(queue) == ["good0", "good1", "good2", "good3"]
    for _ in range(4):
        queue.done("good", answered=True)
    assert drain(queue) == ["bad0", "bad1"]
    queue.done("bad", answered=True)  # it answers: no longer in trouble
    assert queue.troubled == 0
    assert drain(queue) == ["bad2", "bad3"]


def test_a_host_is_given_up_at_the_limit_of_silence_and_an_answer_starts_the_count_anew() -> None:
    queue: HostQueue[int] = HostQueue(slots=9, allowed=lambda _: 1, failures_max=3)
    for n in range(9):
        queue.push("a", n)
    for answered, given_up in ((False, False), (False, False), (True, False), (None, False), (False, False)):
        queue.pop()
        queue.done("a", answered=answered)
        assert queue.given_up("a") is given_up
    queue.pop()
    queue.done("a", answered=False)
    assert not queue.given_up("a")
    queue.pop()
    queue.done("a", answered=False)
    assert queue.given_up("a")
    assert queue.drop("a") == [7, 8]
    assert queue.waiting == 0
    queue.forget()
    assert not queue.given_up("a")


@given(
    st.lists(
        st.tuples(st.sampled_from("pod"), st.sampled_from("abcd"), st.sampled_from([True, False, None])), max_size=200
    ),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_whatever_the_order_nothing_is_lost_and_no_limit_is_passed(
    steps: list[tuple[str, str, bool | None]], slots: int, per_host: int
) -> None:
    queue: HostQueue[int] = HostQueue(slots, lambda _: per_host, failures_max=0)
    pushed = 0
    came: list[int] = []
    active: list[str] = []

    def pop() -> bool:
        turn = queue.pop()
        if turn:
            active.append(turn[0])
            came.append(turn[1])
        assert len(active) <= slots
        assert all(active.count(name) <= per_host for name in active)
        return turn is not None

    for step, name, answered in steps:
        if step == "p":
            queue.push(name, pushed)
            pushed += 1
        elif step == "o":
            pop()
        elif active:
            queue.done(active.pop(0), answered=answered)
    while pop() or active:
        if active:
            queue.done(active.pop(0), answered=True)
    assert sorted(came) == list(range(pushed))
    assert queue.waiting == queue.active == queue._troubled_active == 0


# Answers


def test_every_status_has_one_meaning_and_only_200_and_203_bring_a_body() -> None:
    assert {status for status in range(1000) if reason_of_status(status) is None} == {200, 203}
    assert {reason_of_status(status) for status in range(1000)} <= {None, *REASONS[OutcomeName.UNAVAILABLE]}


def test_every_code_of_libcurl_that_http_can_end_with_has_a_meaning() -> None:
    ours = {
        name
        for name in dir(pycurl)
        if name.startswith("E_") and reason_of_code(getattr(pycurl, name)) is Reason.INTERNAL
    }
    foreign = ("FTP", "MULTI", "LDAP", "TFTP", "TELNET", "RTSP", "SSH", "REMOTE", "QUOTE", "UNKNOWN", "OPERATION_TIMED")
    left = {name for name in ours if not name.removeprefix("E_").startswith(foreign)}
    assert left == {
        "E_ABORTED_BY_CALLBACK", "E_AGAIN", "E_ALREADY_COMPLETE", "E_BAD_CALLING_ORDER", "E_BAD_DOWNLOAD_RESUME",
        "E_BAD_FUNCTION_ARGUMENT", "E_BAD_PASSWORD_ENTERED", "E_CALL_MULTI_PERFORM", "E_CHUNK_FAILED", "E_CONV_FAILED",
        "E_CONV_REQD", "E_COULDNT_CONNECT", "E_FAILED_INIT", "E_FILE_COULDNT_READ_FILE", "E_FUNCTION_NOT_FOUND",
        "E_HTTP_NOT_FOUND", "E_HTTP_PORT_FAILED", "E_HTTP_POST_ERROR", "E_HTTP_RANGE_ERROR", "E_HTTP_RETURNED_ERROR",
        "E_INTERFACE_FAILED", "E_LIBRARY_NOT_FOUND", "E_LOGIN_DENIED", "E_MALFORMAT_USER", "E_NOT_BUILT_IN",
        "E_NO_CONNECTION_AVAILABLE", "E_OK", "E_OPERATION_TIMEOUTED", "E_OUT_OF_MEMORY", "E_RANGE_ERROR", "E_READ_ERROR",
        "E_SEND_FAIL_REWIND", "E_SHARE_IN_USE", "E_UPLOAD_FAILED", "E_URL_MALFORMAT_USER", "E_WRITE_ERROR",
    }  # fmt: skip


def test_a_status_line_after_an_interim_response_starts_the_head_anew() -> None:
    head = Head()
    for line in (
        b"HTTP/1.1 103 Early\r\n",
        b"Content-Type: a\r\n",
        b"\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"LOCATION:  x \r\n",
        b"\r\n",
    ):
        head.take(line)
    assert head.complete
    assert (head.status, head.text(b"location"), head.text(b"content-type")) == (200, "x", "")
    size = head.size_bytes
    head.take(b"Location: trailer\r\n")
    assert head.text(b"location") == "x"
    assert head.size_bytes == size + 19


@given(st.lists(st.binary(max_size=60)))
def test_no_head_makes_the_reader_fail(lines: list[bytes]) -> None:
    head = Head()
    for line in [b"HTTP/1.1 200 OK\r\n", *lines]:
        head.take(line)
    head.complaint()
    assert head.refuses_ai in (True, False)
    head.text(b"location")


@pytest.mark.parametrize(
    ("value", "refused"),
    {
        "to all": ("noai", True),
        "image": ("noindex, NoImageAI", True),
        "to us": ("custodes: noai", True),
        "to another": ("otherbot: noai", False),
        "after a rule with a value": ("max-image-preview:large, noai", True),
        "before a rule with a value": ("noai, max-image-preview:large", True),
        "after a date": ("unavailable_after: 25 Jun 2030 15:00:00 GMT, noai", True),
        "something else": ("noindex, nofollow", False),
        "part of a word": ("noaints", False),
        "nothing": ("", False),
    }.values(),
)
def test_noai_is_read_as_it_is_written(value: str, refused: bool) -> None:
    head = Head()
    for line in (b"HTTP/1.1 200 OK\r\n", f"X-Robots-Tag: {value}\r\n".encode()):
        head.take(line)
    assert head.refuses_ai is refused


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC).timestamp()
    cases = {
        "0": 0.0,
        "120": 120.0,
        "9" * 400: 9999999999.0,
        "Sun, 22 Nov 2026 16:00:30 GMT": 30.0,
        "Sun, 22 Nov 2026 15:00:00 GMT": 0.0,
        "Sun, 22 Nov 2026 17:00:00 +0100": 0.0,
        "-5": None,
        "soon": None,
        "": None,
        "\u0661": None,
        "Sun, 99 Nov 2026 16:00:30 GMT": None,
    }
    assert {value: retry_after_s(value, now) for value in cases} == cases


def test_inflating_stops_at_the_limit() -> None:
    plain = bytes(1000)
    assert inflate(gzip.compress(plain), "gzip", 1000) == plain
    assert inflate(zlib.compress(plain), "deflate", 1000) == plain
    assert inflate(gzip.compress(plain), "gzip", 999) is Reason.TOO_LARGE
    assert inflate(gzip.compress(plain)[:-1], "gzip", 1000) is Reason.TRUNCATED
    assert inflate(b"not at all", "gzip", 1000) is Reason.ENCODED
    assert inflate(gzip.compress(plain), "br", 1000) is Reason.ENCODED


# robots.txt

EXAMPLE = b"""\xef\xbb\xbf
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""  # RFC 9309 section 5.1


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("other", "/a/b.gif", False),
        ("other", "/a/b.gif?x", True),
        ("other", "/example/x", False),
        ("other", "/publications/x", True),
        ("other", "/", True),
        ("foobot", "/x", False),
        ("FooBot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/a/b.gif", True),
        ("quxbot", "/a/b.gif", True),
    ],
)
def test_the_example_of_the_rfc_is_read_as_the_rfc_says(agent: str, path: str, allowed: bool) -> None:
    assert parse_robots(EXAMPLE, agent).allows(path) is allowed


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    {
        "the longest match wins": ("Allow: /p\nDisallow: /", "/page", True),
        "allow wins a tie": ("Disallow: /page\nAllow: /page", "/page", True),
        "a wildcard costs its length": ("Allow: /page\nDisallow: /*.htm", "/page.htm", False),
        "a dollar ends the path": ("Allow: /$\nDisallow: /", "/", True),
        "and does not reach on": ("Allow: /$\nDisallow: /", "/page", False),
        "pieces come in order": ("Disallow: /a*b*c", "/a-c-b", True),
        "the last piece may come late": ("Disallow: /a*b$", "/a-b-b", False),
        "pieces do not overlap": ("Disallow: /ab*ba$", "/aba", True),
        "comments go": ("Disallow: / # all", "/x", False),
        "nothing disallowed is all allowed": ("Disallow:", "/x", True),
        "unknown lines go": ("Crawl-delay: 9\nnonsense\nDisallow: /x", "/x", False),
        "case of a path counts": ("Disallow: /X", "/x", True),
    }.values(),
)
def test_rules_are_matched_as_the_rfc_says(rules: str, path: str, allowed: bool) -> None:
    assert parse_robots(b"User-agent: *\n" + rules.encode(), "custodes").allows(path) is allowed


def test_robots_txt_is_read_to_its_limit_and_no_further() -> None:
    start = b"User-agent: *\n"
    rule = b"Disallow: /x\n"
    fits = start + b"#" * (ROBOTS_BYTES_MAX - len(start) - len(rule) - 1) + b"\n" + rule
    assert len(fits) == ROBOTS_BYTES_MAX
    assert not parse_robots(fits, "custodes").allows("/x")
    assert parse_robots(start + b"#" * ROBOTS_BYTES_MAX + b"\n" + rule, "custodes").allows("/x")


@given(st.binary(max_size=300), st.text(max_size=30))
def test_no_file_makes_the_reader_fail(data: bytes, path: str) -> None:
    parse_robots(b"User-agent: *\nDisallow: /" + data, "custodes").allows("/" + path)


# Limits


def test_default_limits_are_in_range_and_decode_from_a_table() -> None:
    assert msgspec.convert({"in_flight": 8, "ports": [80]}, FetchLimits).ports == (80,)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"inflight": 8}, FetchLimits)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("in_flight", 1, 0),
        ("per_host", 256, 257),
        ("connect_timeout_s", 120, 120.5),
        ("total_timeout_s", 600, 601),
        ("slow_for_s", 1, 0),
        ("body_bytes_max", 1, 0),
        ("header_bytes_max", 256, 255),
        ("redirects_max", 20, 21),
        ("retries_max", 0, -1),
        ("memory_bytes_max", 50_000_000, 49_999_999),
        ("ports", (65535,), (65536,)),
        ("ports", (1,), ()),
        ("user_agent", "x", "x\r\nCookie: y"),
        ("user_agent", "x", ""),
        ("blocked_networks", ("8.8.8.0/24",), ("example.com",)),
    ],
)
def test_a_limit_holds_at_its_edge_and_not_past_it(name: str, good: Any, bad: Any) -> None:
    assert getattr(FetchLimits(**{name: good}), name) == good
    with pytest.raises(ValueError, match=name if name != "blocked_networks" else "example"):
        FetchLimits(**{name: bad})
