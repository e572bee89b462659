"""What nothing on this machine can beat: the disk alone, and the HTTP server alone."""

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pointsman.serve.body import read_body
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from starlette.types import Receive, Scope, Send

from tests.fleet.process import Child, wait_until

_PAGE = bytes(4096)


def durable_pairs(directory: Path, seconds: float) -> float:
    """How often a second this disk takes two writes, one after another, each with an `fdatasync`."""
    path = directory / "floor"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(2):
                os.write(file, _PAGE)
                os.fdatasync(file)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()


async def _empty(scope: Scope, receive: Receive, send: Send) -> None:
    await read_body(scope, receive, 2**24, "")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


@contextlib.contextmanager
def empty_application(directory: Path) -> Iterator[int]:
    """The port of an application that reads requests and says nothing, on the server that Pointsman runs on."""
    with Child("empty", [sys.executable, "-m", "tests.bench.floors"], directory) as child:
        said = wait_until(child.out.read_bytes, "the empty application", children=[child])
        yield int(said.rpartition(b":")[2])


def main() -> None:
    """Serve until the end."""
    argparse.ArgumentParser(description=empty_application.__doc__).parse_args()
    with HttpServer(_empty, Listen.read("127.0.0.1:0", "--listen")) as server:
        print(server.address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
