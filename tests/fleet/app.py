"""The service itself: a process that answers every HTTP request with the name of its datacenter."""

import argparse
import asyncio
import ssl


class Answer(asyncio.Protocol):
    """One connection: an answer to every request, until one says that it is the last."""

    def __init__(self, name: str, status: int = 200) -> None:
        body = name.encode()
        head = f"HTTP/1.1 {status} So\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
        self._answer = head.encode() + body
        self._request = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._request += data
        while b"\r\n\r\n" in self._request:
            request, _, self._request = self._request.partition(b"\r\n\r\n")
            self._transport.write(self._answer)
            if b"connection: close" in request.lower():
                self._transport.close()
                return


async def serve(name: str, address: str, port: int, status: int = 200, tls: ssl.SSLContext | None = None) -> None:
    """Answer `name` with `status` on `address`:`port` until killed."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Answer(name, status), address, port, backlog=1024, reuse_address=True, ssl=tls
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument(
        "--certificate", help="the PEM file of its certificate: it speaks TLS itself, without a sidecar"
    )
    parser.add_argument("--private-key")
    arguments = parser.parse_args()
    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.private_key)
    asyncio.run(serve(arguments.name, arguments.address, arguments.port, arguments.status, tls))


if __name__ == "__main__":
    main()
