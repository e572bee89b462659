"""The function under test in a mocked AWS, with the mesh of the samples configured."""

import importlib
import io
import sys
from collections.abc import Iterator

import pytest
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.store.open import open_store

from tests.functions.cloud import BUCKET, STORE, Cloud, aws_client
from tests.functions.mesh import DOCUMENTS
from tests.store.wire import Wire


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """What stands between every client and the mocked AWS."""
    wire, pass_on = Wire(), BotocoreStubber.process_request
    monkeypatch.setattr(
        BotocoreStubber, "process_request", lambda self, request: wire(lambda it: pass_on(self, it), request)
    )
    return wire


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty mocked account with a bucket in it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        aws_client("s3").create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture
def cloud(aws: None, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The function, imported once as Lambda does, between its queues and a bucket that has the config."""
    return make_cloud(monkeypatch, with_dead_letters=True)


@pytest.fixture
def cloud_without_dead_letters(aws: None, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The same, where no queue for dead letters is set."""
    return make_cloud(monkeypatch, with_dead_letters=False)


def make_cloud(monkeypatch: pytest.MonkeyPatch, *, with_dead_letters: bool) -> Cloud:
    """Queues, config and function in the account that is mocked now."""
    sqs = aws_client("sqs")
    queue, dead_letters = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("ingest", "dead-letters"))
    configure(Engine(open_store(STORE)), parse_documents(DOCUMENTS))
    monkeypatch.setenv("POINTSMAN_STORE", STORE)
    monkeypatch.setenv("POINTSMAN_DEAD_LETTERS", dead_letters if with_dead_letters else "")
    monkeypatch.delitem(sys.modules, "functions.ingest.handler", raising=False)
    function = importlib.import_module("functions.ingest.handler")
    log = io.StringIO()
    monkeypatch.setattr(function.logger.registered_handler, "stream", log)
    return Cloud(sqs, queue, dead_letters, function, log)
