"""A server that writes one message to each connection, at once and whenever it is told to: nothing can fan out faster.

`python -m tests.bench.broadcast PORT HEX` tells its own port to whoever listens on PORT of 127.0.0.1, and writes the
message again for each byte that comes from there.
"""

import asyncio
import sys


class _Connection(asyncio.Protocol):
    def __init__(self, message: bytes, all_of_them: set[asyncio.Transport]) -> None:
        self._message, self._all = message, all_of_them
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._all.add(transport)
        transport.write(self._message)

    def connection_lost(self, error: Exception | None) -> None:
        assert self._transport is not None
        self._all.discard(self._transport)


async def _serve(control: int, message: bytes) -> None:
    everybody: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(message, everybody), "127.0.0.1", 0, backlog=1024)
    orders, told = await asyncio.open_connection("127.0.0.1", control)
    told.write(b"%d" % server.sockets[0].getsockname()[1])
    while await orders.read(1):
        for each in everybody:
            each.write(message)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), bytes.fromhex(sys.argv[2])))
