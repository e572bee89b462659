"""What `pointsman up` tells of what it computes: a line per switch and generation, and who serves whom, as metrics."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.model.few import MOST_SWITCH_LINES, Few
from pointsman.pipeline.config import Root
from pointsman.pipeline.switches import Switch, active_of, cause_name, switch_from
from pointsman.serve.log import FEW, FIELDS, KIND
from pointsman.xds.content import TargetHealth
from pointsman.xds.snapshot import Snapshot

_log = logging.getLogger(__name__)

MOST_TARGETS = 4_000
"""Targets with metrics of their own; the clusters beyond are counted in `pointsman_clusters_unlisted`, and in the
metrics that count clusters."""

_PLACE = ("service", "datacenter", "cluster")


@dataclass(slots=True)
class _Cluster:
    """A cluster as the callers of a datacenter have it."""

    service: str
    datacenter: str
    cluster: str
    active: str
    targets: tuple[TargetHealth, ...]

    @property
    def place(self) -> tuple[str, str, str]:
        """What its metrics are labeled with."""
        return self.service, self.datacenter, self.cluster

    @property
    def served(self) -> bool:
        """Whether a target has a healthy instance."""
        return any(each.healthy for each in self.targets)

    @property
    def failed_over(self) -> bool:
        """Whether another target than the first one serves."""
        return bool(self.targets) and self.active != self.targets[0].id


class EngineWitness(Collector):
    """The witness of the engine of `pointsman up` (see `pipeline.switches.Witness`), and the collector of its metrics.

    It knows the heads that the engine computed since the start, which begins with a reconcile, so all of them. What
    other processes publish it sees when the engine next computes the same: at the next event about it, or the next
    reconcile. Safe for several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._few = Few(time.monotonic)
        self._known: dict[str, _Cluster] = {}
        self._switches = Counter[str]()
        self._generation = 0

    def saw(self, plan: Plan, before: Snapshot | None, after: Snapshot) -> None:
        """Log the switch, if it is one, and remember who serves."""
        if not isinstance(plan, SidecarPlan):
            return
        known, content = self._known.get(plan.key), after.content
        if known is not None and known.active == content.active and known.targets == content.targets:
            return
        switch = switch_from(known.active if known is not None else active_of(before), plan, after)
        service = str(plan.targets[0].target.name)
        now = _Cluster(service, plan.datacenter, plan.cluster_id, content.active, content.targets)
        note = None
        with self._lock:
            self._known[plan.key] = now
            if switch is not None:
                self._switches[cause_name(switch.cause)] += 1
                note = self._few.admit(_log.name, "switched", MOST_SWITCH_LINES)
        if switch is not None and note is not None:
            tell_switch(switch, note)

    def took(self, root: Root) -> None:
        """Log another generation of the config; not the one that is there at the start."""
        before, self._generation = self._generation, root.generation
        if before:
            by = f" by {root.note.by}" if root.note.by else ""
            said = f": {root.note.message}" if root.note.message else ""
            fields = {"generation": root.generation, "by": root.note.by, "note": root.note.message}
            _log.warning(
                "configured: generation %d%s%s", root.generation, by, said, extra={KIND: "configured", FIELDS: fields}
            )

    def retired(self, plan_key: str) -> None:
        """Forget a cluster that ended."""
        with self._lock:
            self._known.pop(plan_key, None)

    def keep(self, plan_keys: Collection[str]) -> None:
        """Forget all other clusters: other processes ended them."""
        with self._lock:
            self._known = {key: each for key, each in self._known.items() if key in plan_keys}

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        with self._lock:
            clusters, switches = [each for _, each in sorted(self._known.items())], dict(self._switches)
        yield from _counts(clusters)
        listed, targets = 0, 0
        for each in clusters:
            targets += len(each.targets)
            if targets > MOST_TARGETS:
                break
            listed += 1
        yield GaugeMetricFamily(
            "pointsman_clusters_unlisted",
            f"Clusters without metrics of their own, because those before them have {MOST_TARGETS} targets.",
            value=len(clusters) - listed,
        )
        yield from _targets(clusters[:listed])
        family = CounterMetricFamily(
            "pointsman_switches", "Clusters whose active target changed, by what caused it.", labels=("cause",)
        )
        for cause, count in sorted(switches.items()):
            family.add_metric((cause,), count)
        yield family


def _counts(clusters: Collection[_Cluster]) -> Iterator[Metric]:
    of_all = GaugeMetricFamily("pointsman_clusters", "Clusters of sidecars.", labels=("datacenter",))
    unserved = GaugeMetricFamily(
        "pointsman_clusters_unserved", "Clusters without a healthy target.", labels=("datacenter",)
    )
    over = GaugeMetricFamily(
        "pointsman_clusters_failed_over",
        "Clusters that another target than the first one serves.",
        labels=("datacenter",),
    )
    for datacenter in sorted({each.datacenter for each in clusters}):
        mine = [each for each in clusters if each.datacenter == datacenter]
        of_all.add_metric((datacenter,), len(mine))
        unserved.add_metric((datacenter,), sum(not each.served for each in mine))
        over.add_metric((datacenter,), sum(each.failed_over for each in mine))
    yield from (of_all, unserved, over)


def _targets(clusters: Collection[_Cluster]) -> Iterator[Metric]:
    active = GaugeMetricFamily(
        "pointsman_active_target",
        "1 for the target that serves the callers of a datacenter.",
        labels=(*_PLACE, "target"),
    )
    over = GaugeMetricFamily(
        "pointsman_failed_over", "Whether another target than the first one serves.", labels=_PLACE
    )
    healthy = GaugeMetricFamily(
        "pointsman_target_healthy_instances", "Healthy instances of a target.", labels=(*_PLACE, "target")
    )
    instances = GaugeMetricFamily("pointsman_target_instances", "Instances of a target.", labels=(*_PLACE, "target"))
    for each in clusters:
        active.add_metric((*each.place, each.active), 1)
        over.add_metric(each.place, each.failed_over)
        for target in each.targets:
            healthy.add_metric((*each.place, target.id), target.healthy)
            instances.add_metric((*each.place, target.id), target.total)
    yield from (active, over, healthy, instances)


def tell_switch(switch: Switch, note: str) -> None:
    """Log a switch, with a `note` about others behind it, "" for none."""
    extra = {KIND: "switched", FEW: None, FIELDS: switch.fields()}
    _log.warning("%s%s", switch.line, f" ({note})" if note else "", extra=extra)
