"""An exchange that hears nothing ends when it should: beside others, libcurl alone notices silence only at its connect timeout."""

from __future__ import annotations

from net_world import HostileServer, whole

from custodes.model import Reason
from custodes.net import FetchLimits, fetch_all

LIMITS = FetchLimits(slow_for_s=1, connect_timeout_s=30, total_timeout_s=60)


def test_silence_beside_fast_answers_is_not_noticed_late() -> None:
    server = HostileServer(
        {"fast": lambda visit: visit.send(whole(bytes(100_000))), "mute": lambda visit: visit.hang()}
    )
    try:
        urls = [server.url(way) for way in ["fast"] * 8 + ["mute"]]
        *fast, mute = fetch_all(urls, LIMITS, unsafe_allow_loopback=True)
    finally:
        server.close()
    assert not any(fetched.reason for fetched in fast)
    assert (mute.reason, mute.status) == (Reason.TIMEOUT, 0)
    assert mute.elapsed_s < LIMITS.connect_timeout_s
