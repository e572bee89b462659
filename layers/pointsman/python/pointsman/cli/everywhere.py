"""The same to several control planes, each with a store of its own: by all that answer, or by none."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import click

from pointsman.cli.output import Lines
from pointsman.cli.remote import Away, Refused, Remote

MOST_URLS = 32
"""Control planes that one command speaks to."""

BEHIND = 5
"""The exit code if something was written, but not everywhere."""

_FAILED = 500
"""Statuses from here on say nothing about what was asked for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a control plane answered, or why it did not: `told` is None then."""

    url: str
    told: Any
    error: Away | Refused | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it answered that it would not do it."""
        return isinstance(self.error, Refused) and self.error.status < _FAILED


def ask_all(remotes: Sequence[Remote], ask: Callable[[Remote], Any]) -> list[Outcome]:
    """The outcome of `ask` at each, side by side. Raises UsageError for more than MOST_URLS."""
    if len(remotes) > MOST_URLS:
        raise click.UsageError(f"--url is given {len(remotes)} times; {MOST_URLS} are the most")
    if len({each.url for each in remotes}) < len(remotes):
        raise click.UsageError("one --url is given twice; keep one")

    def one(remote: Remote) -> Outcome:
        try:
            return Outcome(remote.url, ask(remote))
        except (Away, Refused) as error:
            return Outcome(remote.url, None, error)

    with ThreadPoolExecutor(len(remotes)) as threads:
        return list(threads.map(one, remotes))


def try_all(remotes: Sequence[Remote], write: Callable[[Remote, bool], Any]) -> list[Outcome]:
    """Try what `write_all` does, and write nothing. Raises Lines if one refuses, or if nobody answers."""
    tried = ask_all(remotes, lambda remote: write(remote, True))
    wrong = [each for each in tried if each.is_refused] or [each for each in tried if each.error is not None]
    if any(each.is_refused for each in wrong) or len(wrong) == len(tried):
        raise Lines([*_lines(wrong), "nothing was written anywhere"])
    return tried


def write_all(remotes: Sequence[Remote], write: Callable[[Remote, bool], Any]) -> list[Outcome]:
    """Let each `write`, whose second argument says that it is only to be tried; the outcome at each.

    All are tried first: if one refuses, nothing is written anywhere. Raises Lines then, or if nobody answers.
    """
    tried = try_all(remotes, write)
    there = [remote for remote, each in zip(remotes, tried, strict=True) if each.error is None]
    written = {each.url: each for each in ask_all(there, lambda remote: write(remote, False))}
    return [written.get(each.url, each) for each in tried]


def tell_behind(outcomes: Sequence[Outcome]) -> int:
    """Name on stderr where nothing was written, and return the exit code. Raises Lines if that is everywhere."""
    behind = [each for each in outcomes if each.error is not None]
    if len(behind) == len(outcomes):
        raise Lines(_lines(behind))
    for line in _lines(behind):
        click.echo(f"behind: {line}", err=True)
    if behind:
        click.echo(
            f"{len(behind)} of {len(outcomes)} are behind; run the same command again when they answer", err=True
        )
    return BEHIND if behind else 0


def _lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Why, with the URL in each line."""
    found: list[str] = []
    for each in outcomes:
        assert each.error is not None
        reasons = each.error.lines if isinstance(each.error, Lines) else [str(each.error)]
        found += [reason if reason.startswith(each.url) else f"{each.url}: {reason}" for reason in reasons]
    return found
