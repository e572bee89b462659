"""Decides what to do with a computed snapshot, and makes the writes for it (docs/architecture.md, "Snapshots")."""

from collections.abc import Callable
from enum import Enum

from pointsman.model.cause import NO_CAUSE, Cause
from pointsman.model.era import Era
from pointsman.pipeline.config_head import Behind
from pointsman.pipeline.heads import HeadReading
from pointsman.pipeline.objects import seal
from pointsman.store import keys
from pointsman.store.protocol import Write
from pointsman.xds.content import Content
from pointsman.xds.snapshot import Provenance, Relation, Snapshot, snapshot_json


class Verdict(Enum):
    """What to do with a head."""

    MOVE = "a new version"
    STAMP = "the same version with a newer provenance"
    STANDS = "it stands already"
    READ_AGAIN = "another writer knows more, or the store went back"


def decide(
    current: Snapshot | None,
    content: Content,
    provenance: Provenance,
    *,
    now: str,
    store: str = "",
    cause: Callable[[], Cause] = lambda: NO_CAUSE,
) -> tuple[Verdict, Snapshot | None]:
    """What to do with the head `current` after `content` was computed from `provenance`, and the resulting snapshot.

    `store` is the identity of the store, `cause` gives why it was computed, which is noted beside a
    new version.

    A head moves only to a provenance that is older in no entry. With equal content only the provenance is stamped in:
    otherwise a slow computation that ends late could undo a newer one.
    """
    if current is None:
        first = cause()
        return Verdict.MOVE, Snapshot(1, content, provenance, now, now, store=store, cause=first, switch=first)
    relation = provenance.relation_to(current.provenance)
    if relation in (Relation.OLDER, Relation.INCOMPARABLE):
        return Verdict.READ_AGAIN, None
    if current.content.same_version(content) and not current.retired:
        if relation is Relation.EQUAL and current.content == content and current.store == store:
            return Verdict.STANDS, current
        return Verdict.STAMP, current._replace(content=content, provenance=provenance, store=store)
    if relation is Relation.EQUAL:
        # Equal provenance means equal content, so one of the two is from another history.
        return Verdict.READ_AGAIN, None
    stays = current.content.active == content.active and not current.retired
    why = cause()
    since, switch = (current.since, current.switch) if stays else (now, why)
    after = Snapshot(current.version + 1, content, provenance, since, now, store=store, cause=why, switch=switch)
    return Verdict.MOVE, after


def behind(plan_key: str, current: Snapshot, provenance: Provenance) -> Behind:
    """What in `provenance` is older than the inputs of `current`."""
    known = current.provenance
    if known.epoch > provenance.epoch:
        why = f"the store's epoch is {provenance.epoch}, which is older than that of what was published ({known.epoch})"
    elif known.generation > provenance.generation:
        why = f"its config is older (generation {provenance.generation}) than what was published ({known.generation})"
    elif older := [key for key in sorted(known.catalog) if known.catalog[key] > provenance.catalog.get(key, 0)]:
        ours, theirs = provenance.catalog.get(older[0], 0), known.catalog[older[0]]
        why = f"its catalog {older[0]} is older (revision {ours}) than what was published ({theirs})"
    else:
        why = "what was published from the same config and catalogs is not what they come to"
    return Behind(plan_key, why, max(known.epoch, provenance.epoch))


def retirement(current: Snapshot | None, era: Era, generation: int) -> Snapshot | None:
    """`current`, retired because `generation` has no plan for it; None if there is nothing to retire."""
    if current is None or current.retired:
        return None
    if current.at >= (era.epoch, generation):
        return None
    return current._replace(retired=True, provenance=Provenance(era.epoch, generation, {}), store=era.identity)


def head_write(plan_key: str, reading: HeadReading, snapshot: Snapshot, nonce: str) -> Write:
    """The write that swaps the head in `reading` for `snapshot`."""
    data = seal(snapshot_json(snapshot), reading.serial + 1, nonce)
    return Write(keys.snapshot(plan_key), data, reading.etag)


def history_write(plan_key: str, reading: HeadReading) -> Write | None:
    """The write that copies a superseded version to the history; None if there is none."""
    if reading.snapshot is None or not reading.data:
        return None
    return Write(keys.history(plan_key, reading.snapshot.era, reading.snapshot.version), reading.data, None)
