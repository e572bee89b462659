"""The parameter Datacenters: a stack that computes for some of them."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from pointsman.model.errors import InvalidInput

from tests.adapter.rest import NODE
from tests.aws.harness import Aws
from tests.aws.mesh import active, s2, start
from tests.aws.test_discovery import ask


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """A stack for dc1 alone."""
    with Aws(Datacenters="dc1") as aws:
        yield aws


def test_a_stack_for_some_datacenters_computes_for_those_alone(aws: Aws) -> None:
    queue = aws.follow()
    start(aws)
    aws.put_event(s2("critical"))
    assert aws.pump() == 0
    assert active(aws) == "dc2", "what is heard of the others counts"
    aws.tick()
    objects = aws.objects()
    told = {key.split("/")[1] for key in objects if key.startswith(("snapshots/", "manifests/", "history/"))}
    assert told == {"dc1"}
    assert {key.split("/")[1] for key in objects if key.startswith("catalog/")} == {"dc1", "dc2"}
    heard = [each["MessageAttributes"]["datacenter"]["StringValue"] for each in aws.messages(queue)]
    assert {*heard} == {"dc1"}
    assert aws.request("Configure", "GET", "/v1/status")[1]["datacenters"] == ["dc1"]
    assert ask(aws, "clusters")[0] == 200
    status, body = ask(aws, "clusters", node={**NODE, "metadata": {"datacenter": "dc2", "namespace": "default"}})
    said = "the sidecar of default/s1 in dc2 is not served here, only dc1; ask another stack"
    assert (status, body["error"]) == (503, said), "an Envoy with several addresses goes on to the next one"


@pytest.mark.parametrize("function", ["Ingest", "Configure", "Reconcile"])
def test_a_function_that_is_told_no_datacenter_says_so(aws: Aws, function: str) -> None:
    variables = aws.stack.resources[function]["Properties"]["Environment"]["Variables"]
    with (
        patch.dict(variables, {"POINTSMAN_DATACENTERS": "dc1,DC2"}),
        pytest.raises(InvalidInput, match='POINTSMAN_DATACENTERS: "DC2" is not a lower-case DNS label'),
    ):
        aws.cold(function)
