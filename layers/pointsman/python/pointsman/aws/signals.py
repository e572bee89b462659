"""What a function reports to its operators: log lines, metrics, traces."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from pointsman.chain.plan import Plan
from pointsman.model.few import MOST_SWITCH_LINES, Few
from pointsman.pipeline.config import Root
from pointsman.pipeline.switches import active_of, switch_from
from pointsman.xds.snapshot import Snapshot

H = TypeVar("H", bound=Callable[..., Any])


class Signals:
    """The log and the metrics of the function `service`; a witness of its engine (see `pipeline.switches.Witness`)."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.logger = Logger(service=service)
        namespace = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Pointsman")
        self.metrics = Metrics(namespace=namespace, service=service)
        self._few = Few(time.monotonic)
        self._turn = threading.Lock()

    def count(self, name: str, value: int = 1) -> None:
        """Add `value` to a metric of this invocation, if it is not 0."""
        if value:
            self.metrics.add_metric(name, MetricUnit.Count, value)

    def lag_since(self, name: str, text: str) -> None:
        """As `lag`, from a moment as ISO 8601 (UTC if it names no time zone); nothing if it cannot be parsed."""
        try:
            then = datetime.fromisoformat(text)
        except ValueError:
            return
        self.lag(name, then if then.tzinfo else then.replace(tzinfo=UTC))

    def lag(self, name: str, then: datetime) -> None:
        """Add the milliseconds since a moment."""
        # Other machines' clocks may be ahead of ours.
        passed_ms = max(0.0, (datetime.now(UTC) - then).total_seconds() * 1000)
        self.metrics.add_metric(name, MetricUnit.Milliseconds, passed_ms)

    def went_back(self, warnings: Iterable[str]) -> None:
        """Log and count every report that the store went back."""
        for reason in warnings:
            self.logger.warning("the store went back", reason=reason)
            self.count("StoreWentBack")

    def saw(self, plan: Plan, before: Snapshot | None, after: Snapshot) -> None:
        """Log the switch, if it is one: MOST_SWITCH_LINES per minute of one execution environment at most."""
        switch = switch_from(active_of(before), plan, after)
        if switch is None:
            return
        with self._turn:
            note = self._few.admit(self._service, "switched", MOST_SWITCH_LINES)
        if note is not None:
            fields = switch.fields() | ({"left_out": note} if note else {})
            self.logger.warning("switched", extra=fields)

    def took(self, root: Root) -> None:
        """Nothing: the function that writes a generation says so."""

    def retired(self, plan_key: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Write the metrics of this invocation, if there are any: an empty flush would only log a warning."""
        if self.metrics.metric_set:
            self.metrics.flush_metrics()

    def traced(self, handler: H) -> H:
        """`handler`, with each invocation traced if tracing is on."""
        if os.environ.get("POWERTOOLS_TRACE_DISABLED") != "false":
            return handler
        # X-Ray's recorder takes half as long to import as everything else, so it is imported only when tracing is on.
        from aws_lambda_powertools import Tracer

        tracer = Tracer(service=self._service, patch_modules=["botocore"])
        return cast(H, tracer.capture_lambda_handler(handler, capture_response=False))
