"""The URI SANs of an X.509 certificate, read from its DER.

Neither gRPC nor Python's ssl returns them correctly: gRPC mixes DNS names and e-mail addresses with the URIs, and cuts
URIs at a NUL; ssl fails if a name is not UTF-8. The certificate is already verified, so this only reads.
"""

import re
from collections.abc import Iterator

_SEQUENCE, _OID, _OCTETS, _EXTENSIONS, _URI = 0x30, 0x06, 0x04, 0xA3, 0x86
_SUBJECT_ALT_NAME = bytes([0x55, 0x1D, 0x11])
"""2.5.29.17: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6"""

_PRINTABLE = re.compile(rb"[\x21-\x7e]*\Z")


def certificate_uris(der: bytes) -> tuple[str, ...]:
    """The URI SANs of a certificate; none if one of them has characters that no URI has, or if the certificate cannot
    be read."""
    try:
        found = [*_uris(der)]
    except ValueError:
        return ()
    return tuple(uri.decode("ascii") for uri in found) if all(map(_PRINTABLE.match, found)) else ()


def _uris(der: bytes) -> Iterator[bytes]:
    """The URIs inside the certificate's extensions: https://www.rfc-editor.org/rfc/rfc5280#section-4.1"""
    ((tag, certificate),) = _parts(der)
    signed = next(_parts(certificate), (0, b""))
    if (tag, signed[0]) != (_SEQUENCE, _SEQUENCE):
        raise ValueError
    for tag, value in _parts(signed[1]):
        if tag == _EXTENSIONS:
            ((_, extensions),) = _parts(value)
            for _, extension in _parts(extensions):
                (kind, name), *_, (last, octets) = _parts(extension)
                if (kind, name, last) == (_OID, _SUBJECT_ALT_NAME, _OCTETS):
                    ((_, names),) = _parts(octets)
                    yield from (text for each, text in _parts(names) if each == _URI)


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
