"""Wakes: messages with a delay in the queue of events, in place of a process that runs all the time.

Of each kind one wake stands at a time. Its moment is written beside what it is for, after it was sent, so that a crash
loses none. One that comes twice or late does no harm.
"""

import math
from collections.abc import Callable
from typing import Final

import orjson

from pointsman.model.sources.wake import DETAIL_TYPE

LONGEST_DELAY_SECONDS: Final = 900
"""Seconds for which SQS keeps a message back; for what is due later the wake is sent again."""

LATE_SECONDS: Final = 120
"""Seconds after which a wake that did not come counts as lost."""

Send = Callable[[str, int], None]
"""Sends a message with this body to the queue of events, to be delivered after so many seconds."""


class Arming:
    """Sends the wake for what is due next, unless one stands that comes early enough.

    It sends one at most, though the write that notes it may have to be repeated.
    """

    def __init__(self, send: Send, detail: str, taken: int) -> None:
        """`detail` is the field of the message that has its moment. `taken` is the moment of the wake that has just
        come, 0 if none has: that one does not stand any more."""
        self._send, self._detail, self._taken = send, detail, taken
        self.sent = 0
        """The moment of the wake that was sent, 0 if none was."""

    def wake(self, noted: int, due: int | None, now: int) -> int:
        """The moment of the wake that stands now, 0 for none, where that of `noted` stood before.

        All are milliseconds since 1970. Nothing is due if `due` is None.
        """
        standing = noted if noted != self._taken and noted > now - LATE_SECONDS * 1000 else 0
        if due is None or (standing and standing <= max(due, now)):
            return standing
        if not self.sent:
            delay = min(max(math.ceil((due - now) / 1000), 1), LONGEST_DELAY_SECONDS)
            self.sent = now + delay * 1000
            body = {"detail-type": DETAIL_TYPE, "detail": {self._detail: self.sent}}
            self._send(orjson.dumps(body).decode(), delay)
        return self.sent
