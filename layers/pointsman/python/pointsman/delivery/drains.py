"""Writes into a listener which target serves behind it, so that a switch ends its connections (`OnSwitch: drain`).

Whatever clusters and endpoints say, Envoy leaves open TCP connections where they are. But when the filter chain of a
listener changes, even in its metadata alone, new connections get the new chain, and those of the old one end within the
drain time, an option of the Envoy (https://www.envoyproxy.io/docs/envoy/latest/operations/cli, `--drain-time-s`). So a
stored listener names in that metadata the clusters whose switches end its connections, and delivery writes the active
target of each beside its name. That is a function of what is published: an adapter that starts anew changes nothing.
"""

from collections.abc import Iterable, Mapping

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.struct_pb2 import Struct

from pointsman.xds.drain_metadata import DRAIN_METADATA
from pointsman.xds.snapshot import Snapshot

_MARK = DRAIN_METADATA.encode()


def drained_clusters(listeners: Iterable[bytes]) -> frozenset[str]:
    """The ids of the clusters whose switches end connections of these stored listeners."""
    found = (_targets(Listener.FromString(each)) for each in listeners if _MARK in each)
    return frozenset(name for of_one in found for targets in of_one for name in targets)


def with_active_targets(listener: bytes, snapshots: Mapping[str, Snapshot]) -> bytes:
    """The stored `listener` with the active target of every cluster that it names; as it is if it names none.

    `snapshots` are by cluster id.
    """
    if _MARK not in listener:
        return listener
    made = Listener.FromString(listener)
    for targets in _targets(made):
        for name in targets:
            targets[name] = snapshots[name].content.active
    return bytes(made.SerializeToString(deterministic=True))


def _targets(listener: Listener) -> list[Struct]:
    """What the filter chains say of clusters, by cluster id."""
    found = (chain.metadata.filter_metadata for chain in listener.filter_chains)
    return [metadata[DRAIN_METADATA] for metadata in found if DRAIN_METADATA in metadata]
