"""`make demo KEEP=1`: the mesh runs on, for whoever wants to try it, until Ctrl-C."""

import contextlib
import shlex
import time
from collections.abc import Callable, Iterator

from tests.fleet.client import Client
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.mesh import HOME, Mesh

_EVERY_S = 0.1


def invitation(mesh: Mesh) -> Iterator[str]:
    """What can be tried, line by line."""
    at = f"--url {mesh.pointsman.url}"
    pointsman = shlex.quote(str(POINTSMAN))
    yield f"It runs on until Ctrl-C, and s1 asks s2 ten times a second. Its page: {mesh.pointsman.url}/"
    yield "Three things to try in another terminal:"
    yield f"  kill s2 in {HOME}         kill -9 {' '.join(map(str, mesh.pids(HOME)))}"
    yield f"  drain {HOME}              {pointsman} drain {HOME} {at} --for 10m --reason 'a try' --force"
    yield f"  what happened so far   {pointsman} history s2 {at}"


def keep(mesh: Mesh, say: Callable[[str], None]) -> None:
    """Ask s2 until Ctrl-C, and say when somebody else answers."""
    with contextlib.suppress(KeyboardInterrupt):
        _keep(mesh, say)


def _keep(mesh: Mesh, say: Callable[[str], None]) -> None:
    last = ""
    while True:
        # A client anew each minute: it remembers all that it asked.
        with Client(*mesh.upstream, interval=_EVERY_S) as client:
            end = time.perf_counter() + 60
            while (now := time.perf_counter()) < end:
                time.sleep(_EVERY_S)
                for attempt in client.attempts(now - _EVERY_S):
                    who = attempt.datacenter or f"nobody ({attempt.failure})"
                    if who != last:
                        say(f"{time.strftime('%H:%M:%S')}  {who} answers")
                        last = who
