"""With what a client is let in: its files are read when they change, and what is wrong with one is told."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pointsman.model.errors import InvalidInput
from pointsman.serve.access import Access, ClientTls

from tests.fleet.ca import CertificateAuthority


def test_a_certificate_that_is_replaced_is_used_for_the_next_connection_and_half_of_one_is_not(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca", "td")
    first, second = authority.issue("s1", "dc1"), authority.issue("s2", "dc1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.private_key.read_bytes())
    tls = ClientTls(Access(ca=str(authority.file), certificate=str(chain), private_key=str(key)))
    before = tls.context
    tls.refresh()
    assert tls.context is before
    chain.write_bytes(second.certificate.read_bytes())
    with pytest.raises(InvalidInput, match=f"--cert: {chain}, {key}: "):
        tls.refresh()
    assert tls.context is before
    key.write_bytes(second.private_key.read_bytes())
    tls.refresh()
    assert tls.context is not before


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    own = CertificateAuthority(tmp_path / "ca", "td").issue("s1", "dc1")
    access = Access(ca=str(own.ca), certificate=str(own.certificate), private_key=str(own.private_key))
    encrypted, empty = tmp_path / "encrypted.key", tmp_path / "empty.pem"
    empty.touch()
    key = serialization.load_pem_private_key(own.private_key.read_bytes(), None)
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    encrypted.write_bytes(key.private_bytes(kind, form, serialization.BestAvailableEncryption(b"secret")))
    for wrong, reason in (
        (replace(access, ca=str(empty)), f"--ca: {empty}: "),
        (replace(access, ca=str(tmp_path / "none.pem")), "none.pem: No such file"),
        (replace(access, private_key=str(encrypted)), "the key is encrypted; give one without a passphrase"),
        (replace(access, private_key=str(tmp_path / "none.key")), r"--key: .*none\.key: No such file"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            ClientTls(wrong)
    with pytest.raises(InvalidInput, match="--cert: needs --key"):
        replace(access, private_key="").check("--url", "https://up", tls=True)
    for unsafe in (access, Access(token="pm-1")):
        with pytest.raises(InvalidInput, match=r"--url: http://up: .* is sent over https alone"):
            unsafe.check("--url", "http://up", tls=False)
