"""One request of an Envoy that has something newer than what is here, until the store has said what is right."""

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


class Ahead:
    """The meeting of one request, from when it is found to be ahead to its end. It belongs to the server's loop."""

    def __init__(
        self, follower: Follower, request: DiscoveryRequest, in_loop: Callable[[Callable[[], None]], None]
    ) -> None:
        """`in_loop` calls something in the loop, from any thread."""
        self._follower, self._request, self._in_loop = follower, request, in_loop
        self._meeting: Meeting | None = None
        self._held: Held | None = None
        self.is_confirmed = False
        """Whether the store was read since, and what is here is what it has."""
        self.is_gone = False
        """Whether nobody wants the answer any more."""

    def meet(self) -> bool:
        """It is ahead: have the store read. Whether that was not under way already."""
        if self._meeting is not None:
            return False
        kind, proxy = self._request.kind, self._request.asker.proxy
        clusters = {
            ResourceKind.CLUSTERS: None,
            ResourceKind.LISTENERS: frozenset[str](),  # they come from the manifests alone
            ResourceKind.ENDPOINTS: frozenset(cluster_ids_in(self._request.name)),
        }[kind]
        about = what(kind.label, self._request.name)
        text = f"{self._request.asker.node_id} ({proxy.directory}) has newer {about} than are here"
        self._meeting = Meeting(proxy, clusters, text, lambda: self._in_loop(self._confirmed))
        self._follower.meet(self._meeting)
        return True

    def hold(self, held: Held) -> None:
        """The request waits: it is woken when the store was read."""
        self._held = held

    def let_go(self) -> None:
        """Nobody wants the answer any more."""
        self.is_gone = True
        if self._held is not None:
            self._held.tell(Woken.OVER)

    def note(self, answer: Answer) -> None:
        """It gets this, which does not come after what it has, since the store has it so."""
        if answer.stands(Version.read(self._request.version)) is not Standing.OLDER:
            return
        kind, name = self._request.kind, self._request.name
        about = what(kind.label, name) if name else f"{kind.label} of {self._request.asker.proxy}"
        self._follower.resets.note(about, f"from {self._request.version} to {answer.text}")

    def end(self) -> None:
        """It has its answer, or is ahead no more."""
        if self._meeting is not None:
            self._follower.leave(self._meeting)
        self._meeting, self.is_confirmed = None, False

    def _confirmed(self) -> None:
        self.is_confirmed = self._meeting is not None
        if self._held is not None:
            self._held.tell(Woken.LOOK)
