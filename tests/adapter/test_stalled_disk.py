"""A disk that hangs holds up what waits for it, and nothing else: no delivery over the network, no page for people."""

import contextlib
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.follow.saved import Saved
from pointsman.disk.operations import FileOperations
from pointsman.machine.process import AdapterProcess
from pointsman.machine.settings import AdapterSettings
from pointsman.serve.ask import get_json
from pointsman.serve.listen import Listen

from tests.adapter.doubles import Remote
from tests.adapter.node import NEW, S1
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.streams import CLUSTERS, ENDPOINTS, asks, messages, node, serves, stream
from tests.fleet.process import wait_until


class Disk:
    """Hangs in every write from `stall` until `mend`; `stalled` is set when the first write hangs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._goes, self.stalled = threading.Event(), threading.Event()
        self._goes.set()
        for whole, name in ((FileOperations, "replace"), (FileOperations, "sync"), (Path, "write_bytes")):
            monkeypatch.setattr(whole, name, self._hanging(getattr(whole, name)))

    def stall(self) -> None:
        self._goes.clear()

    def mend(self) -> None:
        self._goes.set()

    def _hanging(self, function: Any) -> Any:
        def hanging(*arguments: Any) -> Any:
            if not self._goes.is_set():
                self.stalled.set()
                self._goes.wait()
            return function(*arguments)

        return hanging


@pytest.mark.parametrize("files", [False, True], ids=["what is kept", "what is kept and files"])
def test_while_the_disk_hangs_streams_fail_over_and_the_pages_answer(
    files: bool, store: Remote, published: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, ops = Disk(monkeypatch), Listen.read(f"unix:{tmp_path / 'ops'}", "--ops")
    hours = itertools.count(0, 3600)
    # With every look an hour has passed, and a note is due of when the store was last seen.
    kept = Saved(tmp_path / "kept", "store", now=lambda: float(next(hours)))
    root = tmp_path / "envoys" if files else None
    settings = AdapterSettings(grpc=f"unix:{tmp_path / 'grpc'}", ops=str(ops), files=root, envoy_version=NEW)
    with contextlib.ExitStack() as serving:
        where = AdapterProcess(store, settings, kept).start(serving)
        serving.callback(disk.mend)
        envoy = serving.enter_context(stream(where["grpc"]))
        envoy.say(CLUSTERS, node=node(NEW))
        envoy.accept(clusters := envoy.hear())
        envoy.say(ENDPOINTS, resource_names_subscribe=asks(clusters))
        envoy.accept(envoy.hear())
        if root is not None:
            wait_until((root / S1.directory / "lds.pb").exists, "the files")
        disk.stall()
        for datacenter in ("dc2", "dc3", "dc1", "dc2"):
            published.head(sidecar_plan(), content([datacenter]))
            assert [serves(each) for each in messages(envoy.hear())] == [datacenter]
            envoy.accept(envoy.last[ENDPOINTS])
            assert disk.stalled.wait(10)
            assert get_json(ops, "/readyz", timeout=10)["ready"]
            assert get_json(ops, "/config_dump", timeout=10)["ads"]["streams"]
        disk.mend()
        wait_until(lambda: not kept.problem and kept.flush(), "what is kept to be written")
