"""A network between an adapter and its store that can be taken away: refused at once, or never answered."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class Link:
    """Passes TCP connections on to `url` while the `with` block lasts, unless it is cut.

    `url` is what to go by in its place: it stays the same.
    """

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._to = place.hostname or "", place.port or 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._silent = False
        self._listener: socket.socket | None = None
        # Held, so that nobody gets the port while it is cut.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind(("127.0.0.1", 0))
        self._port = int(self._held.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(self, *raised: object) -> None:
        self.cut()
        self._held.close()

    def cut(self, silent: bool = False) -> None:
        """Take it away. If `silent`, connections are taken and nothing ever comes back."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            ended, self._open = self._open, set()
        for each in ended:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._silent = silent
        if silent:
            self._listen()

    def restore(self) -> None:
        """Have it back."""
        self.cut()
        self._listen()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(128)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener, self._silent), daemon=True).start()

    def _accept(self, listener: socket.socket, silent: bool) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self._hold(near)
            if silent:
                continue
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            self._hold(far)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {one, other}
