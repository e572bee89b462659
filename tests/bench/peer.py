"""Sovereign, another control plane in Python that answers Envoys over REST, beside our own adapter.

`make bench-peer` installs it into an environment of its own. It answers with what ours answers, which its template only
has to take from memory: the fastest that it can be made.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

import orjson

from tests.bench.answers import Question, adapter, check, questions
from tests.bench.floors import empty_application
from tests.bench.table import Beside, Measured
from tests.fleet.process import Child, Ports, wait_until

PYTHON = Path(sys.prefix, "sovereign", "bin", "python")
WORKERS = 2
GOAL = 10.0

_ROUNDS = 3
"""Of each of the two in turn; the median counts."""

_TEMPLATE = """
import json
from pathlib import Path

RESOURCES = json.loads(Path(__file__).with_suffix(".json").read_text())


def call(**context):
    return RESOURCES
"""


@contextlib.contextmanager
def sovereign(directory: Path, resources: dict[str, list[dict[str, object]]]) -> Iterator[int]:
    """The port of a Sovereign with two workers that answers with these resources, by their kind."""
    templates = []
    for kind, found in resources.items():
        (directory / f"{kind}.json").write_bytes(orjson.dumps(found))
        (directory / f"{kind}.py").write_text(_TEMPLATE)
        spec = {"protocol": "python", "serialization": "passthrough", "path": str(directory / f"{kind}.py")}
        templates.append({"type": kind, "spec": spec})
    config = directory / "sovereign.json"
    quiet = {"access_logs": {"enabled": False}, "application_logs": {"enabled": False}}
    config.write_bytes(orjson.dumps({"templates": {"default": templates}, "logging": quiet}))
    with Ports() as ports:
        port = ports.take("127.0.0.1")
        settings = {
            "SOVEREIGN_CONFIG": f"file+json://{config}",
            "SOVEREIGN_HOST": "127.0.0.1",
            "SOVEREIGN_PORT": str(port),
            "SOVEREIGN_WORKERS": str(WORKERS),
            "SOVEREIGN_KEEPALIVE": "120",
        }
        with Child("sovereign", [PYTHON, "-m", "sovereign.server"], directory, settings) as child:
            wait_until(lambda: _answers(port), "Sovereign", children=[child], timeout=60)
            yield port


def _answers(port: int) -> bool:
    try:
        return bool(Question("clusters", "", _SMALLEST).ask(port))
    except (OSError, HTTPException, ValueError, KeyError):
        return False


_BODY = b'{"node":{"id":"a","cluster":"s1"}}'
_SMALLEST = (
    b"POST /v3/discovery:clusters HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def measure(directory: Path, seconds: float, progress: Callable[[str], None]) -> Iterator[Measured]:
    """The same questions to both, in turn."""
    asked = list(questions(directory))
    with contextlib.ExitStack() as held:
        ours = held.enter_context(adapter(directory))
        resources = {each.kind: each.ask(ours) for each in asked}
        theirs = held.enter_context(sovereign(directory, resources))
        empty = held.enter_context(empty_application(directory))
        for each in asked:
            check(each, each.ask(ours))
            check(each, each.ask(theirs))
            rates = [(each.rate(ours, seconds)[0], each.rate(theirs, seconds)[0]) for _ in range(_ROUNDS)]
            our, their = (sorted(some)[_ROUNDS // 2] for some in zip(*rates, strict=True))
            floor = Beside("an empty application", each.rate(empty, seconds)[0])
            progress(f"{each.what}: {our:,.0f} against {their:,.0f} a second")
            yield Measured(each.what, our, "a second", beside=floor)
            yield Measured(f"  Sovereign with {WORKERS} workers", their, "a second", beside=floor)
            yield Measured("  times Sovereign", our / their, "times", at_least=GOAL)
