"""wsbridge's parsers in a loop over the requests of one connection, as its `Connection` has it."""

from __future__ import annotations

from typing import List, NamedTuple, Optional

from wsbridge.protocols.bodies import Body, build_body
from wsbridge.protocols.errors import RequestRefused
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import has_token
from wsbridge.protocols.handshake import is_upgrade_request
from wsbridge.protocols.http11 import RequestParser


class Found(NamedTuple):
    """A request, with what was found of its body; nothing where the body was refused."""

    request: RequestReceived
    body: bytes = b""
    is_whole: bool = False


class RequestLoop:
    """Takes pieces until nothing behind them is read any more.

    found: the requests. end: "" while more may come, "closed" behind the last request of the connection,
    "upgraded" behind an opening handshake, "refused". refusal: why. rest: what has come of the next head.
    """

    def __init__(self) -> None:
        self.found: List[Found] = []
        self.end = ""
        self.refusal: Optional[RequestRefused] = None
        self.rest = b""
        self._parser = RequestParser()
        self._body: Optional[Body] = None

    def receive(self, piece: bytes) -> None:
        data = piece
        try:
            while data and not self.end:
                data = self._read_head(data) if self._body is None else self._read_body(self._body, data)
        except RequestRefused as refusal:
            self.end, self.refusal = "refused", refusal
            if self.found and not self.found[-1].is_whole:
                self.found[-1] = Found(self.found[-1].request)

    def _read_head(self, data: bytes) -> bytes:
        self.rest += data
        request = self._parser.receive_data(data)
        if request is None:
            return b""
        trailing, self.rest = self._parser.trailing, b""
        self.found.append(Found(request))
        if is_upgrade_request(request):
            self._complete("upgraded")
            return b""
        self._body = build_body(request.headers, request.http_version)
        if self._body is None:
            self._complete()
        return trailing

    def _read_body(self, body: Body, data: bytes) -> bytes:
        last = self.found[-1]
        self.found[-1] = last._replace(body=last.body + body.receive_data(data))
        if not body.is_complete:
            return b""
        self._complete()
        return body.trailing

    def _complete(self, end: str = "") -> None:
        last = self.found[-1] = self.found[-1]._replace(is_whole=True)
        is_last = last.request.http_version == "1.0" or has_token(
            last.request.headers, b"connection", b"close"
        )
        self.end = end or ("closed" if is_last else "")
        if not self.end:
            self._parser.begin_next()
            self._body = None
