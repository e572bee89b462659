"""Swaps the config head, and raises its epoch if the store went back.

Everything published names its inputs: the epoch, the config's generation, revisions of catalogs. None of these goes
down, unless a store, or one object of it, was restored from a copy. Then everything published counts as newer than
everything computed, and nothing would be published again. So a writer that is sure of this raises the epoch, which is
compared first (docs/architecture.md, "When a store goes back").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pointsman.model.era import NO_ERA
from pointsman.pipeline.config import ConfigHead
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.objects import seal
from pointsman.store import keys
from pointsman.store.protocol import StoreError, StoreUnavailable, Write
from pointsman.xds.manifest import Moment

EXPLAINED = 'docs/architecture.md, "When a store goes back"'


def write_config_head(engine: Engine, head: ConfigHead) -> ConfigHead | None:
    """Swap the config head with the etag `head.etag` for `head`; None if the race was lost.

    An engine with a scope or a topic saves it there, for those without one. The first head of a store begins its first
    era.
    """
    after, write = config_head_swap(engine, head)
    written = engine.store.put(write)
    return replace(after, etag=written.etag) if written.etag is not None else None


def config_head_swap(engine: Engine, head: ConfigHead) -> tuple[ConfigHead, Write]:
    """The new config head, still without its etag, and the write that swaps it for the one with `head.etag`."""
    era = head.era if head.etag is not None else engine.next_era(NO_ERA)
    scope, bears = engine.scope_beside(head), head.bears.raised()
    notices = engine.notices_beside(head)
    after = replace(head, scope=scope, notices=notices, era=era, bears=bears, serial=head.serial + 1, etag=None)
    return after, Write(keys.CONFIG_HEAD, seal(after.json(), after.serial, engine.nonce()), head.etag)


@dataclass(frozen=True, slots=True)
class Behind:
    """An input that is older than what was published from it: `thing` was published in `epoch`, and `why` it cannot be
    published now."""

    thing: str
    why: str
    epoch: int


class WentBack(StoreError):
    """An input is older than what was published from it, and the epoch cannot be raised."""

    def __init__(self, behind: Behind, cause: StoreError) -> None:
        self.cause = cause
        super().__init__(f"{behind.why}. Was the store restored? See {EXPLAINED}. Its epoch cannot be raised: {cause}")


def raise_epoch(engine: Engine, behind: Sequence[Behind]) -> str:
    """Raise the store's epoch above those of `behind`, about which the caller is sure.

    Returns the warning; "" if another writer raised it or changed the config head, in which case read again. Raises
    WentBack if it cannot be raised, StoreUnavailable if the store is away.
    """
    above = max(each.epoch for each in behind)
    try:
        head = engine.refresh()
        if head.era.epoch > above:
            return ""
        raised = write_config_head(engine, replace(head, era=engine.next_era(head.era, above)))
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise WentBack(behind[0], error) from error
    if raised is None:
        return ""
    engine.take(raised)
    more = f" ({len(behind) - 1} more are like it)" if len(behind) > 1 else ""
    return (
        f"the store went back: {behind[0].thing}: {behind[0].why}{more}. Was it restored? Its epoch is "
        f"{raised.era.epoch} now, in which everything is published again; see {EXPLAINED}"
    )


def raise_above(engine: Engine, published: Moment, thing: str) -> str:
    """Raise the epoch, as `raise_epoch`, if `thing`, read before, belongs to a later state than the config has now.

    The config is read after `thing`, so it is not older than the one `thing` was published from, unless it went back.
    """
    head = engine.refresh()
    if head.at >= published:
        return ""
    epoch, generation = published
    if epoch != head.era.epoch:
        why = f"the store's epoch is {head.era.epoch}, which is older than that of what was published ({epoch})"
    else:
        why = f"the config is older (generation {head.generation}) than what was published ({generation})"
    return raise_epoch(engine, [Behind(thing, why, max(epoch, head.era.epoch))])


@dataclass(slots=True)
class Latest:
    """The latest of several things that are later than the current config."""

    thing: str = ""
    at: Moment = (0, 0)

    def note(self, thing: str, found: Moment, ours: Moment) -> bool:
        """Note `thing` if it is later than `ours`; returns whether it is."""
        if found > max(self.at, ours):
            self.thing, self.at = thing, found
        return found > ours

    def raise_above(self, engine: Engine) -> str:
        """As `raise_above`, for the noted thing, if any."""
        return raise_above(engine, self.at, self.thing) if self.thing else ""
