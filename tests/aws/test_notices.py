"""What travels over the topic."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from pointsman.aws.notices import LARGEST_BYTES, Notice, Notices, notice, read_notice
from pointsman.model.canonical import canonical
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.store.protocol import StoreUnavailable

_KB_256 = 256 * 1024


class Topic:
    """Accepts what SNS accepts, and fails on request."""

    def __init__(self, fail: int = -1) -> None:
        self.messages: list[tuple[str, Any]] = []
        self._fail = fail

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Any]) -> Any:
        entries = PublishBatchRequestEntries
        assert TopicArn == "topic"
        assert 1 <= len(entries) <= 10
        assert len({entry["Id"] for entry in entries}) == len(entries)
        assert sum(len(entry["Message"].encode()) + 200 for entry in entries) <= _KB_256
        for entry in entries:
            ((name, attribute),) = entry["MessageAttributes"].items()
            assert name == "datacenter"
            self.messages.append((attribute["StringValue"], orjson.loads(entry["Message"])))
        return {"Failed": [{"Code": "InternalError"}]} if len(self.messages) == self._fail else {}


def moved(number: int, size: int) -> Moved:
    """A head of so many bytes."""
    empty = len(canonical({"serial": number, "filling": ""}))
    return Moved(
        f"dc{number % 3}/sidecar/c{number}",
        f"dc{number % 3}",
        number,
        canonical({"serial": number, "filling": "é" * ((size - empty) // 2)}),
    )


@pytest.mark.parametrize(
    ("count", "size"),
    [(0, 0), (1, 100), (10, 100), (201, 1000), (7, 100_000), (3, LARGEST_BYTES), (12, LARGEST_BYTES + 2)],
)
def test_every_head_is_told_within_the_limits_and_the_largest_by_name_alone(count: int, size: int) -> None:
    topic = Topic()
    heads = [moved(number, size) for number in range(count)]
    Notices(topic, "topic")(heads)
    told = {body["key"]: (datacenter, body) for datacenter, body in topic.messages}
    assert len(topic.messages) == len(told) == count
    for head in heads:
        datacenter, body = told[f"snapshots/{head.plan_key}"]
        assert (datacenter, body["version"]) == (head.datacenter, head.version)
        if size > LARGEST_BYTES:
            assert "head" not in body
        else:
            assert canonical(body["head"]) == head.data, "the very bytes that the store has"
            assert notice(head) == canonical(body)


def test_one_notice_that_was_not_taken_is_an_error_to_run_again() -> None:
    with pytest.raises(StoreUnavailable, match=r"SNS did not take 1 \(InternalError\): try again"):
        Notices(Topic(fail=25), "topic")([moved(number, 100) for number in range(25)])


@pytest.mark.parametrize("size", [100, LARGEST_BYTES + 2])
def test_a_notice_is_read_back_as_what_was_told(size: int) -> None:
    head = moved(1, size)
    manifest = MovedManifest("manifests/dc1/sidecar/default/s1", "dc1", 7, head.data)
    for told in (head, manifest):
        assert read_notice(notice(told).decode()) == Notice(told.key, told.data if size <= LARGEST_BYTES else None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '"snapshots/dc1/sidecar/c1"',
        '{"key": "snapshots/dc1/sidecar/c1"}',
        '{"key": "snapshots/dc1/sidecar/c1", "version": "1", "head": {}}',
        '{"key": "snapshots/dc1/sidecar/c1", "version": 1, "head": "{}"}',
        '{"key": "config/head", "version": 1, "head": {}}',
        '{"key": 1, "version": 1, "head": {}}',
        '{"key": "manifests/dc1/sidecar/default/s1", "version": 1, "head": {}}',
        "[" * 5000,
    ],
)
def test_what_is_no_notice_says_nothing(text: str) -> None:
    assert read_notice(text) is None
