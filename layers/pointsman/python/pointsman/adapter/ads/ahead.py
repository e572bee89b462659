"""Handles one stream's Envoy with newer resources than this process has, until the store decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pointsman.adapter.ads.conversation import Conversation
from pointsman.adapter.ads.resources import Resources
from pointsman.adapter.follow.confirming import Meeting
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.report.rejection import what
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.names import cluster_ids_in
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.version import Standing, standing
from pointsman.discovery.view import drained_ids


@dataclass(slots=True)
class _Met:
    """A meeting about these `names` of a kind (None: all); `is_done` when the store was read for it."""

    names: frozenset[str] | None
    meeting: Meeting
    is_done: bool = False

    def covers(self, names: frozenset[str] | None) -> bool:
        return self.names is None or (names is not None and names <= self.names)


class Ahead:
    """The meetings of one stream, at most one of each kind."""

    __slots__ = ("_follower", "_met", "_node", "_proxy", "_wake")

    def __init__(self, follower: Follower, proxy: ProxyId, node: str, wake: Callable[[], None]) -> None:
        """`wake` is called, on any thread, when a meeting is done."""
        self._follower, self._proxy, self._node, self._wake = follower, proxy, node, wake
        self._met: dict[ResourceKind, _Met] = {}

    def see_to(self, conversation: Conversation[Any], resources: Resources) -> bool:
        """Ask for a read of the store where the Envoy is ahead. Returns whether it was read, so that `resources` can be
        sent.

        `resources` are the newest, taken after the last `wake`.
        """
        if not self._met and not conversation.ahead:
            return False
        trusted = False
        for kind in self._met.keys() - conversation.ahead.keys():
            self._leave(kind)
        for kind, names in conversation.ahead.items():
            met = self._met.get(kind)
            if met is None or not met.covers(names):
                self._leave(kind)
                self._meet(kind, names)
            elif met.is_done:
                self._note(kind, names, conversation, resources)
                del self._met[kind]
                trusted = True
        return trusted

    def end(self) -> None:
        """Leave all meetings: the Envoy has disconnected."""
        for kind in list(self._met):
            self._leave(kind)

    def _meet(self, kind: ResourceKind, names: frozenset[str] | None) -> None:
        clusters = None if names is None else frozenset(each for name in names for each in cluster_ids_in(name))
        if kind is ResourceKind.LISTENERS:
            view = self._follower.view(self._proxy)
            clusters = drained_ids(view.manifests) if view else frozenset()

        def done() -> None:
            met.is_done = True
            self._wake()

        text = f"{self._node} ({self._proxy.directory}) has newer {kind.label} than are here"
        met = self._met[kind] = _Met(names, Meeting(self._proxy, clusters, text, done, node=self._node))
        self._follower.meet(met.meeting)

    def _leave(self, kind: ResourceKind) -> None:
        met = self._met.pop(kind, None)
        if met is not None:
            self._follower.leave(met.meeting)

    def _note(
        self, kind: ResourceKind, names: frozenset[str] | None, conversation: Conversation[Any], resources: Resources
    ) -> None:
        said = conversation.trust(kind)
        for name in sorted(names or [""]):
            ours, had = resources.of[kind].get(name), said.get(name)
            version = ours.version if ours else resources.versions[kind]
            if had is None or standing(version, had) is Standing.OLDER:
                about = what(kind.label, name) if name else f"{kind.label} of {self._proxy}"
                self._follower.resets.note(about, f"from {had or 'later manifests'} to {version}")
