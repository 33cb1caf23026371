"""Targets: the heads of requests and responses, and the opening handshake of both roles as a whole."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence, Tuple, Type

from wsbridge.asgi.scope import build_http_scope, build_ws_scope
from wsbridge.config import ServerConfig
from wsbridge.protocols.errors import HandshakeFailed, RequestRefused
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import get_header_values, parse_extension_offers
from wsbridge.protocols.handshake import (
    build_101_response,
    check_upgrade_request,
    check_upgrade_response,
    is_upgrade_request,
)
from wsbridge.protocols.http11 import RequestParser, ResponseParser, ResponseReceived, build_refusal
from wsbridge.protocols.ws import WSProtocol

from .findings import IDENTITY, LAWFUL, PIECES, REFERENCE, cut_in_all_ways, require

# RFC 6455 1.3: the sample nonce.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

ORIGINS = (None, (), ("same-origin",), ("https://example.com", "null"))

CONFIGS = (
    ServerConfig(),
    ServerConfig(
        forwarded_allow_ips="*",
        forwarded_headers=("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix"),
    ),
    ServerConfig(forwarded_allow_ips="192.0.2.1, 2001:db8::/32", root_path="/mounted/\u00e9"),
    ServerConfig(forwarded_allow_ips="unix", forwarded_headers=("forwarded", "forwarded-host")),
)

# Limits as they are, then so small that short heads reach them: of the first line, of the head, of its lines.
LIMITS = ((32768, 65536, 256), (24, 96, 4), (16, 64, 1), (64, 40, 2))


def read_head(
    parser: Any, pieces: Sequence[bytes], documented: Tuple[Type[Exception], ...]
) -> Tuple[Any, bytes, bytes]:
    """What the parser made of the pieces: a head, a documented exception, or None for more; the rest."""
    for at, piece in enumerate(pieces):
        try:
            head = parser.receive_data(piece)
        except documented as error:
            return (type(error), str(error)), b"", getattr(parser, "method", b"")
        if head is not None:
            return head, parser.trailing + b"".join(pieces[at + 1 :]), getattr(parser, "method", b"")
    return None, b"", getattr(parser, "method", b"")


class HeadTarget:
    """`RequestParser` or `ResponseParser`, under the limits that the variant chooses."""

    def __init__(
        self, name: str, make_parser: Callable[[int], Any], documented: Tuple[Type[Exception], ...]
    ) -> None:
        self.name = name
        self.documented = documented
        self._make_parser = make_parser

    def check(self, variant: int, data: bytes) -> None:
        whole = read_head(self._make_parser(variant), [data], self.documented)
        for name, pieces in cut_in_all_ways(data).items():
            other = read_head(self._make_parser(variant), pieces, self.documented)
            require(other == whole, PIECES, f"whole: {whole!r:.400}; {name}: {other!r:.400}")
        head, trailing, _ = whole
        if isinstance(head, (RequestReceived, ResponseReceived)):
            check_fields(head.headers)
            require(data.endswith(trailing), REFERENCE, f"trailing {trailing!r} is not the end of the data")
            again, rest, _ = read_head(self._make_parser(0), [build_head(head) + b"rest"], self.documented)
            require(again == head and rest == b"rest", IDENTITY, f"{head!r:.400} is read as {again!r:.400}")

    def describe(self, variant: int, data: bytes) -> str:
        parser = type(self._make_parser(variant)).__name__
        return f"{parser} with limits {LIMITS[variant & 3]}: receive_data(bytes.fromhex('{data.hex()}'))"


def make_request_parser(variant: int) -> RequestParser:
    line, head, headers = LIMITS[variant & 3]
    return RequestParser(max_request_line=line, max_head=head, max_headers=headers)


def make_response_parser(variant: int) -> ResponseParser:
    line, head, headers = LIMITS[variant & 3]
    return ResponseParser(max_status_line=line, max_head=head, max_headers=headers)


def build_head(head: Any) -> bytes:
    """The head as bytes again, without our own builders."""
    if isinstance(head, RequestReceived):
        first = b"%b %b HTTP/%b\r\n" % (head.method, head.target, head.http_version.encode())
    else:
        first = b"HTTP/%b %d %b\r\n" % (head.http_version.encode(), head.status, head.reason)
    return first + b"".join(b"%b: %b\r\n" % pair for pair in head.headers) + b"\r\n"


def check_fields(headers: Sequence[Tuple[bytes, bytes]]) -> None:
    """Nothing in a head that was taken may end its line, or be taken for another name (RFC 9112 5)."""
    for name, value in headers:
        require(bool(name) and name == name.lower() and b":" not in name, LAWFUL, f"header name {name!r}")
        controls = [byte for byte in name + value if (byte < 32 and byte != 9) or byte == 127]
        require(not controls and value == value.strip(b" \t"), LAWFUL, f"header {name!r}: {value!r}")


class HandshakeTarget:
    """A server's whole way: head, checks, lists, forwarded headers, scope, extension, and the answer."""

    name = "server-handshake"
    documented = (RequestRefused,)

    def check(self, variant: int, data: bytes) -> None:
        whole = self._answer(variant, [data])
        for name, pieces in cut_in_all_ways(data).items():
            other = self._answer(variant, pieces)
            require(other == whole, PIECES, f"whole: {whole!r:.400}; {name}: {other!r:.400}")

    def _answer(self, variant: int, pieces: Sequence[bytes]) -> List[Any]:
        parser = RequestParser()
        request = None
        config, origins = CONFIGS[variant & 3], ORIGINS[variant >> 2 & 3]
        peer = (None, ("192.0.2.1", 1), ("2001:db8::1%eth0", 2), ("198.51.100.9", 3))[variant >> 4 & 3]
        try:
            for at, piece in enumerate(pieces):  # noqa: B007 (used behind the loop)
                request = parser.receive_data(piece)
                if request is not None:
                    break
            if request is None:
                return [None]
            server = ("192.0.2.2", 80)
            if not is_upgrade_request(request):
                scope = build_http_scope(request, config, peer, server)
                return [request, check_scope(scope)]
            key = check_upgrade_request(request, allowed_origins=origins)
            scope = check_scope(build_ws_scope(request, config, peer, server))
            extensions = get_header_values(request.headers, b"sec-websocket-extensions")
            ws = WSProtocol(enable_compression=True, peer_extensions=extensions, deflate=config.deflate)
        except RequestRefused as error:
            refusal = build_refusal(error, head=parser.method == b"HEAD")
            check_refusal(refusal, error, parser.method)
            return [type(error), str(error), refusal]
        subprotocols = scope["subprotocols"]
        subprotocol = subprotocols[-1] if subprotocols else None
        accepted = build_101_response(key, subprotocol=subprotocol, extensions=ws.extensions_response)
        check_as_client(accepted, key, subprotocols, extensions)
        return [request, scope, parser.trailing + b"".join(pieces[at + 1 :]), accepted]

    def describe(self, variant: int, data: bytes) -> str:
        return (
            f"variant {variant}: RequestParser().receive_data(bytes.fromhex('{data.hex()}')), then the checks"
        )


