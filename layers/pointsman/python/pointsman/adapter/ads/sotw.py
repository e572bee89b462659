"""One stream that carries the state of the world (StreamAggregatedResources)."""

from collections.abc import Sequence

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.rpc.status_pb2 import Status

from pointsman.adapter.ads.conversation import Conversation
from pointsman.adapter.ads.resources import Resource, Resources
from pointsman.adapter.ads.subscription import Subscription
from pointsman.delivery.response import KINDS, ResourceKind
from pointsman.discovery.version import Standing, Version, standing

_EVERYTHING = "*"


class StateOfTheWorldConversation(Conversation[DiscoveryRequest]):
    """The state of one stream of the basic protocol
    (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview).

    A response with clusters or listeners contains all of them, one with endpoints only the changed ones. A returning
    Envoy reports its versions by kind only: clusters that ended while no adapter ran are removed before the listeners
    that used them. The incremental protocol has no such gap.
    """

    def receive(self, request: DiscoveryRequest, now: float) -> bool:
        """Process one request. An answer to an outdated response, or to none of this stream, is ignored."""
        if (kind := KINDS.get(request.type_url)) is None:
            return False  # secrets, routes and other kinds come from other sources
        of = self.subscriptions.get(kind)
        names = set(request.resource_names)
        changed = of is None or of.names != names
        if of is None:
            of = self.subscriptions[kind] = Subscription(kind, base=Version.read(request.version_info))
            of.everything = not names and kind is not ResourceKind.ENDPOINTS
        elif request.response_nonce != of.nonce:
            # A request sent before the Envoy read the last response of endpoints still answers the one that it names.
            if kind is ResourceKind.ENDPOINTS:
                return self._answer(of, request.response_nonce, _error(request), now)
            return False
        if _EVERYTHING in names:
            names.discard(_EVERYTHING)
            of.everything = True
        of.owed |= names - of.names
        if kind is ResourceKind.ENDPOINTS:
            for name in of.names - names:
                of.has.pop(name, None)
                of.rejected.pop(name, None)
        of.owed &= names
        of.names = names
        if request.response_nonce:
            changed |= self._answer(of, request.response_nonce, _error(request), now)
        return changed

    def _begin(self, of: Subscription, resources: Resources) -> bool:
        if of.at != -1 or of.base is None:
            return True
        stands = standing(resources.versions[of.kind], of.base)
        if stands in (Standing.OLDER, Standing.CONFLICT):
            self.ahead[of.kind] = None
            return False
        if stands is Standing.SAME and of.kind is not ResourceKind.ENDPOINTS:
            # Endpoints are sent a few at a time, so their version does not show that none is missing.
            of.has = {name: each for name, each in resources.of[of.kind].items() if of.wants(name)}
            of.owed.clear()
            of.at = resources.number
        of.base = None
        return True

    def _bring(self, of: Subscription, resources: Resources, changed: Sequence[Resource], gone: Sequence[str]) -> bytes:
        nonce = self._next_nonce()
        if of.kind is ResourceKind.ENDPOINTS:
            of.take(nonce, changed, (), resources.number)
            parts = [each.whole for each in changed]
        else:
            of.unanswered.clear()  # this response replaces them
            of.take(nonce, changed, gone, resources.number)
            parts = [each.whole for each in of.has.values()]
            of.unanswered[nonce] = tuple(of.has)
        version = resources.versions[of.kind]
        if of.kind is not ResourceKind.ENDPOINTS and len(of.has) != len(resources.of[of.kind]):
            # Some clusters are leaving, or were not requested: this version is not that of the whole.
            version = Version.of(
                version.order, *(each.version.digest.encode() for each in of.has.values()), era=version.era
            )
        rest = DiscoveryResponse(version_info=str(version), type_url=of.kind.type_url, nonce=nonce)
        return b"".join([*parts, rest.SerializeToString()])

    @staticmethod
    def _can_halve(of: Subscription) -> bool:
        return of.kind is ResourceKind.ENDPOINTS


def _error(request: DiscoveryRequest) -> Status | None:
    return request.error_detail if request.HasField("error_detail") else None
