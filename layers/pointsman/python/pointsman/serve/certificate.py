"""The names in an X.509 certificate, and when it ends, read from its DER.

Neither gRPC nor Python's ssl returns them correctly: gRPC mixes DNS names and e-mail addresses with the URIs, and cuts
URIs at a NUL; ssl fails if a name is not UTF-8. The certificate is already verified, so this only reads.
"""

import re
import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

_SEQUENCE, _OID, _OCTETS, _EXTENSIONS, _DNS, _URI = 0x30, 0x06, 0x04, 0xA3, 0x82, 0x86
_SUBJECT_ALT_NAME = bytes([0x55, 0x1D, 0x11])
"""2.5.29.17: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6"""

_COMMON_NAME = bytes([0x55, 0x04, 0x03])
"""2.5.4.3: https://www.rfc-editor.org/rfc/rfc5280#appendix-A.1"""

_VALIDITY, _SUBJECT = 2, 3
"""Places among the sequences of a certificate: signature, issuer, validity, subject."""

_UTC_TIME = 0x17
"""A time with a year of two digits, the other form has four: https://www.rfc-editor.org/rfc/rfc5280#section-4.1.2.5"""

_END = "-----END CERTIFICATE-----"

_PRINTABLE = re.compile(rb"[\x21-\x7e]*\Z")


def certificate_uris(der: bytes) -> tuple[str, ...]:
    """The URI SANs of a certificate; none if one of them has characters that no URI has, or if the certificate cannot
    be read."""
    try:
        return _checked(each for tag, each in _alternative_names(der) if tag == _URI)
    except ValueError:
        return ()


def certificate_names(der: bytes) -> tuple[str, ...]:
    """The names for which a certificate stands: its URI SANs; if it has none its DNS SANs; if it has neither its one
    common name.

    Only one kind counts, so that a certificate with a URI cannot pass for another one's common name. There are none if
    one of them has characters that no such name has, or if the certificate cannot be read.
    """
    try:
        found = [*_alternative_names(der)]
        for kind in (_URI, _DNS):
            if some := [each for tag, each in found if tag == kind]:
                return _checked(some)
        common = [*_common_names(der)]
        return _checked(common) if len(common) == 1 else ()
    except ValueError:
        return ()


def certificate_end(path: Path) -> float:
    """When the first certificate in a PEM file ends, in seconds since 1970; NaN if that cannot be read."""
    try:
        chain = path.read_text(encoding="ascii")
        first = chain[chain.index("-----BEGIN CERTIFICATE-----") : chain.index(_END) + len(_END)]
        found = [value for tag, value in _signed(ssl.PEM_cert_to_DER_cert(first)) if tag == _SEQUENCE]
        _, (tag, end) = _parts(found[_VALIDITY])
        form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
        return datetime.strptime(end.decode("ascii"), form).replace(tzinfo=UTC).timestamp()
    except (OSError, ValueError, IndexError):
        return float("nan")


def _checked(found: Iterable[bytes]) -> tuple[str, ...]:
    some = [*found]
    return tuple(each.decode("ascii") for each in some) if all(each and _PRINTABLE.match(each) for each in some) else ()


def _alternative_names(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The SANs inside the certificate's extensions, each with its tag:
    https://www.rfc-editor.org/rfc/rfc5280#section-4.1"""
    for tag, value in _signed(der):
        if tag == _EXTENSIONS:
            ((_, extensions),) = _parts(value)
            for _, extension in _parts(extensions):
                (kind, name), *_, (last, octets) = _parts(extension)
                if (kind, name, last) == (_OID, _SUBJECT_ALT_NAME, _OCTETS):
                    ((_, names),) = _parts(octets)
                    yield from _parts(names)


def _common_names(der: bytes) -> Iterator[bytes]:
    subject = [value for tag, value in _signed(der) if tag == _SEQUENCE][_SUBJECT : _SUBJECT + 1]
    for each in subject:
        for _, attributes in _parts(each):
            for _, attribute in _parts(attributes):
                (_, name), (_, value) = _parts(attribute)
                if name == _COMMON_NAME:
                    yield value


def _signed(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of what the CA signed."""
    ((tag, certificate),) = _parts(der)
    signed = next(_parts(certificate), (0, b""))
    if (tag, signed[0]) != (_SEQUENCE, _SEQUENCE):
        raise ValueError
    return _parts(signed[1])


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in sequence. Raises ValueError if it is not DER."""
    at = 0
    while at < len(der):
        if at + 2 > len(der) or der[at] & 0x1F == 0x1F:
            raise ValueError
        tag, size, at = der[at], der[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4:
                raise ValueError
            size, at = int.from_bytes(der[at : at + count]), at + count
        if at + size > len(der):
            raise ValueError
        yield tag, der[at : at + size]
        at += size
