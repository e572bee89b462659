"""Observes the leases of a store, and writes which sources fell silent."""

from dataclasses import dataclass

from pointsman.model.lapse import Observed, Watch, look
from pointsman.model.lease import Lease, Place, Silence, heard_again
from pointsman.model.stored import Body, Damaged, mapping, number, shown, text, truth
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.lapses import Lapsed, lapse
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.silences import DamagedSilence, SilenceReading, read_silence_object
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class _Known:
    """A lease as it was last read (None if it cannot be read), and its etag."""

    etag: str
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """A source with a lease as an observer saw it: for how many milliseconds it has not been heard, and whether it is
    silent."""

    datacenter: str
    source: str
    unheard_ms: int
    silent: bool


class Observer:
    """One observer of all leases of a store. For one thread.

    It remembers what it saw: one without a state waits for a whole lease before it condemns anybody.
    """

    def __init__(self, engine: Engine, state: Body | None = None) -> None:
        """`state` is what another one had seen, as its `state` says. Raises Damaged if it is none."""
        self._engine = engine
        self._known: dict[str, _Known] = {}
        self._watch = Watch()
        self._written: dict[str, Place] = {}
        self._silences: dict[str, SilenceReading] = {}
        if state is not None:
            self._restore(state)

    @property
    def leases(self) -> list[Lease]:
        """The leases as of the last look."""
        return [each.lease for each in self._known.values() if each.lease is not None and each.lease.lease_ms]

    @property
    def sources(self) -> list[SourceSeen]:
        """The sources with a lease as of the last look."""
        return [
            SourceSeen(lease.datacenter, lease.source, self._unchanged_ms(key), self._is_silent(lease))
            for key, each in self._known.items()
            if (lease := each.lease) is not None and lease.lease_ms
        ]

    def _unchanged_ms(self, key: str) -> int:
        observed = self._watch.observed.get(key)
        return observed.unchanged_ms if observed is not None else 0

    def _is_silent(self, lease: Lease) -> bool:
        reading = self._silences.get(lease.datacenter)
        return reading is not None and reading.silence.has(lease.source)

    @property
    def shortest_ms(self) -> int:
        """The shortest lease, 0 if there is none."""
        return min((each.lease_ms for each in self.leases), default=0)

    def look(self, elapsed_ms: int) -> Lapsed | None:
        """Look at all leases, `elapsed_ms` after the last look by a clock that never jumps, and write which sources are
        silent. Returns what was written, None if nothing.

        A silent source that was heard since (whoever wrote so crashed before it could take it back) is mended too.
        Raises StoreError if the store cannot be read or written; then the next look does it.
        """
        self._read()
        leases = {key: each.lease for key, each in self._known.items() if each.lease is not None}
        self._watch, out = look(self._watch, leases, elapsed_ms)
        seen = {key: leases[key].heard for key in out if self._written.get(key) != leases[key].heard}
        heard = [lease for lease in leases.values() if self._was_heard_again(lease)]
        if not seen and not heard:
            return None
        done = lapse(self._engine, seen, heard)
        self._written = {key: place for key, place in (self._written | seen).items() if key in self._known}
        return done

    def _was_heard_again(self, lease: Lease) -> bool:
        reading = self._silences.get(lease.datacenter)
        if reading is None or lease.source not in reading.silence.sources:
            return False
        return not reading.silence.has(lease.source) or heard_again(reading.silence, [lease]) is not reading.silence

    def _read(self) -> None:
        store = self._engine.store
        now, listed = self._engine.now(), {each.key: each.etag for each in store.list(keys.LEASES)}
        silences = {keys.datacenter_of(key): listed.pop(key) for key in list(listed) if keys.is_silence(key)}
        if silences != {datacenter: reading.etag for datacenter, reading in self._silences.items()}:
            # Somebody wrote who is silent: what this process wrote may be gone, so it is checked again.
            self._written = {}
            self._silences = {datacenter: self._silence(datacenter) for datacenter in silences}
        changed = [key for key, etag in listed.items() if key not in self._known or self._known[key].etag != etag]
        self._known = {key: each for key, each in self._known.items() if key in listed}
        for key, stored in store.get_many(changed).items():
            self._known[key] = _Known(stored.etag, read_lease_object(stored, now).lease)

    def _silence(self, datacenter: str) -> SilenceReading:
        stored = self._engine.store.get(keys.silence(datacenter))
        try:
            return read_silence_object(datacenter, stored)
        except DamagedSilence:
            return SilenceReading(Silence(), 0, stored.etag if stored else None)

    @property
    def state(self) -> Body:
        """What it has seen, as plain JSON values."""
        return {
            "quiet_ms": self._watch.quiet_ms,
            "silences": {datacenter: reading.etag for datacenter, reading in self._silences.items()},
            "leases": {
                key: {
                    "etag": each.etag,
                    "source": each.lease.source,
                    "lease_ms": each.lease.lease_ms,
                    "heard": list(map(str, each.lease.heard)),
                    "unchanged_ms": self._unchanged_ms(key),
                    "written": self._written.get(key) == each.lease.heard,
                }
                for key, each in sorted(self._known.items())
                if each.lease is not None
            },
        }

    def _restore(self, state: Body) -> None:
        observed: dict[str, Observed] = {}
        for key, each in mapping(state, "leases").items():
            match each:
                case {"heard": [str(epoch), str(index)]} if epoch.isdecimal() and index.isdecimal():
                    place = (int(epoch), int(index))
                case _:
                    raise Damaged(f"what was seen of {shown(key)} is {shown(each)}")
            lease = Lease(
                text(each, "source"), keys.datacenter_of(key), number(each, "lease_ms"), place, catalogs=None, at=""
            )
            self._known[key] = _Known(text(each, "etag"), lease)
            observed[key] = Observed(place, number(each, "unchanged_ms"))
            if truth(each, "written"):
                self._written[key] = place
        self._watch = Watch(observed, number(state, "quiet_ms"))
        for datacenter in mapping(state, "silences"):
            self._silences[datacenter] = self._silence(datacenter)
        if {datacenter: each.etag for datacenter, each in self._silences.items()} != state["silences"]:
            self._written = {}
