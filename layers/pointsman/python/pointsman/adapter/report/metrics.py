"""The adapters' metrics for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.discovery.proxy import ProxyId
from pointsman.serve.certificate import certificate_end

CONTENT_TYPE = CONTENT_TYPE_LATEST

_STORE = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Seconds. A file answers in a tenth of a millisecond, a bucket in tens of them."""

_DELAYS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Seconds. A long poll takes two milliseconds; a change should never take a minute."""


class Metrics:
    """The counters of one process; its adapters share them. `way` is `files`, `rest` or `ads` (for
    rejections also `admin`: an Envoy's own counters), `kind` clusters, endpoints or listeners.

    Safe for several threads.
    """

    def __init__(
        self,
        staleness: Callable[[], float],
        unreachable: Callable[[], str],
        problems: Callable[[], Mapping[ProxyId, Sequence[str]]] = dict,
    ) -> None:
        """`staleness`, `unreachable` and `problems` (by proxy) are a follower's."""
        self._registry = CollectorRegistry()
        self.subscriptions = Gauge(
            "pointsman_subscriptions",
            "Requests that are held and streams' subscriptions, now.",
            ("way", "kind"),
            registry=self._registry,
        )
        self.deliveries = Counter(
            "pointsman_deliveries", "Answers with resources.", ("way", "kind"), registry=self._registry
        )
        self.unchanged = Counter(
            "pointsman_unchanged", "Answers that nothing has changed.", ("way", "kind"), registry=self._registry
        )
        self.refused = Counter(
            "pointsman_refused", "Requests that were refused.", ("way", "reason"), registry=self._registry
        )
        self.ahead = Counter(
            "pointsman_ahead",
            "Requests of Envoys that have something newer than what is here: the store was to say what is right.",
            ("way", "kind"),
            registry=self._registry,
        )
        self.rejected = Counter(
            "pointsman_rejected",
            "Configurations that an Envoy rejected.",
            ("way", "kind"),
            registry=self._registry,
        )
        self.events_taken = Counter(
            "pointsman_events_taken", "Events that were taken in, stale ones among them.", registry=self._registry
        )
        self.events_refused = Counter(
            "pointsman_events_refused", "Requests with events that were refused as invalid.", registry=self._registry
        )
        self.events_failed = Counter(
            "pointsman_events_failed",
            "Requests with events that could not be taken in, and are to be sent again.",
            registry=self._registry,
        )
        self.event_to_publish = Histogram(
            "pointsman_event_to_publish_seconds",
            "From the moment an event arrived that moved something to the moment that was published and acknowledged.",
            buckets=_DELAYS,
            registry=self._registry,
        )
        calls = Histogram(
            "pointsman_store_operation_seconds",
            "How long the store took, by operation: read, write, changes (what a follower asks for).",
            ("operation",),
            buckets=_STORE,
            registry=self._registry,
        )
        # Looked up once: it is called several times for each event.
        self._store_calls = {each: calls.labels(each) for each in ("read", "write", "changes")}
        self.certificate_ends = Gauge(
            "pointsman_certificate_end_timestamp_seconds",
            "When the certificate of an address ends, as its file says.",
            ("door",),
            registry=self._registry,
        )
        build = Gauge("pointsman_build_info", "1, with the version.", ("version", "python"), registry=self._registry)
        build.labels(version("pointsman"), platform.python_version()).set(1)
        self.events_stale = Counter(
            "pointsman_events_stale",
            "Events that were answered as stale: their source said something else with a greater index before.",
            registry=self._registry,
        )
        self.events_doubted = Counter(
            "pointsman_events_doubted",
            "Events whose index or time looks wrong, such as an index that reads as a time more than a day ahead.",
            registry=self._registry,
        )
        self.sources_shared = Counter(
            "pointsman_sources_shared",
            "Events that show that two producers use the name of their source.",
            registry=self._registry,
        )
        self._turned_away = Counter(
            "pointsman_connections_turned_away",
            "Connections that were refused, or ended because they were too slow, held too much, or had to make room.",
            ("door", "reason"),
            registry=self._registry,
        )
        self._connections = Gauge(
            "pointsman_connections", "Connections that are open, now.", ("door",), registry=self._registry
        )
        self.instances_refused = Counter(
            "pointsman_instances_refused",
            "Instances of lists that were refused while the others of their list were accepted.",
            registry=self._registry,
        )
        self._delay = Histogram(
            "pointsman_publish_to_delivery_seconds",
            "From the moment a change was published to the moment it was sent to an Envoy that waited for it.",
            ("way",),
            buckets=_DELAYS,
            registry=self._registry,
        )
        self.gauge("pointsman_staleness_seconds", "Since the store was last looked at with success.", staleness)
        self.gauge(
            "pointsman_store_unreachable", "Whether the last look at the store failed.", lambda: bool(unreachable())
        )
        self.gauge(
            "pointsman_withheld",
            "Objects that the store has, or should have, and that no Envoy gets: unfit for use, older than what is "
            "here, or missing. The last good ones stay.",
            lambda: len({line for lines in problems().values() for line in lines}),
        )

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a gauge, whose value is computed when metrics are read."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def collected(self, collector: Collector) -> None:
        """Add what a collector gives when metrics are read."""
        self._registry.register(collector)

    def total(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Add a counter, whose value is computed when metrics are read; `_total` is added to the name."""

        class Total(Collector):
            def collect(self) -> Iterator[CounterMetricFamily]:
                yield CounterMetricFamily(name, what, value=value())

        self._registry.register(Total())

    def each_source(self, name: str, what: str, values: Callable[[], Mapping[tuple[str, str], float]]) -> None:
        """Add a gauge with a value for each source of health, by its datacenter and name, computed when metrics are
        read."""

        class Each(Collector):
            def collect(self) -> Iterator[GaugeMetricFamily]:
                family = GaugeMetricFamily(name, what, labels=("datacenter", "source"))
                for labels, value in sorted(values().items()):
                    family.add_metric(labels, value)
                yield family

        self._registry.register(Each())

    def store_took(self, operation: str, seconds: float) -> None:
        """Record how long the store took."""
        self._store_calls[operation].observe(seconds)

    def certificate(self, door: str, path: Path) -> None:
        """Add when the certificate in a file ends, read when metrics are read."""
        self.certificate_ends.labels(door).set_function(lambda: certificate_end(path))

    def connections(self, door: str, count: Callable[[], int]) -> None:
        """Add the number of a server's connections."""
        self._connections.labels(door).set_function(count)

    def turning_away(self, door: str) -> Callable[[str], None]:
        """A function that counts a refused connection of a server, called with the reason."""
        return lambda reason: self._turned_away.labels(door, reason).inc()

    def watch_notices(self, hearing: Callable[[], bool]) -> None:
        """Add whether notices arrive, for a store that is followed by notices."""
        self.gauge(
            "pointsman_notices_heard",
            "Whether notices arrive; if not, the store is polled.",
            hearing,
        )

    def delivered(self, way: str, kind: str, published: str = "") -> None:
        """Count one answer with resources. With `published` (RFC 3339), also record the delay of the change.

        Give it only if an Envoy was waiting for the change: what an Envoy fetches at its start may be years old.
        """
        self.deliveries.labels(way, kind).inc()
        if published:
            self._delay.labels(way).observe(max(0.0, time.time() - datetime.fromisoformat(published).timestamp()))

    def deliverer(self, way: str, kind: str) -> Callable[[str], None]:
        """`delivered` for one way and kind, without look-ups, for sending the same to thousands."""
        deliveries, delay = self.deliveries.labels(way, kind), self._delay.labels(way)
        moments: dict[str, float] = {}

        def delivered(published: str) -> None:
            deliveries.inc()
            if published:
                if published not in moments:
                    moments.clear()
                    moments[published] = datetime.fromisoformat(published).timestamp()
                delay.observe(max(0.0, time.time() - moments[published]))

        return delivered

    def text(self) -> bytes:
        """All metrics in Prometheus' text format; the media type is CONTENT_TYPE."""
        return generate_latest(self._registry)
