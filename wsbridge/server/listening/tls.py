"""TLS: the context that ``ssl_*`` options describe, and certificates that are read again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, List, MutableMapping, Optional, Type
from weakref import WeakKeyDictionary

from ...config import ServerConfig
from ...protocols.errors import ConfigError
from ..logs.log import log_failed_handshake

if TYPE_CHECKING:
    from ssl import SSLContext, SSLObject

__all__ = ["build_ssl_context", "find_certificate", "replace_certificates"]

# OpenSSL's reasons: a key of the certificate's kind, and of others.
IS_ANOTHER_KEY = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")

# OpenSSL's reasons for a handshake to fail that an operator can do something about. Most others are scanners.
HINTS = {
    "HTTP_REQUEST": "this looks like HTTP without TLS on a port with TLS (ssl_certfile)",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate (ssl_cert_reqs)",
    # OpenSSL says what is wrong with it.
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not accepted (ssl_ca_certs): ",
}

# The first one of a file is the server's own; those that sign it follow.
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)

# The server's certificate of each context that was made here: the ssl module does not tell it.
_certificates: MutableMapping[SSLContext, str] = WeakKeyDictionary()


def build_ssl_context(config: ServerConfig) -> SSLContext:
    """The context of a server with ``config.ssl_certfile``.

    Raises `ConfigError`, which names the option and its file, for a file that
    cannot be read or has the wrong content, for a key that is not the
    certificate's or needs another password, and for unknown ciphers.
    """
    try:
        import ssl
    except ImportError:
        raise ConfigError("ssl_certfile is set, but this Python was built without ssl") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: over TLS we speak HTTP/1.1 and nothing else.
    context.set_alpn_protocols(["http/1.1"])
    # RFC 8996: TLS 1.0 and 1.1 must not be used. The defaults of Python and OpenSSL differ by system.
    is_newest = config.ssl_version == "TLSv1.3"
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if is_newest else ssl.TLSVersion.TLSv1_2
    # A peer that asks for one handshake after another would cost us much more time than itself. OpenSSL 1.1.1
    # allows it by default.
    context.options |= getattr(ssl, "OP_NO_RENEGOTIATION", 0)
    if config.ssl_ciphers is not None:
        _set_ciphers(context, config.ssl_ciphers)
    if config.access_log:
        context.sslobject_class = _build_object_class()
    _load_certificate(context, config)
    if config.ssl_ca_certs is not None:
        _load_authorities(context, config.ssl_ca_certs)
        is_required = config.ssl_cert_reqs == "required"
        context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    return context


def _build_object_class() -> Type[SSLObject]:
    """A class of connections that logs why a handshake failed: asyncio keeps the error to itself."""
    import ssl

    class HintingSSLObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except ssl.SSLError as error:
                hint = HINTS.get(error.reason)
                if hint is not None:
                    log_failed_handshake(hint + getattr(error, "verify_message", ""))
                raise

    return HintingSSLObject


def _set_ciphers(context: SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except OSError:
        raise ConfigError(
            f"ssl_ciphers={ciphers!r}: it must be a list of OpenSSL's names, such as ECDHE+AESGCM, with one "
            "that this OpenSSL has"
        ) from None


def _load_certificate(context: SSLContext, config: ServerConfig) -> None:
    certificate_path = str(config.ssl_certfile)
    certificate = f"ssl_certfile={certificate_path!r}"
    key = certificate if config.ssl_keyfile is None else f"ssl_keyfile={config.ssl_keyfile!r}"
    own = _CERTIFICATE.search(_read_pem(certificate, certificate_path, "CERTIFICATE"))
    if own is not None:
        _certificates[context] = own[0]
    if config.ssl_keyfile is None:
        _read_pem(certificate, certificate_path, "PRIVATE KEY", "; set ssl_keyfile")
    else:
        _read_pem(key, config.ssl_keyfile, "PRIVATE KEY")
    given: List[str] = []

    def give_password() -> str:
        # Without a callback OpenSSL asks the terminal.
        given.append(config.ssl_keyfile_password or "")
        return given[0]

    try:
        context.load_cert_chain(certificate_path, config.ssl_keyfile, give_password)
    except (OSError, ValueError) as error:
        # ValueError: a password that is too long for OpenSSL.
        if getattr(error, "reason", None) in IS_ANOTHER_KEY:
            text = f"{key}: the key in it is not that of {certificate}"
        elif given and config.ssl_keyfile_password is None:
            text = f"{key}: the key in it is encrypted; set ssl_keyfile_password"
        elif given:
            text = f"{key}: ssl_keyfile_password does not decrypt the key in it"
        else:
            text = f"{certificate}, ssl_keyfile={config.ssl_keyfile!r}: {error}"
        raise ConfigError(text) from error


def _load_authorities(context: SSLContext, path: str) -> None:
    name = f"ssl_ca_certs={path!r}"
    _read_pem(name, path, "CERTIFICATE")
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise ConfigError(f"{name}: {error}") from error


def _read_pem(name: str, path: str, content: str, way_out: str = "") -> str:
    """The text of a file that has a ``content``.

    Raises `ConfigError` if it cannot be read or has none: OpenSSL names no file.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        # ValueError: the path has a NUL.
        raise ConfigError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    if f"{content}-----" not in text:
        raise ConfigError(f"{name}: there is no PEM block of a {content} in it{way_out}")
    return text


def find_certificate(context: SSLContext) -> Optional[str]:
    """The server's certificate in PEM; None if ``context`` is not one of `build_ssl_context`."""
    return _certificates.get(context)


def replace_certificates(context: SSLContext, successor: SSLContext) -> None:
    """Have new handshakes with ``context`` use the certificates of ``successor``.

    Connections stay as they are. A certificate that is loaded into a context
    replaces only one with the same kind of key: an RSA certificate would go on
    being used beside its successor with an elliptic curve, and expire.
    """

    def use_successor(ssl_object: Any, server_name: Any, original: SSLContext) -> None:
        ssl_object.context = successor

    # OpenSSL calls it in every handshake, whether the client names a server or not.
    context.sni_callback = use_successor
