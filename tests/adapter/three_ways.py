"""One process that serves two sidecars by files, over HTTP and over gRPC, and what their Envoys get of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pointsman.discovery.proxy import SidecarId
from pointsman.machine.process import AdapterProcess
from pointsman.machine.settings import AdapterSettings
from pointsman.store.protocol import Store
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.node import MANIFEST, NEW, S1, listener, serving
from tests.adapter.published import DATACENTERS, Publisher, content, sidecar_plan
from tests.adapter.rest import NODE, Envoy
from tests.adapter.streams import CLUSTERS, ENDPOINTS, asks, messages, node, serves, stream
from tests.fleet.process import wait_until

S9 = SidecarId("dc1", "default", "s9")
OF_S1 = "of-s1"
"""A listener that S1 alone has."""

CLUSTER = "s2.default.dc1"


class Seen:
    """What the three ways bring to the Envoys of one service."""

    def __init__(self, service: str, files: Path, http: Path, grpc: str, open_streams: contextlib.ExitStack) -> None:
        self._files = files / "dc1/sidecar/default" / service
        self._http = Envoy(http, {**NODE, "id": f"{service}-1", "cluster": service})
        self._grpc = open_streams.enter_context(stream(grpc))
        self._grpc.say(CLUSTERS, node=node(NEW, service))
        self._grpc.accept(clusters := self._grpc.hear())
        self._grpc.say(ENDPOINTS, resource_names_subscribe=asks(clusters))
        self._streamed = ""
        self._place = asks(clusters)[0]

    def files(self) -> str:
        return serving(self._files)

    def http(self) -> str:
        (found,) = self._http.ask("endpoints", name=self._place).resources
        address = found["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"]
        return {ip: datacenter for datacenter, ip in DATACENTERS.items()}[address]

    def grpc(self) -> str:
        """Where the next response on the stream sends to."""
        response = self._grpc.hear()
        self._grpc.accept(response)
        return serves(messages(response)[0])


@contextlib.contextmanager
def three_ways(store: Store, publisher: Publisher, directory: Path) -> Iterator[tuple[AdapterProcess, Seen, Seen]]:
    """At work for s1 and s9, which send to s2 in dc1."""
    publisher.head(sidecar_plan(), content())
    publisher.manifest(MANIFEST, SidecarManifest(1, (CLUSTER,), (listener(OF_S1),)))
    publisher.manifest(*S9.manifest_keys, SidecarManifest(1, (CLUSTER,), (listener("s2"),)))
    files, sockets = directory / "envoys", (directory / "http", directory / "grpc")
    http, grpc = (f"unix:{each}" for each in sockets)
    ops = f"unix:{directory / 'ops'}"
    made = AdapterProcess(store, AdapterSettings(http=http, grpc=grpc, ops=ops, files=files, envoy_version=NEW))
    with contextlib.ExitStack() as running:
        made.start(running)
        for each in (S1, S9):
            wait_until((files / each.directory / "lds.pb").exists, "the files")
        s1, s9 = (Seen(each, files, sockets[0], grpc, running) for each in ("s1", "s9"))
        for seen in (s1, s9):
            assert (seen.files(), seen.http(), seen.grpc()) == ("dc1", "dc1", "dc1")
        yield made, s1, s9
