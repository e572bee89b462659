"""A transport on which what is written in one go leaves in one go."""

import asyncio
from typing import Any


class JoinedWrites:
    """`transport`, except that what is written within one turn of the loop is handed on together at its end.

    A server writes the head of an answer, then its body: two system calls, and two packets, where one will do.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write `data`, soon."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Write what is left, and close."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Write what is left, and that no more comes."""
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            # Not writelines: from Python 3.12 on that keeps an empty part (the body of a 304) for ever, writes it
            # again at every turn of the loop, and never closes; and it pauses nobody who writes too much.
            self._transport.write(b"".join(parts))
