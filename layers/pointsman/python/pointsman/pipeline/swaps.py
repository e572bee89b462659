"""Many objects compared and swapped, each for itself, a bounded number at a time."""

from collections.abc import Callable, Iterable

from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.settle import BATCH
from pointsman.store.protocol import Stored, Write


def swap_many(engine: Engine, names: Iterable[str], swap: Callable[[str, Stored | None], Write | None]) -> int:
    """Bring the objects under the store keys `names` to what `swap` wants in place of each, None where one may stand.

    How many were swapped. Lost races are run again, with `swap` asked anew; raises Contended when all of a batch are
    lost again and again.
    """
    swapped = fruitless = 0
    pending = list(names)
    while pending and fruitless < ATTEMPTS:
        batch, pending = pending[:BATCH], pending[BATCH:]
        found = engine.store.get_many(batch)
        writes = [write for name in batch if (write := swap(name, found.get(name))) is not None]
        outcomes = engine.store.put_many(writes) if writes else []
        lost = [outcome.key for outcome in outcomes if outcome.etag is None]
        swapped += len(outcomes) - len(lost)
        fruitless = fruitless + 1 if len(lost) == len(batch) else 0
        pending = lost + pending
    if pending:
        raise Contended(f"{len(pending)} objects such as {pending[0]} are contended; run it again")
    return swapped
