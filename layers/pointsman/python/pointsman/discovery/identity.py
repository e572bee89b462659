"""Which proxies the holder of a certificate may fetch: one check for HTTP and gRPC."""

from collections.abc import Callable, Sequence

from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.discovery.view import View, trust_domain_of

_SCHEME = "spiffe://"


def may_fetch(proxy: ProxyId, uris: Sequence[str], trust_domain: str | None = None) -> bool:
    """Whether a certificate with these URI SANs names `proxy`; with `trust_domain`, only as one of that.

    A sidecar's is the identity of its service, `spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`
    (docs/semantics.md, section 5); a mesh gateway's `spiffe://<trust domain>/gateway/<id>/dc/<datacenter>`, or, as
    Consul issues it to all gateways of a datacenter alike, `spiffe://<trust domain>/gateway/mesh/dc/<datacenter>`.

    A certificate with several URIs names nobody
    (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, section 2).
    """
    if len(uris) != 1 or not uris[0].startswith(_SCHEME):
        return False
    domain, slash, path = uris[0].removeprefix(_SCHEME).partition("/")
    if not slash or not domain or trust_domain not in (None, domain):
        return False
    return path in identity_paths(proxy)


class Gate:
    """Whom an adapter lets fetch what. Safe for several threads."""

    def __init__(self, view: Callable[[ProxyId], View | None], trust_domain: str | None = None) -> None:
        """`view` is a follower's. `trust_domain` is that of clients' certificates, None: the store's."""
        self._view, self._wanted = view, trust_domain
        self._stores: str | None = None

    def problem(self, proxy: ProxyId, uris: Sequence[str] | None) -> str:
        """Why the holder of a certificate with these URI SANs may not fetch `proxy`, "" if it may; None for a client
        without a certificate, who is on this machine.

        Ask before the proxy is looked for, and again when it is there: only then the store's trust domain is known.
        """
        if uris is None:
            return ""
        if not may_fetch(proxy, uris, self._wanted):
            return f"the client's certificate does not name {proxy}"
        if self._wanted is not None or (self._stores is not None and may_fetch(proxy, uris, self._stores)):
            return ""
        # It is not known yet, or another one than what the certificate says.
        view = self._view(proxy)
        self._stores = (trust_domain_of(view) if view is not None else None) or self._stores
        if self._stores is None or may_fetch(proxy, uris, self._stores):
            return ""
        return f"the client's certificate names {proxy} in another trust domain than {self._stores}"


def identity_paths(proxy: ProxyId) -> tuple[str, ...]:
    """The paths of the SPIFFE ids that name `proxy`."""
    if isinstance(proxy, SidecarId):
        return (f"ns/{proxy.namespace}/dc/{proxy.datacenter}/svc/{proxy.service}",)
    return f"gateway/{proxy.id}/dc/{proxy.datacenter}", f"gateway/mesh/dc/{proxy.datacenter}"
