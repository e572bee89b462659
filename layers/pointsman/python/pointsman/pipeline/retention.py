"""Retention: keeps superseded objects by number and age, and removes the others, apart from all events.

Only in a store that can remove objects: a file. (A bucket has a lifecycle rule for the history, and keeps every
config.) A config object is removed only if no kept root reaches it, together with a swap of the config head: a
`configure` that found the object, and did not write it, contends for the same head, loses, and writes it again.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from pointsman.model.seen import GONE_SECONDS
from pointsman.pipeline.config import ConfigHead, Root, load_root
from pointsman.pipeline.config_head import config_head_swap
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.objects import ObjectCache
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.renewals import read_lease_object
from pointsman.store import keys
from pointsman.store.protocol import Forgetful, Listed, StoreError

_DAY_S = 86400
GRACE_S = 3600
"""Seconds for which superseded objects stay, however many: a process may still use them."""
REMOVED_AT_ONCE = 100
"""Objects that one transaction removes: it delays a write by a few milliseconds."""
BATCHES = 50
"""Transactions of one run for each kind of object, and its steps of giving space back."""
PLANS = 500
"""Clusters whose history one run checks; the next run continues."""
ENDED_LEASE_S = _DAY_S
"""Seconds for which a lease that its source ended stays, so that no late event begins it again."""
SLACK = 10
"""New generations between two checks of the config, each of which reads every kept root; at least one a day."""
PAUSE_S = 0.05
"""Seconds between two transactions, for other writers."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Keeps the last `least` always, and up to `most` from the last `days` days."""

    least: int
    most: int
    days: int

    def keeps(self, rank: int, age_s: float) -> bool:
        """Whether to keep an object superseded `age_s` seconds ago, the `rank`th before the current one."""
        return rank <= self.least or (rank <= self.most and age_s <= self.days * _DAY_S)


HISTORY = Keep(least=10, most=200, days=90)
"""Superseded versions of one cluster."""

GENERATIONS = Keep(least=20, most=200, days=90)
"""Superseded generations of the config, which `pointsman rollback` can restore."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What one run removed."""

    versions: int = 0
    config_objects: int = 0
    leases: int = 0
    adapters: int = 0


