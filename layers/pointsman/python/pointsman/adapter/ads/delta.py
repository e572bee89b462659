"""One stream of the incremental protocol, which carries only changes (DeltaAggregatedResources)."""

from collections.abc import Sequence

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from pointsman.adapter.ads.conversation import Conversation
from pointsman.adapter.ads.resources import Resource, Resources, numbered, restamped, told
from pointsman.adapter.ads.subscription import Subscription
from pointsman.delivery.response import KINDS, ResourceKind
from pointsman.discovery.version import Version

_EVERYTHING = "*"
_EMPTY = {kind: DeltaDiscoveryResponse(type_url=kind.type_url).SerializeToString() for kind in ResourceKind}


class DeltaConversation(Conversation[DeltaDiscoveryRequest]):
    """The state of one stream of the incremental protocol
    (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds)."""

    def receive(self, request: DeltaDiscoveryRequest, now: float) -> bool:
        """Process one request. Its subscriptions count even if it answers an outdated response."""
        if (kind := KINDS.get(request.type_url)) is None:
            return False  # secrets, routes and other kinds come from other sources
        of = self.subscriptions.get(kind)
        names = set(request.resource_names_subscribe)
        changed = of is None or bool(names)
        if of is None:
            of = self.subscriptions[kind] = Subscription(kind)
            # Without names the first request is for everything. Endpoints cannot be requested so.
            of.everything = not names and kind is not ResourceKind.ENDPOINTS
            for name, text in request.initial_resource_versions.items():
                of.has[name] = told(name, Version.read(text))
                of.returning = True
            of.owed |= {name for name in names if name not in of.has}
        else:
            # A repeated request asks for the resource again.
            of.owed |= names
        if _EVERYTHING in names:
            names.discard(_EVERYTHING)
            of.owed.discard(_EVERYTHING)
            of.everything = True
            of.at = -1
        of.names |= names
        for name in request.resource_names_unsubscribe:
            _unsubscribe(of, name)
        if request.response_nonce:
            error = request.error_detail if request.HasField("error_detail") else None
            changed |= self._answer(of, request.response_nonce, error, now)
        return changed

    def _begin(self, of: Subscription, resources: Resources) -> bool:
        return True  # it has reported its versions resource by resource

    def _bring(self, of: Subscription, resources: Resources, changed: Sequence[Resource], gone: Sequence[str]) -> bytes:
        nonce = self._next_nonce()
        if gone and not changed:
            changed = self._witness(of, resources, gone)
        of.take(nonce, changed, gone, resources.number)
        removed = DeltaDiscoveryResponse(removed_resources=gone).SerializeToString() if gone else b""
        return b"".join([*[each.single for each in changed], removed, _EMPTY[of.kind], numbered(nonce)])

    @staticmethod
    def _witness(of: Subscription, resources: Resources, gone: Sequence[str]) -> list[Resource]:
        """A resource that stays, under the current manifests: its version shows another adapter that something was
        removed."""
        ours = resources.of[of.kind]
        stays = next((name for name in of.has if name in ours and name not in gone and name not in of.rejected), None)
        return [] if stays is None else [restamped(ours[stays], resources.era, resources.stamp)]


def _unsubscribe(of: Subscription, name: str) -> None:
    if name == _EVERYTHING:
        of.everything = False
        of.has = {each: held for each, held in of.has.items() if each in of.names}
        return
    of.names.discard(name)
    of.owed.discard(name)
    of.rejected.pop(name, None)
    if not of.everything:
        of.has.pop(name, None)
