"""TLS servers that stand for gateways and for instances: what they saw tells whether an SNI found its endpoints."""

import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports

Place = tuple[str, int]


class Targets:
    """Servers by name, all of them up while the `with` block lasts; more may come, and each may go before.

    Each shows the certificate of the service and the datacenter that the SNI says (without one, of `service`), and
    answers every request with `status` and the text that `says` makes of its own name and the SNI's datacenter.
    `handshakes` counts the pairs of the two.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        service: str,
        places: Mapping[str, Place],
        says: Callable[[str, str], str],
        status: int = 200,
    ) -> None:
        self.handshakes: Counter[tuple[str, str]] = Counter()
        self._authority, self._service, self._says, self._status = authority, service, says, status
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._servers: dict[str, socketserver.BaseServer] = {}
        for name, place in places.items():
            self.add(name, place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._servers):
            self.remove(name)

    @property
    def seen(self) -> set[tuple[str, str]]:
        """The pairs of server and SNI's datacenter so far."""
        return set(self.handshakes)

    def add(self, name: str, place: Place) -> None:
        """One more server."""
        server = self._servers[name] = self._server(name, place)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def remove(self, name: str) -> None:
        """Take no more connections there; those that are open go on."""
        server = self._servers.pop(name)
        server.shutdown()
        server.server_close()

    def _context(self, of: tuple[str, str]) -> ssl.SSLContext:
        with self._lock:
            if of not in self._contexts:
                identity = self._authority.issue(*of)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(identity.certificate, identity.private_key)
                self._contexts[of] = context
            return self._contexts[of]

    def _server(self, where: str, place: Place) -> socketserver.BaseServer:
        targets = self

        class Answer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asked: list[str] = []

                def choose(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
                    service, datacenter = _destination(name) if name else (targets._service, "no SNI")
                    asked.append(datacenter)
                    tls.context = targets._context((service, datacenter))

                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.sni_callback = choose
                self.request.settimeout(60)
                try:
                    with context.wrap_socket(self.request, server_side=True) as connection:
                        with targets._lock:
                            targets.handshakes[where, asked[0]] += 1
                        _converse(connection, targets._status, targets._says(where, asked[0]).encode())
                except OSError:
                    pass  # the client of a failed handshake tells

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        return Server(place, Answer)


def gateways(authority: CertificateAuthority, service: str, places: Mapping[str, Place]) -> Targets:
    """Servers that pass on to where the SNI says, as mesh gateways do."""
    return Targets(authority, service, places, lambda where, asked: asked)


def instances(authority: CertificateAuthority, service: str, places: Mapping[str, Place], status: int = 200) -> Targets:
    """Servers that answer themselves, whatever the SNI."""
    return Targets(authority, service, places, lambda where, asked: where, status)


def places(ports: Ports, addresses: Mapping[str, str]) -> dict[str, Place]:
    """A free port in every datacenter."""
    return {datacenter: (ip, ports.take(ip)) for datacenter, ip in addresses.items()}


def _destination(sni: str) -> tuple[str, str]:
    # [subset.]service.namespace.datacenter.internal.<trust domain>
    *_, service, _, datacenter = sni.partition(".internal.")[0].split(".")
    return service, datacenter


def _converse(connection: ssl.SSLSocket, status: int, body: bytes) -> None:
    """Answer requests without bodies until the other side has had enough."""
    received = b""
    while part := connection.recv(4096):
        received += part
        while b"\r\n\r\n" in received:
            request, _, received = received.partition(b"\r\n\r\n")
            closing = b"connection: close" in request.lower()
            head = b"HTTP/1.1 %d So\r\ncontent-length: %d\r\n" % (status, len(body))
            connection.sendall(head + (b"connection: close\r\n\r\n" if closing else b"\r\n") + body)
            if closing:
                return
