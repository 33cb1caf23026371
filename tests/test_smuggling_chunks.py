"""Request smuggling by the chunks of a body: where each begins and ends, and where the last one does.

Kinds of line ends bear the names of the research of 2025 ("funky chunks"): TERM.EXT
is a line feed that one recipient takes for the end of a size line and another for
a part of its extension; SPILL is data past its size that one recipient skips up to
a line end; ONE.TWO is one that takes one byte for the end of a chunk where another
takes two. A CVE names a server that had the fault.
"""

from __future__ import annotations

import unittest

from .loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING
from .pipeline import POST, PROBE, SMUGGLED, PipelineCase

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"

# (kind, the body)
REFUSED_SIZES = (
    ("sign: CVE-2022-24761 (waitress), CVE-2022-24801 (Twisted)", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("sign", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("sign of zero, an end to some parsers", b"-0\r\n\r\n"),
    ("sign of zero", b"+0\r\n\r\n"),
    ("prefix: CVE-2022-24761 (waitress), CVE-2023-38697 (Falcon)", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("prefix: 0 to a parser that stops at x", b"0X23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    ("prefix of an end", b"0x0\r\n\r\n"),
    ("underscore, which int() takes", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("underscore", b"5_\r\nhello\r\n0\r\n\r\n"),
    ("blank in front", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("tab in front", b"\t5\r\nhello\r\n0\r\n\r\n"),
    ("blank behind", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("tab behind", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("blanks behind the last: CVE-2015-3183 (Apache)", b"0  \r\n\r\n"),
    ("blank inside", b"0 5\r\nhello\r\n0\r\n\r\n"),
    ("second number", b"5 0\r\nhello\r\n0\r\n\r\n"),
    ("comma", b"5,0\r\nhello\r\n0\r\n\r\n"),
    ("fraction", b"5.0\r\nhello\r\n0\r\n\r\n"),
    ("no digit", b"g\r\nhello\r\n0\r\n\r\n"),
    ("no digit behind digits: Traffic Server", b"5these\r\nhello\r\n0\r\n\r\n"),
    ("unit", b"5h\r\nhello\r\n0\r\n\r\n"),
    ("colon", b"5:a\r\nhello\r\n0\r\n\r\n"),
    ("equals", b"5=a\r\nhello\r\n0\r\n\r\n"),
    ("quoted", b'"5"\r\nhello\r\n0\r\n\r\n'),
    ("no size, an end to some parsers", b"\r\n\r\n"),
    ("no size", b";a\r\nhello\r\n0\r\n\r\n"),
    ("no size behind a chunk", b"5\r\nhello\r\n\r\n\r\n"),
    ("empty line between chunks", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    ("NUL", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    ("NUL in front", b"\x005\r\nhello\r\n0\r\n\r\n"),
    ("control byte that str.strip() drops", b"5\x0b\r\nhello\r\n0\r\n\r\n"),
    ("control byte that str.strip() drops", b"\x1c5\r\nhello\r\n0\r\n\r\n"),
    ("no-break space of Latin-1, which str.strip() drops", b"5\xa0\r\nhello\r\n0\r\n\r\n"),
    ("digit to int(): fullwidth five of UTF-8", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n"),
    ("digit to str.isdigit(): superscript two of Latin-1", b"\xb2\r\nab\r\n0\r\n\r\n"),
    ("a request in place of a size", b"GET / HTTP/1.1\r\n"),
    ("a request in place of the last chunk", b"5\r\nhello\r\n" + SMUGGLED),
)

# (kind, the body)
TOO_LARGE_SIZES = (
    ("16 digits", b"1000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("over 63 bits: negative to some parsers", b"8000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("64 bits: -1 to some parsers", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("over 64 bits, 5 to some parsers: CVE-2017-7657 (Jetty)", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("over 64 bits, 0 to some parsers: CVE-2021-32714 (hyper)", b"10000000000000000\r\n\r\n"),
    ("with leading zeros", b"00000000000000010000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("in a later chunk", b"5\r\nhello\r\nFFFFFFFFFFFFFFFF0\r\n\r\n"),
)

# (kind, the body)
UNFINISHED_BODIES = (
    ("over 32 bits, 5 to some parsers", b"100000005\r\nhello\r\n0\r\n\r\n"),
    ("over 31 bits: negative to some parsers", b"80000000\r\nhello\r\n0\r\n\r\n"),
    ("15 digits", b"fffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("hexadecimal: 100 to a parser that reads a decimal", b"100\r\nhello\r\n0\r\n\r\n"),
    ("no last chunk", b"5\r\nhello\r\nfff\r\n"),
)

# (kind, the body)
REFUSED_LINE_ENDS = (
    ("TERM.EXT: CVE-2025-55315 (Kestrel)", b"5;\nhello\r\n\r\n0\r\n\r\n"),
    ("TERM.EXT with a request", b"2;\nxx\r\n23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"),
    ("TERM.EXT without a semicolon: fasthttp", b"5\nhello\r\n0\r\n\r\n"),
    ("EXT.TERM: CVE-2025-22871 (Go), CVE-2025-58056 (Netty)", b"5;a\nhello\r\n0\r\n\r\n"),
    ("EXT.TERM: CVE-2024-52304 (aiohttp), CVE-2021-22960 (Node.js)", b"5;a\n;b\r\nhello\r\n0\r\n\r\n"),
    ("EXT.TERM at the last chunk", b"0;a\n\r\n\r\n"),
    ("EXT.TERM with a quoted line feed", b'5;a="\n"\r\nhello\r\n0\r\n\r\n'),
    ("EXT.TERM with an escaped line feed", b'5;a="\\\n"\r\nhello\r\n0\r\n\r\n'),
    ("EXT.TERM with a quoted CRLF: CVE-2026-33870 (Netty)", b'5;a="\r\nhello\r\n0\r\n\r\n'),
    ("EXT.TERM with a quoted CRLF and a request", b'1;a="\r\nX\r\n0\r\n\r\n' + SMUGGLED + b'"\r\n'),
    ("EXT.TERM with an escaped quote", b'5;a="b\\"\r\nhello\r\n0\r\n\r\n'),
    ("EXT.TERM with an escaped CRLF", b'5;a="b\\\r\nhello\r\n0\r\n\r\n'),
    ("EXT.TERM with a quoted CRLF at the last chunk", b'0;a="\r\n\r\n'),
    ("bare CR in an extension", b"5;\rhello\r\n\r\n0\r\n\r\n"),
    ("bare CR in an extension", b"5;a\r;b\r\nhello\r\n0\r\n\r\n"),
    ("two CRs", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ("two CRs behind an extension", b"5;a\r\r\nhello\r\n0\r\n\r\n"),
    ("bare CR ends a size line", b"5\rhello\r\n0\r\n\r\n"),
    ("CR and any byte end a size line", b"5\rXhello\r\n0\r\n\r\n"),
    ("CR and any byte end the last size line", b"0\rX\r\n"),
    ("any byte and LF end a size line", b"5;X\nhello\r\n0\r\n\r\n"),
    ("LF and CR end a size line", b"5\n\rhello\r\n0\r\n\r\n"),
    ("bare LF ends the last size line", b"0\n\r\n"),
    ("bare LF ends all lines", b"5\nhello\n0\n\n"),
    ("TERM.SPILL: CVE-2025-43859 (h11)", b"5\r\nhelloXX0\r\n\r\n"),
    ("TERM.SPILL", b"5\r\nhelloXX\r\n0\r\n\r\n"),
    ("TERM.SPILL with a bare LF", b"5\r\nhello\n\r\n0\r\n\r\n"),
    ("TERM.SPILL with a request", b"5\r\nhello" + SMUGGLED + b"\r\n0\r\n\r\n"),
    ("SPILL.TERM: Pound", b"5\r\nhelloXXX\r\n0\r\n\r\n"),
    ("SPILL by one byte", b"5\r\nhello!\r\n0\r\n\r\n"),
    ("ONE.TWO", b"5\r\nhello\n0\r\n\r\n"),
    ("ONE.TWO with any byte", b"5\r\nhello\nX0\r\n\r\n"),
    ("ONE.TWO with CR", b"5\r\nhello\rX0\r\n\r\n"),
    ("bare CR ends data", b"5\r\nhello\r0\r\n\r\n"),
    ("any byte and LF end data", b"5\r\nhelloX\n0\r\n\r\n"),
    ("LF and CR end data", b"5\r\nhello\n\r0\r\n\r\n"),
    ("two CRs end data", b"5\r\nhello\r\r\n0\r\n\r\n"),
    ("ZERO.TWO: nothing ends data", b"5\r\nhello0\r\n\r\n"),
    ("data one byte short", b"6\r\nhello\r\n0\r\n\r\n"),
    ("data two bytes short", b"7\r\nhello\r\n0\r\n\r\n"),
    ("blank behind data", b"5\r\nhello \r\n0\r\n\r\n"),
    ("NUL behind data", b"5\r\nhello\x00\r\n0\r\n\r\n"),
)

# (kind, the body)
REFUSED_EXTENSIONS = (
    ("NUL: CVE-2022-24761 (waitress)", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    ("control byte", b"5;a=\x01\r\nhello\r\n0\r\n\r\n"),
    ("control byte that str.splitlines() splits at", b"5;a\x0bb\r\nhello\r\n0\r\n\r\n"),
    ("control byte that str.splitlines() splits at", b"5;a\x1cb\r\nhello\r\n0\r\n\r\n"),
    ("DEL", b"5;\x7f\r\nhello\r\n0\r\n\r\n"),
    ("control byte of the last chunk", b"0;\x02\r\n\r\n"),
    ("control byte in a quoted string", b'5;a="\x08"\r\nhello\r\n0\r\n\r\n'),
    ("blank without an extension", b"5  \t\r\nhello\r\n0\r\n\r\n"),
    ("word behind a blank", b"5 a\r\nhello\r\n0\r\n\r\n"),
)

# (kind, what stands in the place of the trailers, which begin behind "0" CRLF)
REFUSED_TRAILERS = (
    ("request: CVE-2023-41419 (gevent), CVE-2025-53643 (aiohttp)", SMUGGLED),
    ("request behind a field", b"X: a\r\n" + SMUGGLED),
    ("bare LF", b"\n"),
    ("bare LF behind a field", b"X: a\n\r\n"),
    ("bare LF in the place of the empty line", b"X: a\r\n\n"),
    ("bare CR", b"\rGET"),
    ("bare CR behind a field", b"X: a\rY: b\r\n\r\n"),
    ("bare CR in the place of the empty line", b"X: a\r\n\rY: b\r\n\r\n"),
    ("blank in the empty line", b" \r\n\r\n"),
    ("folded", b"X: a\r\n b\r\n\r\n"),
    ("folded", b" X: a\r\n\r\n"),
    ("blank before the colon", b"X : a\r\n\r\n"),
    ("no colon", b"X\r\n\r\n"),
    ("empty name", b": a\r\n\r\n"),
    ("NUL", b"X: \x00\r\n\r\n"),
    ("control byte in a name: CVE-2023-45648 (Tomcat)", b"X\x0b: a\r\n\r\n"),
    ("byte over 7f in a name", b"X\xa0: a\r\n\r\n"),
    ("data behind the last chunk", b"hello\r\n\r\n"),
    ("another last chunk", b"0\r\n\r\n"),
)

# (kind, the body, its content)
ACCEPTED_BODIES = (
    ("empty", b"0\r\n\r\n", b""),
    ("one chunk", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("two chunks", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    ("leading zeros (RFC 9112 7.1)", b"0005\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("more leading zeros than 64 bits have", b"00000000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("last chunk of many zeros", b"5\r\nhello\r\n0000\r\n\r\n", b"hello"),
    ("lower case", b"b\r\nhello world\r\n0\r\n\r\n", b"hello world"),
    ("upper case", b"B\r\nhello world\r\n0\r\n\r\n", b"hello world"),
    (
        "chunk behind the first digit of a size",
        b"17\r\n0123456\r\n0123456789abcd\r\n0\r\n\r\n",
        b"0123456\r\n0123456789abcd",
    ),
    ("e is a digit, and no exponent", b"0e\r\nhello to you !\r\n0\r\n\r\n", b"hello to you !"),
    ("extension", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("extension with a value", b"5;a=b\r\nhello\r\n0;c=d\r\n\r\n", b"hello"),
    ("extensions", b"5;a=b;c;d=e\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("quoted string", b'5;a="b c;d=e"\r\nhello\r\n0\r\n\r\n', b"hello"),
    ("escaped quote and backslash", b'5;a="\\"\\\\"\r\nhello\r\n0\r\n\r\n', b"hello"),
    ("byte over 7f in a quoted string", b'5;a="\xe9"\r\nhello\r\n0\r\n\r\n', b"hello"),
    ("bad whitespace (RFC 9112 7.1.1)", b"5 ; a = b\r\nhello\r\n0\t;\tc\r\n\r\n", b"hello"),
    ("size in an extension", b"5;0\r\nhello\r\n0;5\r\n\r\n", b"hello"),
    ("signature of a chunk", b"5;chunk-signature=00ff00ff\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("trailer", b"5\r\nhello\r\n0\r\nX: a\r\n\r\n", b"hello"),
    ("trailers", b"0\r\nX: a\r\nX:\r\nETag: \t\xe9 \r\n\r\n", b""),
    ("extension and trailer of the last chunk", b"0;a=b\r\nX: a\r\n\r\n", b""),
    ("empty line behind it (RFC 9112 2.2)", b"5\r\nhello\r\n0\r\n\r\n\r\n", b"hello"),
    ("last chunk in a chunk", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    ("line ends in a chunk", b"6\r\n\r\n\n\r\r\n\r\n0\r\n\r\n", b"\r\n\n\r\r\n"),
    ("request in a chunk", b"23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", SMUGGLED),
    (
        "request over two chunks",
        b"3\r\nGET\r\n20\r\n /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n",
        SMUGGLED,
    ),
    ("every byte", b"100\r\n" + bytes(range(256)) + b"\r\n0\r\n\r\n", bytes(range(256))),
)

# (kind, a trailer): nothing of it changes the request, or the connection.
IGNORED_TRAILERS = (
    ("length", b"Content-Length: 35"),
    ("coding", b"Transfer-Encoding: chunked"),
    ("two lengths", b"Content-Length: 5\r\nContent-Length: +6"),
    ("host", b"Host: b"),
    ("end of the connection", b"Connection: close"),
    ("upgrade", b"Connection: Upgrade\r\nUpgrade: websocket"),
    ("user", b"Authorization: Basic YTpi"),
    ("address", b"X-Forwarded-For: 127.0.0.1"),
    ("expectation", b"Expect: 100-continue"),
    ("request line with a colon for its blank", b"GET:/smuggled HTTP/1.1"),
)


class RefusedChunkTests(PipelineCase):
    async def assert_body_refused(self, body: bytes, status: int = 400) -> None:
        await self.assert_refused(CHUNKED + body, status)
        await self.assert_refused_behind_another(CHUNKED + body, status)

    async def test_malformed_size_is_400(self) -> None:
        for kind, body in REFUSED_SIZES:
            with self.subTest(kind, body=body):
                await self.assert_body_refused(body)

    async def test_size_of_more_than_15_digits_is_413(self) -> None:
        for kind, body in TOO_LARGE_SIZES:
            with self.subTest(kind, body=body):
                await self.assert_body_refused(body, 413)

    async def test_line_end_other_than_crlf_and_data_past_its_size_is_400(self) -> None:
        for kind, body in REFUSED_LINE_ENDS:
            with self.subTest(kind, body=body):
                await self.assert_body_refused(body)

    async def test_malformed_extension_is_400(self) -> None:
        for kind, body in REFUSED_EXTENSIONS:
            with self.subTest(kind, body=body):
                await self.assert_body_refused(body)

    async def test_malformed_trailer_is_400(self) -> None:
        for kind, trailers in REFUSED_TRAILERS:
            with self.subTest(kind, trailers=trailers):
                await self.assert_body_refused(b"5\r\nhello\r\n0\r\n" + trailers)

    async def test_extensions_without_an_end_are_400(self) -> None:
        # CVE-2023-39326 (Go), CVE-2024-21647 (puma).
        await self.assert_body_refused(b"5;" + b"a" * 20000 + b"\r\nhello\r\n0\r\n\r\n")
        await self.assert_body_refused((b"1;" + b"a" * 100 + b"\r\na\r\n") * 400 + LAST)

    async def test_trailers_past_the_limits_are_431(self) -> None:
        # Tomcat took what followed for another request: CVE-2023-46589.
        self.configure(limit_request_head=200, limit_request_fields=4)
        for trailers in (b"X: " + b"a" * 200 + b"\r\n", b"X: a\r\n" * 5):
            await self.assert_body_refused(b"0\r\n" + trailers + SMUGGLED, 431)

    async def test_malformed_body_of_an_answer_that_has_begun_ends_the_connection(self) -> None:
        head = b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for kind, body in (*REFUSED_SIZES, *TOO_LARGE_SIZES, *REFUSED_LINE_ENDS, *REFUSED_EXTENSIONS):
            for pieces in ([head + body + SMUGGLED], [head, body + SMUGGLED]):
                with self.subTest(kind, pieces=pieces):
                    outcome = await self.feed(pieces)
                    self.assertEqual((outcome.seen, outcome.is_closed), ((), True))
                    self.assertEqual(outcome.written.count(b"HTTP/1.1 "), 1)


class AcceptedChunkTests(PipelineCase):
    async def test_chunks_are_joined_and_the_next_request_begins_behind_them(self) -> None:
        for kind, body, content in ACCEPTED_BODIES:
            with self.subTest(kind, body=body):
                await self.assert_served(CHUNKED + body, b"POST / " + content)

    async def test_chunks_that_come_behind_the_beginning_of_the_answer_are_joined_as_well(self) -> None:
        head = b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for kind, body, content in ACCEPTED_BODIES:
            with self.subTest(kind, body=body):
                # The answer says that the connection closes, as nobody knew how much would come.
                outcome = await self.feed([head, body, PROBE])
                self.assertEqual((outcome.seen, outcome.is_closed), ((b"POST /early " + content,), True))

    async def test_chunks_without_an_end_are_waited_for(self) -> None:
        for kind, body in UNFINISHED_BODIES:
            with self.subTest(kind, body=body):
                await self.assert_waits(CHUNKED + body)

    async def test_trailers_change_nothing(self) -> None:
        for kind, trailer in IGNORED_TRAILERS:
            with self.subTest(kind, trailer=trailer):
                data = CHUNKED + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"
                await self.assert_served(data, b"POST / hello")

    async def test_chunked_requests_follow_each_other(self) -> None:
        data = (
            CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + CHUNKED + LAST + CHUNKED + b"1\r\na\r\n0\r\nX: a\r\n\r\n"
        )
        await self.assert_served(data, b"POST / hello", b"POST / ", b"POST / a")

    async def test_get_behind_chunks_is_a_request(self) -> None:
        await self.assert_served(CHUNKED + b"1\r\na\r\n0\r\n\r\n" + SMUGGLED, b"POST / a", b"GET /smuggled ")

    async def test_upgrade_behind_chunks_opens_a_websocket(self) -> None:
        for pieces in self.cut(CHUNKED + b"1\r\na\r\n0\r\n\r\n" + REQUEST + PEER_HELLO):
            outcome = await self.feed(pieces)
            self.assertEqual(outcome.seen, (b"POST / a", b"WEBSOCKET /chat "))
            self.assertTrue(outcome.written.endswith(b"ok" + SWITCHING + HELLO))


if __name__ == "__main__":
    unittest.main()
