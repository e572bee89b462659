"""Whether one more Envoy's worth of inotify instances is to be had.

Envoy takes one inotify instance per file that it subscribes to, the system gives each user a limited number (128 in
most places), and an Envoy that cannot get one aborts. Counted is what Linux tells: https://man7.org/linux/man-pages/
man7/inotify.7.html and man5/proc_pid_fdinfo.5.html. Other systems have no such limit.
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
"""Seconds for which a count serves."""

_SPARE = 8
"""What has to be left over for that: somebody else may take some meanwhile."""

Directory = tuple[int, int]
"""A directory as the kernel knows it: device and inode."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How many instances the user may have and has; of these, by the directory that they watch, how many."""

    limit: int
    used: int
    watching: Counter[Directory]


class Inotify:
    """Tells whether a proxy's Envoy can have the instances that it will take.

    A count takes milliseconds, so an earlier one serves as long as it left room to spare. Safe for several threads.
    """

    def __init__(
        self, usage: Callable[[], Usage | None] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`usage` counts; None where there is no limit. `clock` tells seconds, from whenever."""
        self._count = usage or count_usage
        self._clock = clock
        self._usage: Usage | None = None
        self._counted = float("-inf")
        self._promised: dict[tuple[Path, ...], int] = {}
        self._lock = threading.Lock()

    def shortage(self, needed: int, directories: tuple[Path, ...]) -> str:
        """Why an Envoy that watches `directories` cannot have `needed` instances in all; empty if it can.

        What it has already, if it runs, is told by who watches those directories.
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
        # What other proxies were told since the count that they can have.
        promised = sum(max(0, more) for where, more in self._promised.items() if where != directories)
        return max(0, usage.used - _sum(usage, own) + promised + needed - usage.limit)


def count_usage() -> Usage | None:
    """What this user has, over all processes that can be looked into; None where the system does not tell."""
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
            with suppress(OSError):  # it may end meanwhile, and not all of one's own may be looked into
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
                # The kernel's own form of a device number: 20 bits of minor number below the major one.
                found.add((os.makedev(device >> 20, device & 0xFFFFF), int(fields["ino"], 16)))
    return found


def _directory(path: Path) -> Directory:
    found = path.stat()
    return found.st_dev, found.st_ino


def _sum(usage: Usage, directories: Iterable[Directory]) -> int:
    return sum(usage.watching[each] for each in directories)
