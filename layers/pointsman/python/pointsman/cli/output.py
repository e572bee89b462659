"""Output for people: errors as single lines, color only on a terminal, progress of slow work."""

import sys
from collections.abc import Callable

import click

from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.progress import now_and_then


class Lines(PointsmanError):
    """An error of several lines, which were one for each problem where it was found."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        super().__init__("; ".join(lines))


def report(error: BaseException) -> int | None:
    """Print an error that a user can act on, one line per problem. Returns the exit code, or None if the error is a
    defect."""
    if isinstance(error, InvalidInput):
        for problem in error.problems:
            _line(str(problem))
        return 1
    if isinstance(error, Lines):
        for line in error.lines:
            _line(line)
        return 1
    if isinstance(error, PointsmanError):
        _line(str(error))
        return 1
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone. Without this, Python would fail again when it flushes at exit.
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115
        return 141
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        _line(f"{where}{error.strerror or error}")
        return 1
    return None


def _line(text: str) -> None:
    label = click.style("pointsman:", fg="red", bold=True)
    click.echo(f"{label} {' '.join(text.split())}", err=True, color=None if sys.stderr.isatty() else False)


def progress() -> Callable[[str], None]:
    """A listener that prints progress on stderr now and then; nothing unless that is a terminal."""
    if not sys.stderr.isatty():
        return lambda text: None
    return now_and_then(lambda text: click.echo(f"pointsman: {text}", err=True))
