"""One life of a store: several engines on it, what they were told, who follows it, and how it has to end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any

import orjson
from pointsman.model.catalog import EMPTY, Catalog, merge, read_catalog
from pointsman.model.era import Era
from pointsman.model.errors import InvalidInput
from pointsman.model.events import HealthEvent
from pointsman.model.keys import silence_key
from pointsman.model.lease import heard_again
from pointsman.model.orders import PROVENANCE, Wish
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import NO_CONFIG_HEAD, Config, Root, read_config_head
from pointsman.pipeline.configure import Batch as Accepted
from pointsman.pipeline.configure import configure, parse_documents, rollback
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.give import end, end_orders_due, give
from pointsman.pipeline.ingest import Ingested, ingest_all, jobs_of
from pointsman.pipeline.lapses import lapse, readers_of_lease
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.pipeline.observer import Observer
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.reconcile import reconcile
from pointsman.pipeline.recording import catalog_key
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.retention import Keep, Retention
from pointsman.pipeline.scope import EVERYWHERE, Scope
from pointsman.pipeline.settle import Unsettled
from pointsman.pipeline.silences import read_silence_object
from pointsman.pipeline.wait_watch import WaitWatch
from pointsman.pipeline.waits import read_waits_object
from pointsman.store import keys
from pointsman.store.protocol import Store, Stored, StoreUnavailable
from pointsman.xds.snapshot import read_snapshot

from tests.pipeline.acts import (
    Act,
    Batch,
    Damage,
    End,
    Forget,
    Give,
    Lapse,
    Pointed,
    Records,
    Redelivery,
    Rescope,
    Rollback,
    Story,
    Upload,
    Verb,
)
from tests.pipeline.begun import begun
from tests.pipeline.bucket import Bucket
from tests.pipeline.following import Followers
from tests.pipeline.fresh import catalogs_in, delivered, published, rebuilt, rendered, unmarked
from tests.pipeline.interleaving import Interleaving, Task
from tests.pipeline.memory import Connection, Crash, Fault, MemoryStore, Step
from tests.pipeline.notified import Notified
from tests.pipeline.promises import Promises
from tests.pipeline.stories import ENGINES, FLAPPING

_REBUILT = 4
"""One life in so many is checked more closely at its end, which takes as long as the life itself: it is compared with a
store that got the final state at once, and an engine without memories must find nothing to repair."""

_HISTORY, _GENERATIONS = Keep(least=1, most=3, days=0), Keep(least=1, most=3, days=0)
"""What is kept of what was superseded."""

_PAGES = (3, 10, 1000)
"""In how many keys at a time a store may list."""


class _Process(Engine):
    """An engine of this life. What several of them read of one root they read once: it is content-addressed."""

    def __init__(self, store: Store, life: "Life", name: int, scope: Scope) -> None:
        super().__init__(store, clock=lambda: life.time(name), nonce=life.nonce, notify=life.notify, scope=scope)
        self._life = life

    def config(self, root: Root) -> Config:
        """The config of `root`."""
        found = self._life.configs.get(root.digest)
        return found or self._life.configs.setdefault(root.digest, super().config(root))


class Life:
    """Acts happen in rounds, those of a round at the same time; what was not acknowledged may come again.

    `counts` says how often each kind of act was done and each kind of fault happened.
    """

    def __init__(self, story: Story) -> None:
        self.problems: list[str] = []
        self.configs: dict[str, Config] = {}
        self.counts: Counter[str] = Counter()
        self._scopes = [Scope(story.datacenters)]
        self._story = story
        self._random = Random(story.seed)
        self._interleaving = Interleaving(story.seed)
        self._seconds, self._nonces = count(), count()
        self._clocks = [0] * ENGINES
        self._heard: list[HealthEvent] = []
        self._acknowledged: set[int] = set()
        self._late: set[int] = set()
        self._lapses = False
        self.store = MemoryStore() if story.begins_empty else begun(self.scope)
        self.promises = Promises(self.store, _HISTORY.least)
        self.promises.most_events = 10
        self._eras: set[Era] = set()
        self.store.watchers += [self._note_era, self._count_choices, self._note_flap]
        self._served: list[str] = []
        self._notified = Notified(self.store, self._interleaving)
        # The events with a pointer that were not done at first.
        self._pointed: list[tuple[Pointed, Task]] = []
        self._observer = _Process(Connection(self.store), self, 0, EVERYWHERE)
        self._engines = [self._new_engine(number) for number in range(ENGINES)]
        self._ended: list[Engine] = []
        self._bucket = Bucket(self._interleaving.step)
        self._followers = Followers(Connection(self.store, self._interleaving.step))

    @property
    def scope(self) -> Scope:
        """For which datacenters the store is now."""
        return self._scopes[-1]

    def _new_engine(self, number: int) -> _Process:
        order = Random(self._random.random())
        reads_back, page = self._random.random() < 0.8, self._random.choice(_PAGES)
        connection = Connection(self.store, self._interleaving.step, order, reads_back, page)
        return _Process(connection, self, number, self.scope)

    def _restart(self, number: int) -> Engine:
        self._ended.append(self._engines[number])
        self._engines[number] = self._new_engine(number)
        return self._engines[number]

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
            task.fault.happened = True
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
        self._lapses = any(isinstance(act.what, Lapse) for act in acts)
        for act in acts:
            trouble = act.trouble
            fault = Fault(trouble.at, trouble.kind, trouble.lasting) if trouble else None
            self._clocks[act.engine] += act.jump
            self.counts["a clock jumped"] += act.jump != 0
            self.store.now += act.what.hours * 3600 if isinstance(act.what, Forget) else 0
            tasks.append((act, self._interleaving.add(str(act.what)[:40], partial(self._do, act), fault)))
        follow = self._interleaving.add("followers", self._followers.look)
        self._interleaving.run()
        if follow.error is not None:
            raise follow.error
        left = [(act, self._left_over(act, task)) for act, task in tasks]
        for number, engine in enumerate(self._engines):
            if engine.scope_beside(NO_CONFIG_HEAD) != self.scope:
                self._restart(number)
        while self._ended:
            self._notified.excuse_keys(self._ended.pop().untold.pending)
        return [Act(what, act.engine, None, act.again) for act, what in left if what is not None]

    def _left_over(self, act: Act, task: Task) -> Verb | None:
        """What has to come again of an act."""
        what = act.what
        kind = what if isinstance(what, str) else type(what).__name__
        if act.trouble and isinstance(task.fault, Fault) and task.fault.happened:
            self.counts[f"{kind}: {act.trouble.kind}"] += 1
            self.counts[act.trouble.kind] += 1
        if isinstance(task.error, InvalidInput):
            assert isinstance(what, Batch | Rollback | Upload | Pointed | Give | End), task.error
            self.counts[f"{kind} refused"] += 1
            return None
        if task.error is None and not (isinstance(what, Records) and task.result):
            self.counts[kind] += 1
            return None
        left = _again(what, task)
        if isinstance(what, Pointed):
            self._pointed.append((what, task))
        if left is None or not (act.again or isinstance(what, Upload)):
            self._notified.excuse(task)
            left = None
        if isinstance(task.error, Crash):
            self._restart(act.engine)
        elif task.error is not None and not isinstance(task.error, StoreUnavailable):
            raise task.error
        elif act.trouble is None and not (task.error is None and self._late.issuperset(map(id, task.result))):
            self.problems.append(f"{task.name} was not done though nothing was wrong: {task.error!r}")
            return None
        if left is not None:
            self.counts[f"{kind} again"] += 1
            self.counts["records of a batch again, without the others"] += task.error is None
        return left

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
                return self._roll_back(engine, what.back)
            case Damage():
                heads = [*self.store.under(keys.SNAPSHOTS), *self.store.under(keys.MANIFESTS)]
                return self.store.damage(heads[what.which % len(heads)], b"damaged") if heads else None
            case Redelivery():
                return self._take_in([self._heard[what.which % len(self._heard)]], engine) if self._heard else None
            case HealthEvent():
                return self._hear([what], engine)
            case Records():
                return self._hear(what.events, engine, together=True)
            case Pointed():
                return self._hear(self._bucket.events(what), engine)
            case Upload():
                return list(self._bucket.deploy(engine, what))
            case Forget():
                return self._forget(engine)
            case Lapse():
                return self._lapse(engine, what.which)
            case Give():
                return self._give(engine, what)
            case End():
                return self._end(engine, what.which)
            case "wake":
                return self._wake(engine)
            case "due":
                done = end_orders_due(engine)
                self.counts["an order was over"] += len(done.orders)
                return done
            case Rescope():
                self._scopes.append(Scope(what.datacenters))
                return reconcile(self._restart(act.engine))

    def _roll_back(self, engine: Engine, back: int) -> Any:
        self._bucket.rolls_back()
        try:
            return rollback(engine, max(1, engine.refresh().generation - back))
        finally:
            self._bucket.rolls_back()

    def _forget(self, engine: Engine) -> None:
        def pause(seconds: float) -> None:
            self._interleaving.step(Step("remove", "", "after"))

        keeper = Retention(
            engine, history=_HISTORY, generations=_GENERATIONS, clock=lambda: self.store.now, pause=pause
        )
        removed = keeper.run()
        self.counts["versions were removed"] += removed.versions > 0
        self.counts["parts of the config were removed"] += removed.config_objects > 0

    def _lapse(self, engine: Engine, which: int) -> None:
        """Write that some sources are silent, as they were last heard, or as they were heard an event before."""
        found = engine.store.get_many([key for key in self.store.under(keys.LEASES) if not keys.is_silence(key)])
        leases = {key: read_lease_object(stored, engine.now()).lease for key, stored in sorted(found.items())}
        chosen = [(key, lease.heard) for key, lease in leases.items() if lease is not None][which % 3 :: 1 + which % 2]
        if which % 7 == 0:
            chosen = [(key, (epoch, index - 1)) for key, (epoch, index) in chosen]
        done = lapse(engine, dict(chosen))
        self.counts["a source fell silent"] += len(done.silent)
        self.counts["a lapse moved traffic"] += len(done.settled.moved)

    def _wake(self, engine: Engine) -> None:
        """What waits is looked at: by a timer in time, or by a message that comes late or twice."""
        done = WaitWatch(engine).look()
        self.counts["a wait was over"] += done is not None
        self.counts["a wake moved traffic"] += done is not None and bool(done.moved)

    def _give(self, engine: Engine, what: Give) -> None:
        """Give an order. At the very moment at which that is answered every head of a plan known since before covers
        it."""
        since = self._observer.refresh().propagated
        then = datetime.fromisoformat(engine.now()) + timedelta(seconds=what.seconds)
        until = then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        done = give(engine, Wish(what.subject, until, "a life", "somebody"), force=what.force)
        self.counts["an order was forced"] += done.order.forced
        self.counts["an order moved traffic"] += len(done.settled.moved)
        self._check_ordered(done.order.subject.scope, done.order.revision, since)

    def _end(self, engine: Engine, which: int) -> None:
        since = self._observer.refresh().propagated
        in_force = list(read_orders_object(engine.store.get(keys.ORDERS)).orders)
        if not in_force:
            return
        order = in_force[which % len(in_force)]
        done = end(engine, order.id, "somebody")
        self.counts["an order was ended"] += len(done.orders)
        self._check_ordered(order.subject.scope, order.revision + 1, since)

    def _check_ordered(self, scope: str, revision: int, since: int) -> None:
        self._observer.refresh()
        plans: Mapping[str, PlanEntry] = self._observer.config(self._observer.root).plans
        for each in self._scopes:
            plans = each.of(plans)
        for plan_key, job in plans.items():
            name = keys.snapshot(plan_key)
            stored = self.store.objects.get(name)
            if scope not in job.plan.orders or job.generation > since or name in self.store.damaged or stored is None:
                continue
            snapshot = read_snapshot(orjson.loads(stored.data))
            if snapshot.provenance.catalog.get(f"{PROVENANCE}{scope}", 0) < revision:
                self.problems.append(f"{plan_key}: an order about {scope} was answered, and does not count yet")

    def _hear(self, events: Sequence[HealthEvent], engine: Engine, together: bool = False) -> list[HealthEvent]:
        """Ingest events that were not delivered before. Returns those of the events delivered `together` that were not
        ingested."""
        self._heard += events
        return self._take_in(events, engine, together)

    def _take_in(self, events: Sequence[HealthEvent], engine: Engine, together: bool = False) -> list[HealthEvent]:
        """Take in all as one pass, as the function does: one that fails holds up no other that came `together`."""
        since = self._observer.refresh().propagated
        for event in events:
            self.counts["an acknowledged event came again"] += id(event) in self._acknowledged
        # Now and then a pass has no time for a second try.
        hurried = together and len(events) % 2 == 0
        failed: dict[int, Exception] = {}
        for event, done in zip(events, ingest_all(engine, events, lambda: not hurried), strict=True):
            if isinstance(done, Ingested):
                self._check_acknowledged(event, done, since)
                self._acknowledged.add(id(event))
                continue
            failed[id(event)] = done
            if hurried and isinstance(done, Unsettled):
                self._late.add(id(event))
                self.counts["an event was not taken in in time"] += 1
        for error in failed.values():
            if not (together and isinstance(error, StoreUnavailable)):
                raise error
        self.counts["of events of one pass some failed"] += 0 < len(failed) < len(events)
        return [event for event in events if id(event) in failed]

    def _check_acknowledged(self, event: HealthEvent, done: Ingested, since: int) -> None:
        """At the very moment of the acknowledgment every head of a plan known since before covers the event."""
        self._observer.refresh()
        self.counts["a silent source was heard again"] += done.heard_again
        if event.lease_ms is not None:
            self._check_heard(event, since)
        if event.is_alive:
            return
        key = catalog_key(event)
        catalog = read_catalog(orjson.loads(self.store.objects[keys.catalog(key)].data))
        if merge(catalog, event) is not catalog:
            self.problems.append(f"{key}: acknowledged, but not in the catalog")
        jobs = jobs_of(self._observer, self._observer.root, event)
        for scope in self._scopes:
            jobs = scope.of(jobs)
        for plan_key, job in jobs.items():
            name = keys.snapshot(plan_key)
            if job.generation > since or name in self.store.damaged:
                continue
            stored = self.store.objects.get(name)
            snapshot = read_snapshot(orjson.loads(stored.data)) if stored else None
            if snapshot is None or snapshot.retired:
                self.problems.append(f"{plan_key}: acknowledged, but not published")
            elif snapshot.provenance.catalog.get(key, 0) < done.revision:
                self.problems.append(f"{plan_key}: acknowledged, but computed from an older {key}")
            elif snapshot.provenance.catalog.get(key, 0) > done.revision:
                continue  # who computed it has yet to say until when it waits, before acknowledging its own event
            elif self._story.seed % 12 == FLAPPING and "not for long enough" in snapshot.content.sentence:
                waits = read_waits_object(self.store.objects.get(keys.WAITS), "").waits
                if plan_key not in waits.due:
                    self.problems.append(f"{plan_key}: acknowledged, but nobody knows until when it waits")

    def _check_heard(self, event: HealthEvent, since: int) -> None:
        """At the moment of the acknowledgment the lease stands, and if the source was silent every head covers that it
        was heard again."""
        place, where = (event.epoch, event.index), f"{event.source} in {event.datacenter}"
        stored = self.store.objects[keys.lease(event.datacenter, event.source)]
        lease = read_lease_object(stored, "").lease
        if lease is None or lease.heard < place:
            self.problems.append(f"{where}: acknowledged, but its lease is {lease}")
            return
        if self._lapses:
            return  # one that is being taken back is settled by whoever wrote it
        revision, before = self.promises.heard_again.get((event.source, event.datacenter), (0, place))
        if place <= before:
            return  # it revives nobody, so it does not wait for the event beside it that does
        jobs = readers_of_lease(self._observer, self._observer.root, lease)
        for scope in self._scopes:
            jobs = scope.of(jobs)
        for plan_key, job in jobs.items():
            name = keys.snapshot(plan_key)
            stored = self.store.objects.get(name)
            if job.generation > since or name in self.store.damaged or stored is None:
                continue
            snapshot = read_snapshot(orjson.loads(stored.data))
            if snapshot.provenance.catalog.get(silence_key(event.datacenter), 0) < revision:
                self.problems.append(f"{where}: acknowledged, but {plan_key} does not know that it was heard again")

    def problems_at_the_end(self) -> list[str]:
        """Everything that is not as a fresh computation, or a promise at every moment, says."""
        for engine in self._engines:
            engine.untold.tell_rest()
        self.counts["followers had a view meanwhile"] += self._followers.views
        # Two days later nobody waits any more.
        self._clocks = [172_800 + each for each in self._clocks]
        self._wake(self._engines[0])
        # Somebody who wrote of a silence may have crashed before it could take that back: the next look does.
        Observer(self._engines[0]).look(0)
        problems_of_silence = self._silence_problems()
        done = reconcile(self._engines[0])
        problems = [*problems_of_silence, *self.problems, *self.promises.broken, *done.failed]
        problems += self.promises.missing_history()
        self._observer.refresh()
        config, found = self._observer.config(self._observer.root), self._in_scope(published(self.store))
        if self._story.seed % _REBUILT == 0:
            problems += _differences("published", found, rebuilt(self.store, config, self.scope))
            again = reconcile(_Process(Connection(self.store), self, 0, self.scope))
            if again.repaired:
                problems.append(f"a second reconcile found more to mend: {again}")
        problems += _differences(
            "delivered", delivered(self.store, config, self.scope), rendered(self.store, config, self.scope)
        )
        problems += self._catalog_problems(catalogs_in(self.store))
        for pointed, task in self._pointed:
            if self._bucket.was_replaced(pointed):
                self._notified.excuse(task)
        problems += self._notified.missing(self._scopes, self._observer.root.gateways)
        problems += self._waits_problems()
        problems += self._followers.problems_at_the_end(config, found, self.scope)
        problems += self._bucket.problems(config)
        head = read_config_head(self.store.objects.get(keys.CONFIG_HEAD))
        if head.propagated != head.generation:
            problems.append(f"propagated {head.propagated} of {head.generation}")
        if len(self._eras) > 1:
            problems.append(f"a race was taken for a store that went back: {self._eras}")
        self.counts["an upload was applied again, since it had changed"] += self._bucket.read_anew
        self.counts += self.store.counts
        return problems

    def _waits_problems(self) -> list[str]:
        """Nothing waits any more. Where an instance flapped, traffic went away once at most, and came back once."""
        left = read_waits_object(self.store.objects.get(keys.WAITS), "").waits.due
        problems = [f"{left} still wait"] if left else []
        if self._story.seed % 12 == FLAPPING:
            self.counts["traffic went away from what flapped, and came back"] += len(self._served) == 3
            if len(self._served) > 3:
                problems.append(f"traffic went away more than once: {self._served}")
        return problems

    def _note_flap(self, old: Stored | None, new: Stored) -> None:
        if new.key == keys.snapshot("dc1/sidecar/web.default.dc1"):
            active = read_snapshot(orjson.loads(new.data)).content.active
            self._served += [active] if self._served[-1:] != [active] else []

    def _count_choices(self, old: Stored | None, new: Stored) -> None:
        """What a policy or the health of gateways decided."""
        if new.key.startswith(keys.SNAPSHOTS):
            content = read_snapshot(orjson.loads(new.data)).content
            self.counts["a gateway was avoided"] += bool(content.avoided)
            self.counts["a target had too few healthy instances"] += "are needed" in content.sentence
            self.counts["a target could not be reached"] += "no way" in content.sentence
            self.counts["a target had to wait"] += "not for long enough" in content.sentence

    def _silence_problems(self) -> list[str]:
        """Who was heard is not silent."""
        problems = []
        for key, stored in self.store.under(keys.LEASES).items():
            if keys.is_silence(key):
                continue
            lease = read_lease_object(stored, "").lease
            assert lease is not None
            silence = read_silence_object(
                lease.datacenter, self.store.objects.get(keys.silence(lease.datacenter))
            ).silence
            if heard_again(silence, [lease]) is not silence:
                problems.append(f"{lease} is silent: {silence}")
        return problems

    def _note_era(self, old: Stored | None, new: Stored) -> None:
        if new.key == keys.CONFIG_HEAD:
            self._eras.add(read_config_head(new).era)

    def _in_scope(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What was published, without what the store is for no more: that stays as it was."""
        return {key: each for key, each in found.items() if self.scope.has(keys.datacenter_of(key))}

    def _catalog_problems(self, found: dict[str, Catalog]) -> list[str]:
        """The catalogs are what their events state, in any order."""
        heard: dict[str, Catalog] = {}
        for event in self._heard:
            if event.is_alive:
                continue
            key = catalog_key(event)
            if key in found and merge(found[key], event) is found[key]:
                heard[key] = merge(heard.get(key, EMPTY), event)
        return _differences(
            "catalogs",
            {key: unmarked(catalog) for key, catalog in found.items()},
            {key: unmarked(catalog) for key, catalog in heard.items()},
        )


def _again(what: Verb, task: Task) -> Verb | None:
    """What a queue delivers again of an act that was not done, or not all of it."""
    match what:
        case Records() if task.error is None:
            return Records(task.result)
        case Upload():
            return replace(what, content=None)
        case Pointed():
            return replace(what, written=False)
        case HealthEvent() | Records():
            return what
    return None


def _differences(what: str, found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"{what} {key}: {found.get(key)} instead of {expected.get(key)}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]


def problems_of(story: Story, counts: Counter[str] | None = None) -> list[str]:
    """What is wrong with a life, including a defect that ends it. Its events are added to `counts`."""
    life = Life(story)
    try:
        life.live()
        return life.problems_at_the_end()
    except Exception as error:
        return [*life.problems, *life.promises.broken, f"it ended with {error!r}"]
    finally:
        if counts is not None:
            counts.update(life.counts)
