"""Receipts: what came is what is kept, and is no longer there when its time is over."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from custodes.errors import ConfigError, StorageError
from custodes.handover.locker import Locker
from custodes.handover.receipts import BODY_BYTES_MAX, FORMAT, REQUEST_ID_CHARS_MAX, Receipt, Receipts
from tests.handover.homes import Home
from tests.handover.keeping import NOON, transport_key

BODY = b"<?xml version='1.0'?>\r\n<reportResponse><reportId>42</reportId>\xff\x00</reportResponse>\n"
PLACE = (f"{1:032x}", "ncmec", "test")


def receipt(**changed: Any) -> Receipt:
    fields = {"step": "finish", "received": NOON, "request_id": "req-1", "body": BODY}
    return Receipt(**(fields | changed))


def test_every_byte_is_kept_in_the_order_of_arrival_and_once(home: Home) -> None:
    receipts = Receipts(home / "receipts", [transport_key()])
    first, second = receipt(step="submit", body=b"<a/>"), receipt()
    assert receipts.keep(*PLACE, first) == hashlib.sha256(b"<a/>").hexdigest()
    assert receipts.keep(*PLACE, second) == receipts.keep(*PLACE, receipt(request_id="req-2"))
    assert Receipts(home / "receipts", [transport_key()]).of(*PLACE) == [first, second]
    assert receipts.of(f"{2:032x}", "ncmec", "test") == receipts.of(f"{1:032x}", "ncmec", "production") == []


def test_what_is_removed_is_gone_and_removing_it_again_does_no_harm(home: Home) -> None:
    receipts = Receipts(home / "receipts", [transport_key()])
    receipts.keep(*PLACE, receipt())
    receipts.keep(f"{2:032x}", "ncmec", "test", receipt())
    for _ in range(2):
        receipts.remove(*PLACE)
    assert receipts.of(*PLACE) == []
    assert len((home / "receipts").names()) == 1
    receipts.keep(*PLACE, receipt())
    assert len(receipts.of(*PLACE)) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"step": "Finish it"}, {"body": b"\0" * (BODY_BYTES_MAX + 1)}, {"request_id": "r" * (REQUEST_ID_CHARS_MAX + 1)}],
)
def test_receipts_have_limits(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at most|a word"):
        receipt(**wrong)


def test_a_receipt_at_its_limits_is_kept(home: Home) -> None:
    largest = receipt(body=b"\0" * BODY_BYTES_MAX, request_id="r" * REQUEST_ID_CHARS_MAX)
    receipts = Receipts(home / "receipts", [transport_key()])
    receipts.keep(*PLACE, largest)
    assert receipts.of(*PLACE) == [largest]


def test_receipts_move_to_another_key(home: Home) -> None:
    old, new = transport_key(1), transport_key(2)
    Receipts(home / "receipts", [old]).keep(*PLACE, receipt())
    with pytest.raises(ConfigError):
        Receipts(home / "receipts", [new])
    assert Receipts(home / "receipts", [new, old]).rotate() == 1
    assert Receipts(home / "receipts", [new]).of(*PLACE) == [receipt()]


def test_a_file_that_holds_no_receipts_is_told(home: Home) -> None:
    receipts = Receipts(home / "receipts", [transport_key()])
    locker = Locker(home / "receipts", FORMAT, [transport_key()])
    locker.write(locker.name(*PLACE), b"\xc1")
    with pytest.raises(StorageError, match="no receipts"):
        receipts.of(*PLACE)


def test_nothing_prints_what_an_authority_answered() -> None:
    assert repr(receipt()) == f"<Receipt finish {len(BODY)} bytes>"
