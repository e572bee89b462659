"""The request with which a real Envoy asks for clusters."""

import socket
from pathlib import Path

from pointsman.bootstrap.document import Address, FetchHttp, Node, gateway_bootstrap

from tests.fleet.envoy import Envoy
from tests.fleet.process import Ports


def first_request(directory: Path, node: Node) -> bytes:
    """The body of the first request of an Envoy of `node` that fetches over REST."""
    with socket.create_server(("127.0.0.1", 0)) as server, Ports() as ports:
        server.settimeout(30)
        fetch = FetchHttp(Address("127.0.0.1", server.getsockname()[1]))
        bootstrap = gateway_bootstrap(node, Address("127.0.0.1", ports.take("127.0.0.1")), fetch)
        with Envoy("captured", bootstrap, directory):
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as request:
                lines = iter(request.readline, b"\r\n")
                headers = dict(line.lower().split(b": ") for line in lines if b": " in line)
                return request.read(int(headers[b"content-length"]))
