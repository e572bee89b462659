"""The samples in events/ and the page docs/events.md: what a producer copies is right as it stands."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import orjson
import pytest
from pointsman.cli.main import run
from pointsman.cli.status import NOBODY
from pointsman.failover.paths import cut_from
from pointsman.model.catalog import EMPTY, merge
from pointsman.model.events import HealthEvent, Statement, parse_event
from pointsman.model.instance import Instance
from pointsman.model.keys import paths_key
from pointsman.model.reported import CheckPart, NodePart, ProxyPart, ServicePart, UpstreamPart

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/events.md").read_text()


def sample(name: str) -> Any:
    """A file of events/, parsed."""
    return orjson.loads((ROOT / f"events/{name}.json").read_bytes())


def blocks(kind: str) -> list[str]:
    """The blocks of the page that are of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def statuses(event: HealthEvent) -> dict[str, set[str]]:
    """By instance, the statuses of its checks."""
    return {each.id: {check["Status"] for check in each.checks or ()} for each in event.statements}


SIDECARS = ("api-1-sidecar-proxy", "api-2-sidecar-proxy")
MEANT: dict[str, tuple[str, str | None, bool, dict[str, set[str]]]] = {
    "service-health-changed": ("dc1", "default/api", True, {key: {"passing", "critical"} for key in SIDECARS}),
    "instance-health-changed": ("dc1", "default/api", False, {SIDECARS[0]: {"passing"}}),
    "instance-removed": ("dc1", "default/api", False, {SIDECARS[0]: set()}),
    "gateway-health-changed": ("dc1", None, True, {"gateway-1": {"passing"}, "gateway-2": {"passing"}}),
    "bare-detail": ("dc3", "default/api", True, {SIDECARS[0]: {"passing"}}),
}


@pytest.mark.parametrize(("name", "meant"), MEANT.items())
def test_a_sample_says_what_its_name_says(name: str, meant: tuple[Any, ...]) -> None:
    raw = sample(name)
    event = parse_event(raw)
    service = str(event.service) if event.service else None
    assert (event.datacenter, service, event.full, statuses(event)) == meant
    assert ("detail" in raw) is (name != "bare-detail")
    assert (event.statements[0].description is None) is (name == "instance-removed")


def test_the_sample_of_a_queue_has_an_enveloped_event_and_a_bare_one() -> None:
    records = sample("sqs-ingest")["Records"]
    enveloped, bare = (orjson.loads(record["body"]) for record in records)
    assert "detail" in enveloped
    assert statuses(parse_event(enveloped)) == {key: {"passing"} for key in SIDECARS}
    assert "detail" not in bare
    assert parse_event(bare).service is None
    for record in records:
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()


def test_every_json_block_of_the_page_is_an_event() -> None:
    listed, single, removed, empty, gateways, paths, alive = map(parse_event, map(orjson.loads, blocks("json")))
    assert (listed.full, single.full, removed.full, empty.full) == (True, False, False, True)
    assert (statuses(listed), statuses(single)) == ({SIDECARS[0]: {"critical"}}, {SIDECARS[0]: {"passing"}})
    assert removed.statements == (Statement("api-1.dc1", SIDECARS[0], None, None),)
    assert empty.statements == ()
    assert gateways.service is None
    of_gateway, as_seen = catalog_of(gateways), catalog_of(paths)
    assert cut_from("dc2", {paths_key("dc2"): as_seen}) == {each.remote for each in of_gateway}
    assert (alive.is_alive, alive.lease_ms) == (True, 30_000)
    assert listed.index < single.index < removed.index < empty.index


def catalog_of(event: HealthEvent) -> list[Instance]:
    return merge(EMPTY, event).instances(event.service.name if event.service else "")


def fields() -> Iterator[str]:
    """The names of everything that is read of an event."""
    for part in (NodePart, ServicePart, CheckPart, ProxyPart, UpstreamPart):
        yield from get_type_hints(part)


@pytest.mark.parametrize("field", sorted(set(fields())))
def test_every_field_that_is_read_is_on_the_page(field: str) -> None:
    assert re.search(rf"[`.]{field}\b", PAGE), field


def test_every_status_and_kind_is_on_the_page() -> None:
    for status in get_args(get_args(CheckPart.__annotations__["Status"])[0]):
        assert f"`{status}`" in PAGE


def test_the_example_of_the_page_goes_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").symlink_to(ROOT / "events")
    (mesh,) = blocks("yaml")
    (tmp_path / "mesh.yaml").write_text(mesh)
    answer, refusal = (orjson.loads(block) for block in blocks("text"))
    commands = "".join(blocks("sh"))
    active, moved = [], []
    assert run(["apply", "--store", "mesh.db", "mesh.yaml"]) == 0
    names = re.findall(r"events/([a-z-]+)\.json", commands)
    for name in names:
        capsys.readouterr()
        assert run(["emit", "--store", "mesh.db", f"events/{name}.json"]) == 0
        moved.append(capsys.readouterr().out.partition("\n")[2].split("\n")[0].strip())
        # Before the first instance is told of, nobody serves.
        assert run(["status", "--store", "mesh.db", "--json"]) == (NOBODY if name == names[0] else 0)
        active.append(orjson.loads(capsys.readouterr().out)["resolvers"][0]["active"])
    assert names == [
        "gateway-health-changed",
        "bare-detail",
        "service-health-changed",
        "instance-health-changed",
        "instance-removed",
    ]
    assert active == [f"api.default.{datacenter}" for datacenter in ("dc1", "dc3", "dc3", "dc1", "dc3")]
    assert [moved[1]] == answer["moved"]

    (bad,) = re.findall(r"echo '(.*)' \|", commands)
    (tmp_path / "bad.json").write_text(bad)
    assert run(["emit", "--store", "mesh.db", "bad.json"]) == 1
    assert capsys.readouterr().err.splitlines() == [f"pointsman: {problem}" for problem in refusal["problems"]]
