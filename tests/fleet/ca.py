"""A certificate authority that lives for one run, and the certificates it gives to services."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_LIFETIME = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """A service's certificate and key, and the CA that vouches for it, as PEM files."""

    certificate: Path
    private_key: Path
    ca: Path

    @property
    def serial(self) -> int:
        """The certificate's serial number."""
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number


class CertificateAuthority:
    """Issues X.509 SPIFFE identities of `trust_domain` into `directory`.

    `key_identifiers` says whether certificates name the key that signed them, as RFC 5280, section 4.2.1.1, asks for
    and many a homemade CA forgets.
    """

    def __init__(self, directory: Path, trust_domain: str, *, key_identifiers: bool = True) -> None:
        self._directory = directory
        self._key_identifiers = key_identifiers
        self._trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        # Two of one trust domain have different names: who trusts both has to find out which one has signed.
        self._name = _name(f"throwaway CA {secrets.token_hex(4)} of {trust_domain}")
        builder = (
            _certificate(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
        )
        if key_identifiers:
            own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
            builder = builder.add_extension(own, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.serial = certificate.serial_number
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, service: str, datacenter: str, namespace: str = "default", trust_domain: str | None = None
    ) -> Identity:
        """The identity of `service`: `spiffe://<trust domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`."""
        trust_domain = trust_domain or self._trust_domain
        spiffe_id = f"spiffe://{trust_domain}/ns/{namespace}/dc/{datacenter}/svc/{service}"
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
        return self._issue(service, f"{trust_domain}-{datacenter}-{namespace}-{service}", names)

    def issue_as(self, stem: str, names: Sequence[tuple[int, bytes]]) -> Identity:
        """A certificate with these subjectAltNames, each with its tag (1 e-mail, 2 DNS, 6 URI, 7 IP address) and its
        bytes, which need not be fit for that."""
        parts = b"".join(_der(0x80 | tag, value) for tag, value in names)
        extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, _der(0x30, parts))
        return self._issue(stem, stem, extension)

    def _issue(self, name: str, stem: str, names: x509.ExtensionType) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        both_ends = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            _certificate(_name(name), self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
            .add_extension(names, critical=False)
        )
        if self._key_identifiers:
            # Without it Python's own clients refuse the certificate from 3.13 on.
            signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(signer, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        identity = Identity(self._directory / f"{stem}.pem", self._directory / f"{stem}.key", self.file)
        identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        identity.private_key.touch(mode=0o600)
        identity.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return identity


def _der(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = bytes([size]) if size < 0x80 else bytes([0x82, *size.to_bytes(2)])
    return bytes([tag]) + length + value


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
