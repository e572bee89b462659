"""What most tests of the adapters start from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import Publisher, content, sidecar_plan


@pytest.fixture
def clock() -> Clock:
    """A clock that starts at 1000."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Remote]:
    """An empty store."""
    store = Remote(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def publisher(store: Remote) -> Publisher:
    """Who writes into the store."""
    return Publisher(store)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the files go."""
    return tmp_path / "envoys"


@pytest.fixture
def published(publisher: Publisher) -> Publisher:
    """s1 has s2 and s3 as upstreams."""
    for service in ("s2", "s3"):
        publisher.head(sidecar_plan(service=service), content(service=service))
    publisher.manifest(MANIFEST, manifest("s2", "s3"))
    return publisher
