"""Simulated lives of a store: what goes wrong is printed with its seed and the shortest story that still does."""

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from tests.pipeline.life import problems_of
from tests.pipeline.shrink import shrunk, told
from tests.pipeline.stories import Teller

_CHUNK = 50
"""Lives that one process runs at a time: of the failing ones, one is reported."""

_MOST_SHOWN = 5
"""Problems of a life, and lives that went wrong, that are printed."""

SHRINK = "POINTSMAN_TESTS_SHRINK"
"""Environment: "0" if nobody will read a failure, so that no shorter story is searched for."""


def failure(
    first: int, lives: int, most_rounds: int = 4, most_acts: int = 4, counts: Counter[str] | None = None
) -> str:
    """Live the lives of `lives` seeds from `first` on, until one goes wrong: a text about it, "" if none does.

    To `counts` is added how often each kind of act was done, and each fault happened.
    """
    with _quiet():
        return _failure(first, lives, most_rounds, most_acts, counts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing in the log: followers say what is damaged, over and over."""
    log = logging.getLogger("pointsman")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _failure(first: int, lives: int, most_rounds: int, most_acts: int, counts: Counter[str] | None) -> str:
    for seed in range(first, first + lives):
        story = Teller(seed).story(most_rounds, most_acts)
        if problems := problems_of(story, counts):
            lines = [f"seed {seed}: {len(problems)} problems", *problems[:_MOST_SHOWN]]
            if os.environ.get(SHRINK) != "0":
                short = shrunk(story, lambda each: bool(problems_of(each)))
                lines += ["the shortest that goes wrong:", told(short), *problems_of(short)[:_MOST_SHOWN]]
            return "\n".join(lines)
    return ""


def _chunk(first: int, rounds: int, acts: int, end: int) -> str:
    return failure(first, min(_CHUNK, end - first), rounds, acts)


def main() -> int:
    """0 if every life ended as it should."""
    today = int(f"{datetime.now(UTC):%Y%m%d}") * 10_000
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=today, help="the first life's (default: of today, %(default)s)")
    parser.add_argument("--lives", type=int, default=1000, help="how many, with the seeds after it (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="the most rounds of a life (%(default)s)")
    parser.add_argument("--acts", type=int, default=4, help="the most acts at the same time (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="how many processes live (%(default)s)")
    told_to = parser.parse_args()
    end = told_to.seed + told_to.lives
    print(f"{told_to.lives} lives from seed {told_to.seed} on, {told_to.rounds} rounds of {told_to.acts} acts at most")
    wrong = 0
    live = partial(_chunk, rounds=told_to.rounds, acts=told_to.acts, end=end)
    with ProcessPoolExecutor(told_to.processes) as pool:
        for found in filter(None, pool.map(live, range(told_to.seed, end, _CHUNK))):
            wrong += 1
            if wrong <= _MOST_SHOWN:
                print(f"\n{found}")
    print("every life ended as it should" if not wrong else f"\n{wrong} lives went wrong, if not more")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
