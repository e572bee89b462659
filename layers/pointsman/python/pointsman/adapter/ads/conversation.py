"""Decides what is sent on one stream, and in which order: additions before what needs them, removals after."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from pointsman.adapter.ads.resources import Resource, Resources
from pointsman.adapter.ads.subscription import MOST_REASON, Subscription
from pointsman.delivery.order import AT_ONCE, NEVER, Given
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.version import Version

SETTLE_S = 1.0
"""Seconds for an Envoy to move to new listeners, before the clusters go that only the old ones used."""

PATIENCE_S = 5.0
"""Seconds that listeners wait for the ACK of new clusters and their endpoints."""

RESOLVE_S = 1.0
"""Seconds that listeners wait for an Envoy to resolve the host names in a new or changed cluster, of which it tells
nothing."""

OFFERED_AGAIN_S = 5.0
"""Seconds until a listener that an Envoy rejected is sent once more: what held its port may be gone."""

Request = TypeVar("Request", bound=Message)


class Response(NamedTuple):
    """One serialized response. `published` is the publication time of the newest change in it (RFC 3339), "" if the
    Envoy asked rather than waited for a change."""

    kind: ResourceKind
    data: bytes
    published: str = ""


class Conversation(ABC, Generic[Request]):
    """The state of one stream. No I/O and no clock; not safe for several threads.

    Additions are sent as clusters, then endpoints, then, after the ACK of both, listeners. Removals go the other way:
    clusters go when the listeners without them are acknowledged and had time to settle. Nothing that the Envoy has is
    replaced by something older, and missing data is never treated as a removal.
    """

    def __init__(self, opened: float) -> None:
        """`opened` is the current time in seconds, from any zero."""
        self.subscriptions: dict[ResourceKind, Subscription] = {}
        self.due: float | None = None
        self.ahead: dict[ResourceKind, frozenset[str] | None] = {}
        self._opened = opened
        self._withheld = False
        self._nonces = 0
        # By the name of the endpoints: their cluster, and when it was sent.
        self._awaited: dict[str, tuple[str, float]] = {}
        self._resolved = AT_ONCE

    @abstractmethod
    def receive(self, request: Request, now: float) -> bool:
        """Process one request. Returns whether `advance` may have something to send now.

        Mostly it has not: most requests are ACKs, which all Envoys send at the same time.
        """

    @abstractmethod
    def _bring(self, of: Subscription, resources: Resources, changed: Sequence[Resource], gone: Sequence[str]) -> bytes:
        """Record in `of` that these are sent. Returns the response that carries them."""

    @abstractmethod
    def _begin(self, of: Subscription, resources: Resources) -> bool:
        """Whether the first response of a kind may be sent, given what the Envoy may have from an earlier stream."""

    def advance(self, resources: Resources, now: float) -> list[Response]:
        """The responses to send now to bring the Envoy towards `resources`. `due` is when to call again, None: after a
        change.

        Then `ahead` has the kinds in which the Envoy reports something newer or conflicting, each with the names
        concerned, besides the manifests; None for all. `trust` is called after the store was read.
        """
        calm = not self._withheld
        self.due, self._withheld = None, False
        if self.ahead:
            self.ahead = {}
        out: list[Response] = []
        get = self.subscriptions.get
        clusters, endpoints, listeners = (
            get(ResourceKind.CLUSTERS),
            get(ResourceKind.ENDPOINTS),
            get(ResourceKind.LISTENERS),
        )
        if listeners is not None and listeners.rejected and (now >= listeners.again or self._later(listeners.again)):
            listeners.offer_again()
        quiet = calm and clusters is not None and clusters.keep_still(resources)
        if clusters is not None and not quiet and self._begin(clusters, resources):
            self._send(clusters, resources, changed=self._new_clusters(clusters, resources, now), gone=[], out=out)
        # Endpoints go when no cluster requests them any more. A missing name belongs to an earlier selection: its
        # cluster is about to be changed, and keeps what it has until then.
        if endpoints is not None and not endpoints.keep_still(resources) and self._begin(endpoints, resources):
            self._send(endpoints, resources, changed=self._changed(endpoints, resources), gone=[], out=out)
        if (
            listeners is not None
            and not (calm and listeners.keep_still(resources))
            and self._begin(listeners, resources)
        ):
            # While behind, this process may lack clusters that the listeners need.
            if self._look_behind(resources) or not self._allow_listeners(resources, now):
                self._withheld = True
            else:
                gone = listeners.gone(resources)
                self._send(listeners, resources, changed=self._changed(listeners, resources), gone=gone, out=out)
        if clusters is not None and not quiet and clusters.at == resources.number:
            gone = clusters.gone(resources)
            if gone and self._allow_leaving(listeners, resources, now):
                self._send(clusters, resources, changed=[], gone=gone, out=out)
            elif gone:
                self._withheld = True
        return out

    def trust(self, kind: ResourceKind) -> dict[str, Version]:
        """Accept for `kind` that the store was read and confirms this process: its content is sent now, whatever the
        Envoy reported. Returns what the Envoy had reported, by name, "" for the whole kind."""
        return self.subscriptions[kind].forget()

    def _new_clusters(self, of: Subscription, resources: Resources, now: float) -> list[Resource]:
        changed = self._changed(of, resources)
        places = {place: each.name for each in changed if (place := resources.endpoints_of.get(each.name))}
        if of.has and any(each.name in resources.resolving for each in changed):
            # An Envoy that starts asks for listeners when it has resolved them.
            self._resolved = now + RESOLVE_S
        self._awaited |= {place: (name, now) for place, name in places.items()}
        if (endpoints := self.subscriptions.get(ResourceKind.ENDPOINTS)) is not None:
            # A cluster that returns to an earlier content warms again, on endpoints that the Envoy already has.
            endpoints.owe(resources, places)
        return changed

    def _changed(self, of: Subscription, resources: Resources) -> list[Resource]:
        changed, ahead = of.changed(resources)
        if ahead is not None:
            self.ahead[of.kind] = frozenset(ahead)
        return changed

    def _send(
        self, of: Subscription, resources: Resources, *, changed: list[Resource], gone: list[str], out: list[Response]
    ) -> None:
        """Append the responses to `out`: mostly one, none if nothing changed."""
        ours = resources.of[of.kind]
        groups: list[list[Resource]] = []
        if of.apart:
            # A rejected group that has changed since is sent in its new content, still separately.
            groups = [[ours[name] for name in names if name in ours and of.wants(name)] for names in of.apart]
            groups = [group for group in groups if group]
            of.apart.clear()
            apart = {each.name for group in groups for each in group}
            changed = [each for each in changed if each.name not in apart]
        if changed or gone or self._answers_with_nothing(of):
            groups.insert(0, changed)
        asked = of.owed if of.at != -1 else ours.keys()
        for group in groups:
            published = max([each.published for each in group if each.name not in asked], default="")
            out.append(Response(of.kind, self._bring(of, resources, group, gone), published))
            gone = []
        # While the Envoy is ahead nothing counts as brought: what was skipped now is checked again.
        of.at = -1 if of.kind in self.ahead else resources.number

    @staticmethod
    def _answers_with_nothing(of: Subscription) -> bool:
        # A proxy without upstreams has no clusters. Its Envoy still waits for a first, empty response.
        return of.at == -1 and of.everything and not of.has

    def _allow_listeners(self, resources: Resources, now: float) -> bool:
        """Whether other listeners may be sent: the Envoy has acknowledged all clusters, or had enough time. Otherwise
        sets `due`."""
        if self._awaited:
            current = resources.of[ResourceKind.ENDPOINTS]
            self._awaited = {place: each for place, each in self._awaited.items() if place in current}
        # An Envoy that never requests the endpoints of one cluster must still get the others' listeners.
        waiting = max((since for _, since in self._awaited.values()), default=AT_ONCE) + PATIENCE_S
        given = Given(ready=max(waiting, self._resolved))
        return given.may_listen(now) or self._later(given.ready)

    def _look_behind(self, resources: Resources) -> bool:
        behind = [of.kind for of in self.subscriptions.values() if of.catch_up(resources)]
        self.ahead = dict.fromkeys(behind, frozenset()) | self.ahead
        return bool(behind)

    def _allow_leaving(self, of: Subscription | None, resources: Resources, now: float) -> bool:
        """Whether clusters may be removed: the Envoy has the listeners of `resources` and no older ones. Otherwise sets
        `due`.

        `of` is the subscription of listeners.
        """
        if of is None:
            # A starting Envoy requests listeners when it has its clusters, a returning one requests both at once.
            taken = self._opened + SETTLE_S
        elif of.at != resources.number or of.unanswered or of.apart or of.rejected:
            taken = NEVER
        else:
            taken = of.answered + SETTLE_S
        given = Given(taken=taken)
        return given.may_leave(now) or self._later(taken)

    def _later(self, moment: float) -> bool:
        """Returns False, and sets `due` if the time is known."""
        if moment != NEVER:
            self.due = moment if self.due is None else min(self.due, moment)
        return False

    def _next_nonce(self) -> str:
        self._nonces += 1
        return str(self._nonces)

    def _answer(self, of: Subscription, nonce: str, error: Status | None, now: float) -> bool:
        """Process the Envoy's ACK of the response `nonce`, or its NACK with `error`. Returns as `receive`."""
        names = of.unanswered.pop(nonce, None)
        if names is None:
            return False
        of.answered = now
        if of.kind is ResourceKind.ENDPOINTS and self._awaited:
            for name in names:
                self._awaited.pop(name, None)
        if error is None:
            if of.rejected:
                for name in (*names, ""):
                    of.rejected.pop(name, None)
            return self._withheld
        if of.kind is ResourceKind.CLUSTERS:
            self._awaited = {place: each for place, each in self._awaited.items() if each[0] not in names}
        if len(names) > 1 and self._can_halve(of):
            middle = len(names) // 2
            of.apart += [names[:middle], names[middle:]]
        else:
            of.rejected[names[0] if len(names) == 1 else ""] = error.message[:MOST_REASON]
            of.again = now + OFFERED_AGAIN_S
        return True

    @staticmethod
    def _can_halve(of: Subscription) -> bool:
        return True
