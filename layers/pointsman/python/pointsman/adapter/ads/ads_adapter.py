"""ADS: delivers over gRPC (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol)."""

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf.message import DecodeError

from pointsman.adapter.ads.delta import DeltaConversation
from pointsman.adapter.ads.resources import Resources
from pointsman.adapter.ads.shelf import Shelf
from pointsman.adapter.ads.sotw import StateOfTheWorldConversation
from pointsman.adapter.ads.stream import (
    UNREADABLE,
    WAY,
    AnyConversation,
    Channel,
    Context,
    RequestUnreadable,
    Stream,
    StreamFailed,
)
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.joins import Joins
from pointsman.adapter.report.defects import Defects
from pointsman.adapter.report.fetcher import Fetcher
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection
from pointsman.adapter.report.retired import Fetching, retired
from pointsman.delivery.deliver import EnvoyVersion, takes_hostnames
from pointsman.delivery.response import ResourceKind
from pointsman.delivery.secret_source import Sds
from pointsman.discovery.identity import Gate
from pointsman.discovery.node import read_node
from pointsman.discovery.proxy import ProxyId
from pointsman.model.errors import InvalidInput
from pointsman.serve.certificate import certificate_uris
from pointsman.store.protocol import StoreError

_log = logging.getLogger(__name__)

FIRST_REQUEST_SECONDS = 10.0
"""Seconds from the start of a stream to its first request."""

NO_REQUEST = "not a discovery request"

HOLD_S = 10.0
"""Seconds that a stream is held while nothing can be sent yet; then it ends with the reason."""

_MAKING = "making what it gets over gRPC"

MOST_STREAMS = 16_384
"""Streams of one adapter; further ones are refused, for another adapter to accept."""

_LOOK_S = 0.25
"""Seconds between two checks for a proxy that is not registered."""


