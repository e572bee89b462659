"""Whether the tests of the pipeline notice when one of its promises is broken: every mutant has to be caught.

Each is a copy of the library with one place broken (tests/pipeline/mutations.py), which the tests run against.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from shutil import copytree

from tests.pipeline.mutations import MUTATIONS, Mutation
from tests.pipeline.simulate import SHRINK

LONGEST = 900.0
"""Seconds that the tests of one mutant may take; one that takes longer was not caught."""

_ROOT = Path(__file__).parents[2]
_LIBRARY = _ROOT / "layers/pointsman/python"
_TESTS = _ROOT / "tests/pipeline"
_CAUGHT = 1
"""pytest's exit code where tests ran and failed: https://docs.pytest.org/en/stable/reference/exit-codes.html."""


def mutated(mutation: Mutation) -> str:
    """The text of the file with the mutation in it. Raises ValueError if what it replaces does not stand there once."""
    text = (_LIBRARY / "pointsman" / mutation.file).read_text()
    if (times := text.count(mutation.old)) != 1:
        where = f"{mutation.old!r} stands {times} times in {mutation.file}"
        raise ValueError(f"{mutation.breaks}: {where}; adapt tests/pipeline/mutations.py")
    return text.replace(mutation.old, mutation.new)


def survives(mutation: Mutation, seconds: float) -> str:
    """Why the mutant counts as not caught; empty if it was caught."""
    text, end = mutated(mutation), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copytree(_LIBRARY, place, dirs_exist_ok=True)  # with what is compiled: importing is most of many a run
        Path(place, "pointsman", mutation.file).write_text(text)
        first = [each for each in _tests() if each.name.startswith(mutation.first)]
        for some in filter(None, (first, [each for each in _tests() if each not in first])):
            try:
                code = _run(place, some, end - time.monotonic())
            except subprocess.TimeoutExpired:
                return f"its tests had not ended after {seconds:.0f} s"
            if code == _CAUGHT:
                return ""
            if code != 0:
                return f"pytest ended with {code}: the mutant cannot even be imported"
    return "all tests pass"


def _tests() -> list[Path]:
    """The quick ones first."""
    found = [each for each in _TESTS.glob("test_*.py") if each.name != "test_mutants.py"]
    return sorted(found, key=lambda each: (each.name == "test_convergence.py", each.name))


def _run(place: str, tests: Sequence[Path], seconds: float) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *map(str, tests)]
    environment = {**os.environ, "PYTHONPATH": place, "PYTHONDONTWRITEBYTECODE": "1", SHRINK: "0"}
    done = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, timeout=max(1.0, seconds), check=False
    )
    return done.returncode


def main() -> int:
    """0 if every mutant was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose file or promise has this in it (default: all)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=LONGEST, help="the longest for one (%(default)s)")
    told = parser.parse_args()
    chosen = [each for each in MUTATIONS if told.only in each.file or told.only in each.breaks]
    for each in chosen:
        mutated(each)
    if _run(str(_LIBRARY), _tests(), told.seconds) != 0:
        print("the tests fail without any mutation: mend that first")
        return 1
    survivors = 0
    with ThreadPoolExecutor(told.processes) as pool:
        running = {pool.submit(survives, each, told.seconds): each for each in chosen}
        for done in as_completed(running):
            each, why = running[done], done.result()
            survivors += bool(why)
            print("SURVIVED" if why else "caught  ", f"{each.file}: {each.breaks}", why and f"({why})", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants were caught")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
