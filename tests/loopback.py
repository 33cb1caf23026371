"""A client on a real socket, for the tests of what listens: raw bytes out, raw bytes back, never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any, Union

TIMEOUT = 20

# RFC 6455 1.2: the sample handshake.
REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
# RFC 6455 5.7: "Hello" from the peer, which masks it, and from us.
PEER_HELLO = bytes.fromhex("81 85 37fa213d 7f9f4d5158")
HELLO = b"\x81\x05Hello"
# RFC 6455 5.5.1: CLOSE with 1000 from the peer, under an all-zero key, and from us; ours with 1012.
PEER_CLOSE = bytes.fromhex("88 82 00000000 03e8")
CLOSE = bytes.fromhex("88 02 03e8")
CLOSE_1012 = bytes.fromhex("88 02 03f4")

# Self-signed for localhost and 127.0.0.1, valid from 2000 to 2100.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMDAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFz3pnnRZ38Jwi8O
xfnMQtpbDMgiG6T7aX++nz3lCN44RbH/7SbG9iQfStBdFEBoa2dDyBMVG4Cxo/QI
Mj7iXXqjXjBcMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAPBgNVHRMBAf8E
BTADAQH/MA4GA1UdDwEB/wQEAwIChDAdBgNVHQ4EFgQUpefR4+hRQ2fQC/Gleh7N
4i9SzqcwCgYIKoZIzj0EAwIDSAAwRQIgQzJ9hjz2NpTihneIZcJtaL3NdByuyrhF
B6Ncg6VsY9QCIQCHWi6NyB5f56DXrQhSH4vfLfVM9evuJXR1DCdxkP6UUA==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgymJmDlpfuJMEqqIr
tU7k4vxjR9AMyhTyCEQ6ISmOiyqhRANCAARc96Z50Wd/CcIvDsX5zELaWwzIIhuk
+2l/vp895QjeOEWx/+0mxvYkH0rQXRRAaGtnQ8gTFRuAsaP0CDI+4l16
-----END PRIVATE KEY-----
"""
# The same key, its password is "wsbridge".
ENCRYPTED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjpoFp8ut0GtQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEENdLLr0V/DAuwEkPj8w9ZIQEgZC/
YQkzIyGQooshXVFK57Wy/cph/g0Pu6O0OMzPi0C90QYDo55xg1qMMjZ91gXfXCxO
ONsbaZrbAOSY9wfgFpGDm1Srz+1c3OC5eCeWpBUHaiF1C4qHLamdBhECA/vCdzyu
BQesupLS+A43E0NSUdvpi6T9x79RQpoaVPko1bXHU+4bZSX7PdnwWLnKLALAv8U=
-----END ENCRYPTED PRIVATE KEY-----
"""
# Its successor, with the same key, and signed by it.
RENEWED_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBkzCCATmgAwIBAgIBAjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMDAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBIxEDAOBgNVBAMM
B3JlbmV3ZWQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARc96Z50Wd/CcIvDsX5
zELaWwzIIhuk+2l/vp895QjeOEWx/+0mxvYkH0rQXRRAaGtnQ8gTFRuAsaP0CDI+
4l16o3wwejAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0TAQH/BAIw
ADAOBgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFKXn0ePoUUNn0AvxpXoezeIvUs6n
MB8GA1UdIwQYMBaAFKXn0ePoUUNn0AvxpXoezeIvUs6nMAoGCCqGSM49BAMCA0gA
MEUCIQCOaWLIEQjBgtSz7T3bvNbYz6Xt3NG0jWljjt+oAsNgwgIgdtA1SbYG4gIR
PhZlzTI2aGKYBk2TFU4RkCHD5cOEzdQ=
-----END CERTIFICATE-----
"""
# A client's with the same key, signed by the first: C=DE, O=Acme, Inc., and CN=Büro 5 with UID=u1.
CLIENT_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBwTCCAWagAwIBAgIBAzAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMDAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMEYxCzAJBgNVBAYT
AkRFMRMwEQYDVQQKDApBY21lLCBJbmMuMSIwDgYDVQQDDAdCw7xybyA1MBAGCgmS
JomT8ixkAQEMAnUxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEXPemedFnfwnC
Lw7F+cxC2lsMyCIbpPtpf76fPeUI3jhFsf/tJsb2JB9K0F0UQGhrZ0PIExUbgLGj
9AgyPuJdeqN1MHMwDAYDVR0TAQH/BAIwADATBgNVHSUEDDAKBggrBgEFBQcDAjAO
BgNVHQ8BAf8EBAMCB4AwHQYDVR0OBBYEFKXn0ePoUUNn0AvxpXoezeIvUs6nMB8G
A1UdIwQYMBaAFKXn0ePoUUNn0AvxpXoezeIvUs6nMAoGCCqGSM49BAMCA0kAMEYC
IQCWEIyiiNHPqBSpRG55CKhU7OD5vXaEBzU+ymL9gwM48QIhAIgWs8pDZiRS2i5x
GByY9hjsqDcuaUOzuH0qoBZrK5EV
-----END CERTIFICATE-----
"""
# None of these has it.
OTHER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglivITS75xZ9MjrZW
k1XmNtViY0LNaNj39O4zy/TkBUahRANCAATjMgggUltux3lvzBPLJ4t+lBwcTbTD
QNyEyMDb4egtPCOw+ZY3ZZKkSrLJ/q/0N/k8jxZJoeUWSMnE9QQfrOVw
-----END PRIVATE KEY-----
"""
# Ed25519.
KEY_OF_ANOTHER_KIND = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIN86wpl4aQzYy+P0k85YAzp1z1amSUG1IJAhnKiWmnVL
-----END PRIVATE KEY-----
"""


def write_certificate(test: unittest.TestCase) -> str:
    """The path of a file with the certificate and its key, which is there until the test ends."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    path = os.path.join(folder.name, "all.pem")
    Path(path).write_text(CERTIFICATE + KEY)
    return path


