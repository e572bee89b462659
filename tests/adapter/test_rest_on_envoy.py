"""Real Envoys over REST: an adapter dies and comes back, one of two is behind; many clusters."""

import contextlib
import time
from pathlib import Path

import pytest
from pointsman.bootstrap.document import Address, FetchHttp

from tests.adapter.doubles import Remote
from tests.adapter.fetching import OVER_REST, balanced, sidecar
from tests.adapter.rest import Adapter
from tests.adapter.switching import Switching, failures, wait_for_switch
from tests.fleet.client import patient
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.process import Child, Ports, wait_listening, wait_until
from tests.fleet.ways import DELAY_MS

pytestmark = pytest.mark.envoy


@pytest.mark.soak
def test_an_adapter_is_killed_under_load_and_what_changed_meanwhile_comes_when_it_is_back(
    store: Remote, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        at = ports.take("127.0.0.1")
        mesh = held.enter_context(Switching("remote", "tcp", store, tmp_path, ports))
        command = [POINTSMAN, "adapter", "http", "--store", tmp_path / "store.db", "--listen", f"127.0.0.1:{at}"]
        adapter = held.enter_context(Child("adapter", command, tmp_path))
        wait_listening(adapter, "127.0.0.1", at)
        fetch = FetchHttp(Address("127.0.0.1", at), refresh_delay_ms=DELAY_MS)
        envoy = held.enter_context(Envoy("s1", sidecar(fetch, mesh.authority, ports), tmp_path))
        envoy.wait_ready()
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        begin = client.wait_for_answer("dc2", after=0.0).done
        for _ in range(2):
            adapter.kill()
            serving = mesh.publish()
            client.wait_past(time.perf_counter() + 0.1)
            adapter.start()
            wait_for_switch(client, serving)
        assert failures([client], begin) == []
        assert mesh.targets.seen == mesh.ways()


@pytest.mark.soak
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_two_adapters_one_of_them_stale_behind_one_address(binary: Path, store: Remote, tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        mesh = held.enter_context(Switching("remote", "tcp", store, tmp_path, ports))
        cut_off = held.enter_context(contextlib.closing(Remote(tmp_path / "store.db")))
        options = {**OVER_REST, "hold": 0.1}
        ahead, behind = (held.enter_context(Adapter(each, **options)) for each in (store, cut_off))
        bootstrap = sidecar(
            FetchHttp(Address("127.0.0.1", ahead.port), refresh_delay_ms=DELAY_MS), mesh.authority, ports
        )
        balanced(bootstrap, [ahead.port, behind.port])
        envoy = held.enter_context(Envoy("s1", bootstrap, tmp_path, binary))
        envoy.wait_ready()
        client = held.enter_context(patient("127.0.0.1", mesh.upstream))
        begin = client.wait_for_answer("dc2", after=0.0).done
        for round_ in range(4):
            if round_ == 1:
                cut_off.leave()
            assert mesh.switch([client]) == []
            # However often it asks the one that is behind, it does not go back.
            asked = behind.metric("pointsman_unchanged_total")
            wait_until(lambda asked=asked: behind.metric("pointsman_unchanged_total") > asked + 4, "it to be asked")
            now = time.perf_counter()
            client.wait_past(now + 0.1)
            assert len({each.datacenter for each in client.attempts(now)}) == 1
        assert failures([client], begin) == []
        assert mesh.targets.seen == mesh.ways()
        rejected = "cluster_manager.cds.update_rejected"
        assert envoy.stats([rejected]) == {rejected: 0}
