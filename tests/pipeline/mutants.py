"""Whether the tests of the pipeline notice when one of its promises is broken: every mutant has to be caught.

Each is a copy of the library with one place broken (tests/pipeline/mutations.py), which the tests run against: first
the one that keeps the promise, then all others, until one fails. One process, one mutant at a time, unless told
otherwise.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

from tests.pipeline.mutations import MUTATIONS, Mutation
from tests.pipeline.simulate import SHRINK

LONGEST_S = 600.0
"""Seconds that all tests may take, with a mutation or without; a mutant whose tests take longer was not caught."""

_SLOW = ("test_catalog.py", "test_damaged.py", "test_restored.py", "test_convergence.py")
"""The files that are run after all others, the slowest last."""

_ROOT = Path(__file__).parents[2]
_LIBRARY = _ROOT / "layers/pointsman/python"
_TESTS = _ROOT / "tests/pipeline"
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/pipeline/(.+?)(?: - .*)?$", re.MULTILINE)
_CAUGHT = 1
"""pytest's exit code where tests ran and failed: https://docs.pytest.org/en/stable/reference/exit-codes.html."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: the test that caught it, or why it counts as not caught, and how long that took."""

    mutation: Mutation
    caught_by: str
    why_not: str
    seconds: float

    def __str__(self) -> str:
        what = f"{self.mutation.file}: {self.mutation.breaks}"
        said = f"caught   {what} (by {self.caught_by})" if self.caught_by else f"SURVIVED {what} ({self.why_not})"
        return f"{said}, {self.seconds:.0f} s"


def mutated(mutation: Mutation) -> str:
    """The text of the file with the mutation in it. Raises ValueError if what it replaces does not stand there once."""
    text = (_LIBRARY / "pointsman" / mutation.file).read_text()
    if (times := text.count(mutation.old)) != 1:
        where = f"{mutation.old!r} stands {times} times in {mutation.file}"
        raise ValueError(f"{mutation.breaks}: {where}; adapt tests/pipeline/mutations.py")
    return text.replace(mutation.old, mutation.new)


def try_on(mutation: Mutation, seconds: float) -> Outcome:
    """Run the tests against the mutant until one fails, for so many seconds at most."""
    began = time.monotonic()
    caught_by, why_not = "", "all tests pass"
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copytree(_LIBRARY, place, dirs_exist_ok=True)  # with what is compiled: importing is most of many a run
        Path(place, "pointsman", mutation.file).write_text(mutated(mutation))
        for some in ([mutation.first], _tests()):
            try:
                done = _run(place, some, began + seconds - time.monotonic())
            except subprocess.TimeoutExpired:
                why_not = f"its tests had not ended after {seconds:.0f} s"
                break
            if done.returncode == _CAUGHT:
                found = _FAILED.search(done.stdout)
                caught_by = found[1] if found else "a test that pytest does not name"
                break
            if done.returncode != 0:
                why_not = f"pytest ended with {done.returncode}: it cannot even be imported, or {some[0]} is not there"
                break
    return Outcome(mutation, caught_by, why_not, time.monotonic() - began)


def _tests() -> list[str]:
    """All files with tests but those of the mutations, the quick ones first."""
    found = {each.name for each in _TESTS.glob("test_*.py")} - {"test_mutants.py", *_SLOW}
    return [*sorted(found), *_SLOW]


def _run(
    place: str, tests: Sequence[str], seconds: float, *, compiles: bool = False
) -> "subprocess.CompletedProcess[str]":
    """pytest on `tests` with the library in `place`. `compiles` says whether it may keep what it compiled."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-n", "0"]
    command += [f"tests/pipeline/{each}" for each in tests]
    environment = {**os.environ, "PYTHONPATH": place, SHRINK: "0"}
    environment |= {} if compiles else {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=max(1.0, seconds), check=False
    )


def _baseline(seconds: float) -> str:
    """Why nothing can be said of mutants, "" where all tests pass without any mutation: in one of two runs, for on a
    busy machine a test may fail by itself."""
    output = ""
    for _ in range(2):
        try:
            done = _run(str(_LIBRARY), _tests(), seconds, compiles=True)
        except subprocess.TimeoutExpired:
            return f"the tests take longer than {seconds:.0f} s without any mutation: allow more with --seconds"
        if done.returncode == 0:
            return ""
        output = done.stdout + done.stderr
    return f"{output}\nthe tests fail without any mutation, twice: mend that first"


def main() -> int:
    """0 if every mutant was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose file or promise has this in it (default: all)")
    parser.add_argument("--part", default="1/1", help="the Kth of N parts of them, as K/N (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=LONGEST_S, help="the longest for one (%(default)s)")
    told = parser.parse_args()
    part, parts = map(int, told.part.split("/"))
    chosen = [each for each in MUTATIONS if told.only in each.file or told.only in each.breaks][part - 1 :: parts]
    for each in chosen:
        mutated(each)
    print("the tests without any mutation first", flush=True)
    began = time.monotonic()
    if wrong := _baseline(told.seconds):
        print(wrong)
        return 1
    print(f"they pass, in {time.monotonic() - began:.0f} s; now {len(chosen)} mutants", flush=True)
    survivors: list[Outcome] = []
    with ThreadPoolExecutor(told.processes) as pool:
        running = [pool.submit(try_on, each, told.seconds) for each in chosen]
        for number, done in enumerate(as_completed(running), 1):
            outcome = done.result()
            survivors += [] if outcome.caught_by else [outcome]
            print(f"{number:3}/{len(chosen)} {outcome}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were caught, in {time.monotonic() - began:.0f} s")
    for each in survivors:
        print(each)
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
