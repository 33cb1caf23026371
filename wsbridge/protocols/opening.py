"""`ServerHandshake` and `ClientHandshake`: one opening handshake (RFC 6455 4) without I/O.

The bytes of any socket go in; what must be written, and at the end a
`WSProtocol`, come out. `handshake` has the rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, TypedDict, Union

from .deflate import DeflateSettings
from .deflate_negotiation import build_deflate_offer, import_zlib
from .errors import BadRequest, EventError, Forbidden, HandshakeFailed, RequestRefused, StateError
from .events import RequestReceived
from .fields import Headers, check_headers, parse_authority, parse_subprotocols
from .handshake import (
    build_101_response,
    build_upgrade_request,
    check_upgrade_request,
    check_upgrade_response,
    generate_ws_key,
)
from .http11 import RequestParser, ResponseParser, ResponseReceived
from .origins import AllowedOrigins
from .responses import build_refusal
from .ws import WSProtocol

if TYPE_CHECKING:
    # Type checkers bring typing_extensions along; it is not needed at run time.
    from typing_extensions import Unpack

__all__ = ["ClientHandshake", "ProtocolOptions", "ServerHandshake"]

# RFC 6455 3, and the schemes of HTTP, which stand for the same. A fragment is an error.
_URL = re.compile(r"(wss?|https?)://([^/?#]*)([^#]*)", re.IGNORECASE)

# Informational responses before the final one: servers send one or two, and an endless row must end.
MAX_INFORMATIONAL = 16


class ProtocolOptions(TypedDict, total=False):
    """The keyword arguments of `WSProtocol` that a handshake does not know itself."""

    enable_compression: bool
    deflate: DeflateSettings
    max_message_size: int
    max_fragments: int
    hold_close: bool
    make_message: Optional[Callable[[Any], Any]]
    clock: Optional[Callable[[], float]]


class ServerHandshake:
    """The server's side: a request comes in, `accept` or `refuse` is the answer to write.

    ``allowed_origins`` are those of `check_upgrade_request`; ``parser`` is a
    `RequestParser` with other limits than the default ones; ``options`` are
    those of `WSProtocol`.

    ``request`` is the client's request and ``subprotocols`` what it offers, in
    its order; None and empty until there is one. ``trailing`` are the bytes
    that came behind the request: give them to ``ws``, which is None until
    `accept`.

    Raises `TypeError` for an option that `WSProtocol` does not have,
    `ConfigError` for an origin that can never match.
    """

    def __init__(
        self,
        *,
        allowed_origins: Union[AllowedOrigins, Sequence[str], None] = None,
        parser: Optional[RequestParser] = None,
        **options: Unpack[ProtocolOptions],
    ) -> None:
        # A wrong option raises here, and not when there is a request.
        WSProtocol(**options)
        self.request: Optional[RequestReceived] = None
        self.subprotocols: List[str] = []
        self.trailing = b""
        self.ws: Optional[WSProtocol] = None
        if allowed_origins is not None and not isinstance(allowed_origins, AllowedOrigins):
            allowed_origins = AllowedOrigins(allowed_origins)
        self._allowed_origins = allowed_origins
        self._parser = RequestParser() if parser is None else parser
        self._options = options
        self._ws_key = b""
        self._prepared: Optional[WSProtocol] = None

    def receive_data(self, data: bytes) -> Optional[RequestReceived]:
        """Parse more of the request; return it once it is complete and can be accepted, else None.

        ``b""`` is the end of the stream, as ``recv`` returns it. Raises
        `RequestRefused` for what is no opening handshake: write what `refuse`
        makes of the error, and close. Raises `StateError` when called again
        after the request.
        """
        if not data:
            raise BadRequest("the stream ended before the request was complete")
        request = self._parser.receive_data(data)
        return None if request is None else self.receive_request(request, self._parser.trailing)

    def receive_request(self, request: RequestReceived, trailing: bytes = b"") -> RequestReceived:
        """The same for a request that another parser has read, and the bytes that came behind its head."""
        if not isinstance(request, RequestReceived):
            raise TypeError(f"request must be a RequestReceived, not {request!r:.80}")
        if self.request is not None:
            raise StateError("this handshake has its request: each connection needs a ServerHandshake")
        self._ws_key = check_upgrade_request(request, allowed_origins=self._allowed_origins)
        self.subprotocols = parse_subprotocols(request.values.get(b"sec-websocket-protocol", ()))
        offers = request.values.get(b"sec-websocket-extensions", ())
        self._prepared = WSProtocol(peer_extensions=offers, **self._options)
        self.request, self.trailing = request, trailing
        return request

    def accept(self, subprotocol: Optional[str] = None, headers: Headers = ()) -> bytes:
        """The 101 response to write; from then on ``ws`` is the connection.

        Raises `EventError` for a ``subprotocol`` that the client has not
        offered and for wrong ``headers``, `StateError` without a request or
        for a second answer.
        """
        ws = self._prepared
        if ws is None:
            raise StateError("there is no request to answer: read on until receive_data returns it")
        if subprotocol is not None and subprotocol not in self.subprotocols:
            offers = ", ".join(self.subprotocols) or "nothing"
            raise EventError(f"subprotocol {subprotocol!r} was not offered; the client offers {offers:.200}")
        answer = build_101_response(
            self._ws_key, subprotocol=subprotocol, extensions=ws.extensions_response, headers=headers
        )
        ws.subprotocol = subprotocol
        self.ws, self._prepared = ws, None
        return answer

    def refuse(self, refusal: Optional[RequestRefused] = None) -> bytes:
        """The response to write before the connection is closed; 403 without ``refusal``.

        `build_response` makes one with any status, headers and body. Raises
        `StateError` after `accept`.
        """
        if self.ws is not None:
            raise StateError("the request was accepted: close the connection by ws.close()")
        self._prepared = None
        refusal = Forbidden("the server does not accept this request") if refusal is None else refusal
        method = self._parser.method if self.request is None else self.request.method
        return build_refusal(refusal, head=method == b"HEAD")


class ClientHandshake:
    """The client's side: `request` is what to write, `receive_data` reads the answer.

    ``url`` is a ``ws``, ``wss``, ``http`` or ``https`` URL, percent-encoded;
    ``subprotocols``, ``headers`` and ``origin`` are those of
    `build_upgrade_request`, ``options`` those of `WSProtocol`.

    ``host`` and ``port`` are where to connect, by TLS if ``is_secure``.
    ``has_tunnel`` tells that a proxy has opened one, see `connect_request`.
    ``response`` is the final response, once it has come. ``trailing`` are the
    bytes that came behind it: give them to ``ws``, which is None before.

    Raises `EventError` for a ``url``, subprotocol or header that cannot be
    sent, `TypeError` for an option that `WSProtocol` does not have.
    """

    def __init__(
        self,
        url: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Headers = (),
        origin: Optional[str] = None,
        **options: Unpack[ProtocolOptions],
    ) -> None:
        # A wrong option raises here, and not when there is an answer.
        WSProtocol(client=True, **options)
        split = _URL.fullmatch(url) if isinstance(url, str) and url.isascii() else None
        if split is None:
            raise EventError(
                f"url {url!r:.80} is not of the form ws://host/path, in ASCII, without a fragment"
            )
        scheme, authority, target = split.groups()
        self.is_secure = scheme.lower() in ("wss", "https")
        default_port = 443 if self.is_secure else 80
        parsed = parse_authority(authority.encode("ascii"), default_port)
        if parsed is None:
            raise EventError(
                f"url {url!r:.80} has no valid host; credentials belong in an Authorization header"
            )
        name, self.port = parsed
        self.host = name.strip(b"[]").decode("ascii")
        self.has_tunnel = False
        self.response: Optional[ResponseReceived] = None
        self.trailing = b""
        self.ws: Optional[WSProtocol] = None
        self._authority = b"%b:%d" % (name, self.port)
        self._subprotocols = subprotocols
        self._options = options
        self._key = generate_ws_key()
        self._request = build_upgrade_request(
            target if target.startswith("/") else "/" + target,
            name if self.port == default_port else self._authority,
            self._key,
            subprotocols=subprotocols,
            extensions=_build_offer(options),
            headers=headers,
            origin=origin,
        )
        self._parser = ResponseParser()
        self._informational = 0
        self._awaits_tunnel = False

    def connect_request(self, headers: Headers = ()) -> bytes:
        """What to write to an HTTP proxy first (RFC 9110 9.3.6); ``headers`` may have a Proxy-Authorization.

        Call `receive_data` with what the proxy answers until ``has_tunnel`` is
        True. Begin TLS, if ``is_secure``, and write `request`.
        """
        lines = [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (self._authority, self._authority)]
        lines += [b"%b: %b\r\n" % pair for pair in check_headers(headers)]
        self._awaits_tunnel = True
        return b"".join((*lines, b"\r\n"))

    def request(self) -> bytes:
        """The opening handshake to write. Raises `StateError` while a proxy has not opened its tunnel."""
        if self._awaits_tunnel:
            raise StateError("the proxy has not answered: read on until has_tunnel is True")
        return self._request

    def receive_data(self, data: bytes) -> Optional[WSProtocol]:
        """Parse more of the answer; return the connection once the server has accepted, else None.

        ``b""`` is the end of the stream, as ``recv`` returns it. Informational
        responses (1xx) are skipped. Raises `HandshakeFailed` for any other
        answer, with the ``response`` if there is one: its ``status`` and
        ``headers`` tell of a redirection or a 401. Raises `StateError` when
        called again after that or after the acceptance.
        """
        if self.response is not None:
            raise StateError("the server has answered: give the bytes to ws.receive_data")
        if not data:
            raise HandshakeFailed("the stream ended before the answer was complete")
        while True:
            response = self._parser.receive_data(data)
            if response is None:
                return None
            data, self._parser = self._parser.trailing, ResponseParser()
            if response.status >= 200 or response.status == 101:
                return self._receive_response(response, data)
            # RFC 9110 15.2: "A client MUST be able to parse one or more 1xx responses".
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise HandshakeFailed(f"more than {MAX_INFORMATIONAL} informational responses")

    def _receive_response(self, response: ResponseReceived, trailing: bytes) -> Optional[WSProtocol]:
        has_agreed = 200 <= response.status < 300
        if self._awaits_tunnel and has_agreed and not trailing:
            self._awaits_tunnel, self.has_tunnel = False, True
            return None
        self.response, self.trailing = response, trailing
        try:
            if self._awaits_tunnel:
                what = "bytes behind its answer" if has_agreed else "no tunnel"
                raise HandshakeFailed(f"the proxy answered {response.status}: {what}")
            connected, extensions = check_upgrade_response(
                response, self._key, subprotocols=self._subprotocols
            )
            self.ws = WSProtocol(
                client=True,
                subprotocol=connected.subprotocol,
                peer_extensions=() if extensions is None else (extensions,),
                **self._options,
            )
        except HandshakeFailed as failure:
            failure.response = response
            raise
        return self.ws


def _build_offer(options: ProtocolOptions) -> Optional[str]:
    if not options.get("enable_compression") or import_zlib() is None:
        return None
    return build_deflate_offer(options.get("deflate", DeflateSettings()))
