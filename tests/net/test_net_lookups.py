"""Names looked up at once."""

from __future__ import annotations

import selectors
from typing import Any

import pytest
from net_world import HostileServer

from custodes.net import Fetcher, FetchLimits
from custodes.net.fetch import run
from custodes.net.lookups import Lookups
from custodes.url import Url, parse


def url(host: str) -> Url:
    found = parse(f"http://{host}/")
    assert isinstance(found, Url)
    return found


def test_as_many_names_as_the_limit_are_looked_up_and_one_more_waits_for_an_end() -> None:
    lookups = Lookups(2, 60)
    for name in "ab":
        assert lookups.may_begin(url(name))
        lookups.begin(url(name), name)
    assert not lookups.may_begin(url("c"))
    assert not lookups.may_begin(url("d"))
    assert lookups.end("nobody", found=True) == []
    assert lookups.end("a", found=False) == ["c"]
    assert lookups.may_begin(url("c"))
    lookups.begin(url("c"), "c")
    assert not lookups.may_begin(url("a"))  # it was not found, so it is not known


def test_a_name_that_is_known_and_an_address_need_no_look_up() -> None:
    lookups = Lookups(1, 60)
    lookups.begin(url("a"), 1)
    lookups.end(1, found=True)
    lookups.begin(url("b"), 2)
    for host, may in (("a", True), ("127.0.0.1", True), ("[::1]", True), ("c", False)):
        assert lookups.may_begin(url(host)) is may
    assert lookups.end(2, found=True) == ["c"]


def test_nothing_is_known_where_nothing_is_remembered() -> None:
    lookups = Lookups(1, 0)
    lookups.begin(url("a"), 1)
    assert lookups.end(1, found=True) == []
    lookups.begin(url("a"), 2)
    assert not lookups.may_begin(url("a"))


@pytest.mark.parametrize("held", [True, False])
def test_a_fetcher_has_no_more_look_ups_than_it_may(
    server: HostileServer, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr(Lookups, "may_begin", lambda *_: True)
    limits = FetchLimits(lookups=1, dns_cache_s=0)
    most: list[int] = []
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        begin = fetcher._lookups.begin

        def watched(at: Url, exchange: Any) -> None:
            begin(at, exchange)
            most.append(len(fetcher._lookups._running))

        fetcher._lookups.begin = watched  # type: ignore[method-assign]
        results = run(fetcher, selector, [server.url(f"slow_ok/{n}", "localhost") for n in range(6)])
        fetcher.close()
    assert [fetched.reason for fetched in results] == [None] * 6
    assert (max(most) == 1) is held


# Connections
