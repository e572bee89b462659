"""Handles one request of an Envoy with something newer than this process has, until the store decides."""

from collections.abc import Callable

from pointsman.adapter.follow.confirming import Meeting
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.report.rejection import what
from pointsman.adapter.rest.held import Held, Woken
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.answers import Answer
from pointsman.discovery.names import cluster_ids_in
from pointsman.discovery.request import DiscoveryRequest
from pointsman.discovery.version import Standing, Version
from pointsman.discovery.view import drained_ids


class AheadRequest:
    """The meeting of one request, from the moment it is ahead to its end. Use it only on the server's loop."""

    def __init__(
        self, follower: Follower, request: DiscoveryRequest, in_loop: Callable[[Callable[[], None]], None]
    ) -> None:
        """`in_loop` calls something in the loop, from any thread."""
        self._follower, self._request, self._in_loop = follower, request, in_loop
        self._meeting: Meeting | None = None
        self._held: Held | None = None
        self.is_confirmed = False
        """Whether the store was read since, and this process has what the store has."""
        self.is_gone = False
        """Whether the client no longer waits for the answer."""

    def meet(self) -> bool:
        """Ask for a read of the store. Returns False if that was already under way."""
        if self._meeting is not None:
            return False
        kind, proxy = self._request.kind, self._request.asker.proxy
        view = self._follower.view(proxy)
        clusters = {
            ResourceKind.CLUSTERS: None,
            ResourceKind.LISTENERS: drained_ids(view.manifests) if view else frozenset[str](),
            ResourceKind.ENDPOINTS: frozenset(cluster_ids_in(self._request.name)),
        }[kind]
        about = what(kind.label, self._request.name)
        text = f"{self._request.asker.node_id} ({proxy.directory}) has newer {about} than are here"
        node = self._request.asker.node_id
        self._meeting = Meeting(proxy, clusters, text, lambda: self._in_loop(self._confirmed), node=node)
        self._follower.meet(self._meeting)
        return True

    def hold(self, held: Held) -> None:
        """Wake `held` when the store was read."""
        self._held = held

    def let_go(self) -> None:
        """Give up: the client no longer waits."""
        self.is_gone = True
        if self._held is not None:
            self._held.tell(Woken.OVER)

    def note(self, answer: Answer) -> None:
        """Record a reset if this answer is older than what the Envoy has, which the store confirmed."""
        if answer.stands(Version.read(self._request.version)) is not Standing.OLDER:
            return
        kind, name = self._request.kind, self._request.name
        about = what(kind.label, name) if name else f"{kind.label} of {self._request.asker.proxy}"
        self._follower.resets.note(about, f"from {self._request.version} to {answer.text}")

    def end(self) -> None:
        """End the meeting: the Envoy has its answer, or is no longer ahead."""
        if self._meeting is not None:
            self._follower.leave(self._meeting)
        self._meeting, self.is_confirmed = None, False

    def _confirmed(self) -> None:
        self.is_confirmed = self._meeting is not None
        if self._held is not None:
            self._held.tell(Woken.LOOK)
