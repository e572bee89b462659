"""Which proxies the holder of a certificate may fetch: one check for HTTP and gRPC."""

from collections.abc import Callable, Sequence

from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.discovery.view import View, trust_domain_of

_SCHEME = "spiffe://"


def may_fetch(proxy: ProxyId, uris: Sequence[str], trust_domain: str | None = None) -> bool:
    """Whether a certificate with these URI SANs names `proxy`; with `trust_domain`, only within that trust domain.

    A sidecar's SAN is the identity of its service, `spiffe://<trust
    domain>/ns/<namespace>/dc/<datacenter>/svc/<service>` (docs/semantics.md, section 5); a mesh gateway's
    `spiffe://<trust domain>/gateway/<id>/dc/<datacenter>`, or, as Consul issues it to all gateways of a datacenter
    alike, `spiffe://<trust domain>/gateway/mesh/dc/<datacenter>`.

    A certificate with several URIs names no proxy (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md,
    section 2).
    """
    if len(uris) != 1 or not uris[0].startswith(_SCHEME):
        return False
    domain, slash, path = uris[0].removeprefix(_SCHEME).partition("/")
    if not slash or not domain or trust_domain not in (None, domain):
        return False
    return path in identity_paths(proxy)


class Gate:
    """Decides which proxies a client may fetch. Safe for several threads."""

    def __init__(self, view: Callable[[ProxyId], View | None], trust_domain: str | None = None) -> None:
        """`view` is a follower's. `trust_domain` is the one required of clients' certificates; None: the store's."""
        self._view, self._wanted = view, trust_domain
        self._stores: str | None = None

    def problem(self, proxy: ProxyId, uris: Sequence[str] | None) -> str:
        """Why a client may not fetch `proxy`; "" if it may. `uris` are the URI SANs of its certificate, None for a
        client without one, which is on this machine.

        Call it before the proxy is looked up, and again when its view is there: only then is the store's trust domain
        known.
        """
        if uris is None:
            return ""
        if not may_fetch(proxy, uris, self._wanted):
            return f"the client's certificate does not name {proxy}"
        if self._wanted is not None or (self._stores is not None and may_fetch(proxy, uris, self._stores)):
            return ""
        # The store's trust domain is unknown so far, or differs from the certificate's.
        view = self._view(proxy)
        self._stores = (trust_domain_of(view) if view is not None else None) or self._stores
        if self._stores is None or may_fetch(proxy, uris, self._stores):
            return ""
        return f"the client's certificate names {proxy} in a trust domain other than {self._stores}"


def identity_paths(proxy: ProxyId) -> tuple[str, ...]:
    """The paths of the SPIFFE ids that name `proxy`."""
    if isinstance(proxy, SidecarId):
        return (f"ns/{proxy.namespace}/dc/{proxy.datacenter}/svc/{proxy.service}",)
    return f"gateway/{proxy.id}/dc/{proxy.datacenter}", f"gateway/mesh/dc/{proxy.datacenter}"
