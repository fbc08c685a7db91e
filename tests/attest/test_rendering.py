"""Renderings: made of a verified card alone, the same facts in each, and nothing in a name is anything but text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import lxml.html
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from markdown_it.token import Token

from custodes.attest.statement import Matches, Statement, Subject
from custodes.attest.verification import Check, Verdict
from custodes.cli.card import MERGED, RENDERINGS, croissant, huggingface, model_card
from custodes.cli.main import cli
from custodes.errors import ConfigError, InputError
from custodes.rendering import markdown, page
from custodes.rendering.card import Card, read_card
from custodes.rendering.content import FILES_MAX, HOW_TO_VERIFY
from custodes.rendering.croissant import MEMBER, as_croissant, as_member, json_text
from custodes.rendering.merging import in_croissant, in_front, in_readme
from tests.attest.cards import KEY, NOW, envelope, statement

FORMS = [*RENDERINGS, *MERGED]

HOSTILE = {
    "a link": "[free](https://evil.test)",
    "a bare link": "see https://evil.test/x and www.evil.test",
    "an address": "someone@evil.test",
    "a reference": "[a]: https://evil.test",
    "an image": "![x](https://evil.test/x.png)",
    "HTML": "<img src=x onerror=alert(1)>",
    "a script": "</script><script>alert(1)</script>",
    "a style": "</style><style>body{display:none}</style>",
    "an entity": "&lt;b&gt; &#60;b&#62;",
    "a template": "{{ 7*7 }} {% raw %}",
    "emphasis": "*a* **b** _c_ ~~d~~",
    "code": "`` ` a `b` ```",
    "backticks alone": "```",
    "a fence": "```html",
    "a heading": "# a heading",
    "a list": "- a\n- b",
    "a number": "1. a",
    "a table": "a | b",
    "an escape": "\\` \\| \\",
    "a line end": "a\n\n# b\n\n<b>c</b>",
    "a carriage return": "a\rb",
    "the end of a rendering's mark": "\n<!-- custodes card: end -->\n",
    "the end of metadata": "\n---\nlicense: mit\n",
    "YAML": '": yes\n- &a [*a]: {b: !!python/object:os.system x} # c',
    "JSON": '"}], "@context": "https://evil.test"',
    "control characters": "\x00\x1b[31m\x07\x7f\x9b",
    "writing turned round": "\u202egpj.exe\u2066\u200f",
    "what is not seen": "a\u200b\u00ad\ufeff\u2028\u2029\U000e0041b",
    "another alphabet": "שלום 你好 \U0001f600",
    "spaces": "   ",
    "nothing": "",
    "a mention": "@someone #123 :smile:",
    "very long": "a" * 980,
}


FULL = [case for case in HOSTILE if HOSTILE[case]]
"""Where nothing is said, nothing is shown: then there is less on a page, and not another thing."""


def read(told: Statement) -> Card:
    return read_card(envelope(told), [KEY.verifier], NOW)


@pytest.fixture(scope="module")
def good() -> Card:
    return read(statement())


def poisoned(case: str, limits: int) -> tuple[Card, Card]:
    """A card with a hostile text in every place, and one with none that has as much in it."""
    bad, good = ([f"{text} " * (n + 1) for n in range(limits)] for text in (HOSTILE[case], "Words"))
    return read(statement(HOSTILE[case], limits=tuple(each[:1000] for each in bad))), read(
        statement(limits=tuple(good))
    )


def rendered(form: str, card: Card) -> str:
    return RENDERINGS[form]([card]) if form in RENDERINGS else MERGED[form]([card], "")


def words(text: str) -> str:
    """What a reader reads of any form, with lines as one."""
    return " ".join(text.replace("&#39;", "'").split())


# -- what every rendering says


@pytest.mark.parametrize("form", FORMS)
def test_every_rendering_names_the_card_how_to_verify_it_and_its_limits(form: str, good: Card) -> None:
    text = words(rendered(form, good))
    assert hashlib.sha256(envelope(statement())).hexdigest() in text
    assert words(HOW_TO_VERIFY) in text
    assert "custodes verify CARD --key FILE" in text
    for limit in good.told.limits:
        assert limit in text


@pytest.mark.parametrize("form", FORMS)
def test_no_rendering_says_that_a_dataset_is_free_of_anything(form: str, good: Card) -> None:
    text = rendered(form, good).lower()
    assert re.findall(r"\b(clean|safe|harmless|innocent|certified|guaranteed)\b", text) == []
    assert "100,000" in text or "100000" in text


@pytest.mark.parametrize("form", [form for form in FORMS if form != "croissant"])
def test_what_weakens_a_card_is_said(form: str, good: Card) -> None:
    text = words(rendered(form, good))
    assert "a demonstration" in text
    assert "--unsafe-x" in text
    assert "9,000 of 100,000 rows were not examined" in text


@pytest.mark.parametrize("form", FORMS)
def test_few_matches_are_told_as_fewer_than(form: str, good: Card) -> None:
    text = rendered(form, good)
    assert "fewer than 10 rows" in text
    many = Matches(rows=4_321)
    told = rendered(form, read(statement(matches=many, matches_by_list={"hotline": many})))
    assert "4,321 rows" in told
    assert "fewer than 10 rows" not in told


def test_files_that_are_not_named_are_counted(good: Card) -> None:
    files = tuple(Subject(name=f"{n}.parquet", digest={"sha256": f"{n:064x}"}) for n in range(FILES_MAX + 2))
    card = read(Statement(subject=files, predicate=statement(cleaned=None).predicate))
    for form in RENDERINGS:
        assert "2 more files" in rendered(form, card)
    assert len(as_member(card)["custodes:subject"]) == FILES_MAX + 2
    assert "These are all files" in rendered("text", good)


def test_a_model_card_tells_of_several_cards_and_of_each_limit_once(good: Card) -> None:
    other = read(statement(dataset="photos-of-hills", limits=("Lists hold known material only.", "Another limit.")))
    text = model_card([good, other], "")
    assert re.findall(r"^### (.*)$", text, re.MULTILINE)[:2] == ["Card 1 of 2", "Card 2 of 2"]
    for card in (good, other):
        assert card.sha256 in text
    assert text.count("Lists hold known material only.") == 1
    assert "Another limit." in text
    assert "no card says" in text


# -- only what verified


class Away:
    """A command, and what it left."""

    def __init__(self, folder: Path, card: bytes) -> None:
        self.card, self.key, self.out = folder / "card.dsse.json", folder / "card.vkey", folder / "out"
        self.card.write_bytes(card)
        self.key.write_text(f"{KEY.verifier}\n")

    def run(self, *arguments: str | Path) -> str:
        given = ["card", self.card, "--key", self.key, *arguments]
        return CliRunner().invoke(cli, [*map(str, given)], catch_exceptions=False, standalone_mode=False).output


def changed(card: bytes) -> bytes:
    at = card.index(b'"payload": "') + 40
    return card[:at] + bytes([card[at] ^ 1]) + card[at + 1 :]


@pytest.mark.parametrize("form", FORMS)
def test_a_card_that_does_not_verify_is_not_rendered(form: str, tmp_path: Path) -> None:
    away = Away(tmp_path, changed(envelope(statement())))
    into = tmp_path / "into"
    into.write_text('{"@context": {}}')
    for where in ((), ("--out", away.out), *([("--into", into)] if form in MERGED else [])):
        with pytest.raises(InputError, match="does not verify") as told:
            away.run("--as", form, *where)
        assert told.value.exit_code == 2
    assert not away.out.exists()
    assert into.read_text() == '{"@context": {}}'


def test_the_check_sees_a_reader_that_does_not_wait_for_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    good = envelope(statement())

    def lenient(card: bytes, *_: object) -> Verdict:
        return Verdict((Check("signature", "failed", "changed"),), statement(), KEY.verifier)

    assert read_card(good, [KEY.verifier], NOW)
    monkeypatch.setattr("custodes.rendering.card.verify_card", lenient)
    assert read_card(changed(good), [KEY.verifier], NOW)  # planted: the test above would see it rendered


def test_without_a_key_nothing_is_rendered() -> None:
    with pytest.raises(ConfigError, match="no key"):
        read_card(envelope(statement()), [], NOW)


def test_from_the_command_line(tmp_path: Path) -> None:
    away = Away(tmp_path, envelope(statement()))
    for form in FORMS:
        text = away.run("--as", form)
        assert away.run("--as", form, "--out", away.out) == ""
        assert away.out.read_text() == text
    readme = tmp_path / "README.md"
    readme.write_bytes(b"# Mine\n")
    readme.chmod(0o640)
    away.run("--as", "huggingface", "--into", readme)
    assert (readme.stat().st_mode & 0o777, b"# Mine\n" in readme.read_bytes()) == (0o640, True)
    for wrong in (
        (away.card,),
        ("--as", "page", "--into", readme),
        ("--as", "huggingface", "--into", readme, "--out", away.out),
    ):
        with pytest.raises(click.UsageError):
            away.run(*wrong)
    assert "Card 2 of 2" in away.run(away.card, "--as", "model-card")
    readme.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        away.run("--as", "huggingface", "--into", readme)


# -- text stays text


def tokens(text: str) -> list[Token]:
    """What CommonMark, with tables and strikethrough, makes of a README below its metadata."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    body = text.partition("\n---\n")[2] if text.startswith("---") else text
    return [inner for token in parser.parse(body) for inner in (token, *(token.children or []))]


