"""gRPC streams (delta ADS), as Envoys hold them: a connection for each, and as little work at this end as can be."""

import asyncio
import struct
import time
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from pointsman.delivery.response import CLUSTER_TYPE, ENDPOINT_TYPE

# RFC 9113, section 6: the types of frames, and flags.
DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE, _LARGE = 4, 2**30


class Stream(asyncio.Protocol):
    """One stream on a connection of its own: asks for clusters, then for the endpoints of one, and accepts everything.

    It speaks just enough HTTP/2: a general client takes longer to receive than an adapter to send.
    """

    def __init__(self, service: str) -> None:
        """Its Envoy is of s1 in dc1, and asks for the endpoints of `service`."""
        self._service = service
        self._frames, self._messages = b"", b""
        self._waiting: asyncio.Future[float] | None = None
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, port: int, service: str) -> "Stream":
        """A stream to the adapter on this port of 127.0.0.1, which has the endpoints when this returns."""
        _, made = await asyncio.get_running_loop().create_connection(lambda: cls(service), "127.0.0.1", port)
        await asyncio.wait_for(made.ready, 60)
        return made

    def change(self) -> "asyncio.Future[float]":
        """When the next endpoints come."""
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream and ask for clusters."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        headers = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "pointsman", "te": "trailers"}
        block = b"".join(map(_header, (*headers.items(), ("content-type", "application/grpc"))))
        transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGE))
            + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGE))
            + frame(_HEADERS, _END_HEADERS, 1, block)
        )
        node = Node(id="s1-1", cluster="s1", user_agent_name="envoy")
        node.metadata["datacenter"] = "dc1"
        number = node.user_agent_build_version.version
        number.major_number, number.minor_number = 1, 40
        self._say(DeltaDiscoveryRequest(type_url=CLUSTER_TYPE, node=node))

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        self._frames += data
        while len(self._frames) >= 9:
            length = int.from_bytes(self._frames[:3], "big")
            if len(self._frames) < 9 + length:
                return
            kind, flags, payload = self._frames[3], self._frames[4], self._frames[9 : 9 + length]
            self._frames = self._frames[9 + length :]
            self._take(kind, flags, payload)

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == DATA:
            self._messages += payload
            while len(self._messages) >= 5:
                length = int.from_bytes(self._messages[1:5], "big")
                if len(self._messages) < 5 + length:
                    return
                message, self._messages = self._messages[5 : 5 + length], self._messages[5 + length :]
                self._hear(message)
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            self._transport.write(frame(kind, _ACK, 0, payload if kind == _PING else b""))
        assert kind != _GOAWAY, payload
        assert not (kind == _HEADERS and flags & _END_STREAM), "the adapter ended the stream"

    def _hear(self, message: bytes) -> None:
        now = time.perf_counter()
        response = DeltaDiscoveryResponse.FromString(message)
        self._say(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
        if response.type_url == CLUSTER_TYPE:
            found = (Cluster.FromString(each.resource.value) for each in response.resources)
            names = [
                each.eds_cluster_config.service_name for each in found if each.name.startswith(f"{self._service}.")
            ]
            self._say(DeltaDiscoveryRequest(type_url=ENDPOINT_TYPE, resource_names_subscribe=names))
        elif not self.ready.done():
            self.ready.set_result(None)
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(now)

    def _say(self, request: Any) -> None:
        assert self._transport is not None
        data = request.SerializeToString()
        self._transport.write(frame(DATA, 0, 1, struct.pack(">BI", 0, len(data)) + data))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def _header(field: tuple[str, str]) -> bytes:
    """A literal field without indexing (RFC 7541, section 6.2.2); both texts are shorter than 127 bytes."""
    name, value = (each.encode() for each in field)
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
