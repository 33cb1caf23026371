"""Request smuggling by the head: where a body begins and ends, and which bytes are a request.

RFC 9112 11.2: a message whose parts two recipients delimit differently hides a
request from one of them. Kinds bear the names of the literature: in CL.TE the
server in front goes by Content-Length and the one behind by Transfer-Encoding,
in TE.0 the one behind ignores the body, and so on. A CVE names a server that
had the fault. `test_smuggling_chunks` has the chunks of a body, and
`test_smuggling_connections` what follows on the same connection.
"""

from __future__ import annotations

import unittest

from .framings import REFUSED_CODINGS, REFUSED_LENGTHS, TOO_LARGE_LENGTHS
from .pipeline import POST, SMUGGLED, PipelineCase

# (kind, what follows the colon of Content-Length)
ACCEPTED_LENGTHS = (
    ("no blank", b"5"),
    ("blanks around it are none of it (RFC 9112 5)", b" \t 5 \t "),
)

# (kind, what follows the colon of Transfer-Encoding)
ACCEPTED_CODINGS = (
    ("codings are case-insensitive (RFC 9112 7)", b"Chunked"),
    ("codings are case-insensitive", b" CHUNKED"),
    ("tab in front", b"\tchunked"),
    ("blanks around it are none of it", b"  chunked \t"),
)

