"""docs/config.md has every field of config entries and registrations, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsman.cli.main import run
from pointsman.model.entries import KINDS, Namespace, ProxyDefaults, ServiceDefaults, ServiceResolver, parse_entry
from pointsman.model.failover_policy import FailoverPolicy
from pointsman.model.intentions import ServiceIntentions
from pointsman.model.loading import load_text
from pointsman.model.registration import Registration, parse_registration
from pointsman.model.router import ServiceRouter
from pointsman.model.shape import Shape
from pointsman.model.splitter import ServiceSplitter

from tests.fields_page import shape_in

PAGE = (Path(__file__).parents[1] / "docs" / "config.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0].strip("`"): part for part in PAGE.split("\n## ")[1:]}
OF_EVERY_ENTRY = {"Kind", "Name", "Namespace", "Meta", "Owner"}
SHAPES: dict[str, type[Shape]] = {
    "proxy-defaults": ProxyDefaults,
    "service-defaults": ServiceDefaults,
    "service-resolver": ServiceResolver,
    "service-splitter": ServiceSplitter,
    "service-router": ServiceRouter,
    "service-intentions": ServiceIntentions,
    "failover-policy": FailoverPolicy,
    "namespace": Namespace,
    "Registrations": Registration,
}


def paths(shape: type[Shape], before: str = "") -> Iterator[str]:
    """The paths of all fields of `shape` that hold a value, a list or a map: of blocks only what is in them."""
    for field in shape.model_fields.values():
        path = f"{before}{field.serialization_alias}"
        suffix, inner = shape_in(field.annotation)
        if inner is None or suffix:
            yield path
        if inner is not None:
            yield from paths(inner, f"{path}{suffix}.")


def told(section: str) -> set[str]:
    """The paths in the first column of a section's table."""
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return {path for cell in cells for path in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("name", SHAPES)
def test_the_page_has_every_field_and_no_other(name: str) -> None:
    shape = SHAPES[name]
    read = set(paths(shape))
    if shape is not Registration:
        read -= OF_EVERY_ENTRY
    blocks = {"Redirect", "LoadBalancer"}

    assert told(SECTIONS[name]) - blocks == read


def test_every_kind_has_a_section() -> None:
    assert set(SECTIONS) >= {"Conventions", "Registrations", *KINDS}


def test_the_examples_are_registrations() -> None:
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[-1]

    sidecar, gateway = map(parse_registration, load_text(example, "page.yaml"))

    assert (sidecar.is_gateway, gateway.is_gateway) == (False, True)
    assert gateway.gateway_connect_timeout_ms == 2000


def test_the_commands_go_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mesh.yaml").write_text("---\n".join(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mesh.yaml").write_text((tmp_path / "mesh.yaml").read_text())
    block, *_ = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

    for line in block.splitlines():
        command, _, into = line.partition("#")[0].partition(">")
        program, *words = command.split()
        assert program == "pointsman"
        assert run(words) == (4 if "--plan" in words else 0), words
        printed = capsys.readouterr().out
        if into:
            (tmp_path / into.strip()).write_text(printed)

    assert printed.endswith("nothing to change\n")


def test_a_map_of_settings_takes_what_the_page_says() -> None:
    assert parse_entry({"Kind": "proxy-defaults", "Name": "global", "Config": {"protocol": "http", "other": 1}})
