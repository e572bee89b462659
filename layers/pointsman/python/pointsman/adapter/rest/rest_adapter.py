"""REST xDS: delivers over HTTP (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol, "REST-JSON polling
subscriptions"; docs/envoy.md describes what is sent when)."""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.idle import LOOK_SECONDS
from pointsman.adapter.report.defects import Defects
from pointsman.adapter.report.fetcher import Fetcher
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.rejection import Rejection
from pointsman.adapter.report.retired import Fetching, retired
from pointsman.adapter.rest.ahead import AheadRequest
from pointsman.adapter.rest.askers import Askers
from pointsman.adapter.rest.book import AnswerBook, Key
from pointsman.adapter.rest.held import RestChannel, Woken, render_awaited
from pointsman.adapter.rest.lookup import Lookup
from pointsman.adapter.rest.rejections import Rejections
from pointsman.adapter.rest.stages import SETTLE_S
from pointsman.adapter.rest.wire import client_uris, on_client_gone, reply
from pointsman.delivery.deliver import EnvoyVersion, takes_hostnames
from pointsman.delivery.endpoint_source import XDS_CLUSTER, over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.delivery.secret_source import ResourceSource
from pointsman.discovery.answers import Answer, Answers
from pointsman.discovery.identity import Gate
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.request import MAX_BODY_BYTES, Asker, DiscoveryRequest, read_request
from pointsman.discovery.version import Standing, Version, standing
from pointsman.discovery.view import drained_ids, own_of
from pointsman.model.errors import InvalidInput
from pointsman.serve.body import BodyRefused, ClientGone, read_body
from pointsman.xds.inbound import Host

_log = logging.getLogger(__name__)

WAY = "rest"
"""The name of REST in metrics."""

HOLD_S = 50.0
"""Seconds for which a request is held at most: less than `REQUEST_TIMEOUT_MS`."""

REQUEST_TIMEOUT_MS = 60_000
"""Milliseconds that an Envoy waits for an answer."""

REFRESH_DELAY_MS = 1000
"""Milliseconds from an answer to the next request for the same endpoints; Envoy waits once to twice as long. While an
adapter is away, every cluster of every Envoy asks this often, with requests of 77 KB that cost the Envoy about a
millisecond each: with more than a few hundred clusters it has to be longer, or use gRPC."""

PAUSE_S = 1.0
"""Seconds before a refusal: Envoy has no backoff over REST, and retries at once."""

_MAKING, _TELLING = "making its answers over HTTP", "answering who waits over HTTP"

_PATHS = {f"/v3/discovery:{kind.label}": kind for kind in ResourceKind}


