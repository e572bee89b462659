"""One Envoy's stream, from its first request to its end."""

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from pointsman.adapter.ads.ahead import Ahead
from pointsman.adapter.ads.conversation import Conversation, Response
from pointsman.adapter.ads.delta import DeltaConversation
from pointsman.adapter.ads.resources import Resources
from pointsman.adapter.ads.sotw import StateOfTheWorldConversation
from pointsman.adapter.ads.subscription import MOST_NAMES
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.report.defects import Defects
from pointsman.adapter.report.fetcher import Fetcher, Waiting
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection, moment
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import LONGEST_TEXT
from pointsman.xds.inbound import Host

_log = logging.getLogger(__name__)

WAY = "ads"
"""The name of ADS in metrics."""

AnyConversation: TypeAlias = DeltaConversation | StateOfTheWorldConversation
Context: TypeAlias = Any  # grpc.aio.ServicerContext: the package is not typed


class StreamFailed(Exception):
    """A stream's resources could not be made, or exceed a limit. The stream ends with this `status`, and its Envoy
    comes back after a while."""

    def __init__(self, status: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RequestUnreadable(Exception):
    """An Envoy sent an invalid request."""


UNREADABLE = object()
"""Stands for an invalid request."""


@dataclass(slots=True)
class Channel:
    """The state that all streams of one proxy and one form of delivery share; `streams` are the open ones."""

    resources: Resources | None = None
    streams: "set[Stream]" = field(default_factory=set)
    # Weak references: kept as long as some stream has them.
    _of_hosts: MutableMapping[Host | None, Resources] = field(default_factory=weakref.WeakValueDictionary)

    def for_host(self, host: Host | None) -> Resources | None:
        """The resources for the Envoy of `host`, the same object until they change. Use it only on the server's
        loop."""
        resources = self.resources
        if resources is None:
            return None
        found = self._of_hosts.get(host)
        if found is None or found.number != resources.number:
            found = self._of_hosts[host] = resources.for_host(host, found)
        return found


class Stream:
    """Carries a conversation over one RPC. Use everything except `rejections` and `dump` only on the server's loop."""

    __slots__ = (
        "_ahead",
        "_channel",
        "_clock",
        "_context",
        "_conversation",
        "_defects",
        "_delivered",
        "_ended",
        "_failed",
        "_host",
        "_meetings",
        "_metrics",
        "_rejections",
        "_resources",
        "_unreadable",
        "_waiter",
        "_woken",
        "node",
        "proxy",
    )

    def __init__(
        self,
        proxy: ProxyId,
        node: str,
        host: Host | None,
        conversation: AnyConversation,
        channel: Channel,
        *,
        context: Context,
        metrics: Metrics | None,
        delivered: Mapping[ResourceKind, Callable[[str], None]],
        clock: Callable[[], float],
        defects: Defects,
        follower: Follower,
        wake: Callable[[Callable[[], None]], None],
    ) -> None:
        """`delivered` is called after every response of its kind with the publication time of its change. `defects`
        records that the stream's resources could not be made. `follower` reads the store for an Envoy that is ahead.
        `wake` calls something in the loop, from any thread."""
        self.proxy, self.node, self._host = proxy, node, host
        self._resources: Resources | None = None
        self._conversation: Conversation[Any] = conversation
        self._channel, self._context, self._metrics, self._clock = channel, context, metrics, clock
        self._delivered, self._defects = delivered, defects
        self._failed: StreamFailed | None = None
        self._unreadable = False
        # Not an asyncio.Event: it has 750 bytes, and there are thousands of streams.
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._ahead: Set[ResourceKind] = frozenset()
        self._meetings = Ahead(follower, proxy, node, lambda: wake(self.wake))
        self._rejections: dict[tuple[ResourceKind, str], Rejection] = {}

    def wake(self) -> None:
        """Look whether there is something to send. Call it in the loop."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None:
        """Send what is under way, then end."""
        self._ended = True
        self.wake()

    async def run(self) -> None:
        """Answer requests until the Envoy disconnects or `end` is called. Raises StreamFailed, or RequestUnreadable."""
        loop = asyncio.get_running_loop()
        reading = loop.create_task(self._read())
        timer = None
        try:
            while not self._ended:
                self._woken = False
                self._resources = resources = self._channel.for_host(self._host)
                if resources is not None:
                    for response in self._next(resources):
                        await self._context.write(response.data)
                        if response.kind in self._delivered:
                            self._delivered[response.kind](response.published)
                        if response.kind is ResourceKind.LISTENERS and (why := resources.own_of.unreached(self._host)):
                            _log.warning("%s, %s: %s", self.node, self.proxy, why)
                    self._see_who_is_ahead(resources)
                if self._woken:
                    continue
                self._waiter, due = loop.create_future(), self._conversation.due
                timer = None if due is None else loop.call_later(max(0.0, due - self._clock()), self.wake)
                await self._waiter
                if timer is not None:
                    timer.cancel()
            if self._failed is not None:
                raise self._failed
            if self._unreadable:
                raise RequestUnreadable
        finally:
            reading.cancel()
            if timer is not None:
                timer.cancel()
            self._meetings.end()
            if self._metrics:
                for kind in self._conversation.subscriptions:
                    self._metrics.subscriptions.labels(WAY, kind.label).dec()

    def rejections(self) -> list[Rejection]:
        """Resources that the Envoy rejected and still lacks."""
        return list(self._rejections.values())

    def fetcher(self) -> Fetcher:
        """The Envoy, and the responses that it has not answered yet."""
        waiting: list[Waiting] = []
        for kind, of in list(self._conversation.subscriptions.items()):
            if of.unanswered:
                for nonce, names in of.unanswered.copy().items():
                    waiting.append(Waiting(kind.label, names[0] if len(names) == 1 else "", nonce))
        resources = self._resources
        static = resources.own_of.unreached(self._host) if resources is not None else ""
        return Fetcher(WAY, self.proxy, self.node, tuple(waiting), static)

    def dump(self) -> dict[str, Any]:
        """What was sent to the Envoy, by kind."""
        resources = self._resources
        kinds = {}
        for kind, of in list(self._conversation.subscriptions.items()):
            kinds[kind.label] = {
                "asked_for": "everything" if of.everything else len(of.names),
                "sent": {name: str(each.version) for name, each in sorted(of.has.copy().items())},
                "unanswered": len(of.unanswered),
                "current": resources is not None and of.at == resources.number,
            }
        protocol = "delta" if isinstance(self._conversation, DeltaConversation) else "state of the world"
        return {"proxy": str(self.proxy.directory), "node": self.node, "protocol": protocol, "kinds": kinds}

    async def _read(self) -> None:
        try:
            while (request := await self._context.read()) is not grpc.aio.EOF:
                if request is UNREADABLE:
                    self._unreadable = True
                    return
                if self.receive(request):
                    self.wake()
                # The next one may come in days, and this one may hold a node of 77 KB.
                del request
        finally:
            self.end()

    def receive(self, request: Any) -> bool:
        """Process a request. Returns whether there may be something to send. Call it with the first request, then
        `run`."""
        with self._defects.of(self.proxy, f"taking in what {self.node} says over gRPC") as attempt:
            return self._take_in(request)
        self._fail(attempt.problem)
        return False

    def _fail(self, problem: str, status: grpc.StatusCode = grpc.StatusCode.INTERNAL) -> None:
        self._failed = StreamFailed(status, problem)
        self.end()

    def _take_in(self, request: Any) -> bool:
        # Almost all requests are ACKs, too short for any name to be too long.
        longest = max(map(len, _names(request)), default=0) if request.ByteSize() > LONGEST_TEXT else 0
        if longest > LONGEST_TEXT:
            reason = f"{self.node} sends a name of {longest} characters, {LONGEST_TEXT} at most are taken"
            self._fail(reason, grpc.StatusCode.INVALID_ARGUMENT)
            return False
        before = len(self._conversation.subscriptions)
        changed = self._conversation.receive(request, self._clock())
        if self._metrics and len(self._conversation.subscriptions) > before:
            self._metrics.subscriptions.labels(WAY, ResourceKind(request.type_url).label).inc()
        if sum([len(of.names) + len(of.has) for of in self._conversation.subscriptions.values()]) > MOST_NAMES:
            reason = f"{self.node} holds more than {MOST_NAMES} names on one stream"
            self._fail(reason, grpc.StatusCode.RESOURCE_EXHAUSTED)
        if request.HasField("error_detail") or self._rejections:
            self._note_rejections()
        return changed

    def _next(self, resources: Resources) -> list[Response]:
        """What to send now."""
        responses: list[Response] = []
        with self._defects.of(self.proxy, f"working out what {self.node} gets next over gRPC") as attempt:
            responses = self._conversation.advance(resources, self._clock())
        if attempt.problem:
            self._fail(attempt.problem)
        return responses

    def _see_who_is_ahead(self, resources: Resources) -> None:
        """Have the store read where the Envoy has something newer than `resources`, which were just sent."""
        ahead = self._conversation.ahead.keys()
        if ahead != self._ahead:
            if self._metrics:
                for kind in ahead - self._ahead:
                    self._metrics.ahead.labels(WAY, kind.label).inc()
            self._ahead = frozenset(ahead)
        # Newer resources are looked up first.
        if resources is self._channel.for_host(self._host) and self._meetings.see_to(self._conversation, resources):
            self.wake()

    def _note_rejections(self) -> None:
        now: dict[tuple[ResourceKind, str], Rejection] = {}
        for kind, of in self._conversation.subscriptions.items():
            for name, said in of.rejected.items():
                before = self._rejections.get((kind, name))
                if before is not None and before.reason == said:
                    now[kind, name] = before
                    continue
                since = moment(time.time())
                now[kind, name] = Rejection(WAY, self.proxy, self.node, kind.label, name, said, since)
                _log.warning("%s", now[kind, name])
                if self._metrics:
                    self._metrics.rejected.labels(WAY, kind.label).inc()
        self._rejections = now


def _names(request: Any) -> Iterable[str]:
    """The names that a request subscribes to or reports."""
    if isinstance(request, DeltaDiscoveryRequest):
        return chain(request.resource_names_subscribe, request.initial_resource_versions)
    return tuple(request.resource_names)
