"""Whether inotify has capacity for one more Envoy.

Envoy takes one inotify instance per subscribed file, Linux limits them per user (mostly to 128), and an Envoy that
cannot get one aborts. The counts come from Linux: https://man7.org/linux/man-pages/ man7/inotify.7.html and
man5/proc_pid_fdinfo.5.html. Other systems have no such limit.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LIMITS = ("/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances")
_LINK = "anon_inode:inotify"

_SERVES_S = 10.0
"""Seconds for which a count is valid."""

_SPARE = 8
"""Instances that must remain for a count to be reused: other programs may take some meanwhile."""

Directory = tuple[int, int]
"""A directory's identity in the kernel: device and inode."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The user's limit and use of instances, and the number of instances by watched directory."""

    limit: int
    used: int
    watching: Counter[Directory]


class Inotify:
    """Checks whether a proxy's Envoy can have the instances that it needs.

    A count takes milliseconds, so an earlier one is reused while it leaves enough room. Safe for several threads.
    """

    def __init__(
        self, usage: Callable[[], Usage | None] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`usage` counts; None if the system has no limit. `clock` returns seconds, from any zero."""
        self._count = usage or count_usage
        self._clock = clock
        self._usage: Usage | None = None
        self._counted = float("-inf")
        self._promised: dict[tuple[Path, ...], int] = {}
        self._lock = threading.Lock()

    def shortage(self, needed: int, directories: tuple[Path, ...]) -> str:
        """Why an Envoy that watches `directories` cannot have `needed` instances in total; "" if it can.

        The instances that it already has are those that watch these directories.
        """
        own = [_directory(each) for each in directories if each.is_dir()]
        with self._lock:
            if self._clock() - self._counted >= _SERVES_S or self._missing(needed + _SPARE, directories, own):
                self._usage, self._counted = self._count(), self._clock()
                self._promised.clear()
            usage, missing = self._usage, self._missing(needed, directories, own)
            if usage is None:
                return ""
            if not missing:
                self._promised[directories] = needed - _sum(usage, own)
                return ""
        return (
            f"{needed} inotify instances are needed, and of the {usage.limit} that this user may have other "
            f"processes use {usage.used - _sum(usage, own)}: {missing} too few. Raise the sysctl "
            "fs.inotify.max_user_instances, or use another delivery than files"
        )

    def _missing(self, needed: int, directories: tuple[Path, ...], own: list[Directory]) -> int:
        usage = self._usage
        if usage is None:
            return 0
        # Instances granted to other proxies since the count.
        promised = sum(max(0, more) for where, more in self._promised.items() if where != directories)
        return max(0, usage.used - _sum(usage, own) + promised + needed - usage.limit)


def count_usage() -> Usage | None:
    """This user's instances over all readable processes; None if the system does not report them."""
    limits = []
    for file in _LIMITS:
        with suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text()))
    if not limits:
        return None
    used, watching = 0, Counter[Directory]()
    for fd in _instances():
        used += 1
        watching.update(dict.fromkeys(_watched(fd), 1))
    return Usage(min(limits), used, watching)


def _instances() -> Iterator[str]:
    """The /proc/PID/fdinfo/FD of every inotify instance of this user."""
    me = os.geteuid()
    with os.scandir("/proc") as processes:
        for process in processes:
            with suppress(OSError):  # the process may have ended, or be unreadable
                if process.name.isdecimal() and process.stat().st_uid == me:
                    for fd in os.listdir(f"{process.path}/fd"):
                        with suppress(OSError):
                            if os.readlink(f"{process.path}/fd/{fd}") == _LINK:
                                yield f"{process.path}/fdinfo/{fd}"


def _watched(fdinfo: str) -> set[Directory]:
    found = set()
    with suppress(OSError, ValueError, KeyError):
        for line in Path(fdinfo).read_text().splitlines():
            if line.startswith("inotify "):
                fields = dict(field.partition(":")[::2] for field in line.split()[1:])
                device = int(fields["sdev"], 16)
                # The kernel's own encoding of a device number: the major number above 20 bits of minor number.
                found.add((os.makedev(device >> 20, device & 0xFFFFF), int(fields["ino"], 16)))
    return found


def _directory(path: Path) -> Directory:
    found = path.stat()
    return found.st_dev, found.st_ino


def _sum(usage: Usage, directories: Iterable[Directory]) -> int:
    return sum(usage.watching[each] for each in directories)
