"""The files of one proxy: cds.pb, lds.pb and one file per cluster in eds/."""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.message import DecodeError

from pointsman.adapter.files.inotify import Inotify
from pointsman.adapter.files.writes import Clusters, NamedCluster, next_writes
from pointsman.delivery.deliver import DeliveredCluster, Delivery
from pointsman.delivery.endpoint_source import EndpointFiles
from pointsman.delivery.order import Given
from pointsman.delivery.response import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, response
from pointsman.disk.access import NotOurs
from pointsman.disk.operations import ON_ITS_WAY, FileOperations
from pointsman.model.canonical import digest

_log = logging.getLogger(__name__)

RETIRED = "RETIRED"
"""The file that marks a directory whose proxy's registration was deleted."""

RETIRED_SECONDS = 86_400.0
"""Seconds that this file and its directory stay, counted again by an adapter that starts."""

GRACE_S = 60.0
"""Seconds that an endpoint file stays after the last cluster that named it has gone."""


class ProxyFiles:
    """Writes deliveries as files in `directory`. Not safe for several threads.

    An Envoy may read at any moment and finds clusters with their endpoints: new endpoint files are written before the
    cds.pb that names them, and cds.pb before lds.pb; removals go the other way. Unchanged files are not written again,
    not even after a restart.
    """

    def __init__(
        self,
        directory: Path,
        *,
        inotify: Inotify,
        operations: FileOperations,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE_S,
        wrote: Callable[[str, str], None] = lambda kind, published: None,
    ) -> None:
        """`directory` is absolute and need not exist. `clock` returns seconds, from any zero; `grace` is in seconds.
        `wrote` is called for each file with its kind and publication time (RFC 3339; "" if no Envoy waited for it).

        Reads the existing files. Raises OSError if that fails.
        """
        self.source = EndpointFiles(str(directory / "eds"))
        self._cds, self._lds, self._eds = directory / "cds.pb", directory / "lds.pb", directory / "eds"
        self._inotify, self._operations, self._clock, self._grace = inotify, operations, clock, grace
        self._wrote, self._brought = wrote, False
        self._directory = directory
        self.retired_since = clock() if RETIRED in operations.names(directory) else None
        self._clusters = _clusters_in(self._read(self._cds))
        self._listeners = _resources_in(self._read(self._lds))
        self._endpoints = self._read_endpoints()
        # How long these have been unused is unknown, so their grace time starts now.
        self._unneeded = dict.fromkeys(self._endpoints.keys() - _files(self._clusters), clock())
        self._leftovers = [
            place / name
            for place in (directory, self._eds)
            for name in operations.names(place)
            if name.endswith(ON_ITS_WAY)
        ]
        self._previous: set[str] = set()
        self._written: dict[str, DeliveredCluster] = {}
        self._given = Given()
        self._due: float | None = None
        self._serving: dict[str, str] = {}

    def bring(self, wanted: Delivery) -> str:
        """Write the files for `wanted`. Returns why a part is refused, "" if none is.

        Raises OSError if a file cannot be written; the next call continues.
        """
        serving, began = wanted.serving, self._clock()
        step = next_writes(
            self._clusters,
            self._listeners,
            wanted,
            # After a restart nobody knows what the Envoy has loaded. Without listeners, no Envoy has started.
            switched=self._listeners is not None and serving != self._serving,
            shortage=self._shortage,
            given=self._given,
            now=began,
        )
        clusters = self._clusters if step.clusters is None else step.clusters
        if clusters is not None:
            self._operations.make_directory(self._eds)
            self._write_endpoints(each for each in wanted.clusters if _names(clusters, each))
        if step.clusters is not None:
            self._write_clusters(step.clusters)
        if step.listeners is not None:
            self._operations.replace(self._lds, _response(LISTENER_TYPE, step.listeners))
            self._listeners = step.listeners
            self._wrote("listeners", "")
        if self.retired_since is not None and step.listeners is not None:
            self._operations.remove(self._directory / RETIRED)
            self.retired_since = None
        # The time for an Envoy to settle begins when the files are there.
        took = self._clock() - began
        self._given = Given(step.given.ready + took, step.given.taken + took)
        self._due, self._brought = step.due if step.due is None else step.due + took, True
        if not step.refused:
            self._serving = serving
        return step.refused

    def offer_again(self) -> None:
        """Write lds.pb once more as it is, so that Envoys read it. Raises OSError."""
        if self._listeners is not None:
            self._operations.replace(self._lds, _response(LISTENER_TYPE, self._listeners))

    def retire(self, why: str) -> None:
        """Remove the files that an Envoy would start from, and leave a file that says `why`. A running Envoy keeps what
        it has, and continues if the proxy is registered again. Endpoint files are removed after the grace time. Raises
        OSError."""
        if self._clusters is None and self._listeners is None and not self._endpoints:
            return
        if self.retired_since is None:
            self._operations.replace(self._directory / RETIRED, f"{why}\n".encode())
            self.retired_since = self._clock()
        self._operations.remove(self._lds)
        self._operations.remove(self._cds)
        self._clusters = self._listeners = None
        self._previous, self._due = set(), None
        for file in self._endpoints:
            self._unneeded.setdefault(file, self._clock())

    def end(self) -> bool:
        """Remove the rest of a directory that was retired long ago. Returns whether it is gone. Raises OSError."""
        since = self.retired_since
        if since is None or self._clock() - since < RETIRED_SECONDS or self._endpoints or self._clusters is not None:
            return False
        self._operations.remove(self._directory / RETIRED)
        for directory in (self._eds, self._directory):
            if not self._operations.names(directory):
                self._operations.remove_directory(directory)
        return True

    @property
    def any(self) -> bool:
        """Whether any of its files exist."""
        there = self._clusters, self._listeners, self.retired_since
        return bool(self._endpoints) or any(each is not None for each in there)

    @property
    def whole(self) -> bool:
        """Whether the files are complete for an Envoy that starts from them."""
        return (
            self._clusters is not None
            and self._listeners is not None
            and self._endpoints.keys() >= _files(self._clusters)
        )

    def versions(self) -> dict[tuple[str, str], str]:
        """By kind and, for endpoints, cluster: the `version_info` that an Envoy has after reading the files."""
        clusters = self._clusters or {}
        named = {name: each.file for name, each in clusters.items() if each.file}
        found = {("endpoints", name): _version_in(self._endpoints.get(file)) for name, file in named.items()}
        if self._clusters is not None:
            found["clusters", ""] = _version(_in_order(self._clusters))
        if self._listeners is not None:
            found["listeners", ""] = _version(self._listeners)
        return found

    @property
    def unfinished(self) -> bool:
        """Whether to bring the same delivery once more, now that the Envoy had time to settle."""
        return self._due is not None and self._clock() >= self._due

    def sweep(self) -> None:
        """Remove half-written files left by a crash, and endpoint files that no cluster has named for the grace time.

        Neither the current cds.pb nor the one before it names them. Raises OSError.
        """
        while self._leftovers:
            self._operations.remove(self._leftovers[-1])
            self._leftovers.pop()
        due = self._clock() - self._grace
        needed = _files(self._clusters) | self._previous
        old = [file for file, since in self._unneeded.items() if since <= due and file not in needed]
        if old:
            # If the cds.pb before this one came back after a crash, it would name missing files.
            self._operations.sync(self._cds.parent)
        for file in sorted(old):
            self._operations.remove(self._eds / file)
            del self._unneeded[file]
            self._endpoints.pop(file, None)
            self._written.pop(file, None)

    def _read(self, path: Path) -> bytes | None:
        """The content of a file; None if it is missing or another user's, so that it is written again."""
        try:
            return self._operations.read(path)
        except FileNotFoundError:
            return None
        except NotOurs as error:
            _log.warning("%s is replaced: %s", path, error.strerror)
            return None

    def _read_endpoints(self) -> dict[str, bytes]:
        names = (name for name in self._operations.names(self._eds) if name.endswith(".pb"))
        found = {name: self._read(self._eds / name) for name in names}
        return {name: data for name, data in found.items() if data is not None}

    def _shortage(self, needed: int) -> str:
        return self._inotify.shortage(needed, (self._cds.parent, self._eds))

    def _write_endpoints(self, wanted: Iterable[DeliveredCluster]) -> None:
        new_names = False
        for each in wanted:
            if self._written.get(each.place) is each:
                continue
            data = response(str(each.snapshot.version), ENDPOINT_TYPE, [each.assignment])
            before = self._endpoints.get(each.place)
            if before != data:
                self._operations.replace(self._eds / each.place, data)
                self._endpoints[each.place] = data
                self._wrote("endpoints", each.snapshot.published if self._brought else "")
                new_names |= before is None
            self._written[each.place] = each
        if new_names:
            # A cds.pb must not survive a crash that its endpoint files do not: Envoy would reject it for good.
            self._operations.sync(self._eds)

    def _write_clusters(self, clusters: Clusters) -> None:
        self._operations.replace(self._cds, _response(CLUSTER_TYPE, _in_order(clusters)))
        self._wrote("clusters", "")
        self._previous, needed = _files(self._clusters), _files(clusters)
        self._clusters = clusters
        for file in self._endpoints.keys() - needed:
            self._unneeded.setdefault(file, self._clock())
        for file in needed:
            self._unneeded.pop(file, None)


