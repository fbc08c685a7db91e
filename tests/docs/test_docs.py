"""The documentation says what the program does: generated pages, links, command lines, reasons, targets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import click
import pytest

from custodes.cli.main import cli
from custodes.crypto.keys import KEY_FILES
from custodes.errors import ExitCode
from custodes.handover.finding import BundleHeader, Finding, Match
from custodes.ledger.manifest import Manifest
from custodes.ledger.rows import SCHEMA
from custodes.ledger.run import ShardRecord
from custodes.model import Reason
from custodes.policy import DEFAULT_RULES
from custodes.scan.report import RunReport
from custodes.sources.base import ColumnMap, Plan, ShardSpec, SourceOptions

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def stale(pages: dict[Path, str]) -> list[str]:
    return [named(path) for path, text in pages.items() if path.read_text(encoding="utf-8") != text]


def test_generated_pages_are_what_the_program_says_now(generate: ModuleType) -> None:
    assert stale(generate.pages()) == [], "run make docs"


def test_the_check_of_generated_pages_sees_a_planted_change(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(generate.MEANINGS, "scan.workers", "Something else.")
    assert stale(generate.pages()) == ["docs/reference/configuration.md"]


def test_every_command_and_option_is_documented_and_has_help(generate: ModuleType) -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    names = [name for name, _, _ in generate.commands()]
    assert len(names) == len(set(names)) >= 13
    for name, command, _ in generate.commands():
        assert f"# `{name}`\n" in page
        assert command.help, name
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.opts[0] in page
                assert param.help, (name, param.name)


def test_every_setting_says_what_it_means(generate: ModuleType) -> None:
    page = generate.configuration_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) >= 35
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_reason_and_rule_is_explained() -> None:
    reasons = (DOCS / "concepts" / "outcomes-and-reasons.md").read_text(encoding="utf-8")
    assert [reason for reason in Reason if f"| `{reason}` |" not in reasons] == []
    findings = (DOCS / "concepts" / "what-a-finding-is.md").read_text(encoding="utf-8")
    assert [rule.name for rule in DEFAULT_RULES if f"| `{rule.name}` |" not in findings] == []


def anchor(heading: str) -> str:
    """The anchor that common renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(line.lstrip("#").strip()) for line in text.splitlines() if line.startswith("#")}


def dead_links(page: Path, text: str) -> list[str]:
    found = []
    for target in LINK.findall(FENCE.sub("", text)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, part = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or ROOT not in there.parents or (part and part not in anchors(there)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere_in_the_repository(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_the_check_of_links_sees_planted_dead_ones() -> None:
    text = "[a](nowhere.md) [b](README.md#nothing) [c](../elsewhere) [d](README.md#install) [e](https://example.org/)"
    assert dead_links(ROOT / "README.md", text) == ["nowhere.md", "README.md#nothing", "../elsewhere"]


def test_no_page_stands_alone() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
    }
    assert [named(page) for page in DOCS.rglob("*.md") if page not in linked] == []


def command_lines(text: str) -> Iterator[list[str]]:
    """The custodes command lines shown in a page: after ``$`` in a session, or at the start of a line of shell."""
    for language, block in FENCE.findall(text):
        for line in block.splitlines():
            shown = line.removeprefix("$ ") if language == "console" and line.startswith("$ ") else line
            if shown.startswith("custodes ") and (language == "sh" or shown is not line):
                yield shlex.split(re.split(r"\s[>|]\s", shown)[0], comments=True)


def parsed(words: list[str]) -> None:
    """Parse a command line down to its last command; click says what is wrong. Nothing is run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="custodes")
    arguments = words[1:]
    while isinstance(command, click.Group) and not (command.invoke_without_command and arguments[0].startswith("-")):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_context(context.info_name, arguments, parent=context.parent)


LINES = [(page, line) for page in PAGES for line in command_lines(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{named(page)}: {' '.join(line)}" for page, line in LINES])
def test_every_command_line_shown_parses(page: Path, line: list[str]) -> None:
    parsed(line)


def test_command_lines_are_found_and_a_planted_wrong_one_is_caught() -> None:
    assert len(LINES) >= 25
    for wrong in (
        "custodes scan links.csv",
        "custodes frobnicate",
        "custodes open --identity K",
        "custodes demo --nope",
    ):
        with pytest.raises(click.UsageError):
            parsed(shlex.split(wrong))


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|^|\$ )make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "soak", "docs"} <= shown <= targets


def test_formats_name_every_field_that_is_written() -> None:
    pages = {
        name: (DOCS / "formats" / f"{name}.md").read_text(encoding="utf-8") for name in ("run-directory", "findings")
    }
    structs = {
        "run-directory": (Manifest, Plan, ShardSpec, ColumnMap, SourceOptions, ShardRecord, RunReport),
        "findings": (BundleHeader, Finding, Match),
    }
    kept_in_memory = {"throughput"}
    for name, kinds in structs.items():
        fields = {field for kind in kinds for field in kind.__struct_fields__} - kept_in_memory
        assert [
            field for field in sorted(fields) if f"`{field}`" not in pages[name] and f'"{field}"' not in pages[name]
        ] == []
    assert [column for column in SCHEMA.names if f"`{column}`" not in pages["run-directory"]] == []
    keys = (DOCS / "formats" / "keys.md").read_text(encoding="utf-8")
    assert [file for file in KEY_FILES if f"`{file}`" not in keys] == []


def test_every_exit_code_is_documented() -> None:
    for page in (ROOT / "README.md", DOCS / "reference" / "commands.md"):
        text = page.read_text(encoding="utf-8")
        assert [code for code in ExitCode if f"| {int(code)} | " not in text] == [], named(page)


def test_the_python_of_the_guide_runs_as_it_stands() -> None:
    text = (ROOT / "docs" / "guides" / "search-codes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    exec("\n".join(blocks), {})


def test_tests_that_the_threat_model_names_exist() -> None:
    text = (ROOT / "THREAT-MODEL.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:tests/)?[\w/]+\.py)`", text)) | set(re.findall(r"`(tests/\w+/)`", text))
    assert len(names) >= 15
    there = {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert [name for name in names if not (ROOT / name).exists() and name not in there] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_says_clean_of_a_dataset_or_names_a_place_of_ours(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower().replace("make clean", "").replace("never called clean", "")
    text = re.sub(r"custodes[ -]clean\b", "", text)  # the command's name claims nothing
    assert re.findall(r"\bclean\b|/work\b|/tmp\b", text) == []


def layers() -> dict[str, int]:
    """The map of modules in ARCHITECTURE.md: name -> line, from the top."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.partition("## Modules")[2].partition("```text\n")[2].partition("```")[0]
    names = [line.split("  ")[0].split(", ") for line in block.splitlines()]
    return {name: number for number, line in enumerate(names) for name in line}


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    found = re.findall(r"^\s*(?:from|import) custodes\.(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return set(found)


def test_the_map_of_modules_is_true() -> None:
    package = ROOT / "src" / "custodes"
    where = layers()
    parts = {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    parts |= {path.parent.name: sorted(path.parent.rglob("*.py")) for path in package.glob("*/__init__.py")}
    assert sorted(parts) == sorted(where)
    arrows = {(part, other) for part, files in parts.items() for file in files for other in imported(file) - {part}}
    assert len(arrows) >= 60
    assert [arrow for arrow in sorted(arrows) if where[arrow[0]] >= where[arrow[1]]] == []
