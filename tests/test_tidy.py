"""The shape of the code: who imports whom, how long functions are, where broad excepts live. A new arrow fails until it is drawn here, on purpose."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "custodes"
FILES = sorted(SOURCE.rglob("*.py"))

FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 5
FILE_LINES_MAX = 650
BROAD_EXCEPTS = {"cli/main.py", "cli/worker.py", "gateway/guard.py", "gateway/app.py"}
PRINTS_OR_EXITS = {"cli", "carrier", "jail", "demo"}

# From the floor up: a part may import what stands above it in this table, and of that only what is named.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "model": set(),
    "sniff": set(),
    "native": {"errors"},
    "index": {"errors", "native"},
    "channel": {"errors"},
    "confine": {"errors"},
    "durable": {"errors"},
    "tls": {"errors"},
    "postgres": {"errors"},
    "crypto": {"errors"},
    "attest": {"errors", "model", "crypto"},
    "digests": {"model", "native"},
    "pdq": {"model", "native"},
    "url": {"model"},
    "decoding": {"model", "sniff"},
    "resizing": {"native"},
    "pictures": {"errors", "decoding", "resizing"},
    "policy": {"errors", "model"},
    "jurisdictions": {"errors", "model", "policy"},
    "ledger": {"errors", "model", "crypto", "postgres"},
    "net": {"errors", "model", "url"},
    "services": {"errors", "crypto", "net"},
    "handover": {"errors", "model", "durable", "crypto", "postgres", "url", "services"},
    "transparency": {"errors", "durable", "crypto", "services"},
    "sources": {"errors", "model", "url"},
    "viewing": {"model", "sniff", "decoding"},
    "jail": {"errors", "model", "confine", "decoding", "viewing"},
    "decoder": {"errors", "model", "sniff", "native", "pdq", "confine", "decoding", "viewing", "pictures"},
    "lists": {"errors", "index", "model", "confine", "durable", "crypto", "pdq"},
    "bundles": {"errors", "durable", "crypto"},
    "authorities": {"errors", "model", "durable", "crypto", "services", "lists", "bundles"},
    "examine": {"errors", "model", "policy", "lists"},
    "serving": {
        "tls",
        "errors",
        "model",
        "channel",
        "confine",
        "durable",
        "crypto",
        "digests",
        "pdq",
        "decoding",
        "viewing",
        "jail",
        "examine",
    },
    "similar": {"errors", "native", "durable", "decoding", "pictures", "ledger", "sources"},
    "gateway": {
        "attest",
        "crypto",
        "decoding",
        "durable",
        "errors",
        "examine",
        "handover",
        "index",
        "model",
        "pdq",
        "pictures",
        "postgres",
        "serving",
        "similar",
        "sniff",
        "viewing",
    },
    "settings_text": {
        "postgres",
        "decoding",
        "handover",
        "jurisdictions",
        "net",
        "services",
        "lists",
        "authorities",
        "serving",
        "transparency",
        "gateway",
    },
    "carrier": {"errors", "model", "channel", "confine", "digests", "decoding", "net", "sources", "jail", "similar"},
    "scan": {
        "errors",
        "model",
        "channel",
        "crypto",
        "url",
        "decoding",
        "handover",
        "policy",
        "jurisdictions",
        "ledger",
        "net",
        "sources",
        "lists",
        "examine",
        "similar",
        "carrier",
    },
    "cleaning": {"errors", "index", "model", "durable", "crypto", "pdq", "ledger", "sources"},
    "keylife": {"errors", "durable", "crypto", "attest"},
    "config": {
        "errors",
        "postgres",
        "keylife",
        "model",
        "crypto",
        "decoding",
        "jurisdictions",
        "ledger",
        "net",
        "lists",
        "authorities",
        "settings_text",
        "examine",
        "handover",
        "serving",
        "scan",
        "confine",
        "transparency",
        "gateway",
    },
    "diffusers": {"errors", "gateway"},
    "cluster": {"errors", "channel", "net", "scan"},
    "jobs": {"cluster", "errors", "model", "confine", "ledger", "sources", "similar", "carrier", "scan", "config"},
    "office": {
        "errors",
        "crypto",
        "durable",
        "handover",
        "ledger",
        "sources",
        "carrier",
        "scan",
        "config",
    },
    "withheld": {"errors", "model", "handover", "gateway", "config", "office"},
    "gatehouse": {"config", "crypto", "durable", "errors", "gateway", "office", "services", "withheld"},
    "commitment": {
        "errors",
        "model",
        "channel",
        "crypto",
        "digests",
        "ledger",
        "attest",
        "transparency",
        "sources",
        "carrier",
        "scan",
    },
    "cards": {
        "errors",
        "model",
        "crypto",
        "durable",
        "lists",
        "ledger",
        "handover",
        "attest",
        "sources",
        "similar",
        "scan",
        "cleaning",
        "commitment",
    },
    "rendering": {"errors", "model", "crypto", "attest", "scan"},
    "logs": {"errors", "durable", "crypto", "services", "transparency", "config"},
    "logged": {"errors", "services", "transparency", "attest"},
    "verifying": {"errors", "crypto", "attest", "cleaning", "logged", "sources", "transparency"},
    "gatebooks": {
        "errors",
        "model",
        "durable",
        "crypto",
        "decoding",
        "similar",
        "carrier",
        "attest",
        "gateway",
        "config",
        "gatehouse",
        "jobs",
        "office",
        "cards",
        "withheld",
    },
    "demo": {"errors", "model", "lists", "config", "jobs", "decoding", "gateway", "pictures", "similar"},
    "cli": {
        "cluster",
        "tls",
        "errors",
        "model",
        "net",
        "native",
        "channel",
        "confine",
        "durable",
        "crypto",
        "services",
        "decoding",
        "handover",
        "ledger",
        "sources",
        "similar",
        "lists",
        "bundles",
        "authorities",
        "examine",
        "serving",
        "carrier",
        "scan",
        "cleaning",
        "config",
        "jobs",
        "office",
        "attest",
        "commitment",
        "cards",
        "transparency",
        "logs",
        "logged",
        "keylife",
        "verifying",
        "rendering",
        "demo",
        "gatehouse",
        "gatebooks",
        "gateway",
        "withheld",
    },
}


def part_of(path: Path) -> str:
    """The room that a file is in: a package, or a module of the root."""
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    """The rooms of custodes that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [f"{node.module}.{a.name}" for a in node.names]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        found |= {name.split(".")[1] for name in names if name.startswith("custodes.") and "__version__" not in name}
    return found