def shape(text: str) -> list[str]:
    """The blocks, and of what is in them only what is neither text nor a code span."""
    return [token.type for token in tokens(text) if token.type not in ("text", "code_inline", "softbreak")]


MARKDOWN: dict[str, Callable[[list[Card], str], str]] = {"huggingface": huggingface, "model-card": model_card}


@pytest.mark.parametrize("form", MARKDOWN)
@pytest.mark.parametrize("case", FULL)
@pytest.mark.parametrize("limits", [1, 2])
def test_in_markdown_a_name_is_text(limits: int, case: str, form: str) -> None:
    hostile, good = poisoned(case, limits)
    text = MARKDOWN[form]([hostile], "")
    assert shape(text) == shape(MARKDOWN[form]([good], ""))
    assert {token.type for token in tokens(text) if token.type.startswith("html")} == {"html_block"}  # our two marks
    plain = [token.content for token in tokens(text) if token.type == "text"]
    assert [each for each in plain if "evil.test" in each or "@" in each or "://" in each] == []
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_check_of_markdown_sees_names_that_are_written_as_they_are(
    good: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markdown, "_text", lambda told: told.text)
    caught = [
        case
        for case, text in HOSTILE.items()
        if shape(model_card([read(statement(text))], "")) != shape(model_card([good], ""))
    ]
    assert {"a link", "HTML", "a script", "emphasis", "an image", "a line end", "a list"} <= set(caught)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A row without a match is not on these lists. That is no judgement.", True),
        ("lab (2029), v 1.5: read-only a/b 5%", True),
        ("www.evil.test", False),
        ("evil.test", False),
        ("9,000 of 100,000 rows were not examined", True),
        ("guards were switched off: --unsafe-x", True),
        ("2029", True),
        ("0.9 and more", True),
        ("12) a", False),
        ("12.", False),
        ("a:b", False),
        ("1. one", False),
        ("- one", False),
        ("a@b", False),
        ("a//b", False),
        ("http is a word", False),
        ("a_b_c", False),
    ],
)
def test_only_text_without_marks_is_written_plain(text: str, plain: bool) -> None:
    assert (f"`{text}`" not in model_card([read(statement(text))], "")) == plain


