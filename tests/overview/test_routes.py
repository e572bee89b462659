"""What people see, over HTTP: each route answers what the command prints with --json, to who may read."""

from typing import Any

import pytest
from pointsman.api.request import Api, Request
from pointsman.api.routes import answer
from pointsman.model.grants import Grant, Role
from pointsman.model.names import ServiceName
from pointsman.overview.generations import MOST_GENERATIONS, read_difference, read_log
from pointsman.overview.instances import read_instances

from tests.pipeline.meshes import event, instance, resolver, sidecar
from tests.pipeline.place import Place

READER = Grant(frozenset({Role.READ}), "the reader")
REPORTER = Grant(frozenset({Role.REPORT}), "the reporter")


@pytest.fixture
def place() -> Place:
    """A mesh with two generations and an instance."""
    found = Place()
    found.configure(resolver("web"), sidecar("shop", "web"))
    found.configure(resolver("web", ConnectTimeout="2s"))
    found.ingest(event("web", 1, [instance("web", status="critical", output="no answer")]))
    return found


def test_who_may_read_gets_what_the_commands_print(place: Place) -> None:
    def get(url: str, grant: Grant = READER) -> tuple[int, Any]:
        path, _, query = url.partition("?")
        found = answer(Api(place.engine), Request("GET", path, query, grant=grant))
        return found.status, found.body

    expected = {
        "/v1/instances/web?dc=dc1": read_instances(place.engine, ServiceName("default", "web")).json(),
        "/v1/generations?most=1": read_log(place.engine, 1).json(),
        "/v1/diff?before=1": read_difference(place.engine, 1, None).json(),
    }
    for url, body in expected.items():
        assert get(url) == (200, body)
        assert get(url, REPORTER)[0] == 403
    for url, said in (
        ("/v1/instances/wbe", "known are: shop, web"),
        ("/v1/instances/web?dc=dc9", "nobody told of an instance there"),
        (f"/v1/generations?most={MOST_GENERATIONS + 1}", f"it is 1 to {MOST_GENERATIONS}"),
        ("/v1/diff?before=one", "is not a number"),
        ("/v1/diff?after=3", "is not in the history of 2"),
    ):
        status, body = get(url)
        assert (status, said in body["error"]) == (400, True), (url, body)
