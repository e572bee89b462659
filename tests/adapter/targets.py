"""TLS servers that stand for the gateways of datacenters: what they saw tells whether an SNI found its endpoints."""

import socketserver
import ssl
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports


class Gateways:
    """One server per datacenter, all of them up while the `with` block lasts.

    Each shows the certificate of the service where the SNI says, as a real gateway passes on to it, and answers every
    request with the name of that datacenter. `seen` are the pairs of server and SNI's datacenter so far.
    """

    def __init__(self, authority: CertificateAuthority, service: str, places: Mapping[str, tuple[str, int]]) -> None:
        self.seen: set[tuple[str, str]] = set()
        self._contexts = {}
        for datacenter in places:
            identity = authority.issue(service, datacenter)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.certificate, identity.private_key)
            self._contexts[datacenter] = context
        self._servers = [self._server(datacenter, place) for datacenter, place in places.items()]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _server(self, where: str, place: tuple[str, int]) -> socketserver.BaseServer:
        gateways = self

        class Answer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asked: list[str] = []

                def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
                    asked.append((name or "no SNI").split(".")[2:3][0] if name else "no SNI")
                    tls.context = gateways._contexts[asked[-1]]

                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.sni_callback = choose
                self.request.settimeout(5)
                try:
                    with context.wrap_socket(self.request, server_side=True) as connection:
                        gateways.seen.add((where, asked[0]))
                        connection.recv(4096)
                        body = asked[0].encode()
                        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
                        connection.sendall(head + body)
                except OSError:
                    pass  # the client of a failed handshake tells

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

        return Server(place, Answer)


def places(ports: Ports, addresses: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """A free port in every datacenter."""
    return {datacenter: (ip, ports.take(ip)) for datacenter, ip in addresses.items()}
