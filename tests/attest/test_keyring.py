"""Keys and what is stated of them: trust goes where the holder of a key sends it, and nowhere else."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import timedelta

import msgspec
import pytest

from custodes.attest import keyring
from custodes.attest.keyring import Succeeded, TrustedKey, read_statement, trusted_by, write_statement
from custodes.crypto import dsse
from custodes.errors import ConfigError, InputError
from tests.attest.signers import KEYS, day, revoked, succeeded, trusted


def ring(given: tuple[int, ...], *statements: bytes) -> dict[int, TrustedKey]:
    numbers = {each.verifier: number for number, each in enumerate(KEYS)}
    return {numbers[each.key]: each for each in trusted_by(trusted(*given), statements)}


def test_a_successor_counts_from_its_day_and_the_key_before_it_for_one_day_more() -> None:
    found = ring((0,), succeeded(0, 1, 10))
    assert found[1].begins == day(10)
    assert found[1].ends is None
    assert found[0].ends == day(11)
    assert found[0].spans(day(11) - timedelta(seconds=1))
    assert not found[0].spans(day(11))
    assert found[1].spans(day(10))
    assert not found[1].spans(day(10) - timedelta(seconds=1))


def test_the_order_of_statements_makes_no_difference() -> None:
    said = [succeeded(0, 1, 10), succeeded(1, 2, 20), succeeded(2, 3, 30), revoked(0, 40, "superseded", by=3)]
    answers = [ring((0,), *order) for order in itertools.permutations(said)]
    assert all(answer == answers[0] for answer in answers)
    assert set(answers[0]) == {0, 1, 2, 3}
    assert answers[0][0].reason == "superseded"


def test_the_same_statement_twice_is_the_same_as_once() -> None:
    one = succeeded(0, 1, 10)
    assert ring((0,), one, one) == ring((0,), one)


REFUSED: dict[str, tuple[tuple[int, ...], list[bytes], str]] = {
    "by a key that is not trusted": ((0,), [succeeded(2, 3, 10)], "no trusted key"),
    "the successor of another key": ((0, 2), [succeeded(2, 3, 10, by=0)], "of another key"),
    "two successors": ((0,), [succeeded(0, 1, 10), succeeded(0, 2, 10)], "twice"),
    "one successor on two days": ((0,), [succeeded(0, 1, 10), succeeded(0, 1, 11)], "twice"),
    "one successor of two": ((0, 1), [succeeded(0, 2, 10), succeeded(1, 2, 10)], "twice"),
    "itself": ((0,), [succeeded(0, 0, 10)], "names itself"),
    "one before it": ((0,), [succeeded(0, 1, 10), succeeded(1, 0, 20)], "names itself"),
    "before it counts itself": ((0,), [succeeded(0, 1, 10), succeeded(1, 2, 9)], "does not count"),
    "revoked by a stranger": ((0,), [revoked(0, 10, "compromised", by=4)], "no trusted key"),
    "revoked by another trusted key": ((0, 1), [revoked(0, 10, "compromised", by=1)], "neither its own"),
    "revoked by the one before it": (
        (0,),
        [succeeded(0, 1, 10), revoked(1, 20, "compromised", by=0)],
        "neither its own",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nobody_speaks_for_anothers_key(case: str) -> None:
    given, statements, said = REFUSED[case]
    for order in itertools.permutations(statements):
        with pytest.raises(InputError, match=said):
            ring(given, *order)


def test_a_compromised_key_vouches_for_nobody() -> None:
    chain = [succeeded(0, 1, 10), succeeded(1, 2, 20)]
    found = ring((0,), *chain, revoked(0, 30, "compromised", by=2))
    assert {each.reason for each in found.values()} == {"compromised"}
    found = ring((0, 2), *chain, revoked(0, 30, "compromised"))  # the reader knows the newest from elsewhere
    assert (found[0].reason, found[1].reason, found[2].reason) == ("compromised", "compromised", None)
    found = ring((0,), *chain, revoked(1, 30, "compromised"))
    assert (found[0].reason, found[1].reason, found[2].reason) == (None, "compromised", "compromised")


def test_a_superseded_key_vouches_for_the_one_that_it_named_before() -> None:
    assert ring((0,), succeeded(0, 1, 10), revoked(0, 20, "superseded"))[1].reason is None
    assert ring((0,), succeeded(0, 1, 20), revoked(0, 20, "superseded"))[1].reason == "compromised"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_several_revocations_the_worst_and_earliest_counts(order: tuple[int, ...]) -> None:
    said = [revoked(0, 10, "superseded"), revoked(0, 30, "compromised"), revoked(0, 20, "compromised")]
    found = ring((0,), *(said[at] for at in order))[0]
    assert (found.revoked, found.reason) == (day(20), "compromised")


def test_a_key_that_the_policy_knows_better_is_not_widened() -> None:
    narrow = TrustedKey(KEYS[0].verifier, ends=day(11) - timedelta(hours=5))
    assert trusted_by([narrow], [succeeded(0, 1, 10)])[0].ends == narrow.ends
    with pytest.raises(InputError, match="does not count"):
        trusted_by([narrow], [succeeded(0, 1, 12)])


def changed(**fields: object) -> bytes:
    told = json.loads(base64.b64decode(json.loads(succeeded(0, 1, 10))["payload"])) | fields
    payload = msgspec.json.encode({k: v for k, v in told.items() if v is not None}, order="sorted")
    kind = keyring.PAYLOAD_TYPE
    return dsse.document(kind, payload, KEYS[0].sign(dsse.pae(kind, payload)), KEYS[0].verifier)


@pytest.mark.parametrize(
    "fields",
    [
        {"act": "renamed"},
        {"act": None},
        {"format": "custodes-key-2"},
        {"format": None},
        {"at": "2030-01-10T00:00:00"},
        {"at": "2030-01-10T00:00:00+00:00"},
        {"at": 7},
        {"at": None},
        {"key": None},
        {"successor": None},
        {"successor": "a" * 301},
        {"note": "beside"},
        {"reason": "superseded"},
    ],
    ids=str,
)
def test_a_statement_in_other_words_is_refused_though_it_is_signed(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        read_statement(changed(**fields), [KEYS[0].verifier])


def test_a_statement_of_another_type_is_none() -> None:
    payload = b"{}"
    foreign = dsse.document("text/plain", payload, KEYS[0].sign(dsse.pae("text/plain", payload)), KEYS[0].verifier)
    with pytest.raises(InputError, match="another type"):
        read_statement(foreign, [KEYS[0].verifier])


def test_sizes_are_limited() -> None:
    with pytest.raises(InputError, match="at most"):
        read_statement(b" " * (keyring.STATEMENT_BYTES_MAX + 1), [KEYS[0].verifier])
    with pytest.raises(InputError, match="more than 1,000"):
        trusted_by(trusted(0), [b""] * 1001)
    with pytest.raises(InputError, match="not a DSSE envelope"):
        trusted_by(trusted(0), [b""] * 1000)


def test_a_statement_that_names_a_weak_key_is_refused() -> None:
    weak = "lab.example+00000000+AQ" + "A" * 42 + "=="
    with pytest.raises(ConfigError):
        trusted_by(trusted(0), [changed(successor=weak)])


def test_what_is_written_is_read() -> None:
    told = Succeeded(key=str(KEYS[0].verifier), at=day(3), successor=str(KEYS[1].verifier))
    assert read_statement(write_statement(told, KEYS[0]), [KEYS[0].verifier]) == (told, KEYS[0].verifier)
