"""Response smuggling: what an application does wrong is never the next request's answer.

A proxy that keeps its connection to the server takes what follows one answer for
the next one, which may be another client's. So an answer whose length is not what
it says ends the connection.
"""

from __future__ import annotations

import io
import unittest
from http.client import HTTPResponse
from typing import Any, List, Tuple

from .pipeline import PROBE, Event, PipelineCase

FIRST = b" / HTTP/1.1\r\nHost: a\r\n\r\n"

# (kind, status, headers, the parts of the body, what the client reads of it)
WHOLE_ANSWERS = (
    ("no length", 200, (), (b"hello",), b"hello"),
    ("no length, nothing", 200, (), (b"",), b""),
    ("no length, parts", 200, (), (b"he", b"", b"llo", b""), b"hello"),
    ("length", 200, ((b"content-length", b"5"),), (b"hello",), b"hello"),
    ("length, parts", 200, ((b"Content-Length", b"5"),), (b"he", b"llo"), b"hello"),
    ("length of 0", 200, ((b"content-length", b"0"),), (b"",), b""),
    ("coding of the application's", 200, ((b"transfer-encoding", b"chunked"),), (b"hello",), b"hello"),
    (
        "coding of the application's, parts",
        200,
        ((b"Transfer-Encoding", b"gzip"),),
        (b"he", b"llo"),
        b"hello",
    ),
    (
        "length and coding",
        200,
        ((b"transfer-encoding", b"chunked"), (b"content-length", b"5")),
        (b"hello",),
        b"hello",
    ),
    (
        "connection of the application's",
        200,
        ((b"connection", b"keep-alive, upgrade"),),
        (b"hello",),
        b"hello",
    ),
    ("upgrade", 200, ((b"upgrade", b"h2c"), (b"connection", b"upgrade")), (b"hello",), b"hello"),
    ("line ends in the body", 200, (), (b"\r\n\r\n",), b"\r\n\r\n"),
    ("chunks in a part", 200, (), (b"0\r\n\r\n", b"5\r\n"), b"0\r\n\r\n5\r\n"),
    ("no content allowed", 204, (), (b"hello",), b""),
    ("no content allowed, length", 204, ((b"content-length", b"5"),), (b"hello",), b""),
    ("no content allowed, parts", 204, (), (b"he", b"llo"), b""),
    ("not modified", 304, ((b"content-length", b"5"),), (b"",), b""),
    ("not modified, body", 304, ((b"content-length", b"5"),), (b"hello",), b""),
    ("not modified, parts", 304, (), (b"he", b"llo"), b""),
    ("error", 500, (), (b"hello",), b"hello"),
)

# (kind, headers, the parts of the body, the status that leaves)
BROKEN_ANSWERS = (
    ("body too short", ((b"content-length", b"5"),), (b"hell",), 500),
    ("no body", ((b"content-length", b"5"),), (b"",), 500),
    ("body too long", ((b"content-length", b"4"),), (b"hello",), 500),
    ("body of nothing", ((b"content-length", b"0"),), (b"hello",), 500),
    ("body too short, parts", ((b"content-length", b"5"),), (b"he", b"ll"), 200),
    ("body too long, parts", ((b"content-length", b"4"),), (b"he", b"llo"), 200),
    ("no last part", (), (b"hello", None), 200),
    ("no last part, length", ((b"content-length", b"5"),), (b"hello", None), 200),
    ("no part", (), (None,), 500),
    ("two lengths", ((b"content-length", b"5"), (b"Content-Length", b"5")), (b"hello",), 500),
    ("list of lengths", ((b"content-length", b"5, 5"),), (b"hello",), 500),
    ("sign", ((b"content-length", b"+5"),), (b"hello",), 500),
    ("empty length", ((b"content-length", b""),), (b"hello",), 500),
    ("answer in a header", ((b"x", b"a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK"),), (b"hello",), 500),
    ("answer in a name", ((b"x: a\r\n\r\nHTTP/1.1 200 OK\r\ny", b"a"),), (b"hello",), 500),
    ("line feed in a header", ((b"x", b"a\nContent-Length: 0"),), (b"hello",), 500),
)


class Stream(io.BytesIO):
    """What `HTTPResponse` reads from: one answer behind the other."""

    def makefile(self, mode: str) -> Stream:
        return self

    def close(self) -> None:
        """Stay open: the next answer follows."""


class AnswerTests(PipelineCase):
    status = 200
    headers: Any = ()
    parts: Any = ()

    async def app(self, scope: Event, receive: Any, send: Any) -> None:
        if scope["path"] == "/probe":
            await super().app(scope, receive, send)
            return
        self.seen.append(b"/")
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for index, part in enumerate(self.parts):
            if part is None:
                return
            more_body = index < len(self.parts) - 1
            await send({"type": "http.response.body", "body": part, "more_body": more_body})

    def read(self, written: bytes, methods: Tuple[str, ...]) -> List[Tuple[int, bytes]]:
        """The answers in ``written`` as the standard library's client understands them."""
        stream: Any = Stream(written)
        answers = []
        for method in methods:
            response = HTTPResponse(stream, method=method)
            response.begin()
            answers.append((response.status, response.read()))
        self.assertEqual(stream.read(), b"")
        return answers

    async def test_next_answer_begins_behind_a_whole_one(self) -> None:
        for kind, self.status, self.headers, self.parts, body in WHOLE_ANSWERS:
            for method, content in ((b"GET", body), (b"HEAD", b"")):
                with self.subTest(kind, method=method):
                    outcome = await self.feed([method + FIRST + PROBE])
                    self.assertFalse(outcome.is_closed)
                    answers = self.read(outcome.written, (method.decode(), "GET"))
                    self.assertEqual(answers, [(self.status, content), (200, b"ok")])

    async def test_nothing_follows_a_broken_one(self) -> None:
        self.status = 200
        for kind, self.headers, self.parts, status in BROKEN_ANSWERS:
            for pieces in ([b"GET" + FIRST + PROBE], [b"GET" + FIRST, PROBE]):
                with self.subTest(kind, pieces=pieces):
                    outcome = await self.feed(pieces)
                    self.assertEqual((outcome.seen, outcome.is_closed), ((b"/",), True))
                    self.assertEqual(outcome.written.count(b"HTTP/1.1 "), 1)
                    self.assertTrue(outcome.written.startswith(b"HTTP/1.1 %d " % status))

    async def test_nothing_follows_an_answer_that_says_close(self) -> None:
        self.status, self.parts = 200, (b"hello",)
        for value in (b"close", b"Close", b"keep-alive, close"):
            self.headers = ((b"connection", value),)
            outcome = await self.feed([b"GET" + FIRST + PROBE])
            self.assertEqual((outcome.seen, outcome.is_closed), ((b"/",), True))
            self.assertEqual(self.read(outcome.written, ("GET",)), [(200, b"hello")])
            self.assertEqual(outcome.written.count(b"Connection: close\r\n"), 1)


if __name__ == "__main__":
    unittest.main()
