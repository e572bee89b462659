"""One life of a store: several engines on it, what they were told, and how it has to end."""

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import orjson
from pointsman.model.catalog import EMPTY, Catalog, merge
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.pipeline.config import read_head
from pointsman.pipeline.configure import Batch as Accepted
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.ingest import Ingested, catalog_key, ingest, jobs_of
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.protocol import StoreUnavailable
from pointsman.xds.snapshot import read_snapshot

from tests.pipeline.fresh import catalogs_in, delivered, published, rebuilt, rendered
from tests.pipeline.interleaving import Interleaving, Task
from tests.pipeline.memory import Connection, Crash, Fault, MemoryStore
from tests.pipeline.meshes import engine_on
from tests.pipeline.promises import Promises
from tests.pipeline.stories import Act, Batch

_ENGINES = 3


class Life:
    """Acts happen in rounds, those of a round at the same time; what was not acknowledged may come again."""

    def __init__(self, seed: int) -> None:
        self.store = MemoryStore()
        self.promises = Promises(self.store)
        self.problems: list[str] = []
        self._told: list[HealthEvent] = []
        self._interleaving = Interleaving(seed)
        self._random = Random(seed)
        self._engines = [self._new_engine() for _ in range(_ENGINES)]
        self._observer = engine_on(Connection(self.store))

    def _new_engine(self) -> Any:
        order = Random(self._random.random())
        step, reads_back = self._interleaving.step, self._random.random() < 0.5
        return engine_on(Connection(self.store, step, order, reads_back))

    def live(self, rounds: Sequence[Sequence[Act]]) -> None:
        """All rounds, then deliveries until none is left over, then one reconcile."""
        again: list[Act] = []
        for acts in [*rounds, []]:
            again = self._round([*acts, *again])
        while again:
            again = self._round(again)

    def _round(self, acts: Sequence[Act]) -> list[Act]:
        """The acts of one round at the same time; those that have to come again."""
        tasks = []
        for act in acts:
            trouble = act.trouble
            fault = Fault(trouble.at, trouble.kind, trouble.lasting) if trouble else None
            tasks.append((act, self._interleaving.add(str(act.what)[:40], partial(self._do, act), fault)))
        self._interleaving.run()
        return [Act(act.what, act.engine, None, act.again) for act, task in tasks if self._left_over(act, task)]

    def _left_over(self, act: Act, task: Task) -> bool:
        if isinstance(task.error, Crash):
            self._engines[act.engine] = self._new_engine()
        elif isinstance(task.error, StoreUnavailable):
            if act.trouble is None:
                self.problems.append(f"{task.name} was not done though nothing was wrong: {task.error!r}")
                return False
        elif task.error is not None and not (isinstance(task.error, InvalidInput) and isinstance(act.what, Batch)):
            raise task.error
        return act.again and task.error is not None and not isinstance(task.error, InvalidInput)

    def _do(self, act: Act) -> Any:
        engine, what = self._engines[act.engine], act.what
        if what == "reconcile":
            return reconcile(engine)
        if isinstance(what, Batch):
            written = parse_documents(what.documents)
            batch = Accepted(written.entries, written.registrations, what.entries, what.registrations)
            return configure(engine, batch)
        assert isinstance(what, HealthEvent)
        self._told.append(what)
        since = self._observer.refresh().propagated
        done = ingest(engine, what)
        self._acknowledged(what, done, since)
        return done

    def _acknowledged(self, event: HealthEvent, done: Ingested, since: int) -> None:
        """At the very moment of the acknowledgement every head of a plan known since before covers the event."""
        self._observer.refresh()
        key = catalog_key(event)
        catalog = catalogs_in(self.store)[key]
        if merge(catalog, event) is not catalog:
            self.problems.append(f"{key}: acknowledged, but not in the catalog")
        for plan_key, job in jobs_of(self._observer, self._observer.root, event).items():
            if job.generation > since:
                continue
            stored = self.store.objects.get(f"snapshots/{plan_key}")
            snapshot = read_snapshot(orjson.loads(stored.data)) if stored else None
            if snapshot is None or snapshot.retired:
                self.problems.append(f"{plan_key}: acknowledged, but not published")
            elif snapshot.provenance.catalog.get(key, 0) < done.revision:
                self.problems.append(f"{plan_key}: acknowledged, but computed from an older {key}")

    def problems_at_the_end(self) -> list[str]:
        """Everything that is not as a fresh computation, or a promise at every moment, says."""
        reconcile(self._engines[0])
        problems = [*self.problems, *self.promises.broken]
        problems += self.promises.missing_history()
        problems += _differences("published", published(self.store), rebuilt(self.store))
        problems += _differences("delivered", delivered(self.store), rendered(self.store))
        problems += self._catalog_problems()
        again = reconcile(engine_on(Connection(self.store)))
        if again.repaired:
            problems.append(f"a second reconcile found more to mend: {again}")
        head = read_head(self.store.objects.get("config/head"))
        if head.propagated != head.generation:
            problems.append(f"propagated {head.propagated} of {head.generation}")
        return problems

    def _catalog_problems(self) -> list[str]:
        """The catalogs are what those of the events that they have heard of say, in any order."""
        heard: dict[str, Catalog] = {}
        found = catalogs_in(self.store)
        for event in self._told:
            key = catalog_key(event)
            if key in found and merge(found[key], event) is found[key]:
                heard[key] = merge(heard.get(key, EMPTY), event)
        return _differences(
            "catalogs",
            {key: dict(catalog.sources) for key, catalog in found.items()},
            {key: dict(catalog.sources) for key, catalog in heard.items()},
        )


def _differences(what: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"{what} {key}: {found.get(key)} instead of {expected.get(key)}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]
