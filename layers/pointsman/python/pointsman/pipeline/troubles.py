"""The trouble with the sources of a datacenter: written down when it is met, and read for people."""

import contextlib
from collections.abc import Sequence

from pointsman.model.events import HealthEvent
from pointsman.model.stale import stale_line
from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.model.trouble import Trouble, What, current, noted, read_trouble, trouble_json
from pointsman.pipeline.engine import ATTEMPTS, Engine
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.pipeline.recording import Recorded
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, StoreUnavailable, Write


def note_trouble(engine: Engine, events: Sequence[tuple[HealthEvent, Recorded]]) -> None:
    """Write down what was wrong with these events. If that is not possible now, their answers say it all the same."""
    met: dict[str, list[Trouble]] = {}
    for event, recorded in events:
        for what, words in (
            (What.STALE, stale_line(recorded.stale.json()) if recorded.stale is not None else ""),
            (What.DOUBTED, recorded.doubt),
            (What.SHARED, recorded.shared),
        ):
            if words:
                now = engine.now()
                met.setdefault(event.datacenter, []).append(
                    Trouble(event.source, event.datacenter, what, words, now, now)
                )
    for datacenter, some in sorted(met.items()):
        with contextlib.suppress(StoreError, StoreUnavailable):
            _note(engine, datacenter, some)


def _note(engine: Engine, datacenter: str, met: Sequence[Trouble]) -> None:
    key = keys.trouble(datacenter)
    for _ in range(ATTEMPTS):
        stored = engine.store.get(key)
        known, serial = _read(stored, engine.now())
        after = noted(known, met, engine.now())
        if after == known:
            return
        data = seal(trouble_json(after), serial + 1, engine.nonce())
        if engine.store.put(Write(key, data, stored.etag if stored else None)).etag is not None:
            return


def troubles(engine: Engine) -> tuple[Trouble, ...]:
    """The trouble of the last day with all sources, by datacenter and source. What is damaged counts as none."""
    found: list[Trouble] = []
    for stored in engine.store.get_many([each.key for each in engine.store.list(keys.TROUBLE)]).values():
        found += current(_read(stored, engine.now())[0], engine.now())
    return tuple(sorted(found, key=lambda each: (each.datacenter, each.source, each.what)))


def forget_trouble(engine: Engine, datacenter: str, source: str) -> None:
    """Forget the trouble with a source that is gone. Raises StoreError."""
    key = keys.trouble(datacenter)
    for _ in range(ATTEMPTS):
        stored = engine.store.get(key)
        known, serial = _read(stored, engine.now())
        after = tuple(each for each in known if each.source != source)
        if after == known:
            return
        data = seal(trouble_json(after), serial + 1, engine.nonce())
        if engine.store.put(Write(key, data, stored.etag if stored else None)).etag is not None:
            return


def _read(stored: Stored | None, now: str) -> tuple[tuple[Trouble, ...], int]:
    """What is noted in `stored`, and its serial."""
    if stored is None:
        return (), 0
    try:
        body = parse(stored.data)
        return read_trouble(body), number(body, "serial")
    except Damaged:
        return (), number_beyond(now)
    except NewerSchema as error:
        raise StoreError(f"{stored.key} cannot be read: {error}") from None
