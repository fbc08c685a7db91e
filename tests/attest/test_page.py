"""The page that verifies a card in a browser: it says what the program says, and obeys nothing that a card holds."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.attest import page as module
from custodes.attest.page import page_bytes
from custodes.attest.statement import Measure, Statement
from custodes.attest.verification import verify_card
from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError
from custodes.logged import Evidence, checks_of_log
from custodes.model import REASONS
from custodes.transparency.entries import card_entry, entry_bytes
from custodes.transparency.finding import index_path
from custodes.transparency.log import Log
from custodes.transparency.memory import Memory
from custodes.transparency.notes import Cosigner, Trust, cosign, parse_note
from custodes.transparency.policy import Policy
from tests.attest.browser import Browser, browsing
from tests.attest.page_world import KEY, LOG, NOW_S, OTHER, POLICY, WITNESSES, logged, signed, statement
from tests.handover.hostile import MARK, hostile_strings

NOW = datetime.fromtimestamp(NOW_S, UTC)
CLOCK = f"Date.now = () => {NOW_S}000"
PAYLOAD = statement().encode()
CARD = signed(PAYLOAD)
PROOF = bytes(logged(CARD))

ASK = """(async (files) => {
  document.getElementById("again").click();
  for (const [field, data] of Object.entries(files)) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const held = new DataTransfer();
    held.items.add(new File([bytes], "file"));
    const input = document.getElementById(`${field}-file`);
    input.files = held.files;
    input.dispatchEvent(new Event("change"));
    for (let turn = 0; turn < 500 && !document.getElementById(`${field}-name`).textContent; turn += 1) await new Promise(setTimeout);
  }
  document.getElementById("ask").requestSubmit();
  for (let turn = 0; turn < 2000 && document.getElementById("result").hidden; turn += 1) await new Promise(setTimeout);
  const texts = (under, what) => Array.from(under.querySelectorAll(what), (each) => each.textContent);
  return {
    verdict: document.getElementById("verdict").className,
    checks: Array.from(document.getElementById("checks").children, (each) => [each.dataset.name, each.dataset.state, texts(each, ".means")[0]]),
    told: document.getElementById("told").innerText,
  };
})"""


@dataclass(frozen=True)
class Shown:
    """What the page said."""

    verdict: str
    checks: list[list[str]]
    told: str

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(name, state) for name, state, _ in self.checks]

    @property
    def failure(self) -> str:
        return "; ".join(f"{name}: {means}" for name, state, means in self.checks if state == "failed")


def ask(
    browser: Browser, card: bytes = CARD, key: str = str(KEY.verifier), policy: str = "", proof: bytes = b""
) -> Shown:
    """What the page says of these, each given as a file."""
    files = {"card": card, "key": key.encode(), "policy": policy.encode(), "proof": proof}
    given = {field: base64.b64encode(data).decode() for field, data in files.items() if data}
    return Shown(**browser.run(f"{ASK}({json.dumps(given)})"))


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here."""
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "verify.html").write_bytes(page_bytes())
    return folder


@pytest.fixture
def browser(idle: Browser, folder: Path) -> Browser:
    """It shows the page, from the disk."""
    idle.open((folder / "verify.html").as_uri(), CLOCK)
    return idle


def altered(monkeypatch: pytest.MonkeyPatch, part: str, was: str, becomes: str) -> bytes:
    """The page with a fault planted in one of its parts."""
    read = module._part

    def planted(name: str) -> str:
        text = read(name)
        assert name != part or text.count(was) == 1
        return text.replace(was, becomes) if name == part else text

    monkeypatch.setattr(module, "_part", planted)
    return page_bytes.__wrapped__()


# -- the file


def test_the_page_is_one_file_that_names_all_that_may_run_in_it() -> None:
    page = page_bytes().decode()
    assert page_bytes.__wrapped__() == page_bytes()
    assert len(page) < 150_000
    assert "@s" not in re.sub(r"@(media|print)", "", page).replace("tlog-proof@v1", "").replace("tlog-proof@", "")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|localStorage", page)
    assert not re.search(
        r"\bon\w+=|@import|\bsrc=|unsafe-inline|https?://(?!www\.w3\.org/2000/svg|in-toto\.io|custodes\.dev)", page
    )
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'self'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'" in policy[1]


