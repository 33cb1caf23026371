"""ASGI's ``tls`` extension, of handshakes in memory."""

from __future__ import annotations

import asyncio
import json
import unittest
from typing import Any, Dict
from unittest import mock

from wsbridge.server.connection.tls_extension import (
    add_tls_extension,
    build_distinguished_name,
    build_tls_extension,
)

from .loopback import CERTIFICATE, CLIENT_CERTIFICATE
from .test_tls import NO_SSL, TLSCase

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]


def transport(ssl_object: Any) -> asyncio.BaseTransport:
    return asyncio.BaseTransport({"ssl_object": ssl_object})


class PlainTests(unittest.TestCase):
    def test_connection_without_tls_has_none(self) -> None:
        self.assertIsNone(build_tls_extension(asyncio.BaseTransport()))
        scope: Dict[str, Any] = {"extensions": {}}
        add_tls_extension(scope, asyncio.BaseTransport())
        self.assertEqual(scope, {"extensions": {}})


@unittest.skipIf(ssl is None, NO_SSL)
class ExtensionTests(TLSCase):
    def build_extension(self, server: Any, client: Any) -> Dict[str, Any]:
        extension = build_tls_extension(transport(self.shake_hands(server, client)[0]))
        assert extension is not None
        return extension

    def build_verifying(self) -> Any:
        return self.build(ssl_ca_certs=self.certificate, ssl_cert_reqs="required")

    def test_client_without_a_certificate(self) -> None:
        client = self.build_client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertEqual(
            self.build_extension(self.build(), client),
            {
                "server_cert": CERTIFICATE,
                "client_cert_chain": (),
                "client_cert_name": None,
                "client_cert_error": None,
                # RFC 5246 A.1: 3.3; RFC 5289 3.2: {0xC0, 0x2B}.
                "tls_version": 0x0303,
                "cipher_suite": 0xC02B,
            },
        )

    def test_scope_has_it_beside_others(self) -> None:
        server, _ = self.shake_hands(self.build(), self.build_client())
        scope: Dict[str, Any] = {"extensions": {"websocket.http.response": {}}}
        add_tls_extension(scope, transport(server))
        extension = build_tls_extension(transport(server))
        self.assertEqual(scope, {"extensions": {"websocket.http.response": {}, "tls": extension}})

    def test_tls_1_3(self) -> None:
        extension = self.build_extension(self.build(), self.build_client())
        # RFC 8446 4.2.1, B.4.
        self.assertEqual(extension["tls_version"], 0x0304)
        self.assertIn(extension["cipher_suite"], (0x1301, 0x1302, 0x1303))

    def test_client_with_a_certificate(self) -> None:
        extension = self.build_extension(self.build_verifying(), self.build_client(CLIENT_CERTIFICATE))
        self.assertEqual(extension["client_cert_chain"][0], CLIENT_CERTIFICATE)
        # The two names of one set are in the order of the certificate.
        self.assertEqual(extension["client_cert_name"], "CN=B\xfcro 5+UID=u1,O=Acme\\, Inc.,C=DE")
        self.assertIsNone(extension["client_cert_error"])

    def test_chain_is_what_python_tells_of_it(self) -> None:
        """Since Python 3.13 it tells all that the client has sent."""
        server, _ = self.shake_hands(self.build_verifying(), self.build_client(CLIENT_CERTIFICATE))
        names = ("context", "version", "cipher", "getpeercert")
        known = {name: getattr(server, name) for name in names}
        chain = [ssl.PEM_cert_to_DER_cert(sent) for sent in (CLIENT_CERTIFICATE, CERTIFICATE)]
        old = mock.Mock(spec_set=names, **known)
        new = mock.Mock(**known, get_unverified_chain=mock.Mock(return_value=chain))
        for ssl_object, expected in (
            (old, (CLIENT_CERTIFICATE,)),
            (new, (CLIENT_CERTIFICATE, CERTIFICATE)),
        ):
            extension = build_tls_extension(transport(ssl_object))
            assert extension is not None
            self.assertEqual(extension["client_cert_chain"], expected)

    def test_context_of_another_program_and_what_openssl_does_not_tell(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        server, _ = self.shake_hands(context, self.build_client())
        self.assertIsNone(self.build_extension(context, self.build_client())["server_cert"])
        for cipher, version, number in (
            (None, "TLSv1.9", None),
            (("NEW_CIPHER", "TLSv1.9", 128), "TLSv1.9", None),
            # RFC 2246 6.2.1 and RFC 4346 6.2.1: such a context may still have the versions of before.
            (None, "TLSv1", 0x0301),
            (None, "TLSv1.1", 0x0302),
        ):
            old = mock.Mock(
                context=context, **{"cipher.return_value": cipher, "version.return_value": version}
            )
            old.getpeercert = server.getpeercert
            extension = build_tls_extension(transport(old))
            assert extension is not None
            self.assertEqual((extension["tls_version"], extension["cipher_suite"]), (number, None))

    def test_it_is_json(self) -> None:
        extension = self.build_extension(self.build_verifying(), self.build_client(CLIENT_CERTIFICATE))
        copy = json.loads(json.dumps(extension))
        self.assertEqual(copy, {**extension, "client_cert_chain": list(extension["client_cert_chain"])})


class NameTests(unittest.TestCase):
    def assert_name(self, expected: str, *subject: Any) -> None:
        self.assertEqual(build_distinguished_name([[name] for name in subject]), expected)

    def test_examples_of_the_rfc(self) -> None:
        """RFC 4514 4."""
        self.assert_name(
            "UID=jsmith,DC=example,DC=net",
            ("domainComponent", "net"),
            ("domainComponent", "example"),
            ("userId", "jsmith"),
        )
        self.assertEqual(
            build_distinguished_name(
                [
                    [("domainComponent", "net")],
                    [("domainComponent", "example")],
                    [("organizationalUnitName", "Sales"), ("commonName", "J.  Smith")],
                ]
            ),
            "OU=Sales+CN=J.  Smith,DC=example,DC=net",
        )
        name = 'James "Jim" Smith, III'
        self.assert_name('CN=James \\"Jim\\" Smith\\, III', ("commonName", name))
        self.assert_name("CN=Before\\0DAfter", ("commonName", "Before\rAfter"))
        self.assert_name("CN=Lu\u010di\u0107", ("commonName", "Lu\u010di\u0107"))

    def test_beginnings_and_ends_are_escaped(self) -> None:
        for value, escaped in (
            (" a ", "\\ a\\ "),
            ("#a", "\\#a"),
            ("a#", "a#"),
            (" ", "\\ "),
            ("  ", "\\ \\ "),
            ("", ""),
            ("a+b;<c>\\=", "a\\+b\\;\\<c\\>\\\\="),
            ("a\0\x1f!~\x7f\x80", "a\\00\\1F!~\\7F\x80"),
        ):
            self.assert_name(f"O={escaped}", ("organizationName", value))

    def test_attribute_without_a_short_name_keeps_its_own(self) -> None:
        self.assert_name("emailAddress=a@b.c,1.2.3=x", ("1.2.3", "x"), ("emailAddress", "a@b.c"))

    def test_no_name_is_empty(self) -> None:
        self.assert_name("")


if __name__ == "__main__":
    unittest.main()
