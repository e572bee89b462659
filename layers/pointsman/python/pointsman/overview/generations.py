"""Generations of the config: who wrote which, when and what for, and what differs between two of them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pointsman.chain.plan import SidecarPlan
from pointsman.failover.evaluation import Effect, read_effect
from pointsman.model.stored import Body
from pointsman.pipeline.config import NO_ROOT, Config, Root, load_root
from pointsman.pipeline.configure import earlier
from pointsman.pipeline.difference import Change, changes_in, pairs_between
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.evaluating import Supposed, effects
from pointsman.pipeline.orders import read_orders_object
from pointsman.store import keys
from pointsman.store.protocol import StoreError

SCHEMA: Final = 1
"""The number of the form of what is here as JSON: it grows when a field goes or changes its meaning."""

MOST_GENERATIONS: Final = 200
"""Generations that are listed at once."""

MOST_NAMED: Final = 100
"""Changes of one generation that the list of generations names."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of the config: written `at` (RFC 3339, UTC), `by` whom, with which `message`, and what it made new,
    changed or removed: how many things, and of the first MOST_NAMED each as (`Change.what`, `Change.thing`).

    What is not known is "", because older writers noted none of it, or None, because the one before is not kept.
    """

    generation: int
    at: str
    by: str
    message: str
    changed: int | None
    changes: tuple[tuple[str, str], ...]

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"changes": [{"what": what, "thing": thing} for what, thing in self.changes]}


@dataclass(frozen=True, slots=True)
class Log:
    """Generations, the newest first. With `more`, there are older ones that are kept."""

    generations: tuple[Generation, ...]
    more: bool = False

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"schema": SCHEMA, "generations": [each.json() for each in self.generations], "more": self.more}

    @classmethod
    def of_json(cls, body: Body) -> "Log":
        """The inverse of `json`."""

        def generation(each: Body) -> Generation:
            return Generation(**each | {"changes": tuple((one["what"], one["thing"]) for one in each["changes"])})

        return cls(tuple(map(generation, body["generations"])), body["more"])


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters that two generations do not have alike, each as datacenter/kind/cluster."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two generations of the config, and where that sends traffic: `moves` are the sidecars'
    clusters that one target serves with the one and another with the other, if all else is as it is now."""

    before: int
    after: int
    changes: tuple[Change, ...]
    clusters: Clusters
    moves: tuple[Effect, ...] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "schema": SCHEMA,
            "before": self.before,
            "after": self.after,
            "changes": [each.json() for each in self.changes],
            "clusters": asdict(self.clusters),
            "moves": [each.json() for each in self.moves],
        }

    @classmethod
    def of_json(cls, body: Body) -> "Difference":
        """The inverse of `json`."""
        changes = tuple(Change(each["thing"], each["before"], each["after"]) for each in body["changes"])
        clusters = Clusters(**{what: tuple(names) for what, names in body["clusters"].items()})
        return cls(body["before"], body["after"], changes, clusters, tuple(map(read_effect, body["moves"])))


def changes_between(before: Config, after: Config) -> tuple[Change, ...]:
    """The entries and registrations that two configs do not have alike. Reads only the buckets that differ."""
    entries, registrations = (pairs_between(before, after, name) for name in ("entries", "registrations"))
    return tuple(changes_in(entries, registrations))


def difference(before: Config, after: Config) -> Difference:
    """What differs between two configs."""
    differing = sorted(before.plans.differing(after.plans))
    ours, theirs = ({key: each for key in differing if (each := some.plans.get(key))} for some in (before, after))
    return Difference(
        before.root.generation,
        after.root.generation,
        changes_between(before, after),
        Clusters(
            tuple(key for key in differing if key not in ours),
            tuple(key for key in differing if key in ours and key in theirs),
            tuple(key for key in differing if key not in theirs),
        ),
    )


def read_difference(engine: Engine, before: int | None, after: int | None) -> Difference:
    """What differs between two generations; `before` is the one before `after`, if it is None, and `after` the current
    one.

    Raises InvalidInput if there is no such generation, or it is not kept any more, and StoreError.
    """
    head = engine.refresh()
    new = _config(engine, head.generation if after is None else after)
    old = _config(engine, max(new.root.generation - 1, 0) if before is None else before)
    found = difference(old, new)
    orders = read_orders_object(engine.store.get(keys.ORDERS)).orders
    pairs = {key: (_plan(old, key), _plan(new, key)) for key in engine.scope.keys(found.clusters.changed)}
    moves = effects(engine, {key: pair for key, pair in pairs.items() if all(pair)}, Supposed(orders, orders))
    return replace(found, moves=tuple(each for each in moves if each.moves))


def _plan(config: Config, key: str) -> SidecarPlan | None:
    plan = config.plans[key].plan
    return plan if isinstance(plan, SidecarPlan) else None


def _config(engine: Engine, generation: int) -> Config:
    return earlier(engine, generation) if generation else engine.config(NO_ROOT)


def read_log(engine: Engine, most: int = 20) -> Log:
    """The newest `most` generations that are kept, at most MOST_GENERATIONS. Raises StoreError."""
    most = min(most, MOST_GENERATIONS)
    found: list[Generation] = []
    for root, previous in _roots(engine):
        if len(found) == most:
            return Log(tuple(found), more=True)
        changed: int | None = None
        named: tuple[tuple[str, str], ...] = ()
        if previous is not None:
            changes = changes_between(engine.config(previous), engine.config(root))
            changed, named = len(changes), tuple((each.what, each.thing) for each in changes[:MOST_NAMED])
        found.append(Generation(root.generation, root.at, root.note.by, root.note.message, changed, named))
    return Log(tuple(found))


def read_generations(engine: Engine, since: str) -> list[Generation]:
    """The generations written since a moment (RFC 3339, UTC), the newest first, without what they changed: at most
    MOST_GENERATIONS. Raises StoreError."""
    found: list[Generation] = []
    for root, _ in _roots(engine):
        if root.at < since or len(found) == MOST_GENERATIONS:
            break
        found.append(Generation(root.generation, root.at, root.note.by, root.note.message, None, ()))
    return found


def _roots(engine: Engine) -> Iterator[tuple[Root, Root | None]]:
    """The kept roots, the newest first, each with the one before; None where that is not kept."""
    head = engine.refresh()
    root = load_root(engine.objects, head.root)
    while root.generation:
        previous = None
        if root.previous is None:
            previous = load_root(engine.objects, "")
        elif root.generation > max(head.oldest, 1):
            try:
                previous = load_root(engine.objects, root.previous["root"])
            except StoreError:
                if engine.refresh().oldest <= head.oldest:
                    raise
        yield root, previous
        if previous is None or not previous.generation:
            return
        root = previous
