"""Cases and recorded decisions, and ``custodes policy`` that reads them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from custodes.cli.policy import policy as command
from custodes.errors import ConfigError, InputError
from custodes.gateway.rules.policy import embedded
from custodes.gateway.rules.records import Recorded, compared, fact_of, missed, read_cases, read_records
from custodes.gateway.vocabulary import Stage

CASES = Path(__file__).parent / "cases"
OURS = ["strict", "uk", "us", "eu", "demo"]


@pytest.mark.parametrize("name", OURS)
def test_our_policies_decide_the_cases_that_they_share(name: str) -> None:
    assert list(missed(embedded(name), read_cases((CASES / "core.toml").read_text()).cases)) == []


def test_the_demonstration_decides_its_cases() -> None:
    assert list(missed(embedded("demo"), read_cases((CASES / "demo.toml").read_text()).cases)) == []


def test_a_case_that_comes_out_otherwise_says_how() -> None:
    cases = read_cases('[[cases]]\nname = "wrong"\nfacts = ["known:report"]\nexpect = "allow"\nstrikes = 0\n').cases
    (found,) = missed(embedded("strict"), cases)
    assert found.what == {"action": ("allow", "refuse"), "strikes": ("0", "3")}


ONE = '[[cases]]\nname = "one"\nexpect = "allow"\n'
BAD = {
    "no cases": "",
    "an empty table of cases": "cases = []",
    "two of one name": ONE + ONE,
    "an action nobody knows": ONE.replace('"allow"', '"fail_open"'),
    "a field nobody knows": ONE + "grde = 1\n",
    "no TOML": "[[cases",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_no_file_of_cases(text: str) -> None:
    with pytest.raises(ConfigError):
        read_cases(text)


@pytest.mark.parametrize("text", ["", "=0.5", "explicit=", "explicit=1.1", "explicit=-1", "a b", "explicit=.", "x=1=2"])
def test_what_is_no_fact(text: str) -> None:
    with pytest.raises(InputError):
        fact_of(text, Stage.INPUT)


# -- recorded decisions

LINES = [
    b'{"stage":"output","facts":[{"name":"explicit","score":0.5}],"action":"withhold","grade":"soft","id":"d1"}',
    b'{"stage":"input","facts":[{"name":"context:minor"},{"name":"context:sexual"}],"action":"refuse","grade":"hard"}',
    b'{"stage":"input","facts":[],"action":"allow"}',
    b'{"stage":"input","facts":[{"name":"moderation:violence"}],"action":"allow","acknowledged":true,"at":"x"}',
]


def test_a_change_says_which_records_would_differ() -> None:
    found = compared(embedded("strict"), embedded("us"), read_records(LINES))
    assert (found.records, [each.line for each in found.differ]) == (4, [4])
    assert compared(embedded("us"), embedded("us"), read_records(LINES)).differ == []
    assert compared(embedded("us"), embedded("us"), []).records == 0


def test_a_record_is_written_as_it_is_read() -> None:
    for line in LINES:
        assert msgspec.json.encode(msgspec.json.decode(line, type=Recorded)) is not None
        assert msgspec.json.decode(msgspec.json.encode(next(read_records([line])))) == json.loads(line)


BROKEN = {
    "cut off": LINES[0][:-1],
    "empty": b"",
    "a field nobody knows, such as a prompt": b'{"stage":"input","facts":[],"action":"allow","prompt":"umbrella"}',
    "content in a fact": b'{"stage":"input","facts":[{"name":"a","where":"umbrella"}],"action":"allow"}',
    "too long": b" " * ((1 << 20) + 1),
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_a_record_that_cannot_be_read_names_its_line_and_nothing_of_it(line: bytes) -> None:
    with pytest.raises(InputError, match="line 2 of the records") as caught:
        list(read_records([LINES[0], line]))
    assert "umbrella" not in str(caught.value)
    assert caught.value.__cause__ is None


# -- the command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


def test_show_explain_test_and_diff_answer(tmp_path: Path) -> None:
    records = tmp_path / "records.ndjson"
    records.write_bytes(b"\n".join(LINES) + b"\n")
    shown = run("show", "--policy", "us")
    assert embedded("us").version in shown.output
    assert "a minor is not undressed" in shown.output
    told = run("explain", "context:umbrella", "context:garden", "--policy", "demo")
    assert told.output.startswith("refuse (hard, safety, 1 strikes), by: an umbrella in a garden is refused")
    assert "because of context:garden, context:umbrella" in told.output
    passed = run("test", str(CASES / "demo.toml"))
    assert (passed.return_value, passed.output) == (0, "6 of 6 cases come out as they should\n")
    differ = run("diff", "strict", "us", "--records", str(records))
    assert differ.return_value == 1
    assert differ.output.startswith("1 of 4 recorded decisions would differ\n")
    assert run("diff", "us", "us", "--records", str(records)).return_value == 0


def test_all_answer_in_json(tmp_path: Path) -> None:
    records = tmp_path / "records.ndjson"
    records.write_bytes(b"\n".join(LINES) + b"\n")
    assert json.loads(run("show", "--json").output)["policy"]["name"] == "strict"
    told = json.loads(run("explain", "explicit=0.5", "--stage", "output", "--json").output)
    assert told["verdict"] | {"rule": "", "facts": []} == {
        "action": "withhold",
        "rule": "",
        "grade": "soft",
        "category": "sexual",
        "report": False,
        "strikes": 0,
        "facts": [],
    }
    differ = json.loads(run("diff", "strict", "us", "--records", str(records), "--json").output)
    assert (differ["records"], [each["line"] for each in differ["differ"]]) == (4, [4])
    tested = json.loads(run("test", str(CASES / "core.toml"), "--policy", "eu", "--json").output)
    assert tested["missed"] == []


def test_a_missed_case_is_told_and_exits_with_one(tmp_path: Path) -> None:
    file = tmp_path / "cases.toml"
    file.write_text('policy = "strict"\n' + ONE + 'facts = ["known:report"]\n')
    missed_ = run("test", str(file))
    assert missed_.return_value == 1
    assert "MISSED  one\n        action: allow was expected, it is refuse\n" in missed_.output
    assert json.loads(run("test", str(file), "--json").output)["missed"][0]["name"] == "one"


def test_what_the_command_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for arguments in (
        ("test", str(CASES / "core.toml")),  # names no policy
        ("test", str(tmp_path / "absent")),
        ("test", str(tmp_path / "binary")),
        ("diff", "strict", "us", "--records", str(tmp_path / "absent")),
        ("show", "--policy", "lenient"),
        ("explain", "a b"),
    ):
        assert isinstance(run(*arguments).exception, InputError), arguments