def drawn() -> dict[str, set[str]]:
    """The arrows as they are."""
    arrows: dict[str, set[str]] = {}
    for path in FILES:
        arrows.setdefault(part_of(path), set()).update(imports_of(path) - {part_of(path)})
    return arrows


def functions_of(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_the_arrows_are_those_that_are_drawn() -> None:
    arrows = {part: to for part, to in drawn().items() if part != "__init__"}
    assert arrows == ARROWS, "a new arrow, or one that is gone: draw it in ARROWS if it is meant"


def test_arrows_go_down_only() -> None:
    order = list(ARROWS)
    upwards = [(part, to) for part, all_to in ARROWS.items() for to in all_to if order.index(to) >= order.index(part)]
    assert upwards == []


def test_the_arrow_test_sees_an_arrow_that_goes_up(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def late():\n    from custodes.scan.run import run_jobs\n")
    assert imports_of(file) == {"scan"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX
    for function in functions_of(path):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        lines = (function.end_lineno or 0) - (body[0].lineno if body else function.lineno) + 1
        assert lines <= FUNCTION_LINES_MAX, function.name
        arguments = function.args
        named = [a.arg for a in arguments.posonlyargs + arguments.args if a.arg not in ("self", "cls")]
        assert len(named) <= PARAMETERS_MAX or name_of(path).startswith("cli/"), function.name


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_errors_are_caught_by_name(path: Path) -> None:
    handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
    broad = [
        h
        for h in handlers
        if h.type is None or (isinstance(h.type, ast.Name) and h.type.id in ("Exception", "BaseException"))
    ]
    assert not broad or name_of(path) in BROAD_EXCEPTS


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_pickle_no_eval_no_shell_and_only_processes_of_their_own_print_or_exit(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert not imported & {"pickle", "marshal", "shelve", "dill"}
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"eval", "exec", "compile", "__import__"}
    keywords = {k.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords}
    assert "shell" not in keywords
    if part_of(path) not in PRINTS_OR_EXITS:
        assert "print" not in called
        assert "sys.exit" not in path.read_text()
