"""The chains that one change of config compiles, each once for all registrations that have the same upstream."""

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet
from pointsman.chain.graph import Chain, ChainError, Overrides
from pointsman.chain.plan import Plan, sidecar_plans
from pointsman.chain.upstream import destination_of, overrides
from pointsman.model.names import ServiceName
from pointsman.model.registration import Registration, Upstream
from pointsman.xds.sidecar_listeners import upstream_listener

_Request = tuple[ServiceName, str, str, Overrides]


class Chains:
    """The chains of one build, with their plans and the listeners of their upstreams, each compiled once."""

    def __init__(self, entries: EntrySet, trust_domain: str) -> None:
        self._entries, self._trust_domain = entries, trust_domain
        self._compiled: dict[_Request, tuple[Chain, tuple[Plan, ...]] | ChainError] = {}
        self._listeners: dict[tuple[_Request, Upstream], bytes] = {}

    def use(self, registration: Registration, upstream: Upstream) -> tuple[tuple[Plan, ...], bytes]:
        """The plans of the chain for `upstream`, and its listener. Raises ChainError if it does not compile."""
        service, used_from = destination_of(registration, upstream), registration.datacenter
        request = (
            service,
            upstream.datacenter or used_from,
            used_from,
            overrides(self._entries, registration, upstream),
        )
        if request not in self._compiled:
            self._compiled[request] = self._compile(request)
        found = self._compiled[request]
        if isinstance(found, ChainError):
            raise found
        chain, plans = found
        if (request, upstream) not in self._listeners:
            listener = upstream_listener(chain, upstream, self._trust_domain)
            self._listeners[request, upstream] = bytes(listener.SerializeToString(deterministic=True))
        return plans, self._listeners[request, upstream]

    def _compile(self, request: _Request) -> tuple[Chain, tuple[Plan, ...]] | ChainError:
        service, datacenter, used_from, changed = request
        try:
            chain = compile_chain(self._entries, service, datacenter, used_from, overrides=changed)
        except ChainError as error:
            return error
        return chain, tuple(sidecar_plans(chain))
