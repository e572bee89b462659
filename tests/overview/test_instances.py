"""Which instance is ill, what its check printed, who said so and when."""

import json
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.instances import LONGEST_LINE, MOST_LINES, MOST_WELL
from pointsman.cli.main import run
from pointsman.model.names import ServiceName
from pointsman.overview.instances import read_instances
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.ingest import ingest
from pointsman.pipeline.lapses import lapse
from pointsman.store import keys
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.meshes import engine_on, event, gateway_instance, instance, resolver, sidecar
from tests.pipeline.place import Place

PRINTED = "\n".join(["no space left \x1b[2J on /var", "x" * (LONGEST_LINE + 1), *map(str, range(MOST_LINES))])


def test_which_instance_is_ill_what_its_check_printed_and_who_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pointsman.db"
    store = SQLiteStore(str(path), create=True)
    engine = engine_on(store)
    configure(engine, parse_documents([resolver("web"), sidecar("shop", "web")]))
    well = [instance("web", number) for number in range(2, MOST_WELL + 3)]
    ingest(
        engine, event("web", 7, [instance("web", 1, "critical", output=PRINTED), *well], source="agent/a", lease="30s")
    )
    ingest(engine, event("web", 8, [instance("web")], dc="dc2", source="agent/b", lease="30s"))
    lapse(engine, {keys.lease("dc2", "agent/b"): (0, 8)})
    store.close()

    def pointsman(*words: str, code: int = 0) -> str:
        assert run([*words, "--store", str(path)]) == code
        out, err = capsys.readouterr()
        return out if not code else err

    shown = pointsman("instances", "web").splitlines()
    assert shown[0] == f"dc1  {MOST_WELL + 1}/{MOST_WELL + 2} healthy"
    assert shown[1].startswith("  critical  web-1 on node1, 10.1.0.1:2000, said so at 20")
    assert shown[2].startswith("    told by agent/a with index 7, lease 30s, last heard at 20")
    assert shown[3] == "    critical: check alive"
    # Nothing that a check printed speaks to the terminal.
    assert shown[4:6] == ["      no space left ?[2J on /var", f"      {'x' * LONGEST_LINE}…"]
    assert shown[4 + MOST_LINES] == "      and 2 more lines; --json shows all"
    assert "  and 1 more that pass; --json shows all" in shown
    assert shown[-4] == "dc2  1/1 healthy"
    assert shown[-3].startswith("  passing  web-1 on node1, 10.1.0.1:2000, not critical since 20")
    assert shown[-1].startswith("    its source is SILENT since 20")
    told = json.loads(pointsman("instances", "web", "--json", "--dc", "dc1"))
    assert (told["schema"], len(told["instances"])) == (1, MOST_WELL + 2)
    first: dict[str, Any] = told["instances"][0]
    assert first["checks"] == [{"id": "alive", "name": "", "status": "critical", "output": PRINTED, "of_node": False}]
    assert (first["source"], first["index"], first["lease_ms"], first["silent_since"]) == ("agent/a", 7, 30_000, "")
    assert "known are: shop, web" in pointsman("instances", "wbe", code=1)
    assert "nobody told of an instance there" in pointsman("instances", "web", "--dc", "dc9", code=1)


def test_a_gateway_is_an_instance_and_another_output_alone_moves_nothing() -> None:
    place = Place()
    place.configure(resolver("web"), sidecar("shop", "web"))
    place.ingest(event(None, 1, [gateway_instance(1, "warning"), gateway_instance(2)]))
    found = read_instances(place.engine, ServiceName("default", "mesh-gateway")).instances
    assert [(each.id, each.status, each.healthy, each.counts) for each in found] == [
        ("gw-1", "warning", True, True),
        ("gw-2", "passing", True, True),
    ]
    place.ingest(event("web", 2, [instance("web", 1, "critical", output="no answer")]))
    done = place.ingest(event("web", 3, [instance("web", 1, "critical", output="still no answer")]))
    assert done.moved == []
    (ill,) = read_instances(place.engine, ServiceName("default", "web")).instances
    assert [(each.status, each.output) for each in ill.checks] == [("critical", "still no answer")]
    # Who is gone is not shown.
    place.ingest(event("web", 4, removed=instance("web")))
    assert read_instances(place.engine, ServiceName("default", "web")).instances == ()
