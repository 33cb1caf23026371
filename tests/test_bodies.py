"""Request bodies: RFC 9112 6 and 7, and what could hide a second request (RFC 9112 11.2)."""

from __future__ import annotations

import unittest
from typing import Any, Iterator, List, Tuple, Type

from wsbridge.protocols import errors
from wsbridge.protocols.bodies import ChunkedBody, LengthBody, build_body, check_framing

from .framings import REFUSED_CODINGS, REFUSED_LENGTHS, TOO_LARGE_LENGTHS

Pairs = Tuple[Tuple[bytes, bytes], ...]

HEXDIG = b"0123456789ABCDEFabcdef"
# Whatever may follow a body: nothing, a request, an empty line, a frame.
BEHIND = (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n", b"0\r\n\r\n", b"\x82\x80\x00\x00\x00\x00")
# Whatever may follow a byte that is refused.
BEHIND_REFUSED = (b"", b"\r\n", b"\r\n\r\n0\r\n\r\n", b"\x00")


def one_byte(value: int) -> bytes:
    return bytes((value,))


class BodyCase(unittest.TestCase):
    """Every case runs whole, byte by byte, and with bytes behind it."""

    def pieces(self, data: bytes) -> Iterator[List[bytes]]:
        yield [data]
        yield [data[index : index + 1] for index in range(len(data))]
        yield [data[:-1], b"", data[-1:]]

    def assert_parsed(self, content: bytes, data: bytes, **limits: int) -> None:
        for pieces in self.pieces(data):
            for behind in BEHIND:
                body = ChunkedBody(**limits)
                found = [body.receive_data(piece) for piece in pieces[:-1]]
                self.assertEqual((body.is_complete, body.trailing), (False, b""), pieces)
                found.append(body.receive_data(pieces[-1] + behind))
                self.assertEqual(b"".join(found), content, pieces)
                self.assertEqual((body.is_complete, body.trailing), (True, behind), pieces)

    def assert_refused(self, error: Type[Exception], data: bytes, text: str = "", **limits: int) -> None:
        """``data`` is refused at its last byte, in whatever pieces it comes; then nothing is read."""
        for pieces in self.pieces(data):
            for behind in BEHIND_REFUSED:
                body = ChunkedBody(**limits)
                for piece in pieces[:-1]:
                    body.receive_data(piece)
                with self.assertRaises(error, msg=pieces) as caught:
                    body.receive_data(pieces[-1] + behind)
                self.assertIs(type(caught.exception), error)
                self.assertRegex(str(caught.exception), "^[ -~]{5,100}$")
                self.assertIn(text, str(caught.exception))
                self.assertEqual((body.is_complete, body.trailing), (False, b""))
                with self.assertRaises(errors.StateError):
                    body.receive_data(b"0\r\n\r\n")

    def assert_bad(self, data: bytes, text: str = "") -> None:
        self.assert_refused(errors.BadRequest, data, text)


class FramingTests(unittest.TestCase):
    def assert_bad(self, *headers: Tuple[bytes, bytes], version: str = "1.1") -> None:
        with self.assertRaises(errors.BadRequest, msg=headers):
            build_body(headers, version)

    def test_request_without_a_framing_header_has_no_body(self) -> None:
        headers: Tuple[Pairs, ...] = (
            (),
            ((b"host", b"a"), (b"te", b"chunked"), (b"x-content-length", b"5")),
            ((b"content_length", b"5"), (b"transfer_encoding", b"chunked")),
        )
        for pairs in headers:
            self.assertIsNone(build_body(pairs, "1.1"))
            self.assertIsNone(build_body(pairs, "1.0"))

    def test_length_of_0_is_no_body(self) -> None:
        for version in ("1.0", "1.1"):
            self.assertIsNone(build_body(((b"content-length", b"0"),), version))

    def test_content_length_is_the_number_of_bytes(self) -> None:
        for value, length in ((b"1", 1), (b"10", 10), (b"999999999999999999", 999999999999999999)):
            for version in ("1.0", "1.1"):
                body = build_body(((b"host", b"a"), (b"content-length", value)), version)
                self.assertIsInstance(body, LengthBody)
                self.assertEqual(body and body.missing, length)

    def test_chunked_in_any_case_is_a_chunked_body(self) -> None:
        for value in (b"chunked", b"Chunked", b"CHUNKED"):
            body = build_body(((b"transfer-encoding", value), (b"host", b"a")), "1.1")
            self.assertIsInstance(body, ChunkedBody)
            self.assertIsNone(body and body.missing)

    def test_limits_of_trailers_are_passed_on(self) -> None:
        for data, limits in (
            (b"0\r\nA: b\r\n\r\n", {"max_trailers": 7}),
            (b"0\r\nA:", {"max_trailer_fields": 0}),
        ):
            body: Any = build_body(((b"transfer-encoding", b"chunked"),), "1.1", **limits)
            with self.assertRaises(errors.HeadTooLarge):
                body.receive_data(data)

    def test_trailers_have_the_limits_of_a_head_by_default(self) -> None:
        for data, more in (
            (b"0\r\nA:" + b"b" * 65530 + b"\r\n", b"b"),
            (b"0\r\n" + b"A: b\r\n" * 256, b"A: b\r\n"),
        ):
            body: Any = build_body(((b"transfer-encoding", b"chunked"),), "1.1")
            body.receive_data(data + b"\r\n")
            self.assertTrue(body.is_complete)
            body = build_body(((b"transfer-encoding", b"chunked"),), "1.1")
            with self.assertRaises(errors.HeadTooLarge):
                body.receive_data(data[:3] + more + data[3:] + b"\r\n")

    def test_more_than_one_framing_header_is_refused(self) -> None:
        length, chunked = (b"content-length", b"5"), (b"transfer-encoding", b"chunked")
        self.assert_bad(length, length)
        self.assert_bad(length, (b"host", b"a"), (b"content-length", b"0"))
        self.assert_bad(chunked, chunked)
        self.assert_bad(length, chunked)
        self.assert_bad(chunked, length)
        self.assert_bad((b"content-length", b"0"), chunked)
        self.assert_bad(length, chunked, version="1.0")

    def test_first_of_two_framing_headers_is_checked_first(self) -> None:
        # As `RequestParser` does with a head in pieces.
        with self.assertRaises(errors.ContentTooLarge):
            build_body(((b"content-length", b"9" * 19), (b"content-length", b"5")), "1.1")

    def test_chunked_in_http_1_0_is_refused(self) -> None:
        self.assert_bad((b"transfer-encoding", b"chunked"), version="1.0")

    def test_content_length_that_is_no_decimal_number_is_refused(self) -> None:
        for kind, value in (*REFUSED_LENGTHS, ("CR", b"5\r"), ("LF", b"5\n")):
            with self.subTest(kind, value=value):
                self.assert_bad((b"content-length", value))

    def test_content_length_of_19_digits_is_413(self) -> None:
        for kind, value in TOO_LARGE_LENGTHS:
            with self.subTest(kind), self.assertRaises(errors.ContentTooLarge):
                build_body(((b"content-length", value),), "1.1")

    def test_transfer_encoding_other_than_exactly_chunked_is_refused(self) -> None:
        for kind, value in (*REFUSED_CODINGS, ("CR", b"chunked\r"), ("LF", b"\nchunked")):
            with self.subTest(kind, value=value):
                self.assert_bad((b"transfer-encoding", value))

    def test_one_line_can_be_checked_before_the_head_is_complete(self) -> None:
        check_framing(b"content-length", b"5", "1.0")
        check_framing(b"transfer-encoding", b"chunked", "1.1")
        for name, value, version in (
            (b"content-length", b"+5", "1.1"),
            (b"transfer-encoding", b"identity", "1.1"),
            (b"transfer-encoding", b"chunked", "1.0"),
        ):
            with self.assertRaises(errors.BadRequest):
                check_framing(name, value, version)


class LengthBodyTests(unittest.TestCase):
    def test_body_ends_with_its_last_byte(self) -> None:
        for behind in BEHIND:
            body = LengthBody(5)
            self.assertEqual(body.receive_data(b"hello" + behind), b"hello")
            self.assertEqual((body.is_complete, body.missing, body.trailing), (True, 0, behind))

    def test_body_byte_by_byte(self) -> None:
        body = LengthBody(3)
        for missing, byte in ((2, b"\r"), (1, b"\n")):
            self.assertEqual(body.receive_data(byte), byte)
            self.assertEqual((body.is_complete, body.missing, body.trailing), (False, missing, b""))
        self.assertEqual(body.receive_data(b""), b"")
        self.assertFalse(body.is_complete)
        self.assertEqual(body.receive_data(b"\x00GET"), b"\x00")
        self.assertEqual((body.is_complete, body.missing, body.trailing), (True, 0, b"GET"))

    def test_body_at_every_cut(self) -> None:
        data = b"hello" + BEHIND[1]
        for cut in range(1, len(data)):
            body = LengthBody(5)
            first = body.receive_data(data[:cut])
            if cut < 5:
                self.assertEqual(first + body.receive_data(data[cut:]), b"hello")
                self.assertEqual(body.trailing, BEHIND[1])
            else:
                self.assertEqual((first, body.trailing), (b"hello", data[5:cut]))

    def test_large_body_in_large_pieces_counts_down(self) -> None:
        body = LengthBody(10**18 - 1)
        self.assertEqual(body.receive_data(bytes(2**20)), bytes(2**20))
        self.assertEqual((body.is_complete, body.missing), (False, 10**18 - 1 - 2**20))


class ChunkTests(BodyCase):
    def test_empty_body_is_its_last_chunk(self) -> None:
        self.assert_parsed(b"", b"0\r\n\r\n")

    def test_contents_of_chunks_are_joined(self) -> None:
        self.assert_parsed(b"hello world", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")

    def test_every_cut_in_two_gives_the_same_content(self) -> None:
        data = (
            b'5\r\nhello\r\n006 \t;a="b"\r\n world\r\nA;;\r\n\r\n0\r\n\r\n\r\n0\r\n'
            b"000;\xff\r\nX: \ta\r\nY:\r\n\r\n"
        )
        for cut in range(1, len(data)):
            body = ChunkedBody()
            content = body.receive_data(data[:cut])
            self.assertFalse(body.is_complete)
            content += body.receive_data(data[cut:] + b"GET")
            self.assertEqual(content, b"hello world\r\n0\r\n\r\n\r\n0", cut)
            self.assertEqual((body.is_complete, body.trailing), (True, b"GET"))

    def test_digits_that_come_in_two_pieces_are_one_size(self) -> None:
        # The second digit begins what would be a chunk of its own.
        self.assert_parsed(b"0123456\r\n0123456789abcd", b"17\r\n0123456\r\n0123456789abcd\r\n0\r\n\r\n")
        body = ChunkedBody()
        found = [body.receive_data(b"1"), body.receive_data(b"7\r\n0123456\r\n0123456789abcd\r\n0\r\n\r\n")]
        self.assertEqual(found, [b"", b"0123456\r\n0123456789abcd"])

    def test_content_is_handed_over_as_it_comes(self) -> None:
        body = ChunkedBody()
        found = [
            body.receive_data(piece)
            for piece in (b"5", b"\r\nhe", b"llo", b"\r\n", b"1\r\n!\r\n0\r\n", b"\r\n")
        ]
        self.assertEqual(found, [b"", b"he", b"llo", b"", b"!", b""])
        self.assertTrue(body.is_complete)

    def test_data_is_opaque(self) -> None:
        for data in (b"\r\n", b"0\r\n\r\n", b"\n\n\n", bytes(range(256)), b"5\r\nhello\r\n"):
            self.assert_parsed(data, b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))

    def test_size_is_hexadecimal_in_either_case(self) -> None:
        for lines, size in (
            (b"5 05 005 0005 00000000000000000000000000000005", 5),
            (b"a A 0a 00A", 10),
            (b"f F", 15),
            (b"10 010", 16),
            (b"1a 1A", 26),
            (b"ab aB Ab AB 00aB", 171),
        ):
            for line in lines.split():
                self.assert_parsed(b"x" * size, line + b"\r\n" + b"x" * size + b"\r\n0\r\n\r\n")

    def test_zeros_are_the_last_chunk_however_many(self) -> None:
        for line in (b"0", b"00", b"0000000000000000", b"0" * 1000):
            self.assert_parsed(b"", line + b"\r\n\r\n")

    def test_size_of_15_digits_is_waited_for(self) -> None:
        for line in (b"fffffffffffffff", b"0fffffffffffffff", b"100000005", b"8000000000000"):
            body = ChunkedBody()
            self.assertEqual(body.receive_data(line + b"\r\nhello\r\n0\r\n\r\n"), b"hello\r\n0\r\n\r\n")
            self.assertFalse(body.is_complete)

    def test_size_of_16_digits_is_413(self) -> None:
        for line in (b"1000000000000000", b"ffffffffffffffff", b"00001000000000000000", b"10000000000000005"):
            for end in (b"\r", b";", b" ", b"\t"):
                self.assert_refused(errors.ContentTooLarge, line + end, "15")

    def test_chunk_without_a_size_is_refused(self) -> None:
        for line in (b"\r", b";", b" ", b"\t"):
            self.assert_bad(line, "without a size")
            self.assert_bad(b"1\r\na\r\n" + line, "without a size")

    def test_every_byte_that_is_no_digit_is_refused_in_a_size(self) -> None:
        for byte in map(one_byte, range(256)):
            if byte not in HEXDIG + b" \t;\r":
                self.assert_bad(byte)
                self.assert_bad(b"5" + byte)
                self.assert_bad(b"1\r\na\r\n0" + byte)

    def test_every_byte_that_is_no_line_feed_is_refused_behind_a_carriage_return(self) -> None:
        for byte in map(one_byte, range(256)):
            if byte != b"\n":
                self.assert_bad(b"5\r" + byte, "carriage return without line feed")
                self.assert_bad(b"0\r" + byte, "carriage return without line feed")
                self.assert_bad(b"5;a\r" + byte, "carriage return without line feed")
                self.assert_bad(b"1\r\na\r" + byte, "carriage return without line feed")

    def test_every_byte_that_is_no_carriage_return_is_refused_behind_data(self) -> None:
        for byte in map(one_byte, range(256)):
            if byte != b"\r":
                self.assert_bad(b"1\r\na" + byte)
                self.assert_bad(b"1\r\na\r\n2\r\nbc" + byte)

    def test_line_feed_alone_ends_nothing(self) -> None:
        for data in (b"\n", b"5\n", b"5;a\n", b"5 \n", b"1\r\na\n", b"0\n", b"0\r\n\n", b"0\r\nA: b\n"):
            self.assert_bad(data)

    def test_data_after_the_end_or_a_refusal_is_a_state_error(self) -> None:
        for data in (b"0\r\n\r\n", b"0\r\n\r\nGET"):
            body = ChunkedBody()
            body.receive_data(data)
            with self.assertRaises(errors.StateError):
                body.receive_data(b"")
            self.assertTrue(body.is_complete)


class ExtensionTests(BodyCase):
    def test_extensions_are_ignored(self) -> None:
        for extension in (
            *(b";a", b";a=b", b'; a = "b"', b";a;b=c;d", b"\t;\ta\t=\tb", b" ;a", b"   ;a", b";\xff\x80"),
            *(b";", b";;", b"; ", b";=", b";0\t0", b";chunk-signature=0123456789abcdef"),
            *(b';a="\\"\\\\;"', b';a="5\t5"', b';a=""', b';a="b;c"; d'),
        ):
            self.assert_parsed(b"hello", b"5" + extension + b"\r\nhello\r\n0\r\n\r\n")
            self.assert_parsed(b"", b"0" + extension + b"\r\n\r\n")

    def test_every_byte_of_a_field_value_is_allowed_in_an_extension_and_no_other(self) -> None:
        for byte in map(one_byte, range(256)):
            if byte == b"\t" or b" " <= byte <= b"~" or byte >= b"\x80":
                if byte != b'"':
                    self.assert_parsed(b"a", b"1;" + byte + b"\r\na\r\n0\r\n\r\n")
                if byte not in b'"\\':
                    self.assert_parsed(b"a", b'1;a="' + byte + b'"\r\na\r\n0\r\n\r\n')
                self.assert_parsed(b"a", b'1;a="\\' + byte + b'"\r\na\r\n0\r\n\r\n')
            else:
                self.assert_bad(b'1;a="' + byte)
                self.assert_bad(b'1;a="b\\' + byte)
                self.assert_bad(b'1;a="b\\"' + byte)
                if byte != b"\r":
                    self.assert_bad(b"1;" + byte)
                    self.assert_bad(b'1;a="b"' + byte)

    def test_blanks_must_be_followed_by_an_extension(self) -> None:
        for byte in map(one_byte, range(256)):
            if byte not in b" \t;":
                self.assert_bad(b"5 " + byte)
                self.assert_bad(b"5\t " + byte)

    def test_one_extension_may_reach_the_limit(self) -> None:
        # 16 KiB with its size and its CRLF.
        self.assert_parsed(b"a", b"1;" + b"x" * 16380 + b"\r\na\r\n0\r\n\r\n")
        self.assert_parsed(b"", b"0;" + b"x" * 16380 + b"\r\n\r\n")

    def test_byte_past_the_limit_is_refused(self) -> None:
        for data in (
            b"1;" + b"x" * 16381 + b"\r\n",
            b"0" * 16385,
            b"1" + b" " * 16384,
            b"0" * 16383 + b"\r\n",
        ):
            self.assert_refused(errors.BadRequest, data, "16384")

    def test_extensions_add_up(self) -> None:
        # 1024 bytes more than 16 and twice the data: "1;", the extension, CRLF, and CRLF behind the data.
        chunk = b"1;" + b"x" * 1036 + b"\r\na\r\n"
        self.assert_parsed(b"a" * 15, chunk * 15 + b"0\r\n\r\n")
        # 1024 bytes are left, and the CRLF behind the data is counted already.
        self.assert_parsed(b"a" * 15, chunk * 15 + b"0;" + b"x" * 1020 + b"\r\n\r\n")
        self.assert_refused(errors.BadRequest, chunk * 15 + b"0;" + b"x" * 1021 + b"\r\n")

    def test_data_makes_up_for_extensions(self) -> None:
        # 1024 bytes more than 16 and twice the data, and 1024 bytes fewer.
        over, under = b"1;" + b"x" * 1036 + b"\r\na\r\n", b"205\r\n" + b"y" * 517 + b"\r\n"
        body = ChunkedBody()
        self.assertEqual(body.receive_data((over + under) * 100 + b"0\r\n\r\n"), (b"a" + b"y" * 517) * 100)
        self.assertTrue(body.is_complete)

    def test_data_is_no_credit_for_what_comes_later(self) -> None:
        # The CRLF behind the data counts.
        self.assert_parsed(b"a", b"1\r\na\r\n0;" + b"x" * 16378 + b"\r\n\r\n")
        self.assert_refused(errors.BadRequest, b"1\r\na\r\n0;" + b"x" * 16379 + b"\r\n")
        data = b"100000\r\n" + bytes(2**20) + b"\r\n1;" + b"x" * 16379 + b"\r\n"
        with self.assertRaises(errors.BadRequest):
            ChunkedBody().receive_data(data)

    def test_upload_that_is_signed_chunk_by_chunk_passes(self) -> None:
        # What clients of S3 send.
        body = ChunkedBody()
        chunk = b"100;chunk-signature=" + b"0123456789abcdef" * 4 + b"\r\n" + bytes(256) + b"\r\n"
        self.assertEqual(len(body.receive_data(chunk * 1000)), 256000)


class TrailerTests(BodyCase):
    def test_trailers_are_checked_and_dropped(self) -> None:
        for trailers in (
            *(b"A: b\r\n", b"A:\r\n", b"A: \t b \t\r\n", b"A: b\r\nA: c\r\n", b"A::\r\n", b"a: \xff\r\n"),
            *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"GET:/\r\n"),
        ):
            self.assert_parsed(b"", b"0\r\n" + trailers + b"\r\n")
            self.assert_parsed(b"a", b"1\r\na\r\n0;x\r\n" + trailers + b"\r\n")

    def test_malformed_trailers_are_refused(self) -> None:
        for line in (
            *(b"A\r", b":", b" ", b"\t", b"A ", b"A: b\r\n ", b"A: b\r\n\t", b"A: \x00", b"A: \x7f"),
            *(b"A: b\n", b"A: b\rC", b"\x00", b"A\xff", b"GET ", b"\n", b"A: b\r\n\n", b"A: b\r\n\rG"),
            *(b"\rG", b"\x0b"),
        ):
            self.assert_bad(b"0\r\n" + line)
            self.assert_bad(b"1\r\na\r\n000;x\r\n" + line)

    def test_trailers_may_reach_their_limits(self) -> None:
        self.assert_parsed(b"", b"0\r\nA: b\r\n\r\n", max_trailers=8, max_trailer_fields=1)
        self.assert_parsed(b"", b"0\r\n" + b"A: b\r\n" * 256 + b"\r\n")
        body = ChunkedBody()
        body.receive_data(b"0\r\nA:" + b"b" * 65530 + b"\r\n\r\n")
        self.assertTrue(body.is_complete)

    def test_trailers_past_their_limits_are_431(self) -> None:
        self.assert_refused(errors.HeadTooLarge, b"0\r\nA: b\r\n\r\n", "trailers over 7", max_trailers=7)
        self.assert_refused(errors.HeadTooLarge, b"0\r\n\r", "trailers over 0", max_trailers=0)
        self.assert_refused(errors.HeadTooLarge, b"0\r\nA: b\r\nB:", "1", max_trailer_fields=1)
        self.assert_refused(errors.HeadTooLarge, b"0\r\n" + b"A: b\r\n" * 256 + b"B:", "256")
        with self.assertRaises(errors.HeadTooLarge):
            ChunkedBody().receive_data(b"0\r\nA:" + b"b" * 65531 + b"\r\n\r\n")

    def test_extensions_do_not_count_towards_trailers(self) -> None:
        data = b"0;" + b"x" * 16380 + b"\r\nA: b\r\n\r\n"
        self.assert_parsed(b"", data, max_trailers=8)