def _names(clusters: Clusters, wanted: DeliveredCluster) -> bool:
    there = clusters.get(wanted.name)
    return there is not None and there.file == wanted.place != ""


def _files(clusters: Clusters | None) -> set[str]:
    return {each.file for each in (clusters or {}).values() if each.file}


def _in_order(clusters: Clusters) -> tuple[bytes, ...]:
    return tuple(each.cluster for _, each in sorted(clusters.items()))


def _response(type_url: str, resources: tuple[bytes, ...]) -> bytes:
    return response(_version(resources), type_url, resources)


def _version(resources: tuple[bytes, ...]) -> str:
    # The files have no common number, so the version is the content's digest.
    return digest(b"".join(resources))[:16]


def _version_in(file: bytes | None) -> str:
    try:
        return str(DiscoveryResponse.FromString(file or b"").version_info)
    except DecodeError:
        return ""


def _resources_in(file: bytes | None) -> tuple[bytes, ...] | None:
    """The serialized resources in a file; None if it is missing or Envoy could not read it."""
    try:
        return (
            None if file is None else tuple(bytes(each.value) for each in DiscoveryResponse.FromString(file).resources)
        )
    except DecodeError:
        return None


def _clusters_in(file: bytes | None) -> Clusters | None:
    resources = _resources_in(file)
    if resources is None:
        return None
    found = {}
    for resource in resources:
        try:
            cluster = Cluster.FromString(resource)
        except DecodeError:
            return None
        named = PurePosixPath(cluster.eds_cluster_config.eds_config.path_config_source.path).name
        found[cluster.name] = NamedCluster(resource, named)
    return found
