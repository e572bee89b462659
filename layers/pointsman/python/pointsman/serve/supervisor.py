"""Tells systemd how a process is (https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)."""

import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

_log = logging.getLogger(__name__)

LONGEST_STATUS = 400
"""Characters of a status, which `systemctl status` shows in one line."""

_BEATS = 4
"""Signs of life in the time in which systemd wants one."""


class Supervisor:
    """The service manager that started this process, if it wants to hear of it: it says so in NOTIFY_SOCKET, and with a
    watchdog in WATCHDOG_USEC. Without that nothing is sent.

    What cannot be sent is logged once, and stops nothing.
    """

    def __init__(
        self,
        environment: MutableMapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The variables are removed from `environment`: they are for this process, not for those that it starts."""
        address = environment.pop("NOTIFY_SOCKET", "")
        watched = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        microseconds = environment.pop("WATCHDOG_USEC", "")
        self._clock = clock
        # An abstract socket is written with an @ where its name has a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pause = int(microseconds) / 1e6 / _BEATS if watched and microseconds.isdecimal() else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._ready, self._status, self._beat, self._failed = False, "", -1e9, False

    def look(self, *, waiting_for: str = "", failing: str = "", standing: str = "") -> None:
        """Tell how the process is; call it every second.

        It is ready once it was not `waiting_for` anything. While something is `standing` still, there is no sign of
        life, so that the watchdog ends the process. What is `failing` and tried again is only told: starting anew would
        not help.
        """
        if self._socket is None:
            return
        news = []
        if not self._ready and not waiting_for:
            self._ready = True
            news.append("READY=1")
        if standing:
            status = f"standing still: {standing}"
        elif waiting_for:
            status = f"waiting for {waiting_for}"
        else:
            status = f"failing: {failing}" if failing else "serving"
        if status != self._status:
            self._status = status
            news.append(f"STATUS={' '.join(status.split())[:LONGEST_STATUS]}")
        if self._pause is not None and not standing and self._clock() - self._beat >= self._pause:
            self._beat = self._clock()
            news.append("WATCHDOG=1")
        self._tell(news)

    def stopping(self) -> None:
        """Tell that the process ends in good order."""
        self._tell(["STOPPING=1", "STATUS=ending"])

    def _tell(self, news: list[str]) -> None:
        if self._socket is None or not news:
            return
        try:
            self._socket.sendto("\n".join(news).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            if not self._failed:
                _log.warning("the service manager cannot be told (%s): %s", error.strerror, ", ".join(news))
            self._failed = True
