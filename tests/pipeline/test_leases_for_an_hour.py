"""An hour of renewals of a thousand sources: what it writes, counted on a file."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pointsman.model.events import HealthEvent
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest_all
from pointsman.pipeline.observer import Observer
from pointsman.store.sqlite import SQLiteStore

from tests.pipeline.meshes import alive, event, gateway, instance, proxy_defaults, resolver, sidecar

SOURCES, TOGETHER, RENEWALS = 1_000, 100, 360


def of(number: int) -> dict[str, Any]:
    """Where a source is, and its name."""
    return {"dc": f"dc{number % 3 + 1}", "source": f"agent/host-{number}", "lease": "30s"}


def stated(number: int) -> HealthEvent:
    """What a source says at first: it has one instance of web."""
    one = instance("web")
    one["Node"]["Node"] = f"host-{number}"
    return event("web", 1, [one], **of(number))


@pytest.mark.soak
def test_an_hour_of_renewals_of_a_thousand_sources_writes_nothing_but_their_leases(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "store.db")) as store:
        engine = Engine(store)
        failover = {"*": {"Datacenters": ["dc2", "dc3"]}}
        upstream = sidecar("client", {"DestinationName": "web"})
        gateways = [gateway(dc) for dc in ("dc1", "dc2", "dc3")]
        documents = [proxy_defaults(), resolver("web", Failover=failover), upstream, *gateways]
        configure(engine, parse_documents(documents), trust_domain="td")

        def say(events: list[HealthEvent]) -> None:
            for outcome in ingest_all(engine, events):
                assert not isinstance(outcome, Exception), outcome

        for start in range(0, SOURCES, TOGETHER):
            say([stated(number) for number in range(start, start + TOGETHER)])
        before = {each.key: each.etag for each in store.list("")}
        observer = Observer(engine)
        observer.look(0)
        for renewal in range(RENEWALS):
            for start in range(0, SOURCES, TOGETHER):
                say([alive(2 + renewal, **of(number)) for number in range(start, start + TOGETHER)])
            assert observer.look(10_000) is None
        after = {each.key: each.etag for each in store.list("")}
    changed = {key for key in after if after[key] != before.get(key)}
    assert len(changed) == SOURCES
    assert {key.split("/")[0] for key in changed} == {"leases"}
