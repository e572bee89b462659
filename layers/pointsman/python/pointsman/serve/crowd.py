"""Who is connected to an HTTP server, what they hold, for how long they may, and who has to go when it is too much."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pointsman.serve.log import ONE

_log = logging.getLogger(__name__)

FIRST_BYTE_SECONDS = 10.0
"""From a connection (with TLS: from each of its ends meeting) to its first byte."""

HEAD_SECONDS = 10.0
"""From the first byte of a request to the end of its headers."""

BODY_SECONDS = 30.0
"""From the end of a request's headers to the end of its body."""

SEND_SECONDS = 30.0
"""For a client to take in an answer that does not fit into the buffers between us."""

LINGER_SECONDS = 2.0
"""For a client to read why it is refused, before its connection is cut."""


MOST_CONNECTIONS = 16_384
"""Connections of a server that Envoys poll, each a held request. It can be set (`--max-connections`)."""

MOST_HELD_BYTES = 256 * 1024 * 1024
"""Bytes of all requests that are not complete, and of answers that are not taken in, of one server."""


class Stage(Enum):
    """What a connection is at; in the order in which they make room for others: who asks for nothing first."""

    NEW = "nothing was sent yet"
    LINGERING = "refused"
    IDLE = "between two requests"
    HEAD = "the headers are coming in"
    BODY = "the body is coming in"
    SENDING = "the answer is going out"
    WORKING = "an answer is being made, or waited for"


_SECONDS = {
    Stage.NEW: FIRST_BYTE_SECONDS,
    Stage.LINGERING: LINGER_SECONDS,
    Stage.HEAD: HEAD_SECONDS,
    Stage.BODY: BODY_SECONDS,
    Stage.SENDING: SEND_SECONDS,
}
_UNFINISHED = (Stage.HEAD, Stage.BODY, Stage.SENDING)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server takes on: `connections` at a time, as long as they are no more than the share `files` of what the
    process may open; `held` bytes of requests that are not complete and of answers that are not taken in.
    """

    connections: int
    held: int
    files: float


FOR_ENVOYS = Bounds(MOST_CONNECTIONS, MOST_HELD_BYTES, 0.5)
FOR_OPERATORS = Bounds(256, MOST_HELD_BYTES, 0.125)
FOR_PRODUCERS = Bounds(1024, MOST_HELD_BYTES, 0.25)


class Member(Protocol):
    """A connection."""

    def expire(self, stage: Stage) -> None:
        """It has been at this for too long."""

    def abort(self) -> None:
        """It ends at once."""


class Crowd:
    """The connections of one server, called `door`. It belongs to the server's loop."""

    def __init__(
        self,
        door: str,
        bounds: Bounds,
        told: Callable[[str], None] = lambda reason: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` is called with the reason for every connection that is turned away or ended early."""
        self.bounds = bounds
        self._door, self._told, self._clock = door, told, clock
        # By stage, since when: those that have been at it longest first.
        self._at: dict[Stage, dict[Member, float]] = {stage: {} for stage in Stage}
        self._stages: dict[Member, Stage] = {}
        self._held: dict[Member, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._stages)

    def place(self, who: Member, stage: Stage) -> None:
        """`who` is at this from now on."""
        before = self._stages.get(who)
        if before is not None:
            del self._at[before][who]
        self._stages[who] = stage
        self._at[stage][who] = self._clock()

    def leave(self, who: Member) -> None:
        """`who` is gone."""
        stage = self._stages.pop(who, None)
        if stage is not None:
            del self._at[stage][who]
        self.release(who)

    def hold(self, who: Member, size: int) -> bool:
        """Whether there is room for `size` more bytes of `who`. For one that asks for little, whichever of those that
        are not complete holds most makes room."""
        self._held[who] = self._held.get(who, 0) + size
        self._total += size
        while self._total > self.bounds.held:
            unfinished = [each for each in self._held if self._stages.get(each) in _UNFINISHED]
            largest = max(unfinished, key=self._held.__getitem__, default=who)
            self._say("bytes", f"what is coming in or going out holds more than {self.bounds.held} bytes")
            if largest is who:
                self.release(who)
                return False
            self._end(largest)
        return True

    def release(self, who: Member) -> None:
        """`who` holds nothing any more."""
        self._total -= self._held.pop(who, 0)

    def admit(self) -> bool:
        """Whether there is room for one more, which somebody may have had to make."""
        if len(self) < self.bounds.connections:
            return True
        self._say("connections", f"all of its {self.bounds.connections} connections are taken")
        return self.make_room()

    def make_room(self) -> bool:
        """End the connection that matters least; whether there was one that may be ended."""
        for stage in Stage:
            if stage is not Stage.WORKING and self._at[stage]:
                self._end(next(iter(self._at[stage])))
                return True
        return False

    def sweep(self) -> None:
        """End what takes too long."""
        now = self._clock()
        for stage, seconds in _SECONDS.items():
            for who, since in list(self._at[stage].items()):
                if now - since < seconds:
                    break
                self._told(f"late: {stage.name.lower()}")
                who.expire(stage)

    def end_unfinished(self) -> None:
        """End whatever is not complete, or asks for nothing."""
        while self.make_room():
            pass

    def out_of_files(self, reason: str) -> None:
        """No connection can be taken for now: the process or the machine has run out of something."""
        self._say("files", f"a connection cannot be taken ({reason})")
        self.make_room()

    def _end(self, who: Member) -> None:
        self.leave(who)
        who.abort()

    def _say(self, reason: str, what: str) -> None:
        self._told(reason)
        _log.warning("%s: %s; who asks for least is turned away", self._door, what, extra=ONE)
