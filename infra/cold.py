"""How long a function takes to be ready, against what importing boto3 and making its S3 client takes.

`python infra/cold.py` prints seconds and the ratio for every function: CPU seconds of a fresh process, the fewest of a
few, in turn with the others, so that a busy machine is busy for all of them. With `--imports ingest` it prints what the
time goes into, by package, and the modules that take longest.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

BASE = "import boto3; boto3.client('s3')"
"""What every function that talks to S3 in the usual way pays."""

MOST = 1.5
"""How many times BASE a function should take at most (docs/aws.md)."""

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "POINTSMAN_STORE": "s3://none",
    "POINTSMAN_NOTICES": "arn:aws:sns:eu-central-1:000000000000:none-notices",
    "POINTSMAN_DEAD_LETTERS": "https://sqs.eu-central-1.amazonaws.com/000000000000/none",
    "POINTSMAN_ECS_TASKS": '{"tags": true}',
    "POWERTOOLS_TRACE_DISABLED": "true",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
"""What infra/template.yaml sets. Nothing is asked of AWS before the first event."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the cold starts of the functions.")
    parser.add_argument("--rounds", type=int, default=10, help="fresh processes of each kind")
    parser.add_argument("--imports", metavar="FUNCTION", help="what the imports of one function take")
    arguments = parser.parse_args()
    if arguments.imports:
        print_imports(arguments.imports)
        return
    folders = sorted(path.parent for path in REPOSITORY.glob("functions/*/handler.py"))
    took: dict[str, float] = {}
    for _ in range(arguments.rounds):
        for name, code, path in [("boto3", BASE, None), *((each.name, "import handler", each) for each in folders)]:
            took[name] = min(took.get(name, float("inf")), seconds(code, path))
    for name, least in took.items():
        print(f"{name:12}{least:7.3f} s{least / took['boto3']:7.2f}")
    if slow := [name for name, least in took.items() if least > MOST * took["boto3"]]:
        sys.exit(f"{', '.join(slow)}: more than {MOST} times as long as boto3 with its S3 client")


def seconds(code: str, path: Path | None) -> float:
    """The CPU seconds that a fresh Python has taken when it has run `code`, with `path` on its path."""
    command = [sys.executable, "-c", f"{code}; import time; print(time.process_time())"]
    done = subprocess.run(command, env=_environment(path), check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_imports(function: str) -> None:
    """What `python -X importtime` says of a function, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-c", "import handler"]
    environment = _environment(REPOSITORY / "functions" / function)
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    packages: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for own, whole, name in re.findall(r"import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)", done.stderr):
        packages[name.partition(".")[0]] += int(own)
        modules[name] = int(whole)
    for title, found in (("by package", packages), ("by module, with what it imports first", modules)):
        print(title)
        for name, microseconds in found.most_common(25):
            print(f"{microseconds / 1000:8.1f} {name}")


def _environment(path: Path | None) -> dict[str, str]:
    return {**ENVIRONMENT, "PATH": os.environ["PATH"], **({"PYTHONPATH": str(path)} if path else {})}


if __name__ == "__main__":
    main()