def metadata(text: str) -> dict[str, Any]:
    """The metadata of ours by the strictest reader: a key and a JSON value a line, and nothing else."""
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert front is not None
    found = {}
    for line in front[1].split("\n")[2:-1]:
        matched = re.fullmatch(r"( {2}| {4}| {2}- )([a-z0-9_]+):(?: (.+))?", line)
        assert matched is not None, line
        found[matched[2]] = json.loads(matched[3]) if matched[3] else None
    return found


@pytest.mark.parametrize("case", HOSTILE)
def test_in_metadata_a_name_is_one_quoted_value(case: str) -> None:
    found = metadata(huggingface([read(statement(HOSTILE[case]))], ""))
    assert set(found) == set(metadata(huggingface([read(statement())], "")))
    assert found["id"] == markdown.visible(HOSTILE[case])
    assert (found["rows"], found["complete"], found["examined"]) == (100_000, True, 91_000)


def test_the_check_of_metadata_sees_values_without_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "_scalar", str)
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        metadata(huggingface([read(statement(HOSTILE["YAML"]))], ""))


def elements(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(str(each.tag), tuple(each.attrib)) for each in lxml.html.document_fromstring(text).iter()]


@pytest.mark.parametrize("case", FULL)
@pytest.mark.parametrize("limits", [1, 2])
def test_on_the_page_a_name_is_text(limits: int, case: str) -> None:
    hostile, good = poisoned(case, limits)
    text = page.as_page(hostile)
    assert elements(text) == elements(page.as_page(good))
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_check_of_the_page_sees_names_that_are_not_escaped(good: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    page._environment().filters["piece"] = lambda piece: page.Markup(getattr(piece, "text", piece))
    try:
        bad = page.as_page(read(statement(HOSTILE["HTML"])))
    finally:
        page._environment.cache_clear()
    assert elements(bad) != elements(page.as_page(good))


def test_the_page_can_run_nothing_and_asks_for_nothing(good: Card) -> None:
    text = page.as_page(good)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert "unsafe-inline" not in text
    assert not re.search(r"<(a|img|script|iframe|form|object)\b|\b(src|on\w+|style)=|@import|url\((?!#)", text)
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]


