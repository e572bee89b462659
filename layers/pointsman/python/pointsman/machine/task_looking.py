"""Looks at the tasks that run in clusters of Amazon ECS, in a thread of its own that survives every failure."""

from collections.abc import Callable
from typing import Any, Final

from pointsman.aws.task_looks import NotLooked, look
from pointsman.machine.looking import Looking
from pointsman.model.duration import parse_duration
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest_all
from pointsman.pipeline.task_lists import expanded

LOOK_EVERY_SECONDS: Final = 60.0
"""Seconds between two looks; less if a third of the lease is."""


class TaskLooking(Looking):
    """Looks at the clusters of the settings with `client`, one of ECS, and takes in what it finds. `report` gets a line
    for each cluster that could not be looked at, and for what could not be taken in."""

    def __init__(self, engine: Engine, settings: SourceSettings, client: Any, report: Callable[[str], None]) -> None:
        super().__init__("tasks")
        self._engine, self._settings, self._client, self._report = engine, settings, client, report
        self._failed: list[str] = []

    @property
    def problem(self) -> str:
        """Why the last look failed; "" if it did not."""
        return super().problem or "; ".join(self._failed[:1])

    @property
    def pause_s(self) -> float:
        """Seconds until the next look."""
        lease_s = parse_duration(self._settings.tasks.lease) / 1e9
        return min(LOOK_EVERY_SECONDS, lease_s / 3) if lease_s else LOOK_EVERY_SECONDS

    def look(self) -> None:
        """Look at every cluster once. Raises StoreError."""
        failed: list[str] = []
        for cluster in self._settings.tasks.clusters:
            try:
                found = look(self._client, cluster, self._settings.tasks.lease)
            except NotLooked as error:
                failed.append(str(error))
                continue
            for event in found:
                reading = expanded(self._engine, read_events(event, self._settings))
                done = ingest_all(self._engine, reading.events)
                failed += dict.fromkeys(str(each) for each in done if isinstance(each, Exception))
        for line in failed:
            self._report(f"tasks of ECS: {line}")
        self._failed = failed
