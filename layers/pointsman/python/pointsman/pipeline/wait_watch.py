"""Watches the waits of a store: computes what has waited for long enough."""

from collections.abc import Mapping

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.model.cause import BY_WAIT
from pointsman.pipeline.codecs import PlanEntry
from pointsman.pipeline.config import Root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.load import plans_of
from pointsman.pipeline.settle import Settled, settle
from pointsman.pipeline.waits import EVERYTHING, Waits, note_waits, read_waits_object
from pointsman.store import keys


class WaitWatch:
    """One watch of the waits of a store. For one thread. It remembers nothing that is not in the store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waits = Waits()

    @property
    def waiting(self) -> int:
        """How many clusters waited at the last look."""
        return len(self._waits.due)

    @property
    def left_ms(self) -> int | None:
        """In how many milliseconds the next one is due, None if nothing waits; not more than 0 if it is now."""
        due = self._waits.next
        return None if due is None else due - self._engine.now_ms()

    def look(self) -> Settled | None:
        """Compute again what is due, send the notices, and forget that it waited. Returns what was settled, None if
        nothing was due. What waits again is noted with a later moment.

        A look that dies in between is made up for by the next one. Raises StoreError.
        """
        engine = self._engine
        self._waits = read_waits_object(engine.store.get(keys.WAITS), engine.now()).waits
        ready = self._waits.ready(engine.now_ms())
        if not ready:
            return None
        engine.refresh()
        settled = settle(engine, lambda root: _jobs(engine, root, ready), why=lambda key: BY_WAIT, notes=False)
        if news := settled.notices():
            engine.notify(news)
        self._waits = note_waits(engine, settled.due, ready) or self._waits
        return settled


def _is_timed(plan: Plan) -> bool:
    return isinstance(plan, SidecarPlan) and plan.is_timed


def _jobs(engine: Engine, root: Root, ready: Mapping[str, int]) -> dict[str, PlanEntry]:
    """The plans of `root` in scope under these keys."""
    if EVERYTHING in ready:
        found = {key: job for key, job in engine.config(root).plans.items() if _is_timed(job.plan)}
    else:
        found = dict(plans_of(engine.objects, root, ready))
    return engine.scope.of(found)
