"""Real Envoys straight at the function's URL, signing their own requests: they fail over, and need nothing to go on."""

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from tests.aws.function_url import CREDENTIALS, HOST, function_url
from tests.aws.harness import Aws
from tests.aws.situation import TRUST_DOMAIN, Situation, Url
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, ready
from tests.fleet.process import Ports, wait_until
from tests.pipeline.meshes import Document


class OnMoto:
    """A stack on the mock, of which every event is taken in at once."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self.store = f"s3://{aws.stack.refs['Bucket']}"

    def configure(self, documents: list[Document]) -> None:
        """Write config."""
        code, answer = self._aws.request("Configure", "PUT", "/v1/config", documents)
        assert code == 200, answer

    def send(self, event: dict[str, Any]) -> None:
        """Put an event on the bus, and have it taken in."""
        self._aws.put_event(event)
        assert self._aws.pump() == 0


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": str(CREDENTIALS.access_key),
    "AWS_SECRET_ACCESS_KEY": str(CREDENTIALS.secret_key),
    "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.mark.envoy
def test_traffic_fails_over_and_back_and_goes_on_while_the_function_is_away(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        aws = held.enter_context(Aws(TrustDomain=TRUST_DOMAIN, RefreshDelay="1"))
        ports = held.enter_context(Ports())
        situation = Situation(OnMoto(aws), tmp_path, ports)
        situation.configure()
        held.enter_context(situation.servers)
        url = held.enter_context(function_url(aws.handler("Discovery"), tmp_path))
        there = Url(HOST, url.port, tmp_path / "public-ca.pem")
        binaries = {"s1": ENVOY_1_40, "s3": ENVOY_1_39, "gateway-dc1": ENVOY_1_40}
        # Their bootstraps all come before the first one asks: the function prints its metrics, as does the command.
        envoys = {name: situation.envoy(name, each, there, ENVIRONMENT) for name, each in binaries.items()}
        for envoy in envoys.values():
            held.enter_context(envoy)
        ready(list(envoys.values()))
        clients = {service: held.enter_context(situation.client(service)) for service in ("s1", "s3")}
        for client in clients.values():
            client.wait_for_answer("dc1", after=0.0, timeout=30.0)
        begin = time.perf_counter()

        def updates() -> int:
            return envoys["s1"].stats(["cluster_manager.cds.update_success"])["cluster_manager.cds.update_success"]

        clusters = updates()
        for status, serving in (("critical", "dc2"), ("passing", "dc1")):
            published = situation.report("dc1", status)
            for service, client in clients.items():
                took = client.wait_for_answer(serving, after=published, timeout=30.0).done - published
                print(f"{service}: {serving} answered {took:.2f} s after it was published")

        url.leave()
        gone = dict(url.answers)
        published = situation.report("dc1", "critical")
        wait_until(lambda: time.perf_counter() > published + 2.5, "every Envoy to ask in vain")
        assert url.answers == gone
        for client in clients.values():
            assert {each.datacenter for each in client.attempts(published)} == {"dc1"}
        url.leave(False)
        for client in clients.values():
            client.wait_for_answer("dc2", after=published, timeout=30.0)
            client.wait_past(time.perf_counter())
            assert [each for each in client.attempts(begin) if each.failure] == []

        assert updates() == clusters, "where the SNI goes with the endpoints, clusters never change with health"
        assert {("clusters", 200), ("clusters", 304), ("listeners", 304), ("endpoints", 200)} <= url.answers.keys()
        assert {status for _, status in url.answers} == {200, 304}
        assert url.wrong == []
        assert {where == asked for where, asked in situation.servers.seen} == {True}
