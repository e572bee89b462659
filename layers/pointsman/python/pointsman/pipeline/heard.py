"""The sources with a lease: which are heard, and which are silent."""

import contextlib
from dataclasses import asdict, dataclass, replace
from typing import Any

from pointsman.model.lease import Silence
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.renewals import read_lease_object
from pointsman.pipeline.silences import DamagedSilence, read_silence_object
from pointsman.store import keys


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source with a lease in one datacenter.

    `epoch` and `index` are those of the newest event that renewed it, taken in `at` (RFC 3339). `catalogs` is of how
    many catalogs it has spoken, None if that is unknown. `silent_since` is "" while it is heard.
    """

    source: str
    datacenter: str
    lease_ms: int
    epoch: int
    index: int
    at: str
    catalogs: int | None
    silent_since: str

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def sources(engine: Engine) -> tuple[SourceStatus, ...]:
    """Every source with a lease, the silent ones first, then by datacenter and name."""
    found: list[SourceStatus] = []
    silences: dict[str, Silence] = {}
    for key, stored in engine.store.get_many([each.key for each in engine.store.list(keys.LEASES)]).items():
        datacenter = keys.datacenter_of(key)
        if keys.is_silence(key):
            with contextlib.suppress(DamagedSilence):
                silences[datacenter] = read_silence_object(datacenter, stored).silence
        elif (lease := read_lease_object(stored, engine.now()).lease) is not None and lease.lease_ms:
            spoken = None if lease.catalogs is None else len(lease.catalogs)
            found.append(
                SourceStatus(lease.source, datacenter, lease.lease_ms, *lease.heard, lease.at, spoken, silent_since="")
            )
    told = [replace(each, silent_since=_silent_since(silences.get(each.datacenter), each.source)) for each in found]
    return tuple(sorted(told, key=lambda each: (not each.silent_since, each.datacenter, each.source)))


def _silent_since(silence: Silence | None, source: str) -> str:
    return silence.sources[source].since if silence is not None and silence.has(source) else ""
