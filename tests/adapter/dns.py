"""A DNS server that knows a few names, and can be told not to answer."""

import socketserver
import threading
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any, Self

_SERVFAIL, _NXDOMAIN = 2, 3
_A = b"\x00\x01"


class Dns:
    """Answers over UDP for `names`, each with its IPv4 addresses, while the `with` block lasts.

    While it is `away`, every question ends in SERVFAIL; `failed` counts those.
    """

    def __init__(self, port: int, names: dict[str, list[str]]) -> None:
        self.port, self.names, self.away, self.failed = port, names, False, 0
        dns = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                question, socket = self.request
                socket.sendto(dns._answer(question), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def in_bootstrap(self) -> dict[str, Any]:
        """The part of a bootstrap that has an Envoy ask this server."""
        config = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
        place = {"address": "127.0.0.1", "port_value": self.port, "protocol": "UDP"}
        options = {"no_default_search_domain": True}
        of = {"@type": config, "resolvers": [{"socket_address": place}], "dns_resolver_options": options}
        return {"typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": of}}

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind, asked = question[at + 1 : at + 3], question[12 : at + 5]
        known = self.names.get(".".join(labels).lower())
        addresses = [] if known is None or self.away or kind != _A else known
        self.failed += self.away
        code = _SERVFAIL if self.away else _NXDOMAIN if known is None else 0
        head = question[:2] + bytes((0x81, 0x80 | code)) + b"\0\1" + len(addresses).to_bytes(2) + b"\0\0\0\0"
        # A name at 12, the class IN, a second to live, four bytes.
        found = (b"\xc0\x0c" + _A + b"\0\1\0\0\0\1\0\4" + IPv4Address(each).packed for each in addresses)
        return head + asked + b"".join(found)
