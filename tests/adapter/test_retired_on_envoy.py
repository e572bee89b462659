"""Real Envoys of a deleted registration: one that runs serves on, whatever restarts; one that starts does not."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.serve.ask import NoAnswer
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.manifest import read_manifest

from tests.adapter.node import MANIFEST
from tests.adapter.stand import WAYS, Stand, Way
from tests.fleet.process import wait_until

pytestmark = pytest.mark.envoy


def is_told(stand: Stand) -> bool:
    """Whether the adapter is there and counts the proxy."""
    try:
        return stand.metric("pointsman_retired_proxies") == 1
    except NoAnswer:
        return False


@pytest.mark.parametrize("way", WAYS)
def test_an_envoy_that_runs_serves_on_and_one_that_starts_does_not(way: Way, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(SQLiteStore(path)) as store, Stand(way, store, str(path), tmp_path) as stand:
        body = stand.publisher.body(MANIFEST)
        assert body is not None
        manifest = read_manifest(body)
        stand.publisher.manifest(MANIFEST, replace(manifest, generation=2, retired=True))
        for _ in range(2):
            wait_until(lambda: is_told(stand), "it to be told", children=[stand.adapter])
            assert way != "files" or not (stand.files / "cds.pb").exists()
            begin = time.perf_counter()
            stand.client.wait_past(begin + 1.0)
            assert stand.failures(begin) == []
            stand.adapter.kill()
            stand.adapter.start()
        # Registered again, the Envoy that ran all the time takes up what there is.
        stand.publisher.manifest(MANIFEST, replace(manifest, generation=3))
        stand.publish("dc3")
        stand.wait_for_switch("dc3")
        stand.publisher.manifest(MANIFEST, replace(manifest, generation=4, retired=True))
        wait_until(lambda: is_told(stand), "it to be told", children=[stand.adapter])
        stand.envoy.kill()
        stand.envoy.start()
        begin = time.perf_counter()
        stand.client.wait_past(begin + 2.0)
        assert not [each for each in stand.client.attempts(begin) if not each.failure]
