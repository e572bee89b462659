"""Recover: after a restore, makes the store a new one that begins where the copy ended."""

from dataclasses import dataclass, replace

from pointsman.model.era import Era
from pointsman.pipeline.config_head import write_config_head
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.propagate import Progress
from pointsman.pipeline.reconcile import Reconciled, reconcile
from pointsman.store.protocol import StoreError


@dataclass(frozen=True, slots=True)
class Recovered:
    """The store's era before and after, and what was repaired."""

    before: Era
    after: Era
    reconciled: Reconciled


def recover(engine: Engine, progress: Progress = lambda text: None) -> Recovered:
    """Give the store a new identity and a greater epoch, and publish everything again.

    Then everything published after the copy was made counts as older, also in the caches of followers. Raises
    StoreError if nothing was ever configured, and Contended if other writers keep winning.
    """
    for _ in range(ATTEMPTS):
        head = engine.refresh()
        if head.etag is None:
            raise StoreError("the store has no config: there is nothing to recover; `pointsman apply` writes one")
        after = Era(engine.identity(), engine.next_era(head.era).epoch)
        written = write_config_head(engine, replace(head, era=after))
        if written is not None:
            engine.take(written)
            done = reconcile(engine, progress)
            return Recovered(head.era, engine.era, done)
    raise Contended("the config head is contended; run it again")