class AdsAdapter:
    """Serves every Envoy that a follower's store knows, and follows a proxy from its first stream on.

    A stream never starts with an empty response because data is missing, and never goes back: an Envoy keeps anything
    newer that it has. `on_change`, `rejections` and `config_dump` may be called from any thread, the rest only by the
    server.
    """

    def __init__(
        self,
        follower: Follower,
        metrics: Metrics | None = None,
        *,
        trust_domain: str | None = None,
        sds: Sds | None = None,
        hold: float = HOLD_S,
        clock: Callable[[], float] = time.monotonic,
        announce: Callable[[set[ProxyId]], None] | None = None,
    ) -> None:
        """`trust_domain` is the one required of clients' certificates, None: the store's. `sds` is the source of
        Envoys' secrets, None: their bootstraps.

        `announce` is called with the views that change because this adapter made the follower read, for adapters that
        share it.
        """
        self._follower, self._metrics = follower, metrics
        self._gate = Gate(follower.view, trust_domain)
        self._hold, self._clock = hold, clock
        self._announce = announce or self.on_change
        self._delivered = {kind: metrics.deliverer(WAY, kind.label) for kind in ResourceKind} if metrics else {}
        self._shelf = Shelf(follower, sds)
        self._defects = Defects(clock)
        self._channels: dict[tuple[ProxyId, bool], Channel] = {}
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self._joins = Joins("ads-reader")

    def on_change(self, changed: Iterable[ProxyId]) -> None:
        """Send the current views of these proxies."""
        changed = {*changed, *self._defects.due}
        with self._lock:
            keys = ((proxy, hostnames) for proxy in changed for hostnames in (False, True))
            touched = [(key, channel) for key in keys if (channel := self._channels.get(key))]
        woken = []
        for (proxy, hostnames), channel in touched:
            with self._defects.of(proxy, _MAKING):
                self._put(channel, self._shelf.resources(proxy, _some_version(hostnames)))
            woken.append(channel)
        if woken:
            self._in_loop(lambda: _wake(woken))

    @property
    def waiting(self) -> int:
        """How many Envoys wait for their turn to be prepared."""
        return self._joins.waiting

    def in_use(self) -> set[ProxyId]:
        """The proxies with a stream."""
        with self._lock:
            return {proxy for (proxy, _), channel in self._channels.items() if channel.streams}

    def release(self, proxies: Iterable[ProxyId]) -> None:
        """Drop everything about these proxies, unless they have a stream again."""
        proxies = set(proxies)
        with self._lock:
            for key in [(proxy, hostnames) for proxy in proxies for hostnames in (False, True)]:
                if key in self._channels and not self._channels[key].streams:
                    del self._channels[key]
        self._shelf.forget(proxies)
        for proxy in proxies:
            self._defects.forget(proxy)

    def fetching(self) -> list[Fetching]:
        """The retired proxies that still have a stream."""
        if not self._follower.any_retired:
            return []
        with self._lock:
            found = [each for (proxy, _), each in self._channels.items() if self._follower.is_retired(proxy)]
        return [(WAY, each.proxy, each.node) for channel in found for each in channel.streams.copy()]

    def problems(self) -> dict[ProxyId, tuple[str, ...]]:
        """For each proxy, what fails for it alone and will be tried again."""
        return self._defects.problems()

    def rejections(self) -> list[Rejection]:
        """Resources that Envoys rejected and still lack; a disconnected Envoy is forgotten."""
        return [each for stream in self._streams.copy() for each in stream.rejections()]

    def fetchers(self) -> list[Fetcher]:
        """The Envoys with a stream, and what each has not answered yet."""
        return [each.fetcher() for each in self._streams.copy()]

    def config_dump(self) -> dict[str, Any]:
        """What was sent on every stream, for `/config_dump`."""
        streams = sorted(self._streams.copy(), key=lambda each: each.node)
        return {
            "streams": [stream.dump() for stream in streams],
            "rejections": [each.json() for each in self.rejections()],
        }

    def handlers(self) -> Mapping[str, Any]:
        """The server's handlers, by method. Responses are already bytes."""
        self._loop = asyncio.get_running_loop()
        return {
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta, request_deserializer=_reader(DeltaDiscoveryRequest)
            ),
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._state_of_the_world, request_deserializer=_reader(DiscoveryRequest)
            ),
        }

    def drain(self) -> None:
        """End every stream after its current work; new streams are refused."""
        self._draining = True
        for stream in self._streams:
            stream.end()

    def close(self) -> None:
        """Release threads and open calls."""
        self._joins.close()

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(call)

    async def _delta(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._serve(DeltaConversation(self._clock()), context)

    async def _state_of_the_world(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._serve(StateOfTheWorldConversation(self._clock()), context)

    async def _serve(self, conversation: AnyConversation, context: Context) -> None:
        try:
            async with asyncio.timeout(FIRST_REQUEST_SECONDS):
                first = await context.read()
        except TimeoutError:
            reason = f"no request came within {FIRST_REQUEST_SECONDS:g} s"
            await self._refuse(context, grpc.StatusCode.DEADLINE_EXCEEDED, reason, label="late", pause=0.0)
            return
        if first is grpc.aio.EOF:
            return
        if first is UNREADABLE:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST, label="garbage")
            return
        try:
            asking = read_node(first.node)
        except InvalidInput as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error), label="node")
            return
        proxy, envoy = asking.proxy, asking.envoy
        uris = _client_uris(context)
        if problem := self._gate.problem(proxy, uris):
            await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, problem, label="certificate")
            return
        if elsewhere := self._follower.elsewhere(proxy):
            # Envoy counts this status as a failure of this address, and goes on to the next one.
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, elsewhere, label="elsewhere", pause=0.0)
            return
        if len(self._streams) >= MOST_STREAMS:
            reason = f"there are {MOST_STREAMS} streams already"
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, reason, label="full")
            return
        with self._lock:
            channel = self._channels.setdefault((proxy, takes_hostnames(envoy)), Channel())
            stream = Stream(
                proxy,
                first.node.id,
                asking.host,
                conversation,
                channel,
                context=context,
                metrics=self._metrics,
                delivered=self._delivered,
                clock=self._clock,
                defects=self._defects,
                follower=self._follower,
                wake=self._in_loop,
            )
            channel.streams.add(stream)
            self._streams.add(stream)
        try:
            missing = await self._find(proxy, envoy, channel, _has_something(first))
            if missing is not None:
                await self._refuse(context, *missing, label="unknown", pause=0.0)
                return
            if problem := self._gate.problem(proxy, uris):
                await self._refuse(context, grpc.StatusCode.PERMISSION_DENIED, problem, label="certificate")
                return
            stream.receive(first)
            # Nothing may hold the first request for as long as the stream lasts: its node has 77 KB, parsed even more.
            del first
            await stream.run()
        except RequestUnreadable:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, NO_REQUEST, label="garbage")
        except StreamFailed as error:
            await self._refuse(context, error.status, str(error), label="stream")
        finally:
            channel.streams.discard(stream)
            self._streams.discard(stream)
            self._forget(proxy, envoy, channel)
        if self._draining:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the adapter is ending; another one may take over")

    async def _find(
        self, proxy: ProxyId, envoy: EnvoyVersion | None, channel: Channel, has_something: bool
    ) -> tuple[grpc.StatusCode, str] | None:
        """Wait until something can be sent to `proxy`. Returns None, or the reason why nothing can.

        An Envoy that `has_something` keeps it after its registration is deleted: its stream is held.
        """
        deadline = self._clock() + self._hold
        while not self._draining:
            # An existing view is up to date with the store, and does not wait for a store that is slow now.
            if self._may_run(proxy, channel, has_something):
                return None
            status, problem = await self._joins.run(partial(self._look_for, proxy, envoy, channel))
            if not self._may_run(proxy, channel, has_something):
                if self._clock() >= deadline:
                    return status, problem
                await asyncio.sleep(min(_LOOK_S, self._hold))
        return grpc.StatusCode.UNAVAILABLE, "the adapter is ending; another one may take over"

    def _look_for(self, proxy: ProxyId, envoy: EnvoyVersion | None, channel: Channel) -> tuple[grpc.StatusCode, str]:
        """Put the resources into `channel`. Returns the reason if there are none."""
        status, problem = grpc.StatusCode.NOT_FOUND, f"{proxy} is not registered; `pointsman apply` does that"
        try:
            changed = self._follower.join(proxy)
            if changed:
                self._announce(changed)
        except StoreError as error:
            status, problem = grpc.StatusCode.UNAVAILABLE, f"the store cannot be read: {error}"
        with self._defects.of(proxy, _MAKING) as attempt:
            self._put(channel, self._shelf.resources(proxy, envoy))
        if attempt.problem:
            status, problem = grpc.StatusCode.INTERNAL, attempt.problem
        elif self._follower.is_retired(proxy):
            problem = retired(proxy)
        elif channel.resources is None and proxy in self._follower.proxies:
            reasons = [*self._follower.problems(proxy), self._follower.unreachable]
            problem = f"{proxy} has no complete view yet: {'; '.join(filter(None, reasons)) or 'it is not registered'}"
        return status, problem

    def _may_run(self, proxy: ProxyId, channel: Channel, has_something: bool) -> bool:
        return has_something if self._follower.is_retired(proxy) else channel.resources is not None

    def _forget(self, proxy: ProxyId, envoy: EnvoyVersion | None, channel: Channel) -> None:
        """Drop everything about a proxy that the store does not know."""
        with self._lock:
            if not channel.streams and channel.resources is None:
                self._channels.pop((proxy, takes_hostnames(envoy)), None)

    def _put(self, channel: Channel, resources: Resources | None) -> None:
        with self._lock:
            if resources and (channel.resources is None or channel.resources.number < resources.number):
                channel.resources = resources

    async def _refuse(
        self, context: Context, status: grpc.StatusCode, reason: str, *, label: str, pause: float | None = None
    ) -> None:
        """End a stream after a pause, so that Envoys that reconnect at once do not keep the adapter busy."""
        _log.warning("a stream is refused: %s", reason)
        if self._metrics:
            self._metrics.refused.labels(WAY, label).inc()
        await asyncio.sleep(min(1.0, self._hold) if pause is None else pause)
        await context.abort(status, reason)


def _reader(message: Any) -> Callable[[bytes], Any]:
    """A parser of requests that returns UNREADABLE for invalid ones, where gRPC would log a traceback."""

    def read(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return UNREADABLE

    return read


def _client_uris(context: Context) -> tuple[str, ...] | None:
    """The URI SANs of the client's certificate; None on loopback or a unix socket, the only places without
    certificates."""
    peer = context.auth_context()
    if peer.get("transport_security_type") != [b"ssl"]:
        return None
    (pem,) = peer.get("x509_pem_cert", [b""])
    try:
        return certificate_uris(ssl.PEM_cert_to_DER_cert(bytes(pem).decode("ascii")))
    except ValueError:
        return ()


def _has_something(first: Any) -> bool:
    """Whether an Envoy whose stream begins with this request has resources from an earlier stream."""
    if isinstance(first, DeltaDiscoveryRequest):
        return bool(first.initial_resource_versions)
    return bool(first.version_info)


def _wake(channels: Iterable[Channel]) -> None:
    for channel in channels:
        for stream in channel.streams:
            stream.wake()


def _some_version(hostnames: bool) -> EnvoyVersion | None:
    """Some version of Envoy that takes hostnames, or does not."""
    return (1, 40, 0) if hostnames else None