class RestAdapter:
    """An ASGI application that serves every Envoy that a follower's store knows; follows a proxy from its first
    request on.

    An Envoy that has nothing is answered at once, and never with nothing. One that is up to date waits for something
    newer. One that is ahead keeps what it has until the store itself was read, and then gets what the store has.
    `on_change` and `config_dump` may be called from any thread, the rest only on the server's loop.
    """

    def __init__(
        self,
        follower: Follower,
        metrics: Metrics,
        *,
        others: ASGIApp | None = None,
        trust_domain: str | None = None,
        source: ResourceSource | None = None,
        hold: float = HOLD_S,
        pause: float = PAUSE_S,
        settle: float = SETTLE_S,
        refresh_delay_ms: int = REFRESH_DELAY_MS,
        announce: Callable[[set[ProxyId]], None] | None = None,
    ) -> None:
        """`others` answers all other paths. `trust_domain` is the one required of clients' certificates, None: the
        store's. `source` is where clusters fetch endpoints and secrets, for endpoints with this refresh delay.

        `announce` is called with the views that change because this adapter made the follower read, for adapters that
        share it.
        """
        self._follower = follower
        self._metrics, self._others = metrics, others or Starlette()
        self._gate = Gate(follower.view, trust_domain)
        self._delivered = {kind: metrics.deliverer(WAY, kind.label) for kind in ResourceKind}
        self._hold, self._pause = hold, pause
        self._source = source = source or over_rest(XDS_CLUSTER, refresh_delay_ms, REQUEST_TIMEOUT_MS)
        polled = 2 * refresh_delay_ms / 1000
        self._polled_in = settle + polled
        self._follower = follower
        self._book = AnswerBook(follower, source, settle=settle, polled=polled)
        self._lookup = Lookup(follower, self._book, announce or self.on_change, pause)
        self._rejections = Rejections()
        self._askers = Askers(self._rejections, self._polled_in)
        self._defects = Defects()
        self._channels: dict[Key, RestChannel] = {}
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False

    def on_change(self, changed: Iterable[ProxyId]) -> None:
        """Answer the requests held for the current views of these proxies, and do what is due."""
        changed, due = {*changed, *self._defects.due}, self._book.unsettled
        if not changed and not due:
            return
        # One at a time: earlier answers must not be published later.
        with self._telling:
            with self._lock:
                keys = {(proxy, hostnames) for proxy in changed for hostnames in (False, True)} | due
                touched = [(key, channel) for key in keys if (channel := self._channels.get(key))]
            news = []
            for (proxy, hostnames), channel in touched:
                with self._defects.of(proxy, _MAKING):
                    answers = self._book.answers(proxy, _some_version(hostnames))
                    if answers is not None and answers is not channel.answers:
                        render_awaited(answers, channel.answers, tuple(channel.held))
                        news.append((proxy, channel, answers))
            if news:
                self._in_loop(partial(self._tell, news))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        kind = _PATHS.get(scope["path"]) if scope["type"] == "http" else None
        if kind is None:
            await self._others(scope, receive, send)
            return
        self._loop = self._loop or asyncio.get_running_loop()
        if scope["method"] != "POST":
            await self._refuse(send, 405, "Envoys ask with POST", label="method", pause=0.0)
            return
        try:
            request = read_request(kind, await read_body(scope, receive, MAX_BODY_BYTES))
            if problem := self._gate.problem(request.asker.proxy, client_uris(scope)):
                await self._refuse(send, 403, problem, label="certificate")
                return
            if elsewhere := self._follower.elsewhere(request.asker.proxy):
                # Envoy counts this status as a failure of this address, and goes on to the next one.
                await self._refuse(send, 503, elsewhere, label="elsewhere")
                return
            asked = f"answering over HTTP who asks for {request.kind.label} {request.name}".rstrip()
            with self._defects.of(request.asker.proxy, asked) as attempt:
                await self._answer(request, scope, send)
            if attempt.problem:
                await self._refuse(send, 500, attempt.problem, label="defect")
        except ClientGone:
            return
        except BodyRefused as error:
            await self._refuse(send, error.status, str(error), label="body")
        except InvalidInput as error:
            await self._refuse(send, 400, str(error), label="invalid")

    def drain(self) -> None:
        """Release all held requests, and hold no more."""
        self._draining = True
        for channel in self._channels.values():
            channel.release()

    def close(self) -> None:
        """Release threads and open calls."""
        self._lookup.close()

    @property
    def waiting(self) -> int:
        """How many Envoys wait for their lookup."""
        return self._lookup.waiting

    def in_use(self) -> set[ProxyId]:
        """The proxies with a held or a recent request."""
        with self._lock:
            channels = list(self._channels.items())
        recent = time.monotonic() - 2 * LOOK_SECONDS
        return {proxy for (proxy, _), channel in channels if channel.held or channel.asked >= recent}

    def release(self, proxies: Iterable[ProxyId]) -> None:
        """Drop everything about these proxies, which had no recent requests."""
        proxies = set(proxies)
        with self._lock:
            for key in [key for key, channel in self._channels.items() if key[0] in proxies and not channel.held]:
                del self._channels[key]
        self._book.forget(proxies)
        for proxy in proxies:
            self._defects.forget(proxy)

    def fetching(self) -> list[Fetching]:
        """The retired proxies with a recent request, each with the Envoy that sent the last one."""
        if not self._follower.any_retired:
            return []
        in_use = {proxy for proxy in self.in_use() if self._follower.is_retired(proxy)}
        with self._lock:
            return [(WAY, proxy, each.node) for (proxy, _), each in self._channels.items() if proxy in in_use]

    def fetchers(self) -> list[Fetcher]:
        """The Envoys that asked lately, and the answers that they should have confirmed by now."""
        return self._askers.all(time.monotonic(), self._answers_now, self._unreached)

    def problems(self) -> dict[ProxyId, tuple[str, ...]]:
        """For each proxy, what fails for it alone and will be tried again."""
        return self._defects.problems()

    def rejections(self) -> list[Rejection]:
        """Resources that Envoys seem to have rejected and still lack."""
        return self._rejections.all(time.time(), self._has)

    def has(self, proxy: ProxyId, kind: str, name: str, version: str) -> bool | None:
        """True if an Envoy with this `version_info` has what it would be answered; `name` is a cluster's, for
        endpoints. None otherwise: it may be about to ask."""
        with self._lock:
            found = [channel.answers for (each, _), channel in self._channels.items() if each == proxy]
        parts = [answers.parts[name] for answers in found if answers and name in answers.parts]
        places = [each.of.place for each in parts if each.of.place]
        return (
            any(self._has(proxy, ResourceKind[kind.upper()], place, version) for place in (places if name else [""]))
            or None
        )

    def config_dump(self) -> dict[str, Any]:
        """For each proxy, the current answers and the held requests, for `/config_dump`."""
        with self._lock:
            channels = list(self._channels.items())
        return {
            "proxies": [_dump(key, channel) for key, channel in channels],
            "rejections": [each.json() for each in self.rejections()],
        }

    def _answers_now(self, proxy: ProxyId, kind: ResourceKind, name: str) -> bool:
        with self._lock:
            found = [each.answers for (of, _), each in self._channels.items() if of == proxy]
        return any(each is not None and each.get(kind, name) is not None for each in found)

    def _unreached(self, proxy: ProxyId, host: Host | None) -> str:
        view = self._follower.view(proxy)
        return own_of(view.manifests, self._source).unreached(host) if view is not None else ""

    def _has(self, proxy: ProxyId, kind: ResourceKind, name: str, version: str) -> bool:
        with self._lock:
            found = [channel.answers for (each, _), channel in self._channels.items() if each == proxy]
        answers = [each.get(kind, name) for each in found if each is not None]
        return any(each and standing(each.version, Version.read(version)) is Standing.SAME for each in answers)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(call)

    def _tell(self, news: Iterable[tuple[ProxyId, RestChannel, Answers]]) -> None:
        for proxy, channel, answers in news:
            with self._defects.of(proxy, _TELLING):
                channel.take(answers)

    async def _answer(self, request: DiscoveryRequest, scope: Scope, send: Send) -> None:
        channel = await self._channel(request.asker, send)
        if channel is None:
            return
        channel.asked, channel.node = time.monotonic(), request.asker.node_id
        self._askers.asked(request.asker, channel.asked)
        starts = not request.version and request.kind is not ResourceKind.ENDPOINTS
        if starts and self._follower.is_retired(request.asker.proxy):
            # A running Envoy sends its version, and keeps what it has.
            await self._refuse(send, 404, retired(request.asker.proxy), label="retired")
            return
        if problem := self._gate.problem(request.asker.proxy, client_uris(scope)):
            await self._refuse(send, 403, problem, label="certificate")
            return
        kind, theirs = request.kind, Version.read(request.version)
        if self._rejections.asked(request, time.time()):
            self._metrics.rejected.labels(WAY, kind.label).inc()
            await asyncio.sleep(self._pause)
        if kind is ResourceKind.LISTENERS and theirs is not None:
            await self._let_others_poll(channel, request.asker.proxy, theirs)
        answer = channel.answers.get(kind, request.name) if channel.answers else None
        waited = answer is None or answer.stands(theirs) is not Standing.NEWER
        if waited:
            # Endpoints that no cluster should request now are not answered, not even to an Envoy without any: only
            # those of another selection exist. Its cluster keeps the endpoints that it had.
            answer = None if self._draining else await self._wait(channel, request, theirs, scope)
        await self._send(request, answer, waited, send)

    async def _let_others_poll(self, channel: RestChannel, proxy: ProxyId, theirs: Version) -> None:
        """Hold an Envoy's request for listeners while this adapter is new, if they would end connections: a switch that
        it did not see may be the reason, and the Envoy may not have polled for the endpoints yet."""
        left = channel.opened + self._polled_in - time.monotonic()
        view, answers = self._follower.view(proxy), channel.answers
        if left <= 0 or view is None or answers is None or answers.listeners.stands(theirs) is Standing.SAME:
            return
        if drained_ids(view.manifests):
            await asyncio.sleep(left)

    async def _wait(
        self, channel: RestChannel, request: DiscoveryRequest, theirs: Version | None, scope: Scope
    ) -> Answer | None:
        """The next answer newer than `theirs`, or if they are ahead the one that the store confirms; None if there is
        none while a request is held."""
        gauge = self._metrics.subscriptions.labels(WAY, request.kind.label)
        # Spread, so that requests that began together do not end together.
        until = time.monotonic() + self._hold * random.uniform(0.9, 1.0)
        asked, ahead = (request.kind, request.name), AheadRequest(self._follower, request, self._in_loop)
        on_client_gone(scope, ahead.let_go)
        gauge.inc()
        try:
            while True:
                answer = channel.answers.get(*asked) if channel.answers else None
                stands = answer.stands(theirs) if answer else Standing.SAME
                if answer is not None and stands is Standing.NEWER:
                    return answer
                if answer is not None and stands is not Standing.SAME and ahead.is_confirmed:
                    ahead.note(answer)
                    return answer
                if stands is Standing.SAME:
                    ahead.end()
                elif ahead.meet():
                    self._metrics.ahead.labels(WAY, request.kind.label).inc()
                told = await channel.wait(asked, theirs, max(0.0, until - time.monotonic()), ahead.hold)
                if isinstance(told, Answer):
                    return told
                if told is Woken.OVER or ahead.is_gone or self._draining:
                    return None
        finally:
            gauge.dec()
            ahead.end()

    async def _send(self, request: DiscoveryRequest, answer: Answer | None, waited: bool, send: Send) -> None:
        kind = request.kind.label
        if answer is None:
            self._metrics.unchanged.labels(WAY, kind).inc()
            await reply(send, 304)
            return
        self._rejections.sent(request, answer.text, time.monotonic())
        await reply(send, 200, answer.body_for(request.asker.host))
        self._delivered[request.kind](answer.published if waited else "")
        if request.kind is ResourceKind.LISTENERS and (why := self._unreached(request.asker.proxy, request.asker.host)):
            _log.warning("%s, %s: %s", request.asker.node_id, request.asker.proxy, why)

    async def _channel(self, asker: Asker, send: Send) -> RestChannel | None:
        """The channel for `asker`; None if it was refused."""
        key = asker.proxy, takes_hostnames(asker.envoy)
        channel = self._channels.get(key)
        if channel is not None and channel.answers is not None:
            return channel
        found = await self._lookup.find(asker.proxy, asker.envoy)
        if not isinstance(found, Answers) and self._follower.is_retired(asker.proxy):
            with self._lock:
                return self._channels.setdefault(key, RestChannel())
        if not isinstance(found, Answers):
            status, reason = found
            # The lookup already took that long.
            await self._refuse(send, status, reason, label="unknown" if status == 404 else "not ready", pause=0.0)
            return None
        with self._lock:
            channel = self._channels.setdefault(key, RestChannel())
        # Changes before the channel existed were not announced to it; from now on all are, in order.
        newest = await self._lookup.find(asker.proxy, asker.envoy)
        if channel.answers is None:
            channel.take(newest if isinstance(newest, Answers) else found)
        return channel

    async def _refuse(self, send: Send, status: int, reason: str, *, label: str, pause: float | None = None) -> None:
        _log.warning("a request is refused: %s", reason)
        self._metrics.refused.labels(WAY, label).inc()
        if not self._draining:
            await asyncio.sleep(self._pause if pause is None else pause)
        await reply(send, status, error=reason)


def _dump(key: Key, channel: RestChannel) -> dict[str, Any]:
    proxy, hostnames = key
    answers = channel.answers
    if answers is None:
        return {"proxy": str(proxy.directory)}
    return {
        "proxy": str(proxy.directory),
        "sni": "with the endpoints" if hostnames else "with the clusters",
        "held": sum(map(len, list(channel.held.values()))),
        "clusters": answers.clusters.dump(),
        "listeners": answers.listeners.dump(),
        "endpoints": {name: each.dump() for name, each in answers.endpoints.items()},
    }


def _some_version(hostnames: bool) -> EnvoyVersion | None:
    """Some version of Envoy that takes hostnames, or does not."""
    return (1, 40, 0) if hostnames else None
