"""A control plane for some datacenters refuses the Envoys of others, so that these ask another one."""

from contextlib import ExitStack
from pathlib import Path

import orjson
from pointsman.machine.machine import MachineSettings
from pointsman.machine.process import AdapterProcess
from pointsman.serve.ask import ask
from pointsman.serve.listen import Listen
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.rest import NODE


def test_who_is_of_a_datacenter_that_is_not_computed_for_is_sent_on(tmp_path: Path) -> None:
    place = f"unix:{tmp_path / 'xds.sock'}"
    settings = MachineSettings.read(
        store=str(tmp_path / "store.db"),
        trust_domain="td",
        listen="127.0.0.1:0",
        files="",
        envoy_version="",
        reconcile_every=60,
        http=place,
        datacenters="dc2,dc3",
    )
    store = SQLiteStore(tmp_path / "store.db")
    with ExitStack() as serving:
        serving.callback(store.close)
        AdapterProcess(store, settings.adapter).start(serving)
        body = orjson.dumps({"node": NODE})
        headers = {"host": "pointsman", "content-type": "application/json"}
        at = Listen.read(place, "--http")
        status, answer = ask(at, "POST", "/v3/discovery:clusters", body, timeout=30.0, headers=headers)
        assert (status, "is not served here, only dc2, dc3" in orjson.loads(answer)["error"]) == (503, True)
