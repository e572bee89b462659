"""A server of secrets on a unix socket, as a SPIRE agent is one for the workload at its other end."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from envoy.service.secret.v3.sds_pb2_grpc import (
    SecretDiscoveryServiceServicer,
    add_SecretDiscoveryServiceServicer_to_server,
)

from tests.fleet.ca import Identity

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Agent(SecretDiscoveryServiceServicer):
    """Serves one workload's certificate as `default` and the CAs as `ROOTCA` while its `with` block lasts, and sends
    them again to everybody when they change.

    With a trust domain the CAs go out as SPIRE sends them to an Envoy that knows them so: by trust domain.
    """

    def __init__(self, socket: Path, trust_domain: str = "") -> None:
        self._trust_domain = trust_domain
        self._secrets: dict[str, Secret] = {}
        self._changed, self._version, self._ended = threading.Condition(), 0, False
        self.asked_for: set[str] = set()
        self.rejected: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(16))
        add_SecretDiscoveryServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{socket}")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._server.stop(0.1).wait()

    def serve(self, identity: Identity, ca: bytes) -> None:
        """From now on these."""
        own, trust = Secret(name="default"), Secret(name="ROOTCA")
        own.tls_certificate.certificate_chain.inline_bytes = identity.certificate.read_bytes()
        own.tls_certificate.private_key.inline_bytes = identity.private_key.read_bytes()
        if self._trust_domain:
            validator = SPIFFECertValidatorConfig()
            validator.trust_domains.add(name=self._trust_domain).trust_bundle.inline_bytes = ca
            custom = TypedExtensionConfig(name="envoy.tls.cert_validator.spiffe")
            custom.typed_config.Pack(validator)
            trust.validation_context.custom_validator_config.CopyFrom(custom)
        else:
            trust.validation_context.trusted_ca.inline_bytes = ca
        with self._changed:
            self._secrets = {each.name: each for each in (own, trust)}
            self._version += 1
            self._changed.notify_all()

    def StreamSecrets(self, requests: Iterator[Any], context: Any) -> Iterator[DiscoveryResponse]:
        """What is asked for first on a stream, now and whenever it changes."""
        names = list(next(requests).resource_names)
        self.asked_for.update(names)
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()
        sent = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda sent=sent: self._version != sent or self._ended, timeout=0.5)
                if self._ended:
                    return
                if self._version == sent:
                    continue
                sent, secrets = self._version, self._secrets
            response = DiscoveryResponse(version_info=str(sent), nonce=str(sent), type_url=_TYPE)
            for name in names:
                response.resources.add().Pack(secrets[name])
            yield response

    def _listen(self, requests: Iterator[Any]) -> None:
        with contextlib.suppress(grpc.RpcError):  # the Envoy hung up
            self.rejected += [each.error_detail.message for each in requests if each.HasField("error_detail")]
