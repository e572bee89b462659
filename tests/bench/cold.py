"""Cold starts of the functions on AWS, against what importing boto3 and making its S3 client takes."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

from tests.bench.table import Beside, Measured
from tests.fleet.process import REPOSITORY

GOALS = {"reconcile": 1.35, "discovery": 1.35, "ingest": 1.5, "configure": 1.5}


def _cold() -> ModuleType:
    spec = importlib.util.spec_from_file_location("infra_cold", REPOSITORY / "infra" / "cold.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(functions: Iterable[str], rounds: int, progress: Callable[[str], None]) -> Iterator[Measured]:
    """CPU seconds of fresh processes, the fewest of a few."""
    cold = _cold()
    least = dict.fromkeys(("boto3", *functions), float("inf"))
    for _ in range(rounds):
        for name in least:
            path = None if name == "boto3" else REPOSITORY / "functions" / name
            least[name] = min(least[name], cold.seconds(cold.BASE if path is None else "import handler", path))
    progress(", ".join(f"{name} {seconds:.2f} s" for name, seconds in least.items()))
    for name in functions:
        beside = Beside("boto3 with its S3 client, ms", least["boto3"] * 1e3)
        yield Measured(f"cold start of {name}, CPU", least[name] * 1e3, "ms", beside=beside)
        yield Measured("  against boto3", least[name] / least["boto3"], "times", GOALS[name])
