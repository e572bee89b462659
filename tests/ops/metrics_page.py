"""The table of metrics in docs/metrics.md, made from what processes say of their metrics."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
ROW = re.compile(r"\| `(pointsman_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|")


def told(text: str) -> dict[str, tuple[str, str]]:
    """The type and the help of each metric in a text for Prometheus, by its name there."""
    found = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("pointsman_") and not family.name.endswith("_created"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, family.documentation)
    return found


def labels(text: str) -> dict[str, set[str]]:
    """The labels of the metrics in a text that have values."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for each in family.samples:
            found.setdefault(name, set()).update(each.labels.keys() - {"le"})
    return found


def on_the_page() -> dict[str, tuple[str, str, set[str]]]:
    """Type, help and labels of each metric on the page, by its name."""
    text = PAGE.read_text(encoding="utf-8")
    return {name: (kind, what, set(re.findall(r"`(\w+)`", names))) for name, kind, names, what in ROW.findall(text)}


def series(names: dict[str, tuple[str, str, set[str]]]) -> set[str]:
    """The names that an expression may use."""
    out = set()
    for name, (kind, _, _) in names.items():
        out |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return out