class LinearTimeTests(unittest.TestCase):
    """With quadratic work, each of these would run for minutes."""

    def assert_content(self, size: int, pieces: List[bytes]) -> None:
        body = ChunkedBody()
        self.assertEqual(sum(len(body.receive_data(piece)) for piece in pieces), size)
        self.assertTrue(body.is_complete)

    def test_chunks_of_one_byte_in_one_piece(self) -> None:
        self.assert_content(100000, [b"1\r\na\r\n" * 100000 + b"0\r\n\r\n"])

    def test_chunks_of_one_byte_with_extensions_in_one_piece(self) -> None:
        self.assert_content(100000, [b"1;xyz\r\na\r\n" * 100000 + b"0\r\n\r\n"])

    def test_large_chunk_byte_by_byte(self) -> None:
        self.assert_content(2**18, [b"40000\r\n", *[b"a"] * 2**18, b"\r\n0\r\n\r\n"])

    def test_extension_byte_by_byte(self) -> None:
        self.assert_content(1, [b"1;", *[b"x"] * 16380, b"\r\na\r\n0\r\n\r\n"])

    def test_extension_of_a_mebibyte_is_refused_at_its_limit(self) -> None:
        for filler in (b"x", b" ", b"\t", b";", b'"', b"\\", b'\\"', b"="):
            with self.assertRaises(errors.BadRequest):
                ChunkedBody().receive_data(b"1;" + filler * 2**20)

    def test_size_of_a_mebibyte_is_refused_at_its_limit(self) -> None:
        for digit in (b"0", b"f"):
            with self.assertRaises(errors.BadRequest):
                ChunkedBody().receive_data(digit * 2**20)

    def test_trailers_byte_by_byte(self) -> None:
        self.assert_content(0, [b"0\r\nA:", *[b" "] * 65530, b"\r\n\r\n"])


if __name__ == "__main__":
    unittest.main()
