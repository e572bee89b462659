"""The store that the tests of the intake begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.store.open import open_store
from pointsman.store.protocol import Store

from tests.functions.mesh import DOCUMENTS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "pointsman.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    """A store with a mesh in which api is registered, and nothing said of its health."""
    opened = open_store(str(path), create=True)
    configure(Engine(opened), parse_documents(DOCUMENTS))
    yield opened
    opened.close()
