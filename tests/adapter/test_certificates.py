"""Who is let in by a certificate, over HTTP and gRPC alike, and what is forgotten when certificates rotate."""

import contextlib
import http.client
import math
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from cryptography import x509
from pointsman.serve.certificate import certificate_end, certificate_uris
from pointsman.serve.tls import ServerTls, TlsFiles

from tests.adapter import rest, streams
from tests.adapter.doubles import Remote
from tests.adapter.published import TRUST_DOMAIN, Publisher
from tests.fleet.ca import CertificateAuthority, Identity

EMAIL, DNS, URI, IP = 1, 2, 6, 7
S1 = f"spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/s1".encode()

Names: TypeAlias = list[tuple[int, bytes]]

LET_IN: dict[str, Names] = {
    "its URI": [(URI, S1)],
    "its URI beside names of other kinds": [(DNS, b"s1.example"), (URI, S1), (EMAIL, b"s1@example")],
}

REFUSED: dict[str, Names] = {
    "nothing": [(DNS, b"s1.example")],
    "a DNS name that reads like its URI": [(DNS, S1)],
    "an e-mail address that reads like its URI": [(EMAIL, S1)],
    "its URI and a NUL": [(URI, S1 + b"\0")],
    "its URI, a NUL and more": [(URI, S1 + b"\0.evil.example")],
    "a URI that is no UTF-8": [(URI, f"spiffe://{TRUST_DOMAIN}/".encode() + b"\xff\xfe")],
    "a URI with a letter that is none of ASCII": [(URI, S1 + "é".encode())],
    "two SPIFFE ids": [(URI, S1), (URI, S1.replace(b"s1", b"s2"))],
    "its URI and another one": [(URI, S1), (URI, b"https://s1.example")],
    "its URI twice": [(URI, S1), (URI, S1)],
    "its URI with the scheme in capitals": [(URI, S1.replace(b"spiffe", b"SPIFFE"))],
    "its URI with more in the path": [(URI, S1 + b"/more")],
    "another service's": [(URI, S1.replace(b"s1", b"s2"))],
    "its URI of another trust domain": [(URI, S1.replace(TRUST_DOMAIN.encode(), b"elsewhere.example"))],
    "its URI of a trust domain that begins alike": [(URI, S1.replace(b"/ns/", b".evil.example/ns/"))],
    "its URI without a trust domain": [(URI, S1.replace(TRUST_DOMAIN.encode(), b""))],
}

Ask: TypeAlias = Callable[[Identity], str]
"""Fetches as s1 with a certificate: "let in", why not, or "no connection"."""


@contextlib.contextmanager
def over_http(store: Remote, files: TlsFiles) -> Iterator[Ask]:
    tls = ServerTls(files)

    def ask(shown: Identity) -> str:
        tls.refresh()  # which the server does every half minute
        context = ssl.create_default_context(cafile=str(files.client_ca))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(shown.certificate, shown.private_key)
        try:
            reply = rest.Envoy(adapter, tls=context).ask("clusters")
        except (OSError, http.client.HTTPException):
            return "no connection"
        assert reply.status in (200, 403)
        return "let in" if reply.status == 200 else str(reply.json["error"])

    with rest.Adapter(store, tls=tls, pause=0.01) as adapter:
        yield ask


@contextlib.contextmanager
def over_grpc(store: Remote, files: TlsFiles) -> Iterator[Ask]:
    trusted = files.certificate.parent / "ca.pem"

    def ask(shown: Identity) -> str:
        key, chain = shown.private_key.read_bytes(), shown.certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(trusted.read_bytes(), key, chain)
        with streams.stream(adapter.server.address, credentials=credentials) as stream:
            stream.say(streams.CLUSTERS, node=streams.node((1, 40, 0)))
            try:
                stream.hear()
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                    return str(error.details())
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return "no connection"
                raise
        return "let in"

    with streams.Adapter(store, tls=files) as adapter:
        yield ask


def server_files(authority: CertificateAuthority, directory: Path) -> TlsFiles:
    """A server's, whose clients' CAs are in a file of their own."""
    own = authority.issue_as("server", [(DNS, b"adapter"), (IP, bytes([127, 0, 0, 1]))])
    trusted = directory / "clients.pem"
    trusted.write_bytes(own.ca.read_bytes())
    return TlsFiles(own.certificate, own.private_key, trusted)


@pytest.mark.parametrize("tongue", [over_http, over_grpc])
def test_a_certificate_lets_in_by_its_only_uri_and_by_nothing_that_looks_like_it(
    tongue: Any, store: Remote, published: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN)
    with tongue(store, server_files(authority, tmp_path)) as ask:
        for number, (what, names) in enumerate({**LET_IN, **REFUSED}.items()):
            answer = ask(authority.issue_as(str(number), names))
            assert (answer == "let in") is (what in LET_IN), what
            assert what in LET_IN or "the client's certificate" in answer, what
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("tongue", [over_http, over_grpc])
def test_a_ca_that_is_taken_away_is_not_trusted_any_more(
    tongue: Any, store: Remote, published: Publisher, tmp_path: Path
) -> None:
    old = CertificateAuthority(tmp_path / "old", TRUST_DOMAIN)
    new = CertificateAuthority(tmp_path / "new", TRUST_DOMAIN)
    files = server_files(old, tmp_path)
    before, after = old.issue("s1", "dc1"), new.issue("s1", "dc1")
    with tongue(store, files) as ask:
        assert (ask(before), ask(after)) == ("let in", "no connection")
        files.client_ca.write_bytes(old.file.read_bytes() + new.file.read_bytes())
        assert (ask(before), ask(after)) == ("let in", "let in")
        files.client_ca.write_bytes(new.file.read_bytes())
        assert (ask(before), ask(after)) == ("no connection", "let in")


def test_what_is_no_certificate_names_nobody(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN)
    der = ssl.PEM_cert_to_DER_cert(authority.issue_as("s1", LET_IN["its URI"]).certificate.read_text())
    assert certificate_uris(der) == (S1.decode(),)
    assert {certificate_uris(der[:size]) for size in range(len(der))} == {()}
    for at in range(len(der)):
        for value in (0x00, 0x1F, 0x30, 0x80, 0x84, 0xFF, der[at] ^ 1):
            # Whatever comes out, it is an answer.
            certificate_uris(der[:at] + bytes([value]) + der[at + 1 :])


def test_when_a_certificate_ends_is_read_from_its_file_and_unknown_where_that_cannot_be_read(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN)
    path = authority.issue_as("s1", LET_IN["its URI"]).certificate
    chain = path.read_bytes()
    assert certificate_end(path) == x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp()
    for broken in (b"", b"no certificate", chain[: len(chain) // 2], b"\xff" + chain):
        path.write_bytes(broken)
        assert math.isnan(certificate_end(path))
    path.unlink()
    assert math.isnan(certificate_end(path))
