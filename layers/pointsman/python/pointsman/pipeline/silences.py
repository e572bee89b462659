"""The silent sources of a datacenter: read, and changed by compare-and-swap."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from pointsman.model.lease import Lease, Silence, read_silence, silence_json
from pointsman.model.stored import Damaged, NewerSchema, number, parse
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.store import keys
from pointsman.store.protocol import Stored, StoreError, Write


class DamagedSilence(StoreError):
    """The object with the silent sources of a datacenter is damaged. The next event with a lease writes it anew."""


@dataclass(frozen=True, slots=True)
class SilenceReading:
    """The silent sources as they were read, with the `etag` and `serial` to swap them."""

    silence: Silence
    serial: int
    etag: str | None


def read_silence_object(datacenter: str, stored: Stored | None) -> SilenceReading:
    """The silent sources of `datacenter` in `stored`, none if it is None.

    Raises DamagedSilence, or StoreError if a newer Pointsman wrote it.
    """
    if stored is None:
        return SilenceReading(Silence(), 0, None)
    try:
        body = parse(stored.data)
        return SilenceReading(read_silence(body), number(body, "serial"), stored.etag)
    except Damaged as error:
        raise DamagedSilence(f"the silent sources of {datacenter} cannot be read: {error}") from None
    except NewerSchema as error:
        raise StoreError(f"the silent sources of {datacenter} cannot be read: {error}") from None


def swap_silence(engine: Engine, datacenter: str, change: Callable[[Silence], Silence]) -> Silence:
    """The silent sources of `datacenter` after `change`, which returns the same object if there is nothing to change.

    A damaged object is written anew. Raises Contended if races are lost again and again.
    """
    key = keys.silence(datacenter)
    for _ in range(ATTEMPTS):
        stored = engine.store.get(key)
        try:
            reading = read_silence_object(datacenter, stored)
        except DamagedSilence:
            # Its revision may have been any. Who is silent is found out again.
            beyond = number_beyond(engine.now())
            reading = SilenceReading(Silence(beyond), beyond, stored.etag if stored else None)
            after = replace(change(reading.silence), revision=beyond + 1)
        else:
            after = change(reading.silence)
        if after is reading.silence:
            return after
        data = seal(silence_json(after), reading.serial + 1, engine.nonce())
        if engine.store.put(Write(key, data, reading.etag)).etag is not None:
            return after
    raise Contended(f"the silent sources of {datacenter} are contended; run it again")


def swap_silences(engine: Engine, leases: Iterable[Lease], change: Callable[..., Silence]) -> None:
    """Have `change`, which takes a silence and `leases`, change the silences of the datacenters of these leases.

    Raises as `swap_silence`.
    """
    by_datacenter: dict[str, list[Lease]] = {}
    for lease in leases:
        by_datacenter.setdefault(lease.datacenter, []).append(lease)
    for datacenter, mine in sorted(by_datacenter.items()):
        swap_silence(engine, datacenter, partial(change, leases=mine))
