"""wsbridge, h11 and httptools on a request head; each gives what it took the head for."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import h11
import httptools

from wsbridge.protocols.errors import RequestRefused
from wsbridge.protocols.fields import get_header_values, parse_extension_offers, parse_subprotocols
from wsbridge.protocols.handshake import check_upgrade_request, is_upgrade_request
from wsbridge.protocols.http11 import RequestParser

from .heads import HeadCase

Fields = Tuple[Tuple[bytes, bytes], ...]


class Head(NamedTuple):
    """What came of it: "request", "refused", "incomplete", or an exception's text.

    status: of wsbridge's answer: 101, 200 for a plain request, 0 for none yet, else of the refusal.
    """

    outcome: str
    method: bytes = b""
    target: bytes = b""
    version: str = ""
    fields: Fields = ()
    status: int = 0

    def describe(self) -> str:
        if self.outcome != "request":
            return f"{self.outcome} {self.status or ''}".rstrip()
        shown = ", ".join(f"{name!r}: {value!r}" for name, value in self.fields[:12])
        answered = f"; answered {self.status}" if self.status else ""
        return f"{self.method!r} {self.target[:100]!r} {self.version} {shown}{answered}"


def run_wsbridge(case: HeadCase) -> Head:
    parser = RequestParser()
    try:
        for piece in case.pieces:
            request = parser.receive_data(piece)
            if request is not None:
                break
        else:
            return Head("incomplete")
    except RequestRefused as refusal:
        return Head("refused", status=refusal.status)
    except Exception as error:
        return Head(f"{type(error).__name__}: {error}")
    head = Head("request", request.method, request.target, request.http_version, request.headers)
    try:
        if not is_upgrade_request(request):
            return head._replace(status=200)
        check_upgrade_request(request)
        parse_subprotocols(request.headers)
        parse_extension_offers(get_header_values(request.headers, b"sec-websocket-extensions"))
    except RequestRefused as refusal:
        return head._replace(status=refusal.status)
    except Exception as error:
        return Head(f"{type(error).__name__}: {error}")
    return head._replace(status=101)


def run_h11(case: HeadCase) -> Head:
    # Its own limit is 16 KiB, below that of wsbridge.
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    try:
        for piece in case.pieces:
            connection.receive_data(piece)
            event = connection.next_event()
            if isinstance(event, h11.Request):
                version = event.http_version.decode()
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
                return Head("request", bytes(event.method), bytes(event.target), version, fields)
    except h11.RemoteProtocolError:
        return Head("refused")
    except Exception as error:
        return Head(f"{type(error).__name__}: {error}")
    return Head("incomplete")


class _Callbacks:
    """Keeps the first head; llhttp goes on to whatever is behind it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.head = Head("incomplete")
        self._target = b""
        self._fields: List[Tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.head.outcome == "incomplete":
            version = self.parser.get_http_version()
            fields = tuple(self._fields)
            self.head = Head("request", self.parser.get_method(), self._target, version, fields)


def run_httptools(case: HeadCase) -> Head:
    callbacks = _Callbacks()
    try:
        for piece in case.pieces:
            callbacks.parser.feed_data(piece)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        # What is wrong behind the head is not the head's matter.
        if callbacks.head.outcome == "incomplete":
            return Head("refused")
    except Exception as error:
        return Head(f"{type(error).__name__}: {error}")
    return callbacks.head


HEAD_PEERS: Dict[str, Any] = {"h11": run_h11, "httptools": run_httptools}
