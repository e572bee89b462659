"""The connections of an HTTP server: how many, how much memory they hold, for how long, and which one ends first at a
limit."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pointsman.serve.log import ONE

_log = logging.getLogger(__name__)

FIRST_BYTE_SECONDS = 10.0
"""Seconds from a connection (with TLS: from the end of the handshake) to its first byte."""

HEAD_SECONDS = 10.0
"""Seconds from the first byte of a request to the end of its headers."""

BODY_SECONDS = 30.0
"""Seconds from the end of a request's headers to the end of its body."""

SEND_SECONDS = 30.0
"""Seconds for a client to read an answer that does not fit into the buffers."""

IDLE_SECONDS = 120.0
"""Seconds that a connection may be idle: longer than an Envoy waits between two requests, so that the server hardly
ever closes a connection just as the next request arrives."""

LINGER_SECONDS = 2.0
"""Seconds for a client to read why it is refused, before its connection is closed."""


MOST_CONNECTIONS = 16_384
"""Connections of a server that Envoys poll, each with a held request. `--max-connections` changes it."""

MOST_HELD_BYTES = 256 * 1024 * 1024
"""Bytes of all incomplete requests and unread answers of one server."""


class Stage(Enum):
    """What a connection is doing. At a limit, connections end in this order: those without a request first."""

    NEW = "nothing received yet"
    LINGERING = "refused"
    IDLE = "between two requests"
    HEAD = "the headers are coming in"
    BODY = "the body is coming in"
    SENDING = "the answer is going out"
    WORKING = "an answer is being made, or waited for"


_SECONDS = {
    Stage.NEW: FIRST_BYTE_SECONDS,
    Stage.LINGERING: LINGER_SECONDS,
    Stage.IDLE: IDLE_SECONDS,
    Stage.HEAD: HEAD_SECONDS,
    Stage.BODY: BODY_SECONDS,
    Stage.SENDING: SEND_SECONDS,
}
_UNFINISHED = (Stage.HEAD, Stage.BODY, Stage.SENDING)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one server: `connections` at a time, but at most the share `files` of the files that the process
    may open; `held` bytes of incomplete requests and unread answers."""

    connections: int
    held: int
    files: float


FOR_ENVOYS = Bounds(MOST_CONNECTIONS, MOST_HELD_BYTES, 0.5)
FOR_OPERATORS = Bounds(256, MOST_HELD_BYTES, 0.125)
FOR_PRODUCERS = Bounds(1024, MOST_HELD_BYTES, 0.25)


class Member(Protocol):
    """A connection, as the crowd uses it."""

    def expire(self, stage: Stage) -> None:
        """End the connection: it was in `stage` for too long."""

    def abort(self) -> None:
        """End the connection at once."""


class Crowd:
    """The connections of one server, named `door`. Use it only on the server's loop."""

    def __init__(
        self,
        door: str,
        bounds: Bounds,
        told: Callable[[str], None] = lambda reason: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` is called with the reason for every connection that is refused or ended early."""
        self.bounds = bounds
        self._door, self._told, self._clock = door, told, clock
        # For each stage the connections and when they entered it, oldest first.
        self._at: dict[Stage, dict[Member, float]] = {stage: {} for stage in Stage}
        self._stages: dict[Member, Stage] = {}
        self._held: dict[Member, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._stages)

    def place(self, who: Member, stage: Stage) -> None:
        """Record that `who` enters `stage` now."""
        before = self._stages.get(who)
        if before is not None:
            del self._at[before][who]
        self._stages[who] = stage
        self._at[stage][who] = self._clock()

    def leave(self, who: Member) -> None:
        """Forget `who`."""
        stage = self._stages.pop(who, None)
        if stage is not None:
            del self._at[stage][who]
        self.release(who)

    def hold(self, who: Member, size: int) -> bool:
        """Count `size` more bytes of `who`; whether they fit. Over the limit, the incomplete connections that hold most
        are ended, until the bytes fit or `who` itself holds most."""
        self._held[who] = self._held.get(who, 0) + size
        self._total += size
        while self._total > self.bounds.held:
            unfinished = [each for each in self._held if self._stages.get(each) in _UNFINISHED]
            largest = max(unfinished, key=self._held.__getitem__, default=who)
            self._say("bytes", f"incomplete requests and unread answers hold more than {self.bounds.held} bytes")
            if largest is who:
                self.release(who)
                return False
            self._end(largest)
        return True

    def release(self, who: Member) -> None:
        """Record that `who` holds no bytes any more."""
        self._total -= self._held.pop(who, 0)

    def admit(self) -> bool:
        """Whether one more connection may be accepted; at the limit, another one is ended for it if possible."""
        if len(self) < self.bounds.connections:
            return True
        self._say("connections", f"all {self.bounds.connections} connections are in use")
        return self.make_room()

    def make_room(self) -> bool:
        """End the least important connection. Returns whether one could be ended."""
        for stage in Stage:
            if stage is not Stage.WORKING and self._at[stage]:
                self._end(next(iter(self._at[stage])))
                return True
        return False

    def sweep(self) -> None:
        """End every connection that takes too long."""
        now = self._clock()
        for stage, seconds in _SECONDS.items():
            for who in [*self._since(stage, now - seconds)]:
                if stage is not Stage.IDLE:  # which is no fault
                    self._told(f"late: {stage.name.lower()}")
                who.expire(stage)

    def _since(self, stage: Stage, moment: float) -> Iterator[Member]:
        """Who is in `stage` since `moment`, or for longer."""
        for who, since in self._at[stage].items():
            if since > moment:
                return
            yield who

    def end_unfinished(self) -> None:
        """End every connection except those whose answer is being made."""
        while self.make_room():
            pass

    def out_of_files(self, reason: str) -> None:
        """Report that the process or the machine has no file descriptors left for another connection."""
        self._say("files", f"cannot accept a connection ({reason})")
        self.make_room()

    def _end(self, who: Member) -> None:
        self.leave(who)
        who.abort()

    def _say(self, reason: str, what: str) -> None:
        self._told(reason)
        _log.warning("%s: %s; the least active connections are closed", self._door, what, extra=ONE)
