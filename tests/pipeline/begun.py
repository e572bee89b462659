"""A store that has a past, for lives to begin with."""

from functools import cache

from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.scope import Scope
from pointsman.store.protocol import Stored

from tests.pipeline.memory import Connection, MemoryStore
from tests.pipeline.meshes import engine_on, resolver
from tests.pipeline.stories import BEGINNING

_PAST = [[resolver("web", ConnectTimeout=f"{seconds}s")] for seconds in (1, 2, 3)]
"""Config that a store had before its life, so that it can be rolled back and forgotten."""


@cache
def _beginning(scope: Scope) -> dict[str, Stored]:
    store = MemoryStore()
    engine = engine_on(Connection(store), scope=scope)
    for documents in (BEGINNING.documents, *_PAST, BEGINNING.documents):
        configure(engine, parse_documents(documents))
    return store.objects


def begun(scope: Scope) -> MemoryStore:
    """A store in which BEGINNING is the config, and was some time ago."""
    store = MemoryStore()
    for key, stored in _beginning(scope).items():
        store.restore(key, stored.data)
    return store
