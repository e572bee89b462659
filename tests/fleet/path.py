"""The path to a mesh gateway from other datacenters, which can be cut: connections through it end, and no new ones are
taken."""

import asyncio
import threading
from types import TracebackType
from typing import Self


class Path:
    """Takes connections at `here` and brings them to `there`, while the `with` block lasts and it is not cut."""

    def __init__(self, here: tuple[str, int], there: tuple[str, int]) -> None:
        self.here, self._there = here, there
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def mend(self) -> None:
        """Take connections again."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._bring, *self.here)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # A transport that was aborted is closed in the next round of the loop.
        await asyncio.sleep(0.05)

    async def _bring(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._there)
            try:
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except OSError:
            pass
        finally:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
