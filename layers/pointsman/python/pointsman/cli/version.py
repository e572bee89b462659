"""Which Pointsman this is: the version, and the commit that it was made from.

A build writes the commit into the package (`setup.py`), which is why this file imports only the standard library. In a
checkout, git names the commit.
"""

import subprocess
from importlib.metadata import version
from pathlib import Path

NOTE = "revision.txt"
"""The file in the package that holds the commit."""

UNKNOWN = "unknown"
"""The commit if neither the build nor git knows it."""

_PATIENCE_S = 10.0
_DIGITS = 12


def version_line() -> str:
    """The line that `pointsman --version` prints: `pointsman 0.1.0, commit 1a2b3c4d5e6f`."""
    return f"pointsman {version('pointsman')}, commit {_revision(Path(__file__).parents[1])}"


def commit_of(directory: Path) -> str:
    """The first digits of the commit that is checked out in `directory`, with "+" if tracked files differ from it.

    Empty if git is missing or does not track `directory`, as with an environment inside another repository.
    """
    digits = f"--abbrev={_DIGITS}"
    if _git(directory, "ls-files", "--error-unmatch", ".") is None:
        return ""
    return _git(directory, "describe", "--always", digits, "--dirty=+", "--exclude=*") or ""


def _revision(package: Path) -> str:
    try:
        return (package / NOTE).read_text(encoding="ascii").strip() or UNKNOWN
    except FileNotFoundError:
        return commit_of(package) or UNKNOWN


def _git(directory: Path, *arguments: str) -> str | None:
    """What git prints; None if git fails or is missing."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
