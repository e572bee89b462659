"""The repository as a new clone of it."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.fleet.process import REPOSITORY

_MADE = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info", "__pycache__")


def fresh_clone(directory: Path) -> Path:
    """A copy of the files in `directory`, without what was made here, and without git's."""
    shutil.copytree(REPOSITORY, directory, ignore=_made_here, symlinks=True)
    return directory


def git(directory: Path, *arguments: str) -> str:
    """The output of git there, independent of the user who runs the tests."""
    who = {f"GIT_{role}_{what}": "x@example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def _made_here(folder: str, names: list[str]) -> set[str]:
    # `pointsman quickstart mesh`, as the README has it, writes here; the library has a `mesh` of its own.
    return _MADE(folder, names) | ({"mesh"} if Path(folder) == REPOSITORY else set())