def test_the_tables_of_the_page_are_those_of_the_program() -> None:
    found = re.search(r"const TABLES = (\{.*\});\n", page_bytes().decode())
    assert found is not None
    tables = json.loads(found[1])
    assert tables["reasons"] == {name.value: [reason.value for reason in reasons] for name, reasons in REASONS.items()}
    assert tables["schema"] == json.loads(msgspec.json.encode(msgspec.json.schema(Statement)))


# -- a good card


def test_a_good_card_passes_with_the_checks_that_the_program_tells(browser: Browser, tmp_path: Path) -> None:
    shown = ask(browser, policy=POLICY, proof=PROOF)
    assert shown.verdict == "passed"
    told = verify_card(CARD, [KEY.verifier], NOW)
    there = checks_of_log(CARD, Evidence(proof=PROOF), Policy.parse(POLICY.encode()), Memory(tmp_path))
    same = [(each.name, each.state, each.means) for each in (*told.checks, *there.checks)]
    assert [tuple(each) for each in shown.checks[:-1]] == same[:-1]
    assert shown.states[-1] == (same[-1][0], same[-1][1]) == ("history", "note")
    explained = (
        "Array.from(document.querySelectorAll('#checks li')).every((each) => each.querySelector('.why').textContent)"
    )
    assert browser.run(explained)
    for words in ("open-pictures-6m", "5,868,242", "70.2 %", "fewer than 10", "93.5 %", "cannot show", "21,402 rows"):
        assert words in shown.told, words


