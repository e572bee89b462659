"""One life of a store: several engines on it, what they were told, who follows it, and how it has to end."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, partial
from itertools import count
from random import Random
from typing import Any

import orjson
from pointsman.model.catalog import EMPTY, Catalog, merge
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.pipeline.config import Config, Root, read_config_head
from pointsman.pipeline.configure import Batch as Accepted
from pointsman.pipeline.configure import configure, parse_documents, rollback
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import Ingested, catalog_key, ingest, jobs_of
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.scope import Scope
from pointsman.store import keys
from pointsman.store.protocol import Store, Stored, StoreUnavailable
from pointsman.xds.snapshot import read_snapshot

from tests.pipeline.following import Followers
from tests.pipeline.fresh import catalogs_in, delivered, published, rebuilt, rendered
from tests.pipeline.interleaving import Interleaving, Task
from tests.pipeline.memory import Connection, Crash, Fault, MemoryStore
from tests.pipeline.meshes import engine_on
from tests.pipeline.notified import Notified
from tests.pipeline.promises import Promises
from tests.pipeline.stories import BEGINNING, ENGINES, Act, Batch, Damage, Redelivery, Rollback, Story

_REBUILT = 4
"""Every which life is looked at more closely at its end, which takes as long as living it: it is compared with a store
that is told the end in one breath, and an engine without memories has to find nothing to mend."""

_PAGES = (3, 10, 1000)
"""In how many keys at a time a store may list."""


@cache
def _beginning(scope: Scope) -> dict[str, Stored]:
    store = MemoryStore()
    configure(engine_on(Connection(store), scope=scope), parse_documents(BEGINNING.documents))
    return store.objects


def _begun(scope: Scope) -> MemoryStore:
    """A store in which BEGINNING is the config."""
    store = MemoryStore()
    for key, stored in _beginning(scope).items():
        store.restore(key, stored.data)
    return store


class _Process(Engine):
    """An engine of this life. What several of them read of one root they read once: it is content-addressed."""

    def __init__(self, store: Store, life: "Life", name: int) -> None:
        super().__init__(store, clock=lambda: life.time(name), nonce=life.nonce, notify=life.notify, scope=life.scope)
        self._life = life

    def config(self, root: Root) -> Config:
        """The config of `root`."""
        found = self._life.configs.get(root.digest)
        return found or self._life.configs.setdefault(root.digest, super().config(root))


class Life:
    """Acts happen in rounds, those of a round at the same time; what was not acknowledged may come again."""

    def __init__(self, story: Story) -> None:
        self.problems: list[str] = []
        self.configs: dict[str, Config] = {}
        self.scope = Scope(story.datacenters)
        self._story = story
        self._random = Random(story.seed)
        self._interleaving = Interleaving(story.seed)
        self._seconds, self._nonces = count(), count()
        self._clocks = [0] * ENGINES
        self._heard: list[HealthEvent] = []
        self.store = MemoryStore() if story.begins_empty else _begun(self.scope)
        self.promises = Promises(self.store)
        self._notified = Notified(self.store, self._interleaving)
        self._observer = _Process(Connection(self.store), self, 0)
        self._engines = [self._new_engine(number) for number in range(ENGINES)]
        self._followers = Followers(Connection(self.store, self._interleaving.step), self.scope)

    def _new_engine(self, number: int) -> _Process:
        order = Random(self._random.random())
        reads_back, page = self._random.random() < 0.5, self._random.choice(_PAGES)
        return _Process(Connection(self.store, self._interleaving.step, order, reads_back, page), self, number)

    def time(self, engine: int) -> datetime:
        """What the clock of an engine shows: a second later at every look, if it does not jump."""
        return datetime.fromtimestamp(1_700_000_000 + next(self._seconds) + self._clocks[engine], UTC)

    def nonce(self) -> str:
        """The mark of one write."""
        return f"nonce {next(self._nonces)}"

    def notify(self, moved: Sequence[Moved | MovedManifest]) -> None:
        """Tell of what moved; from where a writer's notices are not taken on, only of some of it."""
        task = self._interleaving.current
        if task is not None and isinstance(task.fault, Fault) and task.fault.deaf:
            self._notified.hear(self._random.sample(moved, self._random.randint(0, len(moved))))
            raise StoreUnavailable("notices: not all were taken")
        self._notified.hear(moved)

    def live(self) -> None:
        """All rounds, then deliveries until none is left over."""
        again: list[Act] = []
        for acts in [*self._story.rounds, []]:
            again = self._round([*acts, *again])
        while again:
            again = self._round(again)

    def _round(self, acts: Sequence[Act]) -> list[Act]:
        """The acts of one round at the same time; those that have to come again."""
        tasks = []
        for act in acts:
            trouble = act.trouble
            fault = Fault(trouble.at, trouble.kind, trouble.lasting) if trouble else None
            self._clocks[act.engine] += act.jump
            tasks.append((act, self._interleaving.add(str(act.what)[:40], partial(self._do, act), fault)))
        follow = self._interleaving.add("followers", self._followers.look)
        self._interleaving.run()
        if follow.error is not None:
            raise follow.error
        return [Act(act.what, act.engine, None, act.again) for act, task in tasks if self._left_over(act, task)]

    def _left_over(self, act: Act, task: Task) -> bool:
        if task.error is None or isinstance(task.error, InvalidInput):
            assert task.error is None or isinstance(act.what, Batch | Rollback), task.error
            return False
        again = act.again and isinstance(act.what, HealthEvent)
        if not again:
            self._notified.excuse(task)
        if isinstance(task.error, Crash):
            self._notified.excuse_keys(self._engines[act.engine].untold.pending)
            self._engines[act.engine] = self._new_engine(act.engine)
        elif not isinstance(task.error, StoreUnavailable):
            raise task.error
        elif act.trouble is None:
            self.problems.append(f"{task.name} was not done though nothing was wrong: {task.error!r}")
            return False
        return again

    def _do(self, act: Act) -> Any:
        engine, what = self._engines[act.engine], act.what
        match what:
            case "reconcile":
                return reconcile(engine)
            case Batch():
                written = parse_documents(what.documents)
                return configure(
                    engine, Accepted(written.entries, written.registrations, what.entries, what.registrations)
                )
            case Rollback():
                return rollback(engine, max(1, engine.refresh().generation - what.back))
            case Damage():
                heads = [*self.store.under(keys.SNAPSHOTS), *self.store.under(keys.MANIFESTS)]
                return self.store.damage(heads[what.which % len(heads)], b"damaged") if heads else None
            case Redelivery():
                return self._take_in(engine, self._heard[what.which % len(self._heard)]) if self._heard else None
            case HealthEvent():
                self._heard.append(what)
                return self._take_in(engine, what)

    def _take_in(self, engine: Engine, event: HealthEvent) -> Ingested:
        since = self._observer.refresh().propagated
        done = ingest(engine, event)
        self._acknowledged(event, done, since)
        return done

    def _acknowledged(self, event: HealthEvent, done: Ingested, since: int) -> None:
        """At the very moment of the acknowledgement every head of a plan known since before covers the event."""
        self._observer.refresh()
        key = catalog_key(event)
        catalog = catalogs_in(self.store)[key]
        if merge(catalog, event) is not catalog:
            self.problems.append(f"{key}: acknowledged, but not in the catalog")
        for plan_key, job in jobs_of(self._observer, self._observer.root, event).items():
            name = keys.snapshot(plan_key)
            if job.generation > since or name in self.store.damaged:
                continue
            stored = self.store.objects.get(name)
            snapshot = read_snapshot(orjson.loads(stored.data)) if stored else None
            if snapshot is None or snapshot.retired:
                self.problems.append(f"{plan_key}: acknowledged, but not published")
            elif snapshot.provenance.catalog.get(key, 0) < done.revision:
                self.problems.append(f"{plan_key}: acknowledged, but computed from an older {key}")

    def problems_at_the_end(self) -> list[str]:
        """Everything that is not as a fresh computation, or a promise at every moment, says."""
        for engine in self._engines:
            engine.untold.tell_rest()
        done = reconcile(self._engines[0])
        problems = [*self.problems, *self.promises.broken, *done.failed]
        problems += self.promises.missing_history()
        self._observer.refresh()
        config, found = self._observer.config(self._observer.root), published(self.store)
        if self._story.seed % _REBUILT == 0:
            problems += _differences("published", found, rebuilt(self.store, config, self.scope))
            again = reconcile(_Process(Connection(self.store), self, 0))
            if again.repaired:
                problems.append(f"a second reconcile found more to mend: {again}")
        problems += _differences(
            "delivered", delivered(self.store, config, self.scope), rendered(self.store, config, self.scope)
        )
        problems += self._catalog_problems(catalogs_in(self.store))
        problems += self._notified.missing()
        problems += self._followers.problems_at_the_end(config, found)
        head = read_config_head(self.store.objects.get(keys.CONFIG_HEAD))
        if head.propagated != head.generation:
            problems.append(f"propagated {head.propagated} of {head.generation}")
        return problems

    def _catalog_problems(self, found: dict[str, Catalog]) -> list[str]:
        """The catalogs are what those of the events that they have heard of say, in any order."""
        heard: dict[str, Catalog] = {}
        for event in self._heard:
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


def problems_of(story: Story) -> list[str]:
    """What is wrong with a life; a defect that ends it is a problem as well."""
    life = Life(story)
    try:
        life.live()
        return life.problems_at_the_end()
    except Exception as error:
        return [*life.problems, *life.promises.broken, f"it ended with {error!r}"]
