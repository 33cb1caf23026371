"""Request smuggling by what follows on a connection: unread bodies, its end, expectations, upgrades.

CL.0, TE.0 and 0.CL are names of the literature: one recipient goes by the length,
or by the chunks, where another takes the body for nothing. A CVE names a server
that had the fault.
"""

from __future__ import annotations

import unittest

from .loopback import HELLO, PEER_HELLO, REQUEST, SWITCHING
from .pipeline import CONTINUE, POST, SMUGGLED, PipelineCase


class BodyTests(PipelineCase):
    """CL.0 and TE.0: whatever the method is, a body is a body; a request in it is none."""

    METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"QUERY", b"get")

    async def test_request_in_a_body_with_content_length_is_its_content(self) -> None:
        for method in self.METHODS:
            data = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + SMUGGLED
            await self.assert_served(data, method + b" / " + SMUGGLED)

    async def test_request_in_a_chunked_body_is_its_content(self) -> None:
        for method in self.METHODS:
            head = method + b" / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await self.assert_served(
                head + b"23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n", method + b" / " + SMUGGLED
            )

    async def test_body_of_a_request_to_the_server_itself_is_its_content(self) -> None:
        data = b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + SMUGGLED
        await self.assert_served(data, b"OPTIONS * " + SMUGGLED)

    async def test_requests_in_a_body_of_more_than_is_held_are_its_content(self) -> None:
        content = SMUGGLED * 4000
        length = POST + b"Content-Length: 140000\r\n\r\n"
        await self.assert_served(length + content, b"POST / " + content)
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n222e0\r\n"
        await self.assert_served(chunked + content + b"\r\n0\r\n\r\n", b"POST / " + content)

    async def test_header_that_connection_names_frames_the_body_all_the_same(self) -> None:
        # RFC 9110 7.6.1: a proxy that removes it must have changed the framing.
        length = b"Connection: Content-Length\r\nContent-Length: 35\r\n\r\n" + SMUGGLED
        await self.assert_served(POST + length, b"POST / " + SMUGGLED)
        coding = b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n"
        await self.assert_served(POST + coding + b"1\r\na\r\n0\r\n\r\n", b"POST / a")

    async def test_answer_to_head_has_no_body_that_shifts_the_next_answer(self) -> None:
        outcome = await self.feed([b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED])
        self.assertEqual(outcome.seen, (b"HEAD / ", b"GET /smuggled "))
        self.assertRegex(outcome.written, rb"\A(HTTP/1\.1 200 OK\r\n([^\r]+\r\n)+\r\n){2}ok\Z")


