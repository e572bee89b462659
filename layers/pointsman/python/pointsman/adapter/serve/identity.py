"""Which proxies the holder of a certificate may fetch."""

from collections.abc import Iterable

from pointsman.discovery.proxy import ProxyId, SidecarId

_SCHEME = "spiffe://"


def may_fetch(proxy: ProxyId, uris: Iterable[str], trust_domain: str | None = None) -> bool:
    """Whether a certificate with these URI SANs names `proxy`; with `trust_domain`, only as one of that.

    A sidecar's is the identity of its service, `spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`
    (docs/semantics.md, section 5); a mesh gateway's `spiffe://<trust domain>/gateway/<id>/dc/<datacenter>`, or, as
    Consul issues it to all gateways of a datacenter alike, `spiffe://<trust domain>/gateway/mesh/dc/<datacenter>`.

    A certificate with several SPIFFE ids is none (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md,
    section 2): it names nobody.
    """
    ids = [uri for uri in uris if uri.startswith(_SCHEME)]
    if len(ids) != 1:
        return False
    domain, slash, path = ids[0].removeprefix(_SCHEME).partition("/")
    if not slash or not domain or trust_domain not in (None, domain):
        return False
    return path in identity_paths(proxy)


def identity_paths(proxy: ProxyId) -> tuple[str, ...]:
    """The paths of the SPIFFE ids that name `proxy`."""
    if isinstance(proxy, SidecarId):
        return (f"ns/{proxy.namespace}/dc/{proxy.datacenter}/svc/{proxy.service}",)
    return f"gateway/{proxy.id}/dc/{proxy.datacenter}", f"gateway/mesh/dc/{proxy.datacenter}"
