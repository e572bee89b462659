"""Looks at the leases of sources again and again, without a process that runs all the time.

Each look is caused by a *wake*, a message with a delay in the queue of events, and sends the next one. What was seen
lies in the store between two looks. Only the delays count as time: an outage of the queue or of the functions delays
the wakes and silences nobody. Wakes are numbered, and only the one that is due does anything, so one that comes twice,
or too late, does no harm. If one is lost, `reconcile` sends it again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from pointsman.aws.delays import LATE_SECONDS, LONGEST_DELAY_SECONDS, Send
from pointsman.model.sources.wake import DETAIL_TYPE
from pointsman.model.stored import Body, Damaged, Kind, NewerSchema, check_kind, mapping, number, parse, tagged, text
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.lapses import Lapsed
from pointsman.pipeline.objects import number_beyond, seal
from pointsman.pipeline.observer import Observer
from pointsman.store import keys
from pointsman.store.protocol import StoreError, Write

LOOKS: Final = 12
"""Looks in the time of the shortest lease."""


@dataclass(frozen=True, slots=True)
class _Due:
    """The wake that is due: its `number`, the `delay` after which it comes, when it was sent `at`, and what was seen
    before. Number 0 stands for none: nothing has a lease."""

    number: int
    delay: int
    at: str
    seen: Body | None
    serial: int
    etag: str | None


class Wakes:
    """The wakes of one store, sent by `send`."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self._engine, self._send = engine, send

    def wake(self, wake: int) -> Lapsed | None:
        """Look at the leases, if this is the number of the wake that is due. Returns what was written, None if nothing.

        Raises StoreError; then the message comes again.
        """
        due = self._read()
        if not wake or wake != due.number:
            return None
        observer = self._observer(due)
        done = observer.look(due.delay * 1000)
        self._next(due, observer)
        return done

    def ensure(self) -> bool:
        """Send a wake if some source has a lease and the wake that was due did not come. Returns whether it did."""
        due = self._read()
        if due.number and not self._is_late(due):
            return False
        observer = self._observer(due)
        observer.look(0)
        if not observer.shortest_ms:
            return False
        self._next(due, observer)
        return True

    def _is_late(self, due: _Due) -> bool:
        try:
            passed = datetime.fromisoformat(self._engine.now()) - datetime.fromisoformat(due.at)
        except (ValueError, TypeError):
            return True
        return passed.total_seconds() > due.delay + LATE_SECONDS

    def _observer(self, due: _Due) -> Observer:
        try:
            return Observer(self._engine, due.seen)
        except Damaged:
            return Observer(self._engine)

    def _next(self, due: _Due, observer: Observer) -> None:
        """Send the next wake, then write that it is due: in this order a crash loses none."""
        shortest = observer.shortest_ms / 1000
        delay = min(max(math.ceil(shortest / LOOKS), 1), LONGEST_DELAY_SECONDS)
        following = due.serial + 1
        if shortest:
            body = {"detail-type": DETAIL_TYPE, "detail": {"Number": following}}
            self._send(orjson.dumps(body).decode(), delay)
        stored = tagged(
            Kind.WAKE,
            {
                "number": following if shortest else 0,
                "delay": delay,
                "at": self._engine.now(),
                "seen": observer.state,
            },
        )
        # If this race is lost, another wake is due, and the one that was sent does nothing.
        self._engine.store.put(Write(keys.WAKE, seal(stored, following, self._engine.nonce()), due.etag))

    def _read(self) -> _Due:
        stored = self._engine.store.get(keys.WAKE)
        if stored is None:
            return _Due(0, 0, "", None, 0, None)
        try:
            body = check_kind(parse(stored.data), Kind.WAKE)
            return _Due(
                number(body, "number"),
                number(body, "delay"),
                text(body, "at"),
                mapping(body, "seen"),
                number(body, "serial"),
                stored.etag,
            )
        except Damaged:
            return _Due(0, 0, "", None, number_beyond(self._engine.now()), stored.etag)
        except NewerSchema as error:
            raise StoreError(f"{keys.WAKE} cannot be read: {error}") from None


def sender(client: Any, queue: str) -> Send:
    """Sends to the queue with this URL, with an SQS client."""

    def send(body: str, delay: int) -> None:
        arguments: Mapping[str, Any] = {"QueueUrl": queue, "MessageBody": body, "DelaySeconds": delay}
        client.send_message(**arguments)

    return send
