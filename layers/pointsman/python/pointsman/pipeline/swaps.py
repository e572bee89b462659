"""Compares and swaps many objects, each for itself, a bounded number at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import put_in_portions
from pointsman.pipeline.settle import BATCH
from pointsman.store.protocol import Stored, Write


@dataclass(slots=True)
class Swapped:
    """The outcomes of many swaps: the objects that were written, those that stay as they are, and by key the failures,
    such as an object of a newer Pointsman."""

    written: list[Write] = field(default_factory=list)
    stood: list[Stored] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)


def swap_many(engine: Engine, names: Iterable[str], swap: Callable[[str, Stored | None], Write | None]) -> Swapped:
    """Write what `swap` returns for each of the objects under the store keys `names`; None leaves it as it is.

    Lost races are repeated, with a new call of `swap`; raises Contended if all of a batch are lost again and again.
    """
    out, fruitless = Swapped(), 0
    pending = list(names)
    while pending and fruitless < ATTEMPTS:
        batch, pending = pending[:BATCH], pending[BATCH:]
        found = engine.store.get_many(batch)
        wanted: dict[str, Write | None] = {}
        for name in batch:
            try:
                wanted[name] = swap(name, found.get(name))
            except Exception as error:  # even a defect concerns only this object
                out.failed[name] = error
        out.stood += [found[name] for name, write in wanted.items() if write is None and name in found]
        writes = [write for write in wanted.values() if write is not None]
        outcomes = put_in_portions(engine.store, writes)
        lost = [outcome.key for outcome in outcomes if outcome.etag is None]
        out.written += [write for write, done in zip(writes, outcomes, strict=True) if done.etag is not None]
        fruitless = fruitless + 1 if len(lost) == len(batch) else 0
        pending = lost + pending
    if pending:
        raise Contended(f"{len(pending)} objects such as {pending[0]} are contended; run it again")
    return out
