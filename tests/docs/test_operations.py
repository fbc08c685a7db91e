"""The board and the alerts that ship with the documentation speak of metrics and labels that the program has, and alert when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from custodes import serving
from custodes.authorities.metrics import SyncMetrics
from custodes.gateway.people.metrics import Metrics as GatewayMetrics
from custodes.handover.metrics import Looked, registry_of
from custodes.handover.outbox import Survey
from custodes.scan.metrics import ScanMetrics
from custodes.serving.metrics import Metrics as ServingMetrics

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs" / "operations"
BOARD = json.loads((OPERATIONS / "grafana.json").read_text(encoding="utf-8"))
ALERTS = (OPERATIONS / "alerts.yaml").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guides" / "operations.md").read_text(encoding="utf-8")
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
EVERYWHERE = {"instance", "job", "le"}
MATCHERS = re.compile(r"(custodes_\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def registries() -> Iterator[CollectorRegistry]:
    served = ServingMetrics()
    watched = re.findall(r'metrics\.watch\("(\w+)"', (Path(serving.__path__[0]) / "front.py").read_text())
    assert watched
    for name in watched:
        served.watch(name, "of the front", lambda: 0.0)
    for each in (ScanMetrics(), SyncMetrics(), GatewayMetrics(), served):
        yield each._registry
    yield registry_of(Looked(Survey((), (), datetime.now(UTC), 1.0), 0))


def exported() -> dict[str, set[str]]:
    """Every name of a series that the program exports, with its labels."""
    found: dict[str, set[str]] = {}
    for registry in registries():
        for collector in registry._collector_to_names:
            (family,) = collector.collect()
            labels = set(getattr(collector, "_labelnames", ()))
            found |= {family.name + ending: labels for ending in ENDINGS[family.type]}
    return found


def expressions(board: dict[str, Any]) -> list[str]:
    """What the panels ask."""
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def alerted(text: str) -> list[str]:
    """The rules, each with its expression."""
    return text.split("- alert: ")[1:]


def unknown(expression: str) -> list[str]:
    """Names and labels in an expression that nothing exports."""
    known, found, labels = exported(), [], set(EVERYWHERE)
    for name, matchers in MATCHERS.findall(expression):
        if name not in known:
            found.append(name)
            continue
        labels |= known[name]
        found += [label for label in re.findall(r"(\w+)\s*[=!]", matchers) if label not in known[name] | EVERYWHERE]
    grouped = [label.strip() for group in GROUPED.findall(expression) for label in group.split(",")]
    shown = re.findall(r"\$labels\.(\w+)", expression)
    return found + [label for label in grouped + shown if label not in labels]


def test_the_board_asks_only_for_what_is_exported() -> None:
    asked = expressions(BOARD)
    assert len(asked) > 30
    assert [each for each in asked if unknown(each)] == []


def test_a_legend_names_only_labels_that_its_expression_keeps() -> None:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            grouped = {name.strip() for group in GROUPED.findall(target["expr"]) for name in group.split(",")}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped, panel["title"]


def test_the_alerts_speak_only_of_what_is_exported() -> None:
    rules = alerted(ALERTS)
    assert len(rules) == ALERTS.count("alert:") >= 15
    assert [rule for rule in rules if unknown(rule)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "sum(custodes_scan_rows_commited_total)",
        "custodes_scan_failures",
        'custodes_scan_rows_committed_total{host="a"}',
        "sum by (list) (custodes_handover_unsent)",
    ],
)
def test_the_check_sees_a_name_or_a_label_that_nothing_exports(planted: str) -> None:
    assert unknown(planted)


def test_no_part_of_the_program_is_forgotten_by_the_board() -> None:
    asked = " ".join(expressions(BOARD))
    parts = {name.split("_")[1] for name in exported()}
    assert parts == {"scan", "handover", "list", "gateway", "serve"}
    assert {part for part in parts if f"custodes_{part}_" in asked} == parts


def test_the_board_is_one_that_grafana_can_import() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)), "two panels lie over each other"
    assert max(x for x, _ in cells) < 24
    named = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD["panels"])))
    assert used == named | {"__rate_interval"}
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] not in ("row", "stat", "timeseries")] == []


def test_the_guide_explains_every_metric_of_a_scan_and_of_the_hand_over_and_every_alert() -> None:
    names = [name for name in exported() if name.startswith(("custodes_scan_", "custodes_handover_"))]
    assert [name for name in names if f"`{name}`" not in GUIDE] == []
    assert [name for name in re.findall(r"alert: (\w+)", ALERTS) if f"`{name}`" not in GUIDE] == []


def test_the_guides_figures_are_those_that_are_stored() -> None:
    stored = (ROOT / "bench" / "results" / "sizing.md").read_text(encoding="utf-8").partition("\n")[2].strip()
    assert f"<!-- sizing -->\n\n{stored}\n\n<!-- /sizing -->" in GUIDE, "run bench/run.py --docs"
    quoted = re.findall(r"^\| .* \| ([\d.]+) \| .* \| `(bench/results/\w+\.md)` \|$", GUIDE, re.MULTILINE)
    assert len(quoted) == 2
    assert [name for figure, name in quoted if f"| {figure} |" not in (ROOT / name).read_text(encoding="utf-8")] == []


# -- with Prometheus' own tool


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip(
            "NO PROMTOOL: what Prometheus makes of alerts, board and metrics was not tested (apt-get install prometheus)"
        )
    return found


def ran(promtool: str, *arguments: str | Path, given: bytes = b"") -> None:
    done = subprocess.run([promtool, *arguments], input=given, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stdout.decode() + done.stderr.decode()


def test_the_alerts_alert_when_they_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    for path in (OPERATIONS / "alerts.yaml", Path(__file__).with_name("alerts_test.yaml")):
        shutil.copy(path, tmp_path)
    ran(promtool, "check", "rules", tmp_path / "alerts.yaml")
    ran(promtool, "test", "rules", tmp_path / "alerts_test.yaml")


def test_prometheus_can_read_every_expression_of_the_board(promtool: str, tmp_path: Path) -> None:
    variables = {"$instance": ".*", "$__rate_interval": "1m"}
    asked = [re.sub(r"\$\w+", lambda found: variables[found.group()], each) for each in expressions(BOARD)]
    rules = [{"record": f"board:{number}", "expr": each} for number, each in enumerate(asked)]
    (tmp_path / "board.yaml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    ran(promtool, "check", "rules", tmp_path / "board.yaml")


def test_prometheus_finds_nothing_to_complain_of_in_the_metrics(promtool: str) -> None:
    for registry in registries():
        ran(promtool, "check", "metrics", given=generate_latest(registry))