class UnreadBodyTests(PipelineCase):
    """The application answers without its body: CVE-2022-29361 (Werkzeug), CVE-2022-22720 (Apache)."""

    async def test_unread_body_is_no_request(self) -> None:
        head = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n"
        await self.assert_served(head + SMUGGLED, b"POST /unread ")

    async def test_unread_chunks_are_no_request(self) -> None:
        head = b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for rest in (
            b"23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
            b"0\r\nX: a\r\n\r\n",
        ):
            for pieces in self.cut(head + rest + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"):
                outcome = await self.feed(pieces)
                # Whether they have come whole before the answer, which else closes, depends on the pieces.
                seen = [b"POST /unread "] if outcome.is_closed else [b"POST /unread ", b"GET /next "]
                self.assertEqual(list(outcome.seen), seen)
                self.assertIs(b"Connection: close\r\n" in outcome.written, outcome.is_closed)

    async def test_unread_body_that_never_ends_is_no_request(self) -> None:
        head = b"POST /unread HTTP/1.1\r\nHost: a\r\n"
        await self.assert_waits(head + b"Content-Length: 1000\r\n\r\n" + SMUGGLED, b"POST /unread ")
        await self.assert_closes(
            head + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + SMUGGLED, b"POST /unread "
        )

    async def test_unread_body_past_the_bound_closes_the_connection(self) -> None:
        head = b"POST /unread HTTP/1.1\r\nHost: a\r\n"
        await self.assert_closes(head + b"Content-Length: 1000000\r\n\r\n" + SMUGGLED, b"POST /unread ")

    async def test_unread_body_may_reach_the_bound(self) -> None:
        for size, is_closed in ((65536, False), (65537, True)):
            head = b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
            outcome = await self.feed([head, bytes(size), SMUGGLED])
            self.assertIs(outcome.is_closed, is_closed)
            self.assertIs(b"Connection: close\r\n" in outcome.written, is_closed)
            self.assertEqual(outcome.seen, (b"POST /unread ", b"GET /smuggled ")[: 1 if is_closed else 2])

    async def test_unread_body_that_is_malformed_ends_the_connection(self) -> None:
        data = (
            b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n"
            + SMUGGLED
            + b"\n0"
        )
        for pieces in self.cut(data + b"\r\n\r\n" + SMUGGLED):
            outcome = await self.feed(pieces)
            # Whether its answer or 400 leaves depends on the pieces.
            self.assertTrue(outcome.is_closed)
            self.assertNotIn(b"GET /smuggled ", outcome.seen)

    async def test_body_of_an_application_that_raises_is_no_request(self) -> None:
        for path in (b"/raise", b"/unread/raise"):
            outcomes = set()
            data = b"POST " + path + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + SMUGGLED
            for pieces in self.cut(data + SMUGGLED):
                outcome = await self.feed(pieces)
                outcomes.add((len(outcome.seen), outcome.written[9:12], outcome.is_closed))
            self.assertEqual(outcomes, {(1, b"500", True)})


class PauseTests(PipelineCase):
    """A body that comes too late: CVE-2022-22720 (Apache), CVE-2022-23959 (Varnish)."""

    async def test_nothing_behind_a_pause_is_parsed(self) -> None:
        for head, status in (
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n", b"408"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nhello", b"408"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n23\r\n", b"408"),
            (b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n", b"200"),
            (b"POST /unread HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"200"),
        ):
            with self.subTest(head=head):
                transport = self.connect()
                await self.send(transport, head)
                self.clock.advance(3600)
                self.service.sweep()
                await self.send(transport, SMUGGLED)
                outcome = await self.end(transport)
                self.assertEqual(outcome.written[9:12], status)
                self.assertEqual(outcome.written.count(b"HTTP/1.1"), 1)
                self.assertNotIn(b"GET /smuggled ", outcome.seen)
                self.assertTrue(outcome.is_closed)


class ConnectionTests(PipelineCase):
    async def test_nothing_behind_a_request_that_closes_is_parsed(self) -> None:
        for kind, line in (
            ("close", b"Connection: close"),
            ("any case", b"connection:CLOSE"),
            ("in a list", b"Connection: keep-alive, close"),
            ("in a list", b"Connection: x ,close, keep-alive"),
            ("in the second line", b"Connection: keep-alive\r\nConnection: close"),
            ("in the first line", b"Connection: close\r\nConnection: keep-alive"),
        ):
            with self.subTest(kind, line=line):
                await self.assert_closes(POST + line + b"\r\n\r\n", b"POST / ")
                await self.assert_closes(
                    POST + line + b"\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED, b"POST / hello"
                )
                await self.assert_closes(
                    POST + line + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, b"POST / "
                )

    async def test_nothing_behind_a_request_in_http_1_0_is_parsed(self) -> None:
        for rest, body in (
            (b"\r\n", b""),
            (b"Connection: keep-alive\r\n\r\n", b""),
            (b"Content-Length: 5\r\n\r\nhello", b"hello"),
            (b"Connection: keep-alive\r\nContent-Length: 35\r\n\r\n" + SMUGGLED, SMUGGLED),
            (b"Host: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        ):
            with self.subTest(rest=rest):
                await self.assert_closes(b"POST / HTTP/1.0\r\n" + rest, b"POST / " + body)

    async def test_requests_of_mixed_kinds_are_answered_in_order(self) -> None:
        # Answers in another order are somebody else's: CVE-2023-46137, CVE-2024-41671 (Twisted).
        data = (
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
            b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
            b"HEAD /4 HTTP/1.1\r\nHost: b\r\n\r\n"
            b"DELETE /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        seen = (b"GET /1 ", b"POST /2 hello", b"POST /3 abc", b"HEAD /4 ", b"DELETE /unread ", b"OPTIONS * ")
        await self.assert_served(data, *seen)
        await self.assert_served(data * 20, *seen * 20)

    async def test_one_empty_line_between_requests_is_ignored(self) -> None:
        # RFC 9112 2.2: what some clients send behind a body. Puma once took it for a request.
        await self.assert_served(POST + b"Content-Length: 5\r\n\r\nhello\r\n", b"POST / hello")

    async def test_two_empty_lines_between_requests_are_refused(self) -> None:
        data = POST + b"Content-Length: 5\r\n\r\nhello\r\n\r\n"
        await self.assert_head_refused(data, 400, b"POST / hello")

    async def test_absolute_target_takes_the_place_of_host_for_its_own_request_only(self) -> None:
        data = b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"
        await self.assert_served(data + data, b"GET / ", b"GET / ")

    async def test_request_behind_a_limit_of_requests_is_not_parsed(self) -> None:
        self.configure(limit_keep_alive_requests=2)
        await self.assert_closes(SMUGGLED + SMUGGLED, b"GET /smuggled ", b"GET /smuggled ")


class ExpectTests(PipelineCase):
    """0.CL: a client, or a proxy, that waits for 100 (Continue) sends a request in the body's place."""

    HEAD = b" HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n"

    async def test_request_in_an_expected_body_is_its_content(self) -> None:
        await self.assert_served(b"POST /" + self.HEAD + SMUGGLED, b"POST / " + SMUGGLED)

    async def test_expectation_without_a_body_is_none(self) -> None:
        await self.assert_served(POST + b"Expect: 100-continue\r\n\r\n", b"POST / ")

    async def test_100_is_written_once_and_before_the_body(self) -> None:
        transport = self.connect()
        await self.send(transport, b"POST /" + self.HEAD)
        self.assertEqual(transport.written, CONTINUE)
        await self.send(transport, SMUGGLED)
        self.assertEqual(transport.written.count(CONTINUE), 1)
        self.assertEqual((await self.end(transport)).seen, (b"POST / " + SMUGGLED,))

    async def test_answer_without_100_closes_the_connection(self) -> None:
        head = b"POST /unread" + self.HEAD
        for behind in (SMUGGLED, SMUGGLED + SMUGGLED):
            outcome = await self.feed([head, behind])
            self.assertEqual((outcome.seen, outcome.is_closed), ((b"POST /unread ",), True))
            self.assertIn(b"Connection: close\r\n", outcome.written)


class UpgradeTests(PipelineCase):
    """A WebSocket's bytes are no requests, and those behind a refused one are nothing at all."""

    CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: a\r\n\r\n"

    async def test_upgrade_behind_other_requests_opens_a_websocket(self) -> None:
        for pieces in self.cut(self.CHUNKED + SMUGGLED + REQUEST + PEER_HELLO):
            outcome = await self.feed(pieces)
            self.assertEqual(outcome.seen, (b"POST / hello", b"GET /smuggled ", b"WEBSOCKET /chat "))
            self.assertTrue(outcome.written.endswith(b"ok" + SWITCHING + HELLO))

    async def test_request_behind_an_accepted_upgrade_is_a_broken_frame(self) -> None:
        for pieces in self.cut(REQUEST + SMUGGLED):
            outcome = await self.feed(pieces)
            self.assertEqual(outcome.seen, (b"WEBSOCKET /chat ",))
            # CLOSE with 1002: "G" is a frame with a reserved bit.
            self.assertTrue(outcome.written.startswith(SWITCHING + b"\x88"))
            self.assertIn(b"\x03\xea", outcome.written)

    async def test_nothing_behind_a_refused_upgrade_is_parsed(self) -> None:
        # A proxy that takes any answer for 101 passes on what follows: the "WebSocket smuggling" of 2019.
        length = b"\r\nContent-Length: 5\r\n\r\n"
        for kind, before, after, status in (
            ("version", b"Version: 13", b"Version: 1337", 426),
            ("no key", b"Sec-WebSocket-Key", b"X-Key", 400),
            ("key", b"dGhlIHNhbXBsZSBub25jZQ==", b"a", 400),
            ("method", b"GET", b"POST", 405),
            ("HTTP/1.0: its Upgrade is ignored by RFC 9110 7.8", b"HTTP/1.1", b"HTTP/1.0", 426),
            ("a body", b"\r\n\r\n", length + b"hello", 400),
            ("the beginning of a body", b"\r\n\r\n", length, 400),
            ("a chunked body", b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ):
            with self.subTest(kind):
                await self.assert_head_refused(REQUEST.replace(before, after, 1), status)
                await self.assert_head_refused(
                    SMUGGLED + REQUEST.replace(before, after, 1), status, b"GET /smuggled "
                )

    async def test_nothing_behind_an_upgrade_that_the_application_refuses_is_parsed(self) -> None:
        refused = REQUEST.replace(b"/chat", b"/refused")
        await self.assert_outcome(refused + SMUGGLED, (b"WEBSOCKET /refused ",), (403,), True)

    async def test_upgrade_with_a_length_of_0_has_no_body(self) -> None:
        outcome = await self.feed(
            [REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n") + PEER_HELLO]
        )
        self.assertEqual(outcome.written, SWITCHING + HELLO)

    async def test_upgrade_to_h2c_is_an_ordinary_request(self) -> None:
        lines = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        await self.assert_served(POST + lines + b"Content-Length: 5\r\n\r\nhello", b"POST / hello")


if __name__ == "__main__":
    unittest.main()
