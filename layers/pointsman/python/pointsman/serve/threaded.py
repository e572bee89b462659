"""A server with a thread of its own: how it starts, says that it did not, and ends."""

import logging
import threading
from abc import ABC, abstractmethod
from typing import Self

from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.listen import Listen

_log = logging.getLogger(__name__)


class ThreadedServer(ABC):
    """Serves from `start` to `stop`, or while the `with` block lasts.

    Who makes one of it says in `_serve` what the thread does: it calls `_ready` when connections are taken, and returns
    when `_end` was called and all is over.
    """

    def __init__(self, name: str, listen: Listen, *, tls: bool, grace: float, option: str) -> None:
        """`grace` is the seconds that what is under way gets when it ends; `option` how people say where it listens.

        Raises InvalidInput without `tls` on an address that others than this machine reach.
        """
        if not tls and not listen.local:
            reason = f'"{listen.host}" is not a loopback address: whoever reaches it reads the mesh'
            way_out = "give --tls-cert, --tls-key and --client-ca, or listen on loopback or a unix socket"
            raise InvalidInput.single(option, "", f"{reason}; {way_out}")
        self._listen, self._grace, self._option = listen, grace, option
        self._started, self._took = threading.Event(), False
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it listens, with the port that was picked for 0."""

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen; returns when connections are taken. Raises PointsmanError if that is not possible."""
        self._thread.start()
        self._started.wait()
        if self._problem is not None:
            raise self._problem
        if not self._took:
            raise PointsmanError(f"{self.address}: the server did not start")

    def stop(self) -> None:
        """Turn new connections away, let go of who is held, and return when that is done."""
        if self._thread.is_alive():
            self._end()
        self._thread.join(self._grace + 5.0)

    @abstractmethod
    def _serve(self) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...

    def _ready(self) -> None:
        self._took = True
        self._started.set()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._problem = error
            if self._took:
                _log.exception("%s: the server has ended", self._thread.name)
        finally:
            self._started.set()
