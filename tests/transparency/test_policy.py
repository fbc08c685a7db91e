"""A policy of logs and witnesses: what the specification allows is read, everything else is refused with its line."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from custodes.errors import ConfigError, InputError
from custodes.transparency.notes import Cosigner, Group, Trust, cosign
from custodes.transparency.policy import KNOWN_MAX, POLICY_BYTES_MAX, Policy
from tests.transparency.worlds import LOG_KEY, NOON, ORIGIN, WITNESS_KEYS, WITNESSES, key, note_of, numbered, tree_of

W0, W1, W2 = map(str, WITNESSES)
LOG = f"log {LOG_KEY.verifier}\n"
THREE = f"witness a {W0}\nwitness b {W1} https://b.test/w\nwitness c {W2}\n"
OTHER_LOG = key("log.example/2").verifier
NOTE = note_of(tree_of(numbered(0, 5)))


def signed_by(numbers: tuple[int, ...]) -> bytes:
    text = NOTE.split(b"\n\n")[0] + b"\n"
    lines = (str(cosign(text, WITNESS_KEYS[number], NOON + number)) for number in numbers)
    return NOTE + "".join(lines).encode()


def accepted(policy: str, numbers: tuple[int, ...]) -> bool:
    try:
        parsed = Policy.parse(policy.encode())
        parsed.trust_of(NOTE).verify(signed_by(numbers))
    except InputError:
        return False
    return True


QUORUMS = {
    "none": ("quorum none\n", [()], []),
    "one witness": ("quorum b\n", [(1,), (0, 1)], [(), (0, 2)]),
    "two of three": ("group g 2 a b c\nquorum g\n", [(0, 1), (0, 2), (1, 2), (0, 1, 2)], [(), (0,), (1,)]),
    "any": ("group g any a b\nquorum g\n", [(0,), (1,)], [(), (2,)]),
    "all": ("group g all a b\nquorum g\n", [(0, 1)], [(0,), (0, 2)]),
    "a group of groups": (
        "group g all a b\ngroup h any c\ngroup both all g h\nquorum both\n",
        [(0, 1, 2)],
        [(0, 1), (2,), (0, 2)],
    ),
    "one twice is one": ("group g 2 a b c\nquorum g\n", [], [(0, 0)]),
}


@pytest.mark.parametrize("rule", QUORUMS)
def test_the_quorum_is_what_the_policy_says(rule: str) -> None:
    lines, enough, few = QUORUMS[rule]
    assert all(accepted(LOG + THREE + lines, each) for each in enough)
    assert not any(accepted(LOG + THREE + lines, each) for each in few)


@pytest.mark.parametrize("lines", ["", "# a comment\n \t# another \xc3\xa9\n\n\t \n"], ids=["bare", "comments"])
def test_order_space_and_comments_mean_nothing(lines: str) -> None:
    text = f"{lines}\twitness  a\t{W0} \nquorum a\n{LOG}witness b {W1} https://b.test/\n"
    found = Policy.parse(text.encode("latin-1"))
    assert [each.url for each in found.witnesses] == ["", "https://b.test/"]
    assert found.trust(ORIGIN) == Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES[:2], Group(1, WITNESSES[:1]))


def test_names_are_opaque_octets() -> None:
    text = b"witness K " + W0.encode() + b"\nwitness \xe2\x84\xaa " + W1.encode() + b"\nquorum \xe2\x84\xaa\n"
    (member,) = Policy.parse(text).quorum.members  # type: ignore[union-attr]
    assert member == WITNESSES[1]


def test_a_log_that_is_not_named_is_not_trusted() -> None:
    found = Policy.parse(f"log {OTHER_LOG}\nquorum none\n".encode())
    with pytest.raises(InputError, match="does not name"):
        found.trust_of(NOTE)
    assert Policy.parse(b"quorum none\n").logs == ()


def test_several_keys_of_one_log_are_all_its_own() -> None:
    again = key(ORIGIN + " new".replace(" ", "")).verifier
    renamed = type(again)(ORIGIN, again.public)
    found = Policy.parse(f"{LOG}log {renamed}\nquorum none\n".encode())
    assert found.trust(ORIGIN).keys == (LOG_KEY.verifier, renamed)


weak = base64.b64encode(b"\x04" + bytes(32)).decode()
REFUSED = {
    "empty": "",
    "no quorum": LOG + THREE,
    "two quorums": LOG + "quorum none\nquorum none\n",
    "a quorum with two names": LOG + THREE + "quorum a b\n",
    "a quorum that is not defined": LOG + "quorum a\n",
    "a quorum before its witness": LOG + f"quorum a\nwitness a {W0}\n",
    "a group before its member": f"group g any a\nwitness a {W0}\nquorum g\n",
    "a group of none": LOG + THREE + "group g any none\nquorum g\n",
    "a group without members": LOG + THREE + "group g any\nquorum g\n",
    "a group of itself": LOG + THREE + "group g any g\nquorum g\n",
    "none of them": LOG + THREE + "group g 0 a b\nquorum g\n",
    "more than there are": LOG + THREE + "group g 3 a b\nquorum g\n",
    "a leading zero": LOG + THREE + "group g 01 a b\nquorum g\n",
    "a sign": LOG + THREE + "group g +1 a b\nquorum g\n",
    "a member twice": LOG + THREE + "group g 2 a a\nquorum g\n",
    "a member of two groups": LOG + THREE + "group g any a\ngroup h any a b\nquorum h\n",
    "a name twice": LOG + f"witness a {W0}\nwitness a {W1}\nquorum a\n",
    "a group called as a witness": LOG + THREE + "group a any b\nquorum a\n",
    "a witness called none": LOG + f"witness none {W0}\nquorum none\n",
    "a group called none": LOG + THREE + "group none any a\nquorum none\n",
    "a witness's key twice": LOG + f"witness a {W0}\nwitness b {W0}\nquorum a\n",
    "a witness's key under another name": LOG
    + f"witness a {W0}\nwitness b {Cosigner(type(WITNESSES[0].key)('x.test', WITNESSES[0].public))}\nquorum a\n",
    "a log's key twice": LOG + LOG + "quorum none\n",
    "a log as witness": LOG + f"witness a {Cosigner(LOG_KEY.verifier)}\nquorum a\n",
    "a log's type as witness": LOG + f"witness a {WITNESSES[0].key}\nquorum a\n",
    "a witness's type as log": f"log {W0}\nquorum none\n",
    "a weak key": LOG + f"witness a x.test+00000000+{weak}\nquorum a\n",
    "another key id": LOG + f"witness a {W0.replace('+', '+0', 1)}\nquorum a\n",
    "no key": "log\nquorum none\n",
    "a word more": LOG[:-1] + " https://a.test/ more\nquorum none\n",
    "an unknown word": LOG + "quorum none\nlogs x\n",
    "upper case": LOG.replace("log ", "Log ", 1) + "quorum none\n",
    "no line feed at the end": LOG + "quorum none",
    "carriage returns": LOG + "quorum none\r\n",
    "a null": LOG + "quorum none\n\0",
    "an address that is not UTF-8": LOG[:-1] + " https://\xff/\nquorum none\n",
    "too many": LOG
    + "".join(f"witness w{i} {Cosigner(key(f'w{i}').verifier)}\n" for i in range(KNOWN_MAX + 1))
    + "quorum none\n",
    "far too long": "quorum none\n" + "#" * POLICY_BYTES_MAX + "\n",
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_is_no_policy(rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy.parse(REFUSED[rule].encode("latin-1"))
    assert W0 not in str(caught.value)


def test_32_of_each_fit() -> None:
    names = [f"w{number}" for number in range(32)]
    witnesses = "".join(f"witness {name} {Cosigner(key(name).verifier)}\n" for name in names)
    groups = "group g0 all w0\n" + "".join(f"group g{i} all w{i} g{i - 1}\n" for i in range(1, 32))
    logs = "".join(f"log {key(f'log.example/{number}').verifier}\n" for number in range(32))
    found = Policy.parse((logs + witnesses + groups + "quorum g31\n").encode())
    assert found.quorum is not None
    assert found.quorum.met(set(names))
    assert not found.quorum.met(set(names[1:]))


def test_an_error_names_its_line() -> None:
    with pytest.raises(ConfigError, match="line 5 of the policy"):
        Policy.parse(f"{LOG}{THREE}group g 4 a\nquorum g\n".encode())


# Witnesses that sign with ML-DSA-44

LATTICE = mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32))
LATTICE_PUBLIC = LATTICE.public_key().public_bytes_raw()


def lattice_text(name: str = "pq.example/w") -> str:
    import hashlib

    blob = b"\x06" + LATTICE_PUBLIC
    return f"{name}+{hashlib.sha256(name.encode() + chr(10).encode() + blob).hexdigest()[:8]}+{base64.b64encode(blob).decode()}"


def lattice_line(time_s: int = NOON, size: int = 5, name: bytes = b"pq.example/w") -> bytes:
    """As the specification lays the message out, written here a second time."""
    tree = tree_of(numbered(0, size))
    origin = ORIGIN.encode()
    message = b"subtree/v1\n\x00" + bytes([len(name)]) + name + time_s.to_bytes(8, "big") + bytes([len(origin)])
    message += origin + (0).to_bytes(8, "big") + size.to_bytes(8, "big") + tree.root
    key_id = bytes.fromhex(lattice_text().split("+")[1])
    signature = key_id + time_s.to_bytes(8, "big") + LATTICE.sign(message)
    return b"\xe2\x80\x94 pq.example/w " + base64.b64encode(signature) + b"\n"


def test_a_witness_that_signs_with_ml_dsa_counts() -> None:
    trust = Policy.parse(f"{LOG}witness a {lattice_text()}\nquorum a\n".encode()).trust(ORIGIN)
    assert trust.verify(NOTE + lattice_line()).witnesses == {"pq.example/w": NOON}
    for wrong in (lattice_line(size=6), lattice_line(name=b"pq.example/x")):
        with pytest.raises(InputError, match="not its own"):
            trust.verify(NOTE + wrong)
    with pytest.raises(InputError, match="too few"):
        trust.verify(NOTE)


def test_a_line_of_ml_dsa_that_nobody_asked_for_is_passed_over() -> None:
    trust = Policy.parse(f"{LOG}witness a {W0}\nquorum a\n".encode()).trust(ORIGIN)
    assert list(trust.verify(signed_by((0,)) + lattice_line()).witnesses) == [WITNESSES[0].name]


@pytest.mark.parametrize(
    "text", [lattice_text()[:-8] + "AAAA", lattice_text()[:-4], lattice_text().replace("pq", "qp")]
)
def test_a_key_of_ml_dsa_that_was_altered_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Policy.parse(f"{LOG}witness a {text}\nquorum a\n".encode())
