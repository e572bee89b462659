"""Alerts and dashboard: each expression is about metrics that exist, and each alert fires on what it is for."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.ops.metrics_page import ROOT, on_the_page, series

ALERTS = ROOT / "ops" / "prometheus" / "alerts.yaml"
TESTS = ROOT / "tests" / "ops" / "alerts_test.yaml"
DASHBOARD = ROOT / "ops" / "grafana" / "pointsman.json"


def expressions() -> Iterator[str]:
    """What alerts and dashboard ask Prometheus for."""
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    yield from (target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))
    yield from (each["definition"] for each in board["templating"]["list"] if each["type"] == "query")


def test_alerts_and_dashboard_ask_for_metrics_and_labels_that_exist() -> None:
    there, asked = series(on_the_page()), set[str]()
    known = {label for _, _, names in on_the_page().values() for label in names} | {"instance", "job", "le"}
    for each in expressions():
        found = set(re.findall(r"\bpointsman_\w+", each))
        assert found or each.startswith("up{"), each
        assert found <= there, each
        used = re.findall(r"by \(([^)]*)\)", each) + re.findall(r"[{,]\s*(\w+)=", each)
        assert {name.strip() for names in used for name in names.split(",")} <= known, each
        asked |= found
    assert len(asked) > 25


def test_each_alert_fires_on_what_it_is_for_and_none_while_all_is_well() -> None:
    rules: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    names = {each["alert"] for each in rules}
    calm, *others = ([each["alertname"] for each in test["alert_rule_test"]] for test in tests)
    assert set(calm) == names
    assert {name for (name,) in others} == names
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian's package prometheus has it): the alerts are not tried")
    command = [promtool, "test", "rules", TESTS.name]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
