"""A server in a thread of its own: start, failure to start, and stop."""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from typing import Self

from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.listen import Listen
from pointsman.serve.turning import Turning

_log = logging.getLogger(__name__)

_TICK_S = 1.0
"""Seconds between two signs that the loop of a server goes on."""


class ThreadedServer(ABC):
    """Serves from `start` to `stop`, or while the `with` block lasts.

    A subclass implements `_serve`, which runs in the thread: it calls `_ready` on its loop when connections are
    accepted, and returns after `_end` was called and all work is done.
    """

    def __init__(self, name: str, listen: Listen, *, tls: bool, grace: float, option: str) -> None:
        """`grace` is the seconds for work under way when the server stops; `option` is the command-line option for the
        address, named in errors.

        Raises InvalidInput without `tls` on an address that other machines can reach.
        """
        if not tls and not listen.local:
            reason = f'"{listen.host}" is not a loopback address: whoever reaches it reads the mesh'
            way_out = "give --tls-cert, --tls-key and --client-ca, or listen on loopback or a unix socket"
            raise InvalidInput.single(option, "", f"{reason}; {way_out}")
        self._listen, self._grace, self._option = listen, grace, option
        self._started, self._took = threading.Event(), False
        self._problem: BaseException | None = None
        self._turning = Turning()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    @abstractmethod
    def address(self) -> str:
        """The server's address, with the actual port if 0 was asked for."""

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def stands_still(self) -> str:
        """Why nobody is answered: for how long the loop has done nothing; "" if it goes on."""
        return self._turning.stands_still

    def start(self) -> None:
        """Listen; returns when connections are accepted. Raises PointsmanError if the server cannot start."""
        self._thread.start()
        self._started.wait()
        if self._problem is not None:
            raise self._problem
        if not self._took:
            raise PointsmanError(f"{self.address}: the server did not start")

    def stop(self) -> None:
        """Refuse new connections, release held requests, and return when all is done."""
        if self._thread.is_alive():
            self._end()
        self._thread.join(self._grace + 5.0)

    @abstractmethod
    def _serve(self) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...

    def _ready(self) -> None:
        self._took = True
        self._tick(asyncio.get_running_loop())
        self._started.set()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turning.goes_on()
        loop.call_later(_TICK_S, self._tick, loop)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._problem = error
            if self._took:
                _log.exception("%s: the server has ended", self._thread.name)
        finally:
            self._turning.rests()
            self._started.set()
