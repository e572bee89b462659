"""Proxies that all come at once, and a store that is asked for each object by a request of its own."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pointsman.discovery.proxy import SidecarId
from pointsman.xds.manifest import SidecarManifest

from tests.adapter import streams
from tests.adapter.node import NEW, listener
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.streams import CLUSTERS, node, stream
from tests.adapter.test_joins import Bucket
from tests.bench.table import Beside, Measured

CLUSTERS_EACH = 2
POLLS = 3
"""Looks of the adapter itself at everything that it follows, at most, while the proxies come."""


def measure(directory: Path, proxies: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """Streams that begin at once, and how often the store is asked."""
    bucket = Bucket(directory / "bucket.db")
    publisher = Publisher(bucket)
    for number in range(proxies):
        names = [f"u{number}-{each}" for each in range(CLUSTERS_EACH)]
        for name in names:
            publisher.head(sidecar_plan(service=name), content(service=name))
        made = SidecarManifest(1, tuple(f"{each}.default.dc1" for each in names), (listener("s2"),))
        publisher.manifest(*SidecarId("dc1", "default", f"s{number}").manifest_keys, made)
    objects = proxies * (1 + CLUSTERS_EACH)
    with streams.Adapter(bucket) as adapter, contextlib.ExitStack() as held:
        before = bucket.requests
        spoken = [held.enter_context(stream(adapter.server.address)) for _ in range(proxies)]
        for number, each in enumerate(spoken):
            each.say(CLUSTERS, node=node(NEW, f"s{number}"))
        for each in spoken:
            assert len(each.hear().resources) == CLUSTERS_EACH
        asked = bucket.requests - before
    bucket.close()
    progress(f"{asked:,} requests for {objects:,} objects")
    what = f"{proxies} proxies join a polled bucket at once, requests"
    yield Measured(what, asked, "", POLLS * objects, beside=Beside("objects", objects))