# (kind, the rest of a POST's head, and its body)
REFUSED_PAIRS = (
    ("CL.CL, equal: CVE-2020-10108 (Twisted)", b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("CL.CL: CVE-2017-7658 (Jetty)", b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello"),
    ("CL.CL: CVE-2019-20445 (Netty)", b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello"),
    ("CL.CL apart, in other cases", b"content-length: 0\r\nX: a\r\nCONTENT-LENGTH: 5\r\n\r\nhello"),
    ("CL.CL, one empty: CVE-2023-40225 (HAProxy)", b"Content-Length:\r\nContent-Length: 5\r\n\r\nhello"),
    (
        "CL.TE: CVE-2020-10109 (Twisted), CVE-2024-47220 (WEBrick)",
        b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "CL.TE with a request",
        b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    ),
    (
        "TE.CL with a request",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
    ),
    (
        "TE.CL, both of the same opinion",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "CL.TE, a length of 0: CVE-2019-20445 (Netty)",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "CL.TE on a connection that closes",
        b"Connection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "CL.TE with Expect",
        b"Expect: 100-continue\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "CL.TE.CL",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE, equal",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE: CVE-2020-8287 (Node.js)",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked-false\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE: CVE-2024-1135 (gunicorn)",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE: CVE-2021-21299 (hyper)",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE, one empty",
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.TE apart, in other cases",
        b"transfer-encoding: chunked\r\nX: a\r\nTRANSFER-ENCODING: x\r\n\r\n0\r\n\r\n",
    ),
)

# (kind, the rest of a POST's head, and its body): lines that one recipient reads as a framing field.
REFUSED_LINES = (
    (
        "blank before the colon: CVE-2019-16869 (Netty), CVE-2019-16276 (Go), CVE-2021-22959 (Node.js)",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    ("blank before the colon", b"Content-Length : 5\r\n\r\nhello"),
    ("tab before the colon", b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    ("blank in front of the name: CVE-2024-27982 (Node.js)", b" Content-Length: 5\r\n\r\nhello"),
    ("tab in front of the name", b"\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("control byte in front of the name", b"\x0bTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (
        "control byte behind the name: CVE-2021-43797 (Netty)",
        b"Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("NUL behind the name", b"Content-Length\x00: 5\r\n\r\nhello"),
    ("NUL in front of the name", b"\x00Content-Length: 5\r\n\r\nhello"),
    ("CR in the name: CVE-2020-8201 (Node.js)", b"Content\rLength: 5\r\n\r\nhello"),
    ("blank in the name", b"Content Length: 5\r\n\r\nhello"),
    ("no-break space of Latin-1 behind the name", b"Content-Length\xa0: 5\r\n\r\nhello"),
    ("Kelvin sign of UTF-8 in a name", b"Transfer-Encoding\xe2\x84\xaa: chunked\r\n\r\n0\r\n\r\n"),
    ("quoted name", b'"Content-Length": 5\r\n\r\nhello'),
    (
        "folded: CVE-2022-32213, CVE-2022-32215 (Node.js)",
        b"Transfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
    ),
    ("folded, the first line empty", b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("folded with a tab", b"Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n"),
    ("folded, only blanks", b"Content-Length: 5\r\n \r\n\r\nhello"),
    ("folded into another field", b"X: a\r\n Content-Length: 5\r\n\r\nhello"),
    ("folded before its colon", b"Transfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n"),
    ("line without a colon: CVE-2019-20444 (Netty)", b"Transfer-Encoding chunked\r\n\r\n0\r\n\r\n"),
    (
        "line without a colon: invalid fold of Netty",
        b"Content-Length: 5\r\nContent-Length:\r\n6\r\n\r\nhello",
    ),
    ("empty name: CVE-2023-25725 (HAProxy)", b": a\r\nContent-Length: 5\r\n\r\nhello"),
    ("bare LF: CVE-2019-16785 (waitress)", b"X: a\nContent-Length: 5\r\n\r\nhello"),
    ("bare LF", b"Content-Length: 5\n\r\nhello"),
    ("bare LF: CVE-2022-32214 (Node.js)", b"Content-Length: 5\r\n\nhello"),
    ("bare LF in front", b"\nContent-Length: 5\r\n\r\nhello"),
    ("bare LF in a value", b"Content-Length:\n5\r\n\r\nhello"),
    ("LF and CR", b"Content-Length: 5\n\r\n\rhello"),
    ("bare CR: CVE-2023-30589 (Node.js), CVE-2023-37276 (aiohttp)", b"X: \rxContent-Length: 5\r\n\r\nhello"),
    ("bare CR", b"X: a\rContent-Length: 5\r\n\r\nhello"),
    ("bare CR", b"Content-Length: 5\r\r\n\r\nhello"),
    ("bare CR: CVE-2022-35256 (Node.js)", b"X: a\r\rContent-Length: 5\r\n\r\nhello"),
    ("bare CR in front of the value", b"Content-Length: \r5\r\n\r\nhello"),
    ("bare CR in front of the name", b"\rContent-Length: 5\r\n\r\nhello"),
    ("bare CR ends the head: CVE-2025-23167 (Node.js)", b"X: a\r\n\rContent-Length: 5\r\n\r\nhello"),
    ("bare CR ends the head", b"Content-Length: 5\r\n\rhello"),
    ("control byte in another field", b"X: a\x01\r\nContent-Length: 5\r\n\r\nhello"),
    ("second Host", b"Host: b\r\nContent-Length: 5\r\n\r\nhello"),
    ("second Host, equal: CVE-2026-34525 (aiohttp)", b"Host: a\r\nContent-Length: 5\r\n\r\nhello"),
)

# (kind, a line of a POST's head): none of them frames a body.
IGNORED_LINES = (
    ("underscore, which CGI makes of a hyphen", b"Transfer_Encoding: chunked"),
    ("underscore", b"Content_Length: 5"),
    ("longer name", b"X-Content-Length: 5"),
    ("longer name: CVE-2021-40346 (HAProxy)", b"Content-Length0" + b"a" * 255 + b":"),
    ("longer name", b"Transfer-Encoding-: chunked"),
    ("another field", b"Content-Encoding: chunked"),
    ("another field", b"TE: chunked, trailers"),
    ("announced trailer", b"Trailer: Content-Length, Transfer-Encoding"),
    ("field in a value", b"X: Content-Length: 5"),
    ("key of hixie-76, which announced 8 bytes: gunicorn 20.0.4", b"Sec-WebSocket-Key1: a"),
    ("Upgrade of a POST that names nothing we know", b"Connection: Upgrade\r\nUpgrade: h2c"),
    ("Connection that does not close", b"Connection: closed, keep-alive, x-close"),
    ("Connection that names the framing", b"Connection: Content-Length, Transfer-Encoding, Host"),
    ("Proxy-Connection", b"Proxy-Connection: close"),
    ("Keep-Alive", b"Keep-Alive: timeout=1, max=1"),
    ("expectation of what is unknown", b"Expect: 200-ok"),
    ("expectation that is not exactly it", b"Expect: y 100-continue"),
    ("method in a header", b"X-HTTP-Method-Override: PUT"),
)

# (kind, a whole head, the status)
REFUSED_REQUEST_LINES = (
    ("no version, HTTP/0.9: CVE-2017-7656 (Jetty)", b"GET /\r\n", 400),
    ("no version, but headers", b"GET /\r\nHost: a\r\n\r\n", 400),
    ("two blanks", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two blanks", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("blank behind it", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("tab", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("blank in the target: CVE-2016-8743 (Apache)", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("request in the target", b"GET / HTTP/1.1 GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bare LF", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("bare CR", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
    ("CR in the target", b"GET /\rHTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("NUL in the target", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("byte over 7f in the target", b"GET /\xa0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("another protocol", b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400),
    ("leading zero in the version", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    ("two digits in the version", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("no minor version", b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    ("version that is unknown", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("version that is unknown", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("version that is unknown", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("method with a colon", b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("tunnel", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("target without its slash", b"GET smuggled HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("userinfo in the target", b"GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("list of hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("path in the Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("bytes in front: CVE-2026-50020 (Netty)", b"\x00GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bytes in front", b"\x1fGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("blank in front", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("blank behind an empty line", b"\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bare LF in front", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("bare CR in front", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two empty lines in front", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("Transfer-Encoding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (
        "both in HTTP/1.0: CVE-2026-42581 (Netty)",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
)


class LengthTests(PipelineCase):
    async def test_malformed_content_length_is_400(self) -> None:
        for kind, value in REFUSED_LENGTHS:
            with self.subTest(kind, value=value):
                await self.assert_head_refused(POST + b"Content-Length: " + value + b"\r\n\r\nhello")

    async def test_content_length_of_more_than_18_digits_is_413(self) -> None:
        for kind, value in TOO_LARGE_LENGTHS:
            with self.subTest(kind, value=value[:20]):
                data = POST + b"Content-Length: " + value
                await self.assert_head_refused(data + b"\r\n\r\nhello", 413)
                await self.assert_head_refused(data + b"\r\nContent-Length: 5\r\n\r\nhello", 413)

    async def test_content_length_of_digits_frames_the_body(self) -> None:
        for kind, value in ACCEPTED_LENGTHS:
            with self.subTest(kind, value=value):
                data = POST + b"Content-Length:" + value + b"\r\n\r\nhello"
                await self.assert_served(data, b"POST / hello")

    async def test_content_length_of_18_digits_is_waited_for(self) -> None:
        await self.assert_waits(POST + b"Content-Length: 999999999999999999\r\n\r\nhello")

    async def test_content_length_of_0_is_an_empty_body(self) -> None:
        await self.assert_served(POST + b"Content-Length: 0\r\n\r\n", b"POST / ")

    async def test_every_byte_of_a_body_counts(self) -> None:
        # "ET" and "oGET" are methods as good as any.
        for length, first, second in ((b"6", b"helloG", b"ET"), (b"4", b"hell", b"oGET")):
            data = POST + b"Content-Length: " + length + b"\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n"
            seen = (b"POST / " + first, second + b" / ")
            await self.assert_outcome(data, seen, (200, 200), True)


class CodingTests(PipelineCase):
    async def test_transfer_encoding_other_than_chunked_is_400(self) -> None:
        for kind, value in REFUSED_CODINGS:
            with self.subTest(kind, value=value):
                data = POST + b"Transfer-Encoding: " + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                await self.assert_head_refused(data)

    async def test_chunked_frames_the_body(self) -> None:
        for kind, value in ACCEPTED_CODINGS:
            with self.subTest(kind, value=value):
                data = POST + b"Transfer-Encoding:" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                await self.assert_served(data, b"POST / hello")

    async def test_two_framing_fields_are_400(self) -> None:
        for kind, rest in REFUSED_PAIRS:
            with self.subTest(kind, rest=rest):
                await self.assert_head_refused(POST + rest)
                await self.assert_refused_behind_another(POST + rest)


class LineTests(PipelineCase):
    async def test_line_that_may_be_read_in_two_ways_is_400(self) -> None:
        for kind, rest in REFUSED_LINES:
            with self.subTest(kind, rest=rest):
                await self.assert_head_refused(POST + rest)
                await self.assert_refused_behind_another(POST + rest)

    async def test_line_that_frames_nothing_is_no_body(self) -> None:
        for kind, line in IGNORED_LINES:
            with self.subTest(kind, line=line):
                await self.assert_served(POST + line + b"\r\n\r\n", b"POST / ")

    async def test_malformed_request_line_is_refused(self) -> None:
        for kind, head, status in REFUSED_REQUEST_LINES:
            with self.subTest(kind, head=head):
                await self.assert_head_refused(head, status)

    async def test_malformed_request_line_behind_another_request_is_refused(self) -> None:
        # Waitress parsed what followed a refusal in the same read: CVE-2024-49768.
        for kind, head, status in REFUSED_REQUEST_LINES:
            with self.subTest(kind, head=head):
                await self.assert_refused_behind_another(head, status)

    async def test_nothing_behind_a_head_past_its_limits_is_parsed(self) -> None:
        self.configure(limit_request_line=50, limit_request_head=200, limit_request_fields=4)
        await self.assert_head_refused(b"GET /" + b"a" * 50 + b" HTTP/1.1\r\n\r\n" + SMUGGLED, 414)
        await self.assert_head_refused(POST + b"X: " + b"a" * 200 + b"\r\n\r\n" + SMUGGLED, 431)
        await self.assert_head_refused(POST + b"X: a\r\n" * 4 + b"\r\n" + SMUGGLED, 431)


if __name__ == "__main__":
    unittest.main()