class Retention:
    """Removes what `history` and `generations` do not keep, a little at a time. For one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        *,
        history: Keep = HISTORY,
        generations: Keep = GENERATIONS,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """On the store of `engine`. `clock` is the store's, in seconds since 1970.

        `pause` waits that many seconds and returns whether to stop.
        """
        self._engine = engine
        self._history = history
        self._generations = generations
        self._clock = clock
        self._pause = pause
        self._stopped = False
        self._plans: Iterator[Listed] = iter(())
        self._looked_at = (-SLACK, 0.0)

    def run(self) -> Removed:
        """Remove some of what is not kept any more, and give its space back; does nothing if the store cannot remove
        objects.

        Bounded: the next run continues. Raises StoreError.
        """
        store = self._engine.store
        if not isinstance(store, Forgetful):
            return Removed()
        removed = Removed(
            self._forget_versions(store),
            self._forget_config(store),
            self._forget_leases(store),
            self._forget_adapters(store),
        )
        for _ in range(BATCHES):
            if self._stopped or not store.tidy():
                break
            self._rest()
        return removed

    def _forget_versions(self, store: Forgetful) -> int:
        now = self._clock()
        plans = list(islice(self._plans, PLANS))
        if len(plans) < PLANS:  # all were checked: start again, with those added since
            self._plans = self._engine.store.list(keys.SNAPSHOTS)
            plans += islice(self._plans, PLANS - len(plans))
        removed = 0
        gone: list[str] = []
        for plan in plans:
            past = sorted(
                self._engine.store.list(keys.history_of(keys.plan_of(plan.key))),
                key=lambda each: (each.written, each.key),
                reverse=True,
            )
            gone += [each.key for rank, each in enumerate(past, 1) if not self._history.keeps(rank, now - each.written)]
            if len(gone) >= REMOVED_AT_ONCE:
                removed += self._remove(store, gone, BATCHES * REMOVED_AT_ONCE - removed)
                gone = []
            if self._stopped or removed >= BATCHES * REMOVED_AT_ONCE:
                return removed
        return removed + self._remove(store, gone, REMOVED_AT_ONCE)

    def _forget_leases(self, store: Forgetful) -> int:
        engine, now = self._engine, self._clock()
        old = [
            each.key
            for each in engine.store.list(keys.LEASES)
            if now - each.written > ENDED_LEASE_S and not keys.is_silence(each.key)
        ]
        found = engine.store.get_many(old[: BATCHES * REMOVED_AT_ONCE])
        leases = {key: read_lease_object(stored, engine.now()).lease for key, stored in found.items()}
        ended = {key: found[key] for key, lease in leases.items() if lease is not None and not lease.lease_ms}
        # The source may begin the lease again right now: then it stays.
        etags = {key: stored.etag for key, stored in ended.items() if stored is not None}
        return self._remove(store, list(ended), BATCHES * REMOVED_AT_ONCE, if_etags=etags)

    def _forget_adapters(self, store: Forgetful) -> int:
        """Remove what adapters saw that are gone. It may be removed although it is written again and again: nothing is
        computed from it, and nobody follows it."""
        now = self._clock()
        gone = {each.key: each.etag for each in self._engine.store.list(keys.SEEN) if now - each.written > GONE_SECONDS}
        return self._remove(store, list(gone), BATCHES * REMOVED_AT_ONCE, if_etags=gone)

    def _remove(
        self, store: Forgetful, names: Sequence[str], most: int, *, if_etags: Mapping[str, str] | None = None
    ) -> int:
        removed = 0
        while removed < min(len(names), most) and not self._stopped:
            batch = names[removed : removed + REMOVED_AT_ONCE]
            store.remove(batch, if_etags=if_etags)
            removed += len(batch)
            self._rest()
        return removed

    def _rest(self) -> None:
        self._stopped = bool(self._pause(PAUSE_S))

    def _forget_config(self, store: Forgetful) -> int:
        now = self._clock()
        head = self._engine.refresh()
        generation, then = self._looked_at
        if head.etag is None or (head.generation < generation + SLACK and now - then < _DAY_S):
            return 0
        listed = {each.key: each.written for each in self._engine.store.list(keys.CONFIG_OBJECTS)}
        reached: set[str] = set()
        oldest = head.generation
        try:
            for root in self._kept_roots(head, listed, now):
                reached.update(map(keys.config_object, root.objects()))
                oldest = root.generation
            reached.update(self._frozen())
        except StoreError:
            if self._engine.refresh().oldest > head.oldest:
                return 0  # another process has removed some of them: the next run tries again
            raise
        gone = [key for key, written in listed.items() if key not in reached and now - written > GRACE_S]
        current = replace(head, oldest=oldest)
        removed = 0
        for start in range(0, min(len(gone), BATCHES * REMOVED_AT_ONCE), REMOVED_AT_ONCE):
            batch = gone[start : start + REMOVED_AT_ONCE]
            swapped, write = config_head_swap(self._engine, current)
            outcome = store.remove(batch, write)
            if outcome is None or outcome.etag is None:
                return removed  # the config changed, so more may be in use: the next run checks again
            current = replace(swapped, etag=outcome.etag)
            removed += len(batch)
            self._rest()
            if self._stopped:
                return removed
        if removed == len(gone):
            self._looked_at = (head.generation, now)
        return removed

    def _frozen(self) -> Iterator[str]:
        """The keys of the lists of pins that orders in force refer to. (A list of a freeze that begins now is new.)"""
        for order in read_orders_object(self._engine.store.get(keys.ORDERS)).orders:
            if order.frozen:
                yield keys.config_object(order.frozen)

    def _kept_roots(self, head: ConfigHead, listed: dict[str, float], now: float) -> Iterator[Root]:
        """The current root and the earlier ones that are kept, newest first. Those not published yet are kept."""
        objects = ObjectCache(self._engine.store, most_bytes=1)
        root = load_root(objects, head.root)
        rank = 0
        while True:
            yield root
            rank += 1
            if root.previous is None or root.generation <= head.oldest:
                return
            age = now - listed.get(keys.config_object(root.digest), now)  # superseded when this one was written
            before = load_root(objects, root.previous["root"])
            needed = before.generation >= head.propagated or age <= GRACE_S
            if not needed and not self._generations.keeps(rank, age):
                return
            root = before
