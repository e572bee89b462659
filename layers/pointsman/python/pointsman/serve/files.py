"""The limit on open files: every connection is one."""

import resource
from dataclasses import replace

from pointsman.serve.crowd import Bounds

_MOST_FILES = 65_536
"""The limit on open files that the process sets for itself, if the system allows it."""


def allow_files() -> None:
    """Raise this process's limit on open files as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def within_files(bounds: Bounds) -> Bounds:
    """`bounds` with `connections` reduced to their share of the files that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return replace(bounds, connections=max(1, min(bounds.connections, int(soft * bounds.files))))
