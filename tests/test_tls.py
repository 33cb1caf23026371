"""The TLS context of a configuration, by handshakes in memory, and what is said of files that are wrong."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any, Optional, Tuple
from unittest import mock

from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import ConfigError
from wsbridge.server.listening.tls import build_ssl_context, find_certificate, replace_certificates

from .doubles import without
from .loopback import (
    CERTIFICATE,
    CLIENT_CERTIFICATE,
    ENCRYPTED_KEY,
    KEY,
    KEY_OF_ANOTHER_KIND,
    OTHER_KEY,
    RENEWED_CERTIFICATE,
)

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

NO_SSL = "this Python was built without ssl"


class TLSCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.certificate = self.write("cert.pem", CERTIFICATE)
        self.key = self.write("key.pem", KEY)

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return os.fspath(path)

    def build(self, **options: Any) -> Any:
        options = {"ssl_certfile": self.certificate, "ssl_keyfile": self.key, **options}
        return build_ssl_context(ServerConfig(**options))

    def build_client(self, certificate: Optional[str] = None) -> Any:
        context = ssl.create_default_context(cadata=CERTIFICATE)
        if certificate is not None:
            context.load_cert_chain(self.write("client.pem", certificate), self.key)
        return context

    def shake_hands(self, server: Any, client: Any, name: Optional[str] = "localhost") -> Tuple[Any, Any]:
        """The two ends of a connection; raises what the server raises."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client.wrap_bio(to_client, to_server, server_hostname=name),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        for _ in range(3):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        return ends[1], ends[0]

    def get_serial(self, server: Any, client: Any) -> str:
        """The serial number of the server's certificate."""
        serial: str = self.shake_hands(server, client)[1].getpeercert()["serialNumber"]
        return serial


