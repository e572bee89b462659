"""A deleted registration: running Envoys keep what they have, a starting one is refused with the reason, and operators
see both."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from pointsman.cli.rejected import ask, read_place
from pointsman.serve.ask import get_json
from pointsman.serve.listen import Listen
from pointsman.xds.manifest import SidecarManifest

from tests.adapter import streams
from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, NEW, S1, listener
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import Adapter, Envoy
from tests.adapter.streams import CLUSTERS, ENDPOINTS, asks, messages, node, serves, stream
from tests.adapter.three_ways import CLUSTER, OF_S1, three_ways
from tests.fleet.process import wait_until

GOES = SidecarManifest(2, (CLUSTER,), (listener(OF_S1),), retired=True)
COMES_BACK = replace(GOES, generation=3, retired=False)
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "state of the world"])


def test_who_still_fetches_by_whatever_way_is_listed_counted_and_logged_once(
    store: Remote,
    publisher: Publisher,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = f"unix:{tmp_path / 'ops'}"
    ops = Listen.read(place, "--ops")
    with three_ways(store, publisher, tmp_path) as (process, s1, s9):
        assert process.retired.all() == []
        publisher.manifest(MANIFEST, GOES)
        wait_until(lambda: len(process.retired.all()) == 3, "all three ways to be listed")
        listed = {(each["way"], each["proxy"], each["node"]) for each in get_json(ops, "/rejections")["retired"]}
        assert listed == {
            (way, "dc1/sidecar/default/s1", node) for way, node in {"ads": "s1-1", "rest": "s1-1", "files": ""}.items()
        }
        assert len(get_json(ops, "/config_dump")["retired"]) == 3
        assert "pointsman_retired_proxies 1.0" in process.metrics.text().decode()
        told = [each.getMessage() for each in caplog.records if "registration was deleted" in each.getMessage()]
        assert len(told) == len(set(told)) == 3
        said = "\n".join(ask(read_place(place)).lines())
        assert "s1-1 (dc1/sidecar/default/s1) still fetches, deleted from the config, since 20" in said
        assert "files of dc1/sidecar/default/s1, deleted from the config, since 20" in said
        # Nobody else is touched.
        publisher.head(sidecar_plan(), content(["dc2"]))
        assert s9.grpc() == "dc2"
        wait_until(lambda: (s9.http(), s9.files()) == ("dc2", "dc2"), "s9 to fail over")
        # Registered again, the Envoy that ran all the time gets what there is by now.
        publisher.manifest(MANIFEST, COMES_BACK)
        assert s1.grpc() == "dc2"
        wait_until(lambda: s1.http() == "dc2" and (tmp_path / "envoys" / S1.directory / "lds.pb").exists(), "s1")
        assert s1.files() == "dc2"
        wait_until(lambda: process.retired.all() == [], "nothing to be listed any more")
        assert "pointsman_retired_proxies 0.0" in process.metrics.text().decode()


@both
@pytest.mark.parametrize("restarted", [False, True], ids=["the same adapter", "one that was started since"])
def test_over_grpc_who_starts_is_refused_and_who_runs_is_held(
    delta: bool, restarted: bool, store: Remote, published: Publisher
) -> None:
    def first(envoy: streams.Spoken, version: str) -> None:
        told = {"initial_resource_versions": {CLUSTER: version}} if delta else {"version_info": version}
        envoy.say(CLUSTERS, node=node(NEW), **(told if version else {}))

    gone = replace(GOES, clusters=(), listeners=())
    with contextlib.ExitStack() as adapters:
        adapter = adapters.enter_context(streams.Adapter(store, hold=0.5))
        with stream(adapter.server.address, delta) as envoy:
            first(envoy, "")
            response = envoy.hear()
            version = response.resources[0].version if delta else response.version_info
            places = [place for place in asks(response) if place.startswith("s2")]
        if restarted:
            adapters.close()
        published.manifest(MANIFEST, gone)
        if restarted:
            adapter = adapters.enter_context(streams.Adapter(store, hold=0.5))
        else:
            wait_until(lambda: adapter.follower.is_retired(S1), "the manifest to be retired")
        with stream(adapter.server.address, delta) as starts:
            first(starts, "")
            with pytest.raises(grpc.RpcError) as refused:
                starts.hear()
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert "was deleted; `pointsman apply` registers it again" in refused.value.details()
        with stream(adapter.server.address, delta) as runs:
            first(runs, version)
            runs.say(ENDPOINTS, **{"resource_names_subscribe" if delta else "resource_names": places})
            wait_until(lambda: adapter.adapter.fetching(), "the stream to be there")
            # For longer than the other one was; what it hears next is that it is registered again.
            time.sleep(1.0)
            assert adapter.adapter.fetching()
            published.head(sidecar_plan(), content(["dc2"]))
            published.manifest(MANIFEST, SidecarManifest(3, (CLUSTER,), ()))
            while (heard := runs.hear()).type_url != ENDPOINTS.value or serves(messages(heard)[0]) != "dc2":
                runs.accept(heard)


@pytest.mark.parametrize("restarted", [False, True], ids=["the same adapter", "one that was started since"])
def test_over_http_who_starts_is_refused_and_who_runs_is_held(
    restarted: bool, store: Remote, published: Publisher
) -> None:
    with Adapter(store, hold=0.3) as adapter:
        versions = {kind: Envoy(adapter).ask(kind).version for kind in ("clusters", "listeners")}
        if not restarted:
            published.manifest(MANIFEST, replace(GOES, clusters=(), listeners=()))
            wait_until(lambda: adapter.follower.is_retired(S1), "the manifest to be retired")
            _starts_and_runs(adapter, versions)
    if restarted:
        published.manifest(MANIFEST, replace(GOES, clusters=(), listeners=()))
        with Adapter(store, hold=0.3) as adapter:
            _starts_and_runs(adapter, versions)
            published.manifest(MANIFEST, SidecarManifest(3, (CLUSTER,), ()))
            wait_until(lambda: Envoy(adapter).ask("clusters").status == 200, "it to be registered again")


def _starts_and_runs(adapter: Adapter, versions: dict[str, str]) -> None:
    for kind, version in versions.items():
        reply = Envoy(adapter).ask(kind)
        assert (reply.status, "was deleted" in reply.json["error"]) == (404, True)
        assert Envoy(adapter).ask(kind, version).status == 304
    assert adapter.adapter.fetching() == [("rest", S1, "s1-1")]