@pytest.mark.parametrize("case", FULL)
@pytest.mark.parametrize("limits", [1, 2])
def test_in_plain_text_a_name_keeps_to_its_line(limits: int, case: str) -> None:
    hostile, good = poisoned(case, limits)
    text = RENDERINGS["text"]([hostile])
    assert at_the_edge(text) == at_the_edge(RENDERINGS["text"]([good]))
    assert all(char.isprintable() or char == "\n" for char in text)


def at_the_edge(text: str) -> list[str]:
    """Headings, the lines under them, and how many notes there are."""
    return [line[:1] if line.startswith("!") else line for line in text.split("\n") if line and line[0] != " "]


@pytest.mark.parametrize("case", HOSTILE)
def test_in_croissant_a_name_is_a_value_and_cannot_end_a_script_element(case: str, good: Card) -> None:
    text = croissant([read(statement(HOSTILE[case]))], "")
    assert re.search(r"[<>&]|[^\x20-\x7e\n]", text) is None
    found = json.loads(text)
    assert found["name"] == HOSTILE[case]
    assert found[MEMBER]["custodes:lists"][0]["custodes:id"] == HOSTILE[case]

    def keys(value: Any) -> set[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (set(value) if isinstance(value, dict) else set()).union(*map(keys, inner))

    assert keys(found) == keys(as_croissant(good))


def test_the_check_of_croissant_sees_a_document_that_can_end_a_script_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.cli.card.json_text", lambda value: json.dumps(value, ensure_ascii=False))
    text = croissant([read(statement(HOSTILE["a script"]))], "")
    assert re.search(r"[<>&]|[^\x20-\x7e\n]", text) is not None


# -- Croissant


def test_the_croissant_document_names_files_whose_digest_is_known(good: Card) -> None:
    assert [(each["name"], each["sha256"]) for each in as_croissant(good)["distribution"]] == [
        ("links.parquet", "56" * 32),  # what was written again, and not what it was written from
        ("card.dsse.json", good.sha256),
    ]
    plain = read(Statement(subject=statement().subject[:1], predicate=statement(cleaned=None).predicate))
    assert as_croissant(plain)["distribution"][0]["sha256"] == "34" * 32
    ids = [each["@id"] for each in as_croissant(good)["distribution"]]
    assert len(set(ids)) == len(ids)


def test_the_member_stands_for_itself_and_says_all_that_the_card_says(good: Card) -> None:
    member = as_member(good)
    assert member["@context"]["custodes"] == "https://custodes.dev/card/v1#"

    def names(value: Any) -> set[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (set(value) if isinstance(value, dict) else set()).union(*map(names, inner))

    assert {key for key in names(member) if not key.startswith("custodes:")} == {
        "@context",
        "@type",
        "@language",
        "custodes",
    }
    assert {f"custodes:{field}" for field in good.told.__struct_fields__} <= set(member)
    assert {each["custodes:name"]: each["custodes:value"] for each in member["custodes:outcomes"]} == good.told.outcomes
    assert member["custodes:matches"] == {"custodes:below": 10}
    assert as_croissant(good)["rai:dataLimitations"] == list(good.told.limits)
    assert as_croissant(good)["rai:dataCollectionMissingData"].startswith("9,000 rows of 100,000 not examined (")


# -- into somebody's document

READMES = {
    "empty": "",
    "no metadata": "# Mine\n\nText.\n",
    "no last line end": "# Mine",
    "metadata": "---\nlicense: mit\ntags:\n- a\n---\n\n# Mine\n\nText\n---\nmore\n",
    "metadata alone": "---\nlicense: mit\n---",
    "empty metadata": "---\n---\n# Mine\n",
    "metadata after a line": "\n---\nlicense: mit\n---\n# Mine\n",
    "metadata that ends in a long text": "---\nprompt: |-\n  a\n  b\n---\n# Mine\n",
    "other line ends": "---\r\nlicense: mit\r\n---\r\n# Mine\r\n",
    "a rule below": "# Mine\n\n---\n\ncustodes: no key\n",
    "foreign letters": "# שלום\u2028 \U0001f600\n",
}


def without(text: str) -> str:
    """A README without what stands between our marks, and without the marks."""
    for mark in ("<!-- custodes {}: {} -->", "# custodes {}: {}"):
        begin, end = re.escape(mark.format("card", "begin")), re.escape(mark.format("card", "end"))
        text = re.sub(rf"^{begin}\r?\n.*?^{end}\r?\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.parametrize("case", READMES)
def test_into_a_readme_nothing_else_changes_and_twice_is_once(case: str, good: Card) -> None:
    before = READMES[case]
    once = huggingface([good], before)
    assert huggingface([good], once) == once
    left = without(once)
    assert (
        left.removeprefix("---\n---\n\n" if before else "---\n---\n").removeprefix(before.rstrip("\r\n")).strip() == ""
    )
    assert before in left
    other = read(statement(dataset="photos-of-hills", matches=Matches(rows=99)))
    assert without(huggingface([other], once)) == left
    assert good.sha256 not in huggingface([other], once)
    assert ("\r\n" in before) == ("\r\n" in once)
    assert not re.search(r"(?<!\r)\n", once) if "\r\n" in before else "\r" not in once


REFUSED = {
    "one mark": ("<!-- custodes card: begin -->\n", "not one pair"),
    "marks in the wrong order": ("<!-- custodes card: end -->\n<!-- custodes card: begin -->\n", "not one pair"),
    "two pairs": (2 * "<!-- custodes card: begin -->\n<!-- custodes card: end -->\n", "not one pair"),
    "a key of ours": ("---\ncustodes: 1\n---\n", "nothing can be added"),
    "metadata in braces": ("---\n{}\n---\n", "nothing can be added"),
    "a byte order mark": ("\ufeff# Mine\n", "byte order mark"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_readme_that_cannot_be_added_to_is_refused(case: str, good: Card) -> None:
    text, says = REFUSED[case]
    with pytest.raises(InputError, match=says):
        huggingface([good], text)


def test_a_name_like_a_mark_is_no_mark() -> None:
    card = read(statement("<!-- custodes card: end -->"))
    once = huggingface([card], "# Mine\n")
    assert huggingface([card], once) == once


def test_the_check_of_merging_sees_one_that_adds_each_time(good: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.rendering.merging._place", lambda *_: None)
    once = in_readme("# Mine\n", "card", "section\n")
    assert in_readme(once, "card", "section\n") != once
    once = in_front("---\na: b\n---\n", "card", "x\n")
    assert in_front(once, "card", "x\n") != once


DOCUMENTS = {
    "small": '{"@context": {}}',
    "as tools write it": json.dumps({"@context": {"cr": "http://x"}, "@type": "sc:Dataset", "name": "a"}, indent=2)
    + "\n",
    "in a style of its own": '\n {\t"@context" :{ } ,"a" : [ 1.50, 1e3 , "}\\"" ], "\\u0062":"\\/" }\n\n',
    "other line ends": '{\r\n  "@context": {},\r\n  "name": "a"\r\n}\r\n',
    "a member that looks like ours inside": '{"@context": {}, "a": {"https://custodes.dev/card/v1#card": 1}}',
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_into_a_croissant_document_nothing_else_changes_and_twice_is_once(case: str, good: Card) -> None:
    before = DOCUMENTS[case]
    once = croissant([good], before)
    assert croissant([good], once) == once
    found = json.loads(once)
    assert found.pop(MEMBER) == as_member(good)
    assert found == json.loads(before)
    added = json.dumps(MEMBER) + ": "
    line = "\r\n" if "\r\n" in before else "\n"
    member = json_text(as_member(good)).replace("\n", "\n  ").replace("\n", line)
    assert once.replace(f",{line}  {added}{member}", "") == before
    other = read(statement(dataset="photos-of-hills"))
    assert json.loads(croissant([other], once))[MEMBER] == as_member(other)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"@type": 1}',
        "{",
        "no JSON",
        "1",
        f'{{"@context": {{}}, "{MEMBER}": 1, "{MEMBER}": 2}}',
        "[" * 100_000,
    ],
    ids=["array", "empty", "no context", "cut", "words", "number", "twice", "deep"],
)
def test_what_is_no_croissant_document_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        in_croissant(text, "{}")