def ignore_unclosed(test: unittest.TestCase) -> None:
    """Before Python 3.11 asyncio's TLS transports call themselves unclosed where the peer closed first."""
    if sys.version_info < (3, 11):
        filters = warnings.catch_warnings()
        filters.__enter__()
        warnings.simplefilter("ignore", ResourceWarning)
        test.addCleanup(filters.__exit__, None, None, None)
        test.addCleanup(gc.collect)


class Client:
    """One connection to the server under test; what takes too long fails."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def read(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer where the connection ends before."""
        try:
            return await asyncio.wait_for(self.reader.readexactly(size), TIMEOUT)
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def read_to_end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), TIMEOUT)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(self.writer.wait_closed(), TIMEOUT)


class LoopbackCase(unittest.IsolatedAsyncioTestCase):
    """Clients that are closed at the end, before the servers that were registered first."""

    async def asyncSetUp(self) -> None:
        # A busy machine is not worth a line of the debug mode that tests run in.
        asyncio.get_running_loop().slow_callback_duration = TIMEOUT

    async def connect(self, address: Union[str, Any], **options: Any) -> Client:
        """Connect to what `getsockname` told."""
        if isinstance(address, str):
            opening = asyncio.open_unix_connection(address, **options)
        else:
            opening = asyncio.open_connection(address[0], address[1], **options)
        client = Client(*await asyncio.wait_for(opening, TIMEOUT))
        self.addAsyncCleanup(client.close)
        return client

    def make_folder(self) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(os.path.realpath(folder.name))

    async def assert_answer(self, client: Client, expected: bytes) -> None:
        self.assertEqual(await client.read(len(expected)), expected)

    async def assert_end(self, client: Client, expected: bytes = b"") -> None:
        """The server sends ``expected`` and closes; then the client does, or the server would wait for it."""
        self.assertEqual(await client.read_to_end(), expected)
        await client.close()

    async def wait_for(self, event: asyncio.Event) -> None:
        await asyncio.wait_for(event.wait(), TIMEOUT)
