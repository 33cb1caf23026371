"""wsbridge, h11 and httptools on all that one connection brings; each gives the requests that it found."""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence

import h11
import httptools

from ..lib.request_loop import RequestLoop
from .cases import Head, HTTPCase, Request, Requests
from .head_adapters import check_handshake
from .head_reading import is_upgrade


class Found:
    """The requests of one connection, as they are found."""

    def __init__(self) -> None:
        self._requests: List[Request] = []
        self.end = ""
        self.status = 0

    @property
    def is_reading(self) -> bool:
        """Whether a part of a request is still missing."""
        return bool(self._requests) and not self._requests[-1].is_whole

    @property
    def head(self) -> Head:
        return self._requests[-1].head

    def begin(self, head: Head) -> None:
        self._requests.append(Request(head))

    def add(self, content: bytes) -> None:
        last = self._requests[-1]
        self._requests[-1] = last._replace(body=last.body + content)

    def complete(self) -> None:
        self._requests[-1] = self._requests[-1]._replace(is_whole=True)

    def build(self, rest: bytes = b"") -> Requests:
        """What was found; ``rest``: what has come of the next head."""
        is_complete = not self.is_reading and rest in (b"", b"\r", b"\r\n")
        end = self.end or ("complete" if is_complete else "incomplete")
        found = Requests(tuple(self._requests), end, self.status)
        return found.refuse(self.status) if end == "refused" else found


def run_wsbridge(pieces: Sequence[bytes]) -> Requests:
    loop = RequestLoop()
    for piece in pieces:
        loop.receive(piece)
    found = Found()
    for request, body, is_whole in loop.found:
        found.begin(Head("request", request.method, request.target, request.http_version, request.headers))
        found.add(body)
        if is_whole:
            found.complete()
    found.end = loop.end
    if loop.end == "upgraded":
        found.status = check_handshake(loop.found[-1].request)
    elif loop.refusal is not None:
        found.status = loop.refusal.status
    return found.build(loop.rest)


class _H11:
    """h11 as a server that answers each request with an empty 200."""

    def __init__(self) -> None:
        self.found = Found()
        # Its own limit is 16 KiB, below that of wsbridge.
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)

    def read(self) -> None:
        """Take all events that there are."""
        while not self.found.end:
            event = self.connection.next_event()
            if isinstance(event, h11.Request):
                version = event.http_version.decode()
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                self.found.begin(Head("request", bytes(event.method), bytes(event.target), version, fields))
            elif isinstance(event, h11.Data):
                self.found.add(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            else:
                return

    def _answer(self) -> None:
        self.found.complete()
        if is_upgrade(self.found.head.fields) or self.found.head.method == b"CONNECT":
            self.found.end = "upgraded"
            return
        self.connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        self.connection.send(h11.EndOfMessage())
        if self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE:
            self.connection.start_next_cycle()
        else:
            self.found.end = "closed"


def run_h11(pieces: Sequence[bytes]) -> Requests:
    server = _H11()
    try:
        for piece in pieces:
            if server.found.end:
                break
            server.connection.receive_data(piece)
            server.read()
    except h11.RemoteProtocolError:
        server.found.end = "refused"
    return server.found.build(server.connection.trailing_data[0])


class _HTTPTools:
    """Keeps what llhttp calls back with, up to the end; llhttp itself goes on."""

    def __init__(self) -> None:
        self.found = Found()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: List[tuple[bytes, bytes]] = []
        self.has_begun = False

    def receive(self, data: bytes) -> None:
        while data and not self.found.end:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            except httptools.HttpParserError:
                # Where it has stopped before, what is behind does not matter.
                self.found.end = self.found.end or "refused"

    def on_message_begin(self) -> None:
        self.has_begun = True
        self._target, self._fields = b"", []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.found.end:
            version, fields = self._parser.get_http_version(), tuple(self._fields)
            self.found.begin(Head("request", self._parser.get_method(), self._target, version, fields))

    def on_body(self, body: bytes) -> None:
        if not self.found.end:
            self.found.add(body)

    def on_message_complete(self) -> None:
        self.has_begun = False
        if self.found.end:
            return
        self.found.complete()
        if is_upgrade(self.found.head.fields):
            self.found.end = "upgraded"
        elif not self._parser.should_keep_alive():
            self.found.end = "closed"


def run_httptools(pieces: Sequence[bytes]) -> Requests:
    server = _HTTPTools()
    for piece in pieces:
        server.receive(piece)
    return server.found.build(b"x" if server.has_begun else b"")


PARSERS: Dict[str, Callable[[Sequence[bytes]], Requests]] = {
    "wsbridge": run_wsbridge,
    "h11": run_h11,
    "httptools": run_httptools,
}


def run_requests(who: str, case: HTTPCase) -> Requests:
    try:
        return PARSERS[who](case.pieces)
    except Exception as error:
        return Requests((), f"{type(error).__name__}: {error}")
