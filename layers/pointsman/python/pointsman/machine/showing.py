"""`pointsman page`: the page alone, of any store."""

import sys
from collections.abc import Sequence

import orjson

from pointsman.machine.parts import Parts, stop_on_signals
from pointsman.page.app import PageApp
from pointsman.page.changes import Changes
from pointsman.page.pages import Pages
from pointsman.pipeline.engine import Engine
from pointsman.serve.crowd import FOR_OPERATORS
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.log import start_log
from pointsman.serve.supervisor import Supervisor


def show(engine: Engine, listen: str, hosts: Sequence[str]) -> None:
    """Serve the page of a store until a signal arrives. Raises PointsmanError if it cannot listen."""
    start_log()
    pages = Pages(engine)
    changes = Changes(engine.store, pages.mark)
    server = HttpServer(
        PageApp(pages, changes),
        Listen.read(listen, "--listen"),
        name="page",
        drain=changes.close,
        bounds=FOR_OPERATORS,
        hosts=hosts,
    )
    parts, stop = Parts(), stop_on_signals()
    parts.watch("page", lambda: server.alive, stands_still=lambda: server.stands_still)
    with server:
        sys.stdout.buffer.write(orjson.dumps({"ready": True, "url": server.address}) + b"\n")
        sys.stdout.flush()
        parts.wait(stop, Supervisor(), str)