def check_as_client(accepted: bytes, key: bytes, subprotocols: Sequence[str], offers: List[bytes]) -> None:
    """Our own client must be able to go on with our own answer, whatever was offered."""
    response = ResponseParser().receive_data(accepted)
    require(response is not None, IDENTITY, f"the answer is no whole head: {accepted!r}")
    assert response is not None
    connected, extensions = check_upgrade_response(response, key, subprotocols=subprotocols)
    chosen = subprotocols[-1] if subprotocols else None
    require(connected.subprotocol == chosen, IDENTITY, f"subprotocol {connected.subprotocol!r}")
    if extensions is not None:
        agreed = parse_extension_offers([extensions])
        names = [name for name, _ in agreed]
        require(names == ["permessage-deflate"], LAWFUL, f"agreed to {extensions!r}")
        offered = {name for _, parameters in parse_extension_offers(offers) for name, _ in parameters}
        # RFC 7692 7.1.2.2: the one parameter that a server may not bring in.
        is_allowed = "client_max_window_bits" in offered or b"client_max_window_bits" not in extensions
        require(is_allowed, LAWFUL, f"{extensions!r} in answer to {offers!r}")


def check_scope(scope: Any) -> Any:
    """What an application may rely on, whatever a client or a proxy sent (ASGI 3.0, websocket scope)."""
    is_path = isinstance(scope["path"], str) and (scope["path"].startswith("/") or scope["path"] == "*")
    require(is_path, LAWFUL, f"path {scope['path']!r}")
    require(b"?" not in scope["raw_path"] and b"#" not in scope["raw_path"], LAWFUL, f"{scope['raw_path']!r}")
    client, server = scope["client"], scope["server"]
    for name, port in [pair for pair in (client, server) if pair is not None]:
        require(isinstance(name, str) and 0 <= port < 65536, LAWFUL, f"address {name!r}, {port!r}")
    check_fields(scope["headers"])
    return scope


def check_refusal(refusal: bytes, error: RequestRefused, method: bytes) -> None:
    parser = ResponseParser()
    response = parser.receive_data(refusal)
    require(response is not None and response.status == error.status, IDENTITY, f"refusal {refusal!r}")
    assert response is not None
    sizes = get_header_values(response.headers, b"content-length")
    size = 0 if method == b"HEAD" else int(sizes[0])
    require(len(sizes) == 1 and len(parser.trailing) == size, LAWFUL, f"refusal {refusal!r}")


class ClientHandshakeTarget:
    """A client's whole way: the response's head, its checks, its extension."""

    name = "client-handshake"
    documented = (HandshakeFailed,)

    def check(self, variant: int, data: bytes) -> None:
        whole = self._go_on(variant, [data])
        for name, pieces in cut_in_all_ways(data).items():
            other = self._go_on(variant, pieces)
            require(other == whole, PIECES, f"whole: {whole!r:.400}; {name}: {other!r:.400}")

    def _go_on(self, variant: int, pieces: Sequence[bytes]) -> List[Any]:
        from .connections import Setup

        subprotocols = ("chat", "superchat") if variant & 1 else ()
        deflate = Setup.from_variant(True, True, variant).deflate
        head, trailing, _ = read_head(ResponseParser(), pieces, self.documented)
        if not isinstance(head, ResponseReceived):
            return [head]
        try:
            connected, extensions = check_upgrade_response(head, KEY, subprotocols=subprotocols)
            values = [] if extensions is None else [extensions]
            assert deflate is not None
            ws = WSProtocol(client=True, enable_compression=True, peer_extensions=values, deflate=deflate)
        except self.documented as error:
            return [type(error), str(error)]
        except RequestRefused as error:
            # Documented for `WSProtocol`: a malformed list of extensions.
            return [type(error), str(error)]
        require(connected.subprotocol in (None, *subprotocols), LAWFUL, f"{connected!r} was not offered")
        return [connected, ws.compression is None, trailing]

    def describe(self, variant: int, data: bytes) -> str:
        return f"variant {variant}: ResponseParser().receive_data(bytes.fromhex('{data.hex()}')), checked"


TARGETS = [
    HeadTarget("request-head", make_request_parser, (RequestRefused,)),
    HeadTarget("response-head", make_response_parser, (HandshakeFailed,)),
    HandshakeTarget(),
    ClientHandshakeTarget(),
]
