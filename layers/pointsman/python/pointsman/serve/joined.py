"""A transport that sends all that is written in one turn of the loop at once."""

import asyncio
from typing import Any


class JoinedWrites:
    """`transport`, with all writes of one turn of the loop joined and passed on at its end.

    A server writes the head and the body of an answer separately, which would take two system calls and two packets.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write `data` at the end of this turn."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write pending data, then close."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Write pending data, then the end of the stream."""
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            # Not writelines: since Python 3.12 it keeps an empty part (the body of a 304) forever, writes it again at
            # every turn of the loop, and never closes; nor does it pause a writer that writes too much.
            self._transport.write(b"".join(parts))
