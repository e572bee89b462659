"""The URL of a function as AWS has it: TLS under its wildcard certificate, IAM by SigV4, then an invocation."""

import hashlib
import re
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.aws.harness import Handler, url_event
from tests.aws.template import REGION

HOST = f"abc123.lambda-url.{REGION}.on.aws"
CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a session's token")

_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})")


class FunctionUrl:
    """Invokes `run` for every request that is signed as it should be. `answers` counts what became of requests, `wrong`
    tells what was wrong with them."""

    def __init__(self, run: Handler) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.port = 0
        self._run = run
        self._one = threading.Lock()  # as an execution environment: one at a time
        self._away = False

    def leave(self, away: bool = True) -> None:
        """Stop answering, or answer again."""
        with self._one:
            self._away = away

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """What comes of one request."""
        why = wrong_signature(method, path, headers, body)
        if why:
            self.wrong.append(f"{method} {path}: {why}")
            return 403, b'{"Message":"Forbidden"}'
        route, _, query = path.partition("?")
        event = url_event(method, route, body.decode())
        event |= {"rawQueryString": query, "queryStringParameters": dict(parse_qsl(query))}
        event["headers"] = {name.lower(): each for name, each in headers.items()}
        with self._one:
            if self._away:
                return 502, b"Bad Gateway"
            answer = self._run(event)
            self.answers[route.rpartition(":")[2], answer["statusCode"]] += 1
        return answer["statusCode"], answer["body"].encode()


def wrong_signature(method: str, path: str, headers: Mapping[str, str], body: bytes) -> str:
    """Why AWS would not let the request in; "" if it would."""
    found = _AUTHORIZATION.match(headers.get("authorization", ""))
    if found is None:
        return "it is not signed"
    if headers["host"] != HOST:
        return f"it is for the host {headers['host']}"
    when = datetime.strptime(headers["x-amz-date"], SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - when) > timedelta(minutes=5):
        return f"it was signed at {when}"
    if headers.get("x-amz-content-sha256", "") != hashlib.sha256(body).hexdigest():
        return "its body is another one than was signed"
    if headers.get("x-amz-security-token") != CREDENTIALS.token:
        return "it has not the session's token"
    scope, names, signature = found.groups()
    if not {"host", "x-amz-date", "x-amz-security-token"} <= set(names.split(";")):
        return f"only {names} are signed"
    request = AWSRequest(method, f"https://{HOST}{path}", {name: headers[name] for name in names.split(";")}, data=body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(CREDENTIALS, "lambda", REGION)
    if scope != auth.scope(request):
        return f"it is signed for {scope}"
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return "" if signature == expected else "the signature is another one"


@contextmanager
def function_url(run: Handler, directory: Path) -> Iterator[FunctionUrl]:
    """The URL of `run`, on a port of 127.0.0.1; the CA that vouches for it is `directory`/public-ca.pem."""
    url = FunctionUrl(run)

    class Handle(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = url.answer(self.command, self.path, headers, body)
            self.send_response(status)
            if status != 304:
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_DELETE = do_POST

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            # The handshake belongs to the connection's own thread.
            try:
                request.do_handshake()
                super().finish_request(request, client_address)
            except OSError:
                pass  # the Envoy has hung up

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))
    context.set_alpn_protocols(["http/1.1"])
    server = Server(("127.0.0.1", 0), Handle)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    url.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


def certificate(directory: Path, *addresses: str) -> Path:
    """The certificate of all function URLs of the region and of these IP addresses, with its key; what vouches for it
    is `directory`/public-ca.pem."""
    key, name = ec.generate_private_key(ec.SECP256R1()), f"*.lambda-url.{REGION}.on.aws"
    now = datetime.now(UTC)
    names = [x509.DNSName(name), *(x509.IPAddress(ip_address(address)) for address in addresses)]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "public-ca.pem").write_bytes(made)
    chain = directory / "function-url.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(made + private)
    return chain
