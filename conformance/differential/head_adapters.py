"""wsbridge, h11 and httptools on a request head; each gives what it took the head for."""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple

import h11
import httptools

from wsbridge.protocols.errors import RequestRefused
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import parse_extension_offers, parse_subprotocols
from wsbridge.protocols.handshake import check_upgrade_request, is_upgrade_request
from wsbridge.protocols.http11 import RequestParser

from .cases import Head, HTTPCase

INCOMPLETE, REFUSED = Head("incomplete"), Head("refused")


def run_wsbridge(pieces: Sequence[bytes]) -> Head:
    parser = RequestParser()
    try:
        for piece in pieces:
            request = parser.receive_data(piece)
            if request is not None:
                break
        else:
            return INCOMPLETE
    except RequestRefused as refusal:
        return REFUSED._replace(status=refusal.status)
    status = check_handshake(request) if is_upgrade_request(request) else 200
    return Head("request", request.method, request.target, request.http_version, request.headers, status)


def check_handshake(request: RequestReceived) -> int:
    """The status of wsbridge's answer to an opening handshake."""
    try:
        check_upgrade_request(request)
        parse_subprotocols(request.values.get(b"sec-websocket-protocol", ()))
        parse_extension_offers(request.values.get(b"sec-websocket-extensions", ()))
    except RequestRefused as refusal:
        return refusal.status
    return 101


def run_h11(pieces: Sequence[bytes]) -> Head:
    # Its own limit is 16 KiB, below that of wsbridge.
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    try:
        for piece in pieces:
            connection.receive_data(piece)
            event = connection.next_event()
            if isinstance(event, h11.Request):
                version = event.http_version.decode()
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                return Head("request", bytes(event.method), bytes(event.target), version, fields)
    except h11.RemoteProtocolError:
        return REFUSED
    return INCOMPLETE


class _Callbacks:
    """Keeps the first head; llhttp goes on to whatever is behind it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.head = INCOMPLETE
        self._target = b""
        self._fields: List[Tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.head is INCOMPLETE:
            version = self.parser.get_http_version()
            fields = tuple(self._fields)
            self.head = Head("request", self.parser.get_method(), self._target, version, fields)


def run_httptools(pieces: Sequence[bytes]) -> Head:
    callbacks = _Callbacks()
    try:
        for piece in pieces:
            callbacks.parser.feed_data(piece)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        # What is wrong behind the head is not the head's matter.
        if callbacks.head is INCOMPLETE:
            return REFUSED
    return callbacks.head


PARSERS: Dict[str, Callable[[Sequence[bytes]], Head]] = {
    "wsbridge": run_wsbridge,
    "h11": run_h11,
    "httptools": run_httptools,
}


def run_head(who: str, case: HTTPCase) -> Head:
    try:
        return PARSERS[who](case.pieces)
    except Exception as error:
        return Head(f"{type(error).__name__}: {error}")
