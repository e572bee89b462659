"""The demo's whole story on the AWS engine: three datacenters, the stack of the template, and real Envoys."""

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from click.testing import CliRunner
from pointsman.adapter.files.files_adapter import FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.aws.noticed import NoticedStore
from pointsman.aws.queue import NoticeQueue
from pointsman.aws.topic import read_topic
from pointsman.cli.bootstrap import bootstrap
from pointsman.store.s3 import S3Store

from tests.aws.harness import Aws
from tests.fleet.control_plane import Active, Pointsman
from tests.fleet.mesh import TRUST_DOMAIN, Mesh
from tests.fleet.process import FleetError
from tests.fleet.scenario import run


class OnAws(Pointsman):
    """Pointsman as users of the stack have it: config over its URL, events on its bus, an adapter beside the Envoys
    that follows by notices."""

    def __init__(self, directory: Path, aws: Aws) -> None:
        super().__init__(directory, TRUST_DOMAIN)
        self._aws = aws
        self._stop = threading.Event()
        self._one = threading.Lock()
        bucket = aws.stack.refs["Bucket"]
        self._url_of_store = f"s3://{bucket}"
        topic = read_topic(aws.stack.refs["Notices"], "--notices")
        self._store = NoticedStore(S3Store(aws.s3, bucket), lambda: NoticeQueue(aws.sqs, aws.sns, topic))
        self._adapter = FilesAdapter(Follower(self._store), self.files, (1, 40, 0))
        self._thread = threading.Thread(target=self._adapter.run, args=(self._stop,), kwargs={"discovery_period": 0.5})

    def __enter__(self) -> Self:
        self._store.start()
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self._store.close()

    def tail(self) -> str:
        return "\n".join(line for lines in self._adapter.problems().values() for line in lines)

    def apply(self, files: Iterable[Path]) -> None:
        documents = []
        for file in files:
            if file.suffix == ".hcl":
                self._put(file.read_text())
            else:
                documents.append(orjson.loads(file.read_bytes()))
        self._put(documents)

    def _put(self, body: Any) -> None:
        code, answer = self._aws.request("Configure", "PUT", "/v1/config", body)
        if code != 200:
            raise FleetError(f"the config was answered {code}: {answer}")

    def bootstrap(self, proxy: str, datacenter: str, *options: str | Path) -> dict[str, Any]:
        where = ("--store", self._url_of_store, "--files", self.files, "--dc", datacenter)
        arguments = [str(each) for each in (proxy, *where, *options)]
        with self._one:  # the runner swaps standard output
            done = CliRunner().invoke(bootstrap, arguments, catch_exceptions=False)
        made: dict[str, Any] = orjson.loads(done.stdout)
        return made

    def active(self, service: str, datacenter: str) -> Active:
        _, status = self._aws.request("Configure", "GET", "/v1/status", dc=datacenter)
        (found,) = (each for each in status["resolvers"] if each["service"] == service)
        since = datetime.fromisoformat(found["since"]).timestamp()
        return Active(found["active"].rpartition(".")[2], found["why"], since)

    def send(self, event: Mapping[str, Any]) -> float:
        sent = time.perf_counter()
        self._aws.put_event(event)
        assert self._aws.pump() == 0
        return sent


class MeshOnAws(Mesh):
    """The mesh of the demo under the stack of the template."""

    def __init__(self, directory: Path, aws: Aws) -> None:
        super().__init__("local", directory, patient=True)
        self.pointsman = OnAws(directory, aws)


@pytest.mark.envoy
def test_traffic_follows_health_and_nothing_else(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        aws = held.enter_context(Aws(TrustDomain=TRUST_DOMAIN))
        mesh = held.enter_context(MeshOnAws(tmp_path, aws))
        report = run(mesh, answers_per_step=60)
    assert report.problems == []
    assert [step.serving for step in report.steps] == ["dc1", "dc2", "dc3", "dc1"]
