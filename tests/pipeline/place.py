"""A store, an engine on it and what it told, for tests of one named situation."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson
from pointsman.model.entries import EntryKey
from pointsman.model.events import HealthEvent
from pointsman.pipeline.configure import Batch, Configured, configure, parse_documents
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import Ingested, ingest
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable
from pointsman.xds.manifest import GatewaysManifest, Manifest, read_manifest
from pointsman.xds.snapshot import Snapshot, read_snapshot

from tests.pipeline.memory import Connection, Crash, MemoryStore, Step
from tests.pipeline.meshes import Document, engine_on
from tests.pipeline.promises import Promises

_awaited: list[Step] = []
"""Where something is to happen that has not happened yet, of all writers of the test that runs."""


def awaited() -> list[Step]:
    """The steps at which `Writer.once` was to have something happen, and to which no writer came; none from here on."""
    left = list(_awaited)
    _awaited.clear()
    return left


class Writer:
    """One process: an engine, its connection, every step that it took and all that it told of.

    `told` has the heads, `named` the manifests by their keys in a config, `order` all keys in the order of the calls.
    As long as it is `unheard`, no notice is taken.
    """

    def __init__(self, objects: MemoryStore) -> None:
        self.objects = objects
        self.steps: list[Step] = []
        self.told: list[tuple[str, int]] = []
        self.named: list[tuple[str, int]] = []
        self.order: list[str] = []
        self.unheard = False
        self.at: Callable[[Step], None] = lambda step: None
        self.connection = Connection(objects, self._step)
        self.engine: Engine = engine_on(self.connection, self._notify)

    def configure(self, *documents: Document, **more: Any) -> Configured:
        """Write `documents`."""
        return configure(self.engine, parse_documents(documents), **more)

    def delete(self, *entries: EntryKey, registrations: tuple[str, ...] = ()) -> Configured:
        """Delete entries and registrations."""
        return configure(self.engine, Batch(delete_entries=entries, delete_registrations=registrations))

    def ingest(self, event: HealthEvent) -> Ingested:
        """Take `event` in."""
        return ingest(self.engine, event)

    def forget_the_past(self) -> None:
        """Count calls, steps and notices from here on."""
        self.connection.calls.clear()
        self.steps.clear()
        self.told.clear()
        self.named.clear()
        self.order.clear()

    def calls(self) -> list[str]:
        """The round trips, by the names of the calls."""
        return [name for name, _ in self.connection.calls]

    def writes(self) -> list[str]:
        """The keys that it tried to write."""
        return [step.key for step in self.steps if step.action == "put" and step.moment == "before"]

    def once(
        self,
        action: Literal["get", "put", "list"],
        key: str,
        moment: Literal["before", "after"],
        then: Callable[[], Any],
        *,
        time: int = 1,
    ) -> None:
        """Run `then` when this writer is about to read, list or write `key` for the `time`th time. A test whose writer
        never does so fails, because it would prove nothing."""
        where, met = Step(action, key, moment), itertools.count(1)

        def look(step: Step) -> None:
            if step == where and next(met) == time:
                self.at = lambda step: None
                _awaited.remove(where)
                then()

        _awaited.append(where)
        self.at = look

    def crash(self, action: Literal["get", "put"], key: str, moment: Literal["before", "after"]) -> None:
        """Make this writer crash when it is about to read or write `key`."""

        def then() -> None:
            raise Crash

        self.once(action, key, moment, then)

    def _step(self, step: Step) -> None:
        self.steps.append(step)
        self.at(step)

    def _notify(self, moved: Sequence[Moved | MovedManifest]) -> None:
        assert moved, "there is something to tell"
        if self.unheard:
            raise StoreUnavailable("notices: nobody takes them")
        for each in moved:
            assert each.key in self.objects.objects, "what is told of stands"
            self.order.append(each.key)
            if isinstance(each, Moved):
                self.told.append((each.plan_key, each.version))
            else:
                self.named.append((each.key.removeprefix(keys.MANIFESTS), each.generation))


class Place(Writer):
    """A store, an empty one if none is given, with one writer; others can be had."""

    def __init__(self, objects: MemoryStore | None = None) -> None:
        super().__init__(objects or MemoryStore())
        self.promises = Promises(self.objects)

    def another(self) -> Writer:
        """One more process on the same store, with nothing in its memory."""
        return Writer(self.objects)

    def head(self, key: str) -> Snapshot:
        """The snapshot under `key`, `dc1/sidecar/web.default.dc1` for one."""
        return read_snapshot(orjson.loads(self.objects.objects[f"snapshots/{key}"].data))

    def manifest(self, key: str) -> Manifest:
        """The manifest under `key`, `dc1/sidecar/default/web` for one."""
        return read_manifest(orjson.loads(self.objects.objects[f"manifests/{key}"].data))

    def roster(self, datacenter: str) -> GatewaysManifest:
        """What the gateways of `datacenter` share."""
        manifest = self.manifest(f"{datacenter}/gateways")
        assert isinstance(manifest, GatewaysManifest)
        return manifest
