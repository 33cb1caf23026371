"""ASGI's ``tls`` extension, which tells an application the certificates, version and cipher."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, Iterable, Optional, Tuple

from ...asgi.types import Scope
from ..listening.tls import find_certificate

__all__ = ["add_tls_extension", "build_distinguished_name", "build_tls_extension"]

# RFC 8446 4.2.1 and RFC 5246 A.1.
_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# RFC 4514 3: OpenSSL's names of the attributes that have a short one. Of the others the name is OpenSSL's.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

# RFC 4514 2.4: these are escaped wherever they stand. Control characters may be, and then forge no log line.
_ESCAPES = {
    **{ord(character): "\\" + character for character in '"+,;<>\\'},
    **{code: f"\\{code:02X}" for code in (*range(0x20), 0x7F)},
}

# The numbers of ciphers by OpenSSL's names: those of the contexts that were asked.
_cipher_suites: Dict[str, int] = {}


def build_tls_extension(transport: asyncio.BaseTransport) -> Optional[Dict[str, Any]]:
    """The extension, which holds only what JSON can; None if the connection is not under TLS.

    Before Python 3.13 ``client_cert_chain`` has the client's own certificate
    and no other. ``server_cert`` is None if another program has made the
    context. ``client_cert_error`` is always None: a certificate that is not
    verified ends the handshake.
    """
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object is None:
        return None
    import ssl

    chain = tuple(map(ssl.DER_cert_to_PEM_cert, _get_client_chain(ssl_object)))
    # What OpenSSL has verified. No other certificate gets here.
    subject = ssl_object.getpeercert().get("subject", ()) if chain else ()
    cipher = ssl_object.cipher()
    return {
        "server_cert": find_certificate(ssl_object.context),
        "client_cert_chain": chain,
        "client_cert_name": build_distinguished_name(subject) if chain else None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(ssl_object.version()),
        "cipher_suite": None if cipher is None else _find_cipher_suite(ssl_object.context, cipher[0]),
    }


def add_tls_extension(scope: Scope, transport: asyncio.BaseTransport) -> None:
    """Add the extension to ``scope`` if the connection is under TLS."""
    extension = build_tls_extension(transport)
    if extension is not None:
        scope["extensions"]["tls"] = extension


def _get_client_chain(ssl_object: Any) -> Iterable[bytes]:
    certificate = ssl_object.getpeercert(binary_form=True)
    if certificate is None:
        return ()
    if hasattr(ssl_object, "get_unverified_chain"):
        chain: Iterable[bytes] = ssl_object.get_unverified_chain()
        return chain
    return (certificate,)


def _find_cipher_suite(context: Any, name: str) -> Optional[int]:
    if name not in _cipher_suites:
        # OpenSSL's numbers have the protocol in their upper half.
        _cipher_suites.update((cipher["name"], cipher["id"] & 0xFFFF) for cipher in context.get_ciphers())
    return _cipher_suites.get(name)


def build_distinguished_name(subject: Iterable[Iterable[Tuple[str, str]]]) -> str:
    """A certificate's ``subject``, as the ssl module has it, as one text (RFC 4514)."""
    # RFC 4514 2.1: the last relative name comes first.
    names = [
        "+".join(f"{_ATTRIBUTES.get(attribute, attribute)}={_escape(value)}" for attribute, value in name)
        for name in subject
    ]
    return ",".join(reversed(names))


def _escape(value: str) -> str:
    escaped = value.translate(_ESCAPES)
    if value.startswith((" ", "#")):
        escaped = "\\" + escaped
    if value.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
