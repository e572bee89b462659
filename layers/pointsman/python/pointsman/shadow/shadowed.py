"""What would differ for one Envoy, as its dump shows it, if it got what is published for its proxy."""

from collections.abc import Mapping
from dataclasses import replace

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.discovery.view import View
from pointsman.shadow.backend import place_text
from pointsman.shadow.compare import compare
from pointsman.shadow.difference import Findings, Kind
from pointsman.shadow.dump import Dump
from pointsman.shadow.held import Held
from pointsman.shadow.served import served
from pointsman.xds.inbound import Host, IpPort
from pointsman.xds.manifest import SidecarManifest

_EVERYWHERE = ("0.0.0.0", "::")


def shadowed(
    who: ProxyId,
    view: View,
    dump: Dump,
    trust_domain: str,
    standby: Mapping[str, tuple[ClusterLoadAssignment, ...]] | None = None,
) -> Findings:
    """What would differ for the Envoy of `dump` if it got `view` of `who`, in a mesh of this trust domain. `standby` is
    as in `served`."""
    host = _host(view, dump)
    found = compare(dump.held, served(view, dump.version, host, standby))
    found.notes |= {*dump.remarks}
    if dump.trust_domain and dump.trust_domain != trust_domain:
        found.differ(Kind.SERVER_NAME, "every cluster", "trust domain", dump.trust_domain, trust_domain)
    own = who.service if isinstance(who, SidecarId) else who.id
    if own not in (dump.service, dump.node) and (dump.service or dump.node):
        node = f"the node {dump.node or 'without an id'}, cluster {dump.service or 'none'}"
        found.notes.add(f"the dump is of {node}: is it {who}?")
    if host and host.public.ip in _EVERYWHERE and host != _registered(view):
        found.notes.add(
            f"it listens on every address: `pointsman bootstrap --public {host.public}` keeps that, without the option"
            " it listens where it is registered"
        )
    return found


def _host(view: View, dump: Dump) -> Host | None:
    """Where a sidecar would listen for others, and where its application is: as its node says if it is one of
    Pointsman's, else as it is registered, on every address if it does so today."""
    if dump.host is not None:
        return dump.host
    host = _registered(view)
    if host is not None:
        for ip in _EVERYWHERE:
            everywhere = IpPort(ip, host.public.port)
            if _listens(dump.held, everywhere):
                return replace(host, public=everywhere)
    return host


def _registered(view: View) -> Host | None:
    inbound = view.manifests.inbound if isinstance(view.manifests, SidecarManifest) else None
    return inbound.registered if inbound else None


def _listens(held: Held, place: IpPort) -> bool:
    return any(place_text(each.address) == str(place) for each in (*held.listeners, *held.bootstrapped))