@unittest.skipIf(ssl is None, NO_SSL)
class HintTests(TLSCase):
    """A handshake that fails by a mistake of somebody's is one line of the access log."""

    def receive(self, data: bytes, **options: Any) -> None:
        incoming = ssl.MemoryBIO()
        incoming.write(data)
        server = self.build(**options).wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
        with self.assertRaises(ssl.SSLError):
            server.do_handshake()

    def test_request_without_tls(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"):
            with self.assertLogs("wsbridge", "INFO") as logs:
                self.receive(data)
            hint = "this looks like HTTP without TLS on a port with TLS (ssl_certfile)"
            line = f"INFO:wsbridge.access:refused: TLS handshake failed; {hint}"
            self.assertEqual(logs.output, [line])

    def assert_refused(self, hint: str, authority: str, client: Any) -> None:
        path = self.write("authority.pem", authority)
        server = self.build(ssl_ca_certs=path, ssl_cert_reqs="required")
        with self.assertLogs("wsbridge", "INFO") as logs, self.assertRaises(ssl.SSLError):
            self.shake_hands(server, client)
        (line,) = logs.output
        self.assertRegex(line, f"^INFO:wsbridge.access:refused: TLS handshake failed; {hint}$")

    def test_client_without_a_certificate(self) -> None:
        hint = r"the client has no certificate \(ssl_cert_reqs\)"
        self.assert_refused(hint, CERTIFICATE, self.build_client())

    def test_client_whose_certificate_nobody_has_signed(self) -> None:
        # OpenSSL's words differ by version.
        hint = r"the client's certificate is not accepted \(ssl_ca_certs\): .*certificate.*"
        self.assert_refused(hint, CLIENT_CERTIFICATE, self.build_client(RENEWED_CERTIFICATE))

    def test_other_data_has_no_line(self) -> None:
        with self.assertLogs("wsbridge", "DEBUG") as logs:
            self.receive(b"\x16\x03\x01\x00\x01\xff")
            self.receive(b"GET / HTTP/1.1\r\n\r\n", access_log=False)
            logging.getLogger("wsbridge").debug("nothing else")
        self.assertEqual(logs.output, ["DEBUG:wsbridge:nothing else"])


@unittest.skipIf(ssl is None, NO_SSL)
class ContextTests(TLSCase):
    def test_versions_before_1_2_are_not_spoken(self) -> None:
        self.assertEqual(self.build().minimum_version, ssl.TLSVersion.TLSv1_2)
        client = self.build_client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertEqual(self.shake_hands(self.build(), client)[0].version(), "TLSv1.2")

    def test_version_1_2_may_be_refused_too(self) -> None:
        client = self.build_client()
        server = self.build(ssl_version="TLSv1.3")
        self.assertEqual(self.shake_hands(server, client)[0].version(), "TLSv1.3")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        with self.assertRaises(ssl.SSLError):
            self.shake_hands(server, client)

    def test_ciphers_are_chosen(self) -> None:
        client = self.build_client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        name = "ECDHE-ECDSA-AES128-GCM-SHA256"
        self.assertEqual(self.shake_hands(self.build(ssl_ciphers=name), client)[0].cipher()[0], name)

    def test_certificate_of_its_own_is_known(self) -> None:
        self.assertEqual(find_certificate(self.build()), CERTIFICATE)
        path = self.write("chain.pem", RENEWED_CERTIFICATE + CERTIFICATE)
        self.assertEqual(find_certificate(self.build(ssl_certfile=path)), RENEWED_CERTIFICATE)
        # A name that OpenSSL understands as well.
        path = self.write("x509.pem", CERTIFICATE.replace(" CERTIFICATE", " X509 CERTIFICATE"))
        self.assertIsNone(find_certificate(self.build(ssl_certfile=path)))

    def test_handshakes_are_not_repeated(self) -> None:
        self.assertTrue(self.build().options & getattr(ssl, "OP_NO_RENEGOTIATION", -1))


@unittest.skipIf(ssl is None, NO_SSL)
class ClientCertificateTests(TLSCase):
    def build_verifying(self, reqs: str) -> Any:
        return self.build(ssl_ca_certs=self.certificate, ssl_cert_reqs=reqs)

    def get_names(self, server: Any, client: Any) -> Any:
        subject = (self.shake_hands(server, client)[0].getpeercert() or {}).get("subject", ())
        return [value for names in subject for _, value in names]

    def test_none_is_asked_for_by_default(self) -> None:
        self.assertEqual(self.get_names(self.build(), self.build_client(CLIENT_CERTIFICATE)), [])

    def test_client_may_have_one_or_must(self) -> None:
        for reqs in ("optional", "required"):
            names = self.get_names(self.build_verifying(reqs), self.build_client(CLIENT_CERTIFICATE))
            self.assertIn("B\xfcro 5", names)
        self.assertEqual(self.get_names(self.build_verifying("optional"), self.build_client()), [])
        with self.assertRaises(ssl.SSLError):
            self.shake_hands(self.build_verifying("required"), self.build_client())

    def test_one_that_nobody_has_signed_is_refused_in_both_cases(self) -> None:
        authority = self.write("ca.pem", CLIENT_CERTIFICATE)
        for reqs in ("optional", "required"):
            server = self.build(ssl_ca_certs=authority, ssl_cert_reqs=reqs)
            with self.assertRaises(ssl.SSLError):
                self.shake_hands(server, self.build_client(RENEWED_CERTIFICATE))


class FileTests(TLSCase):
    def assert_refused(self, text: str, **options: Any) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.build(**options)
        self.assertEqual(str(caught.exception), text)

    def test_python_without_ssl_says_so(self) -> None:
        with without("ssl"):
            self.assert_refused("ssl_certfile is set, but this Python was built without ssl")


@unittest.skipIf(ssl is None, NO_SSL)
class WrongFileTests(FileTests):
    def test_file_that_cannot_be_read(self) -> None:
        path = os.fspath(self.folder / "nowhere")
        for name in ("ssl_certfile", "ssl_keyfile"):
            self.assert_refused(f"{name}={path!r}: No such file or directory", **{name: path})
        text = f"ssl_ca_certs={path!r}: No such file or directory"
        self.assert_refused(text, ssl_ca_certs=path, ssl_cert_reqs="required")
        error = PermissionError(13, "Permission denied")
        with mock.patch("builtins.open", side_effect=error):
            self.assert_refused(f"ssl_certfile={self.certificate!r}: Permission denied")
        self.assert_refused("ssl_keyfile='a\\x00': embedded null byte", ssl_keyfile="a\0")

    def test_file_with_something_else_in_it(self) -> None:
        text = "there is no PEM block of a"
        self.assert_refused(f"ssl_certfile={self.key!r}: {text} CERTIFICATE in it", ssl_certfile=self.key)
        path = self.certificate
        self.assert_refused(f"ssl_keyfile={path!r}: {text} PRIVATE KEY in it", ssl_keyfile=path)
        way_out = "PRIVATE KEY in it; set ssl_keyfile"
        self.assert_refused(f"ssl_certfile={path!r}: {text} {way_out}", ssl_keyfile=None)
        text = f"ssl_ca_certs={self.key!r}: {text} CERTIFICATE in it"
        self.assert_refused(text, ssl_ca_certs=self.key, ssl_cert_reqs="optional")

    def test_file_that_is_broken(self) -> None:
        path = self.write("broken.pem", CERTIFICATE.replace("MII", "?"))
        with self.assertRaisesRegex(ConfigError, f"^ssl_certfile={path!r}, ssl_keyfile={self.key!r}: "):
            self.build(ssl_certfile=path)
        with self.assertRaisesRegex(ConfigError, f"^ssl_ca_certs={path!r}: "):
            self.build(ssl_ca_certs=path, ssl_cert_reqs="required")

    def test_key_of_another_certificate(self) -> None:
        for key in (OTHER_KEY, KEY_OF_ANOTHER_KIND):
            path = self.write("other.pem", key)
            text = f"ssl_keyfile={path!r}: the key in it is not that of ssl_certfile={self.certificate!r}"
            self.assert_refused(text, ssl_keyfile=path)

    def test_key_that_needs_a_password_asks_no_terminal(self) -> None:
        path = self.write("encrypted.pem", ENCRYPTED_KEY)
        name = f"ssl_keyfile={path!r}"
        text = f"{name}: the key in it is encrypted; set ssl_keyfile_password"
        self.assert_refused(text, ssl_keyfile=path)
        for password in ("", "no", "x" * 2000):
            text = f"{name}: ssl_keyfile_password does not decrypt the key in it"
            self.assert_refused(text, ssl_keyfile=path, ssl_keyfile_password=password)
        self.build(ssl_keyfile=path, ssl_keyfile_password="wsbridge")

    def test_ciphers_that_are_unknown(self) -> None:
        self.assert_refused(
            "ssl_ciphers='NONE-SUCH': it must be a list of OpenSSL's names, such as ECDHE+AESGCM, with one "
            "that this OpenSSL has",
            ssl_ciphers="NONE-SUCH",
        )


@unittest.skipIf(ssl is None, NO_SSL)
class ReplaceTests(TLSCase):
    def test_new_handshakes_have_the_new_certificate(self) -> None:
        server, client = self.build(), self.build_client()
        self.assertEqual(self.get_serial(server, client), "01")
        renewed = self.write("renewed.pem", RENEWED_CERTIFICATE)
        replace_certificates(server, self.build(ssl_certfile=renewed))
        self.assertEqual(self.get_serial(server, client), "02")
        own = find_certificate(self.shake_hands(server, client)[0].context)
        self.assertEqual(own, RENEWED_CERTIFICATE)
        replace_certificates(server, self.build())
        self.assertEqual(self.get_serial(server, client), "01")

    def test_so_has_a_client_that_names_no_server(self) -> None:
        server, client = self.build(), self.build_client()
        client.check_hostname = False
        renewed = self.write("renewed.pem", RENEWED_CERTIFICATE)
        replace_certificates(server, self.build(ssl_certfile=renewed))
        end = self.shake_hands(server, client, name=None)[1]
        self.assertEqual(end.getpeercert()["serialNumber"], "02")

    def test_new_handshakes_have_the_new_authorities(self) -> None:
        options = {"ssl_ca_certs": self.write("ca.pem", CLIENT_CERTIFICATE), "ssl_cert_reqs": "required"}
        server, client = self.build(**options), self.build_client(CLIENT_CERTIFICATE)
        with self.assertRaises(ssl.SSLError):
            self.shake_hands(server, self.build_client(RENEWED_CERTIFICATE))
        replace_certificates(server, self.build(**{**options, "ssl_ca_certs": self.certificate}))
        self.shake_hands(server, client)

    def test_protocol_is_still_agreed_on(self) -> None:
        server, client = self.build(), self.build_client()
        client.set_alpn_protocols(["h2", "http/1.1"])
        replace_certificates(server, self.build())
        end, _ = self.shake_hands(server, client)
        self.assertEqual(end.selected_alpn_protocol(), "http/1.1")


if __name__ == "__main__":
    unittest.main()
