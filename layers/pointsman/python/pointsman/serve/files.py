"""How many files this process may open: every connection is one."""

import resource
from dataclasses import replace

from pointsman.serve.crowd import Bounds

_MOST_FILES = 65_536
"""Files that a process is let open, if the system lets it."""


def allow_files() -> None:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def within_files(bounds: Bounds) -> Bounds:
    """`bounds` with no more connections than their share of what this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return replace(bounds, connections=max(1, min(bounds.connections, int(soft * bounds.files))))