def test_it_asks_for_nothing_and_breaks_no_rule_of_its_own(browser: Browser) -> None:
    ask(browser, policy=POLICY, proof=PROOF)
    asked = [
        each["params"]["request"]["url"] for each in browser.events if each.get("method") == "Network.requestWillBeSent"
    ]
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    said = [each for each in browser.events if each.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    assert said == []


def test_every_field_has_a_label_and_the_verdict_is_announced(browser: Browser) -> None:
    fields = "Array.from(document.querySelectorAll('input, textarea'))"
    assert browser.run(f"{fields}.length") == 8
    assert browser.run(f"{fields}.every((each) => each.labels.length && each.labels[0].textContent.trim())")
    assert browser.run("document.getElementById('verdict').getAttribute('aria-live')") == "polite"
    ask(browser)
    assert browser.run("document.activeElement.id") == "verdict"


def test_a_card_may_be_pasted_without_its_last_line_feed(browser: Browser) -> None:
    browser.run(
        f"""for (const [field, text] of Object.entries({json.dumps({"card": CARD.decode().strip(), "key": f"  {KEY.verifier} "})})) {{
        document.getElementById(`${{field}}-text`).value = text; }}"""
    )
    assert browser.run(f"{ASK}({{}})".replace('document.getElementById("again").click();', ""))["verdict"] == "passed"


def test_without_a_log_it_says_that_others_may_see_another_card(browser: Browser) -> None:
    assert ask(browser).checks[-1][:2] == ["log", "note"]
    assert ask(browser, proof=PROOF).checks[-1][:2] == ["log", "note"]
    assert ask(browser, policy=POLICY).checks[-1][:2] == ["log", "note"]


def test_what_changes_in_a_field_takes_the_verdict_away(browser: Browser) -> None:
    ask(browser)
    browser.run("document.getElementById('card-text').dispatchEvent(new Event('input'))")
    assert browser.run("document.getElementById('result').hidden && !document.getElementById('told').firstChild")


# -- bad cards


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def told(**fields: Any) -> bytes:
    """A card that says this, signed well."""
    found = json.loads(PAYLOAD)
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = found["predicate"]
        for name in parents:
            place = place[name]
        place[last] = value
    return signed(msgspec.json.encode(found, order="sorted"))


def weak(y: int) -> str:
    """A verifier key that any signature fits."""
    blob = b"\x01" + y.to_bytes(32, "little")
    return (
        f"lab.example+{sha256(b'lab.example' + bytes([10]) + blob).hexdigest()[:8]}+{base64.b64encode(blob).decode()}"
    )


def forked() -> bytes:
    """A proof whose checkpoint names another root under the same signatures."""
    proof = logged(CARD)
    other = parse_note(logged(CARD, 701).note)
    own = parse_note(proof.note)
    return bytes(replace(proof, note=other.text + b"\n" + "".join(map(str, own.lines)).encode()))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a bit in the signature": ({"card": flipped(CARD, CARD.index(b'"sig"') + 20)}, "signature: no trusted key signed this"),
    "a bit in the payload": ({"card": flipped(CARD, 400)}, "signature: no trusted key signed this"),
    "another key": ({"key": str(OTHER.verifier)}, "signature: no trusted key signed this"),
    "a weak key": ({"key": weak(1)}, "key: key lab.example is a weak Ed25519 key"),
    "a key that is not canonical": ({"key": weak(2**255 - 18)}, "key: key lab.example is a weak Ed25519 key"),
    "a mistyped key": ({"key": str(KEY.verifier).replace("2026", "2027")}, "key: key lab.example/2027 carries a key id"),
    "no key": ({"key": ""}, "key: there is no key"),
    "spaces in the file": ({"card": CARD.replace(b": ", b":  ", 1)}, "the file was changed around what was signed"),
    "half a file": ({"card": CARD[: len(CARD) // 2]}, "signature: not a DSSE envelope, or damaged"),
    "outcomes that do not sum": ({"card": told(outcomes__examined=1)}, "statement: it is no card, or its numbers do not add up: the outcomes"),
    "a reason under another outcome": (
        {"card": told(reasons={"full": 5_868_242})},
        "the reasons of an outcome do not sum to its rows",
    ),
    "signed in the time to come": ({"card": told(signed="2026-09-23T00:00:00+00:00")}, "time: it says that it was signed at"),
    "signed before it began": ({"card": told(signed="2026-09-01T00:00:00+00:00")}, "it was signed before it began"),
    "a field that no card has": ({"card": told(verdict="good")}, "statement: $.predicate has a field that no card has"),
    "a number as text": ({"card": told(rows="5868242")}, "statement: $.predicate.rows is not of the kind"),
    "other spelling": ({"card": signed(msgspec.json.encode(dict(reversed(json.loads(PAYLOAD).items()))))}, "statement: it is not written as a card is written"),
    "a proof of another card": ({"policy": POLICY, "proof": bytes(logged(told(dataset="other")))}, "entry: the proof proves nothing"),
    "a forked checkpoint": ({"policy": POLICY, "proof": forked()}, "log: the signature of log.example/cards is not its own"),
    "too few witnesses": ({"policy": POLICY, "proof": bytes(logged(CARD, witnesses=1))}, "log: too few witnesses signed this checkpoint: 1 of 3"),
    "a log that is not trusted": (
        {"policy": POLICY.replace(str(LOG.verifier), str(OTHER.verifier)), "proof": PROOF},
        "log: the checkpoint is of a log that the policy does not name",
    ),
    "a policy with one witness twice": (
        {"policy": POLICY.replace(str(Cosigner(WITNESSES[2].verifier)), str(Cosigner(WITNESSES[1].verifier))), "proof": PROOF},
        "policy: line 4 of the log policy: one key stands there twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_card_is_refused_with_the_reason_and_nothing_of_it_is_shown(browser: Browser, case: str) -> None:
    given, reason = BAD[case]
    shown = ask(browser, **given)
    assert shown.verdict == "failed"
    assert reason in shown.failure
    assert shown.told == ""
    assert "open-pictures-6m" not in browser.run("document.body.innerText")


FAULTS: dict[str, tuple[str, str, str, str]] = {
    "without the signature": ("card.js", "if (await signedBy(key, message, signature))", "if (key)", "a bit in the signature"),
    "with any spelling of the file": ("card.js", "equal(envelope, cardBytes", "true || (cardBytes", "spaces in the file"),
    "without the sums": ("card.js", "of RULES) {", "of []) {", "outcomes that do not sum"),
    "without the clock": ("card.js", "(now + AHEAD_MAX_MS)", "(Infinity)", "signed in the time to come"),
    "without the shape": ("card.js", 'checkShape(statement, { $ref: "#/$defs/Statement" });', "", "a field that no card has"),
    "with any spelling of the statement": ("canonical.js", "if (before !== null && !comesBefore(before, key)) throw this.refused();", "", "other spelling"),
    "with weak keys": ("keys.js", "if (type !== ML_DSA) checkStrong(name, bytes);", "", "a weak key"),
    "without the path in the log": ("tiles.js", "if (!equal(root, tree.root))", "if (!root)", "a proof of another card"),
    "without the log's signature": ("notes.js", "if (!(await verify(key, line.signature)))", "if (!key)", "a forked checkpoint"),
    "without a quorum": ("notes.js", "if (!reached(policy, policy.quorum, seen))", "if (!seen)", "too few witnesses"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_with_a_planted_fault_is_seen_by_the_same_check(
    idle: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    *planted, case = FAULTS[fault]
    (tmp_path / "verify.html").write_bytes(altered(monkeypatch, *planted))
    idle.open((tmp_path / "verify.html").as_uri(), CLOCK)
    given, reason = BAD[case]
    assert reason not in ask(idle, **given).failure
    assert ask(idle).verdict == "passed"


def test_a_browser_without_ed25519_verifies_nothing_and_says_so(idle: Browser, folder: Path) -> None:
    for without in (
        "SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('', 'NotSupportedError'))",
        "SubtleCrypto.prototype.verify = () => Promise.resolve(true)",
        "Object.defineProperty(Crypto.prototype, 'subtle', { value: undefined })",
    ):
        idle.open((folder / "verify.html").as_uri(), f"{CLOCK}; {without}")
        shown = ask(idle)
        assert (shown.verdict, shown.told) == ("unable", "")
        assert "cannot verify Ed25519 signatures" in shown.failure


# -- the page and the program agree


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


def changed(random_: random.Random) -> bytes:
    """A card with one change: in the file, or in what was signed, which is then signed again."""
    if random_.random() < 0.3:
        at = random_.randrange(len(CARD))
        return random_.choice(
            (flipped(CARD, at), CARD[:at] + CARD[at + 1 :], CARD[:at] + CARD[at : at + 1] + CARD[at:])
        )
    if random_.random() < 0.2:
        at = random_.randrange(len(PAYLOAD))
        return signed(random_.choice((flipped(PAYLOAD, at), PAYLOAD[:at] + PAYLOAD[at + 1 :])))
    document = json.loads(PAYLOAD)
    *parents, last = random_.choice(list(places(document)))
    within = functools.reduce(lambda place, name: place[name], parents, document)
    kind = random_.randrange(8)
    if kind == 0:
        del within[last]
    elif kind == 1 and isinstance(within, dict):
        within[f"{last}x"] = within[last]
    else:
        within[last] = random_.choice(other_values(within[last]))
    return signed(msgspec.json.encode(document, order="sorted"))


def other_values(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1, -value, 0, float(value), str(value), 10**19, value / 3]
    if isinstance(value, str):
        return [value + "x", value[:-1], "", "é\u2028\U0001f600", "x" * 1000, "x" * 1001, None, 5]
    return [None, [], {}, "x", 1]


def test_page_and_program_agree_on_200_changed_cards(browser: Browser) -> None:
    agree_on(browser, 200)


@pytest.mark.soak
def test_page_and_program_agree_on_5000_changed_cards(browser: Browser) -> None:
    agree_on(browser, 5000)


def agree_on(browser: Browser, cards: int) -> None:
    random_ = random.Random(7)
    passed = 0
    for _ in range(cards):
        card = changed(random_)
        shown, told = ask(browser, card), verify_card(card, [KEY.verifier], NOW)
        assert shown.verdict == ("passed" if told.passed else "failed"), (card, shown.failure, told.checks)
        found = shown.states[:-1] if told.passed else shown.states
        assert found == [(each.name, each.state) for each in told.checks], (shown, told.checks)
        passed += told.passed
    assert cards // 20 < passed < cards // 2


def told_by_program(policy: bytes, proof: bytes, memory: Path) -> str:
    try:
        logged = checks_of_log(CARD, Evidence(proof=proof), Policy.parse(policy), Memory(memory))
    except ConfigError:
        return "failed"
    return "passed" if logged.passed else "failed"


def test_page_and_program_agree_on_100_changed_proofs_and_policies(browser: Browser, tmp_path: Path) -> None:
    agree_on_logs(browser, tmp_path, 100)


@pytest.mark.soak
def test_page_and_program_agree_on_3000_changed_proofs_and_policies(browser: Browser, tmp_path: Path) -> None:
    agree_on_logs(browser, tmp_path, 3000)


def agree_on_logs(browser: Browser, memory: Path, cases: int) -> None:
    random_ = random.Random(9)
    verdicts = []
    for _ in range(cases):
        given = [POLICY.encode(), PROOF]
        which = random_.randrange(2)
        data = given[which]
        at, to = random_.randrange(len(data)), random_.randrange(len(data))
        lines = data.splitlines(keepends=True)
        first = random_.randrange(len(lines))
        given[which] = random_.choice(
            (
                flipped(data, at),
                data[:at] + data[at + 1 :],
                data[:at] + data[to : to + 1] + data[at:],
                b"".join(lines[:first] + lines[first + 1 :]),
                b"".join([*lines[: first + 1], lines[first], *lines[first + 1 :]]),
            )
        )
        shown = ask(browser, policy=given[0].decode("latin-1"), proof=given[1])
        assert shown.verdict == told_by_program(given[0], given[1], memory), (given[which], shown.failure)
        verdicts.append(shown.verdict)
    assert 0 < verdicts.count("passed") < cases // 4


def test_numbers_and_words_are_read_as_the_program_writes_them(browser: Browser) -> None:
    random_ = random.Random(8)
    shares = [0.0, 1.0, 1e-5, 9.9e-6, 1e-6, 1.5e-7, 5e-324, 0.1 + 0.2, 1 / 3, 2.2250738585072014e-308]
    shares += [random_.random() * 10.0 ** -random_.randrange(12) for _ in range(300)]
    whole = statement()
    detector = msgspec.structs.replace(
        whole.predicate.detectors[0],
        measured=tuple(Measure(what="w", of="recall", at="", value=each, low=0.0, high=1.0, on=1) for each in shares),
    )
    words = {
        "".join(map(chr, range(32))) + '"\\/\x7f': "\u2028\ud7ff\uffff\U0001f600",
        "\U0001f600": "a",
        "\uffff": "b",
    }
    predicate = msgspec.structs.replace(whole.predicate, detectors=(detector,), settings=words)
    card = signed(msgspec.structs.replace(whole, predicate=predicate).encode())
    assert verify_card(card, [KEY.verifier], NOW).passed
    assert ask(browser, card).verdict == "passed"


def test_page_and_program_refuse_the_same_keys(browser: Browser) -> None:
    p = 2**255 - 19
    y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    texts = [weak(y | sign) for y in (0, 1, p - 1, y8, p - y8, *range(p, 2**255)) for sign in (0, 1 << 255)]
    texts += [
        "",
        "x",
        "a+b",
        f"{KEY.verifier}A",
        str(KEY.verifier).upper(),
        str(Cosigner(KEY.verifier)),
        "a b" + weak(5),
    ]
    for text in texts:
        with pytest.raises(ConfigError):
            VerifierKey.parse(text)
        shown = ask(browser, key=text or "\n")
        assert (shown.verdict, shown.states) == ("failed", [("key", "failed")]), text


# -- strangers' words


HOSTILE = [text for text in hostile_strings() if text == text.encode("utf-8", "ignore").decode()]


def poisoned(texts: list[str]) -> bytes:
    """A card that says these wherever it can."""
    told = statement().predicate
    short = [text[:1000] for text in texts]
    lists = tuple(
        msgspec.structs.replace(told.lists[0], id=text, holder=text, version=text, stale_since=text) for text in short
    )
    predicate = msgspec.structs.replace(
        told,
        dataset=short[0],
        run=short[0],
        lists=lists,
        tool=msgspec.structs.replace(
            told.tool, name=short[0], version=short[0], confinement=short[0], unsafe=tuple(short)
        ),
        settings=dict(zip(texts, texts, strict=True)),
        recipients=tuple(short),
        limits=tuple(short),
        cleaned=None,
    )
    subject = tuple(msgspec.structs.replace(each, name=short[0]) for each in statement().subject[:2])
    return signed(msgspec.structs.replace(statement(), subject=subject, predicate=predicate).encode())


TAGS = {
    *("SECTION", "P", "H2", "H3", "H4", "DL", "DIV", "DT", "DD", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD"),
    *("CODE", "SPAN", "STRONG", "DETAILS", "SUMMARY", "UL", "LI", "PRE"),
}
STRANGE = "Array.from(document.querySelectorAll('#told *, #checks *'), (each) => each.tagName)"
RAN = "document.documentElement.hasAttribute('data-ran')"


def test_hostile_words_are_shown_and_never_obeyed(browser: Browser) -> None:
    page_title = browser.run("document.title")
    for at in range(0, len(HOSTILE), 150):
        shown = ask(browser, poisoned(HOSTILE[at : at + 150]))
        assert shown.verdict == "passed", shown.failure
        assert set(browser.run(STRANGE)) - TAGS == set()
        text = browser.run("document.getElementById('result').textContent")
        assert [letter for letter in set(text) if not letter.isprintable() and letter != "\n"] == []
    assert not browser.run(RAN)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert page_title == "Verify a card · custodes"


def test_the_check_of_hostile_words_sees_a_page_that_makes_markup_of_them(
    idle: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = "made.append(child instanceof Node ? child : visible(String(child)));"
    becomes = 'if (child instanceof Node) made.append(child); else made.insertAdjacentHTML("beforeend", String(child));'
    page = altered(monkeypatch, "told.js", was, becomes)
    card = poisoned([f"<img src=x onerror={MARK}>"])
    path = tmp_path / "verify.html"
    path.write_bytes(page)
    idle.open(path.as_uri(), CLOCK)
    assert ask(idle, card).verdict != "passed"  # the policy of the page alone holds
    path.write_bytes(re.sub(rb"<meta http-equiv=[^>]*>", b"", page))
    idle.open(path.as_uri(), CLOCK)
    ask(idle, card)
    assert "IMG" in browser_tags(idle)


def browser_tags(browser: Browser) -> set[str]:
    return set(browser.run(STRANGE))


# -- from a log's own folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 600 entries with the card among them, as its folder is served."""
    folder = tmp_path_factory.mktemp("log")
    trust = Trust(LOG.verifier.name, (LOG.verifier,), tuple(Cosigner(each.verifier) for each in WITNESSES), 2)
    log = Log(folder, LOG, trust)
    log.create()
    entry = entry_bytes(card_entry(CARD))
    note = parse_note(log.append([entry if number == 530 else b"entry %d" % number for number in range(600)]))
    log.publish("".join(str(cosign(note.text, each, NOW_S)) for each in WITNESSES[:2]).encode())
    told = folder / index_path(entry)
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_bytes(b"530\n")
    (folder / "verify.html").write_bytes(page_bytes())
    (folder / "card.dsse.json").write_bytes(CARD)
    return folder


def test_served_from_a_log_it_finds_the_card_in_it(idle: Browser, published: Path) -> None:
    with serving(published) as base:
        idle.open(f"{base}/verify.html?card=card.dsse.json", CLOCK)
        shown = ask(idle, policy=POLICY)
        assert (shown.verdict, shown.states[-1]) == ("passed", ("history", "note"))
        assert "this card is entry 530 of 600" in shown.checks[-2][2]
        other = ask(idle, told(dataset="other"), policy=POLICY)
        assert (other.verdict, other.states[-1]) == ("failed", ("log", "failed"))
        assert "says of no such card" in other.failure


def test_a_log_whose_files_were_changed_proves_nothing(idle: Browser, published: Path) -> None:
    files: dict[str, Callable[[bytes], bytes]] = {
        index_path(entry_bytes(card_entry(CARD))): lambda _: b"529\n",
        "tile/1/000.p/2": lambda data: flipped(data, 5),
        "tile/0/002.p/88": lambda data: flipped(data, 32 * 19),
        "checkpoint": lambda data: data.replace(b"600", b"601"),
    }
    with serving(published) as base:
        idle.open(f"{base}/verify.html", CLOCK)
        for name, change in files.items():
            kept = (published / name).read_bytes()
            (published / name).write_bytes(change(kept))
            assert ask(idle, policy=POLICY).verdict == "failed", name
            (published / name).write_bytes(kept)
        assert ask(idle, policy=POLICY).verdict == "passed"


def test_a_card_of_another_place_is_not_fetched(idle: Browser, published: Path) -> None:
    with serving(published) as base:
        idle.open(f"{base}/verify.html?card={base.replace('127.0.0.1', 'localhost')}/card.dsse.json", CLOCK)
        assert "lies elsewhere" in idle.run("document.getElementById('card-name').textContent")
        idle.open(f"{base}/verify.html?card=card.dsse.json", CLOCK)
        name = "document.getElementById('card-name').textContent"
        turns = f"for (let turn = 0; turn < 500 && !{name}; turn += 1) await new Promise(setTimeout)"
        assert idle.run(f"(async () => {{ {turns}; return {name}; }})()").startswith("card.dsse.json")
