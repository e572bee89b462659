"""What a real Envoy rejects is seen, in its own words where it has them, whatever the way to it; and is over when it
takes something better."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pointsman.cli.status import status
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.engine import Engine
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.doubles import Remote
from tests.adapter.stand import CLUSTER, Stand, Way
from tests.fleet.process import Ports, wait_until

pytestmark = pytest.mark.envoy

NO_FILTER = "Didn't find a registered implementation for 'nope'"
NO_TIMEOUT = "ConnectTimeout: value must be greater than 0s"


def _status(stand: Stand, store: Path, *options: str, code: int = 0) -> str:
    """What `pointsman status` tells, with the adapter's address."""
    done = CliRunner().invoke(status, ["--store", str(store), "--adapter", stand.ops, *options], standalone_mode=False)
    assert (done.exception, done.return_value) == (None, code)
    return done.stdout


def _told(stand: Stand, store: Path) -> list[dict[str, str]]:
    (found,) = json.loads(_status(stand, store, "--json"))["adapters"]
    assert (found["adapter"], found["error"]) == (stand.ops, "")
    rejections: list[dict[str, str]] = found["rejections"]
    return rejections


@pytest.mark.parametrize("way", ["files", "http", "grpc"])
def test_a_rejected_configuration_is_told_and_the_envoy_serves_on(way: Way, store: Remote, tmp_path: Path) -> None:
    # What is published here has no config behind it, which `status` would refuse: it is asked with another store.
    path = tmp_path / "config.db"
    with contextlib.closing(SQLiteStore(path)) as other:
        configure(Engine(other), Batch())
    with Ports() as ports, Stand(way, store, str(tmp_path / "store.db"), tmp_path) as stand:
        assert _told(stand, path) == []
        stand.publish("dc2", timeout=0)
        stand.listen(2, listener_filters={"name": "nope"})

        def both() -> dict[str, dict[str, Any]] | None:
            found = {each["kind"]: each for each in _told(stand, path)}
            told = {"clusters", "listeners"} <= found.keys()
            ways = {each["way"] for each in found.values()}
            return found if told and ways == {"ads" if way == "grpc" else "admin"} else None

        found = wait_until(both, "the rejections to be told", children=[stand.adapter])
        assert NO_FILTER in found["listeners"]["reason"]
        if way == "grpc":
            assert found["clusters"]["name"] == CLUSTER
            assert NO_TIMEOUT in found["clusters"]["reason"]
        else:
            assert found["listeners"]["name"] == "s2"
            assert "its log does" in found["clusters"]["reason"]
            assert NO_TIMEOUT in stand.envoy.err.read_text()
        lines = _status(stand, path)
        for each in found.values():
            assert (each["proxy"], each["node"]) == ("dc1/sidecar/default/s1", "s1-1")
            assert each["reason"].splitlines()[0] in lines
        for kind in ("clusters", "listeners"):
            counter = f'pointsman_rejected_total{{kind="{kind}",way="{found[kind]["way"]}"}}'
            assert stand.metric(counter) >= 1
        said = stand.adapter.err.read_text()
        assert said.count(NO_FILTER) == 1
        assert stand.page("config_dump").keys() >= {"admin", {"http": "rest", "grpc": "ads"}.get(way, "files")}
        stand.wait_for_switch("dc2")  # as it did before
        stand.publish("dc3")
        stand.listen(3)
        stand.wait_for_switch("dc3")
        wait_until(lambda: _told(stand, path) == [], "the rejections to be over", children=[stand.adapter])
        # What holds a port may leave it: the Envoy needs nobody who changes something then.
        place = {"address": "127.0.0.1", "port_value": ports.take("127.0.0.1")}
        with socket.create_server((place["address"], place["port_value"])):
            stand.listen(4, additional_addresses={"address": {"socket_address": place}})
            wait_until(
                lambda: any("already in use" in each["reason"] for each in _told(stand, path)),
                "the port to be missed",
                children=[stand.adapter],
            )
        wait_until(lambda: _told(stand, path) == [], "the port to be taken", children=[stand.adapter])
        socket.create_connection((place["address"], place["port_value"])).close()
        stand.wait_for_switch("dc3")
        assert "nothing is rejected" in _status(stand, path)
        stand.adapter.stop()
        assert f"adapter {stand.ops}: " in _status(stand, path, code=1)
