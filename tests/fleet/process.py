"""Child processes that never outlive us, ports that stay ours, and waiting with a deadline."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_ROWS_TRIED = 100


class FleetError(Exception):
    """A part of the fleet did not do what it should; the text says which, and what it last wrote."""


class Child:
    """One process in a process group of its own, with its output in `directory/<name>.out` and `<name>.err`.

    It ends with `stop` or `kill`, with the `with` block, and, whatever happens to us, with the thread that started it:
    the kernel kills it then. So start children from a thread that lives as long as they should.

    A stopped child may be started again; its output is appended.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        working_directory: Path = REPOSITORY,
    ) -> None:
        self.name = name
        self.out = directory / f"{name}.out"
        self.err = directory / f"{name}.err"
        self._working_directory = working_directory
        self._command = [str(part) for part in command]
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended."""
        if self._process is None:
            return False
        # Looked at, not collected: its id, which is its group's too, must stay taken until the group is ended.
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    @property
    def pid(self) -> int:
        """The id of its process and of its process group."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to end; it is still to be waited for."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit code once it has ended by itself, or the signal that ended it, as a negative number."""
        wait_until(lambda: not self.alive, f"{self.name} to end", timeout=timeout)
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def start(self) -> None:
        """Start it. Does not wait for anything that it has to do first."""
        assert not self.alive, f"{self.name} runs already"
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self._working_directory,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is ours to handle: it must not race with our own teardown
                preexec_fn=die_with_parent,
            )

    def stop(self, patience: float = 5.0) -> None:
        """End it and its process group: politely, after `patience` seconds by force. May be repeated."""
        self._end(signal.SIGTERM, patience)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL, 5.0)

    def _end(self, how: signal.Signals, patience: float) -> None:
        process, deadline = self._process, time.monotonic() + patience
        if process is None:
            return
        try:
            os.killpg(process.pid, how)
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.002)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._process = None

    def tail(self, lines: int = 20) -> str:
        """The last it wrote, for a person to read."""
        written = [line for path in (self.out, self.err) if path.exists() for line in _lines(path)[-lines:]]
        return "\n".join([f"--- {self.name} wrote last:", *written])


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()


def wait_until(
    condition: Callable[[], T | None], what: str, *, children: Sequence[Child] = (), timeout: float = 60.0
) -> T:
    """The first true value of `condition`, which is asked every few milliseconds.

    Raises FleetError when `timeout` seconds are over, or at once when one of the `children` that it depends on has
    ended; with their last output.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        dead = [child.name for child in children if not child.alive]
        if dead or time.monotonic() > deadline:
            why = f"{', '.join(dead)} ended" if dead else f"not within {timeout:g} s"
            raise FleetError("\n".join([f"waiting for {what}: {why}", *(child.tail() for child in children)]))
        time.sleep(0.005)


def wait_listening(child: Child, ip: str, port: int) -> None:
    """Return when `child` takes connections on `ip`:`port`."""

    def connected() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex((ip, port)) == 0

    wait_until(connected, f"{child.name} to listen", children=[child])


class Ports:
    """TCP ports that are free now and stay ours until `close`, also while the server that uses one is dead.

    Each is held by a socket that is bound and never listens: connections are refused as long as nobody else listens
    on the port, a server that sets SO_REUSEADDR or SO_REUSEPORT (Envoy, asyncio) may bind it beside us, and the
    kernel gives it to no outgoing connection. Without that, a server killed under load would often not get its port
    back: every connection that is made meanwhile takes one from the same range.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, ip: str) -> int:
        """A free port on `ip`."""
        return self._hold(ip, 0)

    def take_row(self, ips: Sequence[str], count: int) -> int:
        """The first of `count` consecutive free ports, on every one of `ips`. They are below those that the kernel
        gives to outgoing connections."""
        for _ in range(_ROWS_TRIED):
            base = random.randrange(15000, 30000)
            before = len(self._held)
            try:
                for ip in ips:
                    for port in range(base, base + count):
                        self._hold(ip, port)
            except OSError:
                for held in self._held[before:]:
                    held.close()
                del self._held[before:]
            else:
                return base
        raise FleetError(f"no {count} free ports in a row on {', '.join(ips)} in {_ROWS_TRIED} tries")

    def _hold(self, ip: str, port: int) -> int:
        held = socket.socket()
        self._held.append(held)
        held.bind((ip, port))
        # After binding: the bind itself has to be exclusive, against others who pick ports as we do.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken: int = held.getsockname()[1]
        return taken

    def close(self) -> None:
        """Let go of all of them."""
        for held in self._held:
            held.close()
        self._held.clear()
