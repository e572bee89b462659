"""Adapters and Envoys are killed at any moment while a client counts: what fails is never for want of an adapter."""

import random
import time
from pathlib import Path

import pytest

from tests.adapter.doubles import Remote
from tests.adapter.stand import WAYS, Stand, Way

pytestmark = pytest.mark.envoy


def _kill_and_restart(stand: Stand, chance: random.Random, serving: str) -> None:
    """Kill the adapter before, while or after `serving` becomes the one that serves; start it again."""
    when = chance.choice(("before", "while", "after"))
    if when == "before":
        stand.adapter.kill()
    stand.publish(serving)
    if when == "while":
        stand.client.wait_past(time.perf_counter() + chance.uniform(0, 0.02))
        stand.adapter.kill()
    elif when == "after":
        stand.wait_for_switch(serving)
        stand.adapter.kill()
    stand.client.wait_past(time.perf_counter() + chance.uniform(0, 0.1))
    stand.start_adapter()
    stand.wait_for_switch(serving)


@pytest.mark.parametrize(
    ("way", "kills"),
    [*((way, 2) for way in WAYS), *(pytest.param(way, 30, marks=pytest.mark.soak) for way in WAYS)],
)
def test_an_adapter_is_killed_at_any_moment_and_nothing_fails(
    way: Way, kills: int, store: Remote, tmp_path: Path
) -> None:
    chance = random.Random(f"{way} {kills}")
    with Stand(way, store, str(tmp_path / "store.db"), tmp_path) as stand:
        begin = time.perf_counter()
        for kill in range(kills):
            _kill_and_restart(stand, chance, "dc2" if kill % 2 else "dc3")
        assert stand.failures(begin) == []
        names = ("cds.update_rejected", "cluster_modified", "cluster_removed")
        assert set(stand.envoy.stats(f"cluster_manager.{name}" for name in names).values()) == {0}
        # The Envoy itself: it comes back by its own bootstrap, and finds an adapter that took no harm.
        stand.envoy.kill()
        stand.envoy.start()
        stand.envoy.wait_ready()
        begin = time.perf_counter()
        serving = "dc2" if kills % 2 else "dc3"
        stand.publish(serving)
        stand.wait_for_switch(serving)
        assert stand.failures(begin) == []
        assert stand.page("rejections")["rejections"] == []


def test_one_adapter_of_files_takes_over_from_another_and_they_never_both_write(store: Remote, tmp_path: Path) -> None:
    with Stand("files", store, str(tmp_path / "store.db"), tmp_path) as stand:
        pages = f"unix:{tmp_path / 'next.sock'}"
        following = stand.another("next", pages)
        with following:
            stand.wait_started(following)
            # It is ready, and has nothing to do yet.
            assert stand.page("readyz", pages)["ready"]
            assert "pointsman_standing_by 1.0" in stand.page("metrics", pages)
            begin = time.perf_counter()
            stand.publish("dc3")
            stand.wait_for_switch("dc3")
            assert 'pointsman_deliveries_total{kind="endpoints",way="files"}' not in stand.page("metrics", pages)
            stand.adapter.stop()
            stand.publish("dc2")
            stand.adapter, ended = following, stand.adapter
            stand.wait_for_switch("dc2")
            assert 'pointsman_deliveries_total{kind="endpoints",way="files"} 1.0' in stand.page("metrics", pages)
            assert stand.failures(begin) == []
            assert f"is written by process {following.pid}" not in following.err.read_text()
            stand.adapter = ended
