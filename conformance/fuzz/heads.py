"""The heads of requests and responses, and the opening handshake of both roles as a whole."""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple

from hypothesis import given

from wsbridge.asgi.scope import build_http_scope, build_ws_scope
from wsbridge.config import ServerConfig
from wsbridge.protocols import handshake
from wsbridge.protocols.errors import HandshakeFailed, RequestRefused
from wsbridge.protocols.events import RequestReceived
from wsbridge.protocols.fields import get_header_values, parse_extension_offers
from wsbridge.protocols.http11 import RequestParser, ResponseParser, ResponseReceived
from wsbridge.protocols.responses import build_refusal
from wsbridge.protocols.ws import WSProtocol

from ..lib.wire import KEY
from .strategies import REQUESTS, RESPONSES, Example, check_pieces, choose_deflate, examples

ORIGINS = (None, (), ("same-origin",), ("https://example.com", "null"))
PEERS = (None, ("192.0.2.1", 1), ("2001:db8::1%eth0", 2), ("198.51.100.9", 3))
FORWARDED_HEADERS = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix")
CONFIGS = (
    ServerConfig(),
    ServerConfig(forwarded_allow_ips="*", forwarded_headers=FORWARDED_HEADERS),
    ServerConfig(forwarded_allow_ips="192.0.2.1, 2001:db8::/32", root_path="/mounted/\u00e9"),
    ServerConfig(forwarded_allow_ips="unix", forwarded_headers=("forwarded", "forwarded-host")),
)

# Limits as they are, then so small that short heads reach them: of the first line, of the head, of its lines.
LIMITS = ((32768, 65536, 256), (24, 96, 4), (16, 64, 1), (64, 40, 2))


def read_head(parser: Any, pieces: Sequence[bytes]) -> Tuple[Any, Optional[bytes]]:
    """The head, and what is behind it; a documented refusal; or None for more, and the method so far."""
    documented = RequestRefused if isinstance(parser, RequestParser) else HandshakeFailed
    for at, piece in enumerate(pieces):
        try:
            head = parser.receive_data(piece)
        except documented as error:
            return (type(error), str(error), getattr(parser, "method", b"")), None
        if head is not None:
            return head, parser.trailing + b"".join(pieces[at + 1 :])
    return None, getattr(parser, "method", None)


def make_test(parser: Any, first_line: str, heads: Any) -> Callable[[], None]:
    def make_parser(limits: Tuple[int, int, int]) -> Any:
        return parser(**dict(zip((first_line, "max_head", "max_headers"), limits)))

    @given(examples(heads))
    def check(example: Example) -> None:
        """Any pieces give the same: a documented refusal, or a lawful head that is the same built again."""
        variant, data = example
        head, trailing = check_pieces(
            lambda pieces: read_head(make_parser(LIMITS[variant & 3]), pieces), data
        )
        if isinstance(head, (RequestReceived, ResponseReceived)):
            check_fields(head.headers)
            assert data.endswith(trailing)
            assert read_head(make_parser(LIMITS[0]), [build_head(head) + b"rest"]) == (head, b"rest")

    return check


test_request_head = make_test(RequestParser, "max_request_line", REQUESTS)
test_response_head = make_test(ResponseParser, "max_status_line", RESPONSES)


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
        assert name and name == name.lower() and b":" not in name
        assert not [byte for byte in name + value if (byte < 32 and byte != 9) or byte == 127], (name, value)
        assert value == value.strip(b" \t")


# ------------------------------------------------------------------------------------ handshakes


@given(examples(REQUESTS))
def test_server_handshake(example: Example) -> None:
    """Head, checks, proxies' headers, scope, extension, answer: any pieces give the same, which is lawful."""
    variant, data = example
    check_pieces(lambda pieces: answer_request(variant, pieces), data)


def answer_request(variant: int, pieces: Sequence[bytes]) -> List[Any]:
    parser = RequestParser()
    config, origins, peer = CONFIGS[variant & 3], ORIGINS[variant >> 2 & 3], PEERS[variant >> 4 & 3]
    request, server = None, ("192.0.2.2", 80)
    try:
        for at, piece in enumerate(pieces):  # noqa: B007 (used behind the loop)
            request = parser.receive_data(piece)
            if request is not None:
                break
        if request is None:
            return [None]
        if not handshake.is_upgrade_request(request):
            return [request, check_scope(build_http_scope(request, config, peer, server))]
        key = handshake.check_upgrade_request(request, allowed_origins=origins)
        scope = check_scope(build_ws_scope(request, config, peer, server))
        offers = get_header_values(request.headers, b"sec-websocket-extensions")
        ws = WSProtocol(enable_compression=True, peer_extensions=offers, deflate=config.deflate)
    except RequestRefused as error:
        refusal = build_refusal(error, head=parser.method == b"HEAD")
        check_refusal(refusal, error, parser.method)
        return [type(error), str(error), refusal]
    subprotocols = scope["subprotocols"]
    subprotocol = subprotocols[-1] if subprotocols else None
    accepted = handshake.build_101_response(key, subprotocol=subprotocol, extensions=ws.extensions_response)
    check_as_client(accepted, key, subprotocols, offers)
    return [request, scope, parser.trailing + b"".join(pieces[at + 1 :]), accepted]


def check_as_client(accepted: bytes, key: bytes, subprotocols: Sequence[str], offers: List[bytes]) -> None:
    """Our own client must be able to go on with our own answer, whatever was offered."""
    response = ResponseParser().receive_data(accepted)
    assert response is not None
    connected, extensions = handshake.check_upgrade_response(response, key, subprotocols=subprotocols)
    assert connected.subprotocol == (subprotocols[-1] if subprotocols else None)
    if extensions is not None:
        assert [name for name, _ in parse_extension_offers([extensions])] == ["permessage-deflate"]
        offered = {name for _, parameters in parse_extension_offers(offers) for name, _ in parameters}
        # RFC 7692 7.1.2.2: the one parameter that a server may not bring in.
        assert "client_max_window_bits" in offered or b"client_max_window_bits" not in extensions


def check_scope(scope: Any) -> Any:
    """What an application may rely on, whatever a client or a proxy sent (ASGI 3.0, websocket scope)."""
    path = scope["path"]
    assert isinstance(path, str) and (path.startswith("/") or path == "*")
    assert not set(b"?#") & set(scope["raw_path"])
    for name, port in filter(None, (scope["client"], scope["server"])):
        assert isinstance(name, str) and 0 <= port < 65536
    check_fields(scope["headers"])
    return scope


def check_refusal(refusal: bytes, error: RequestRefused, method: bytes) -> None:
    parser = ResponseParser()
    response = parser.receive_data(refusal)
    assert response is not None and response.status == error.status
    sizes = get_header_values(response.headers, b"content-length")
    assert len(sizes) == 1 and len(parser.trailing) == (0 if method == b"HEAD" else int(sizes[0]))


@given(examples(RESPONSES))
def test_client_handshake(example: Example) -> None:
    """Head, checks, extension: any pieces give the same; only documented exceptions."""
    variant, data = example
    check_pieces(lambda pieces: answer_response(variant, pieces), data)


def answer_response(variant: int, pieces: Sequence[bytes]) -> List[Any]:
    subprotocols = ("chat", "superchat") if variant & 1 else ()
    head, trailing = read_head(ResponseParser(), pieces)
    if not isinstance(head, ResponseReceived):
        return [head]
    try:
        connected, extensions = handshake.check_upgrade_response(head, KEY, subprotocols=subprotocols)
        values = [] if extensions is None else [extensions]
        deflate = choose_deflate(variant)
        ws = WSProtocol(client=True, enable_compression=True, peer_extensions=values, deflate=deflate)
    except (HandshakeFailed, RequestRefused) as error:
        # `RequestRefused` is documented for `WSProtocol`: a malformed list of extensions.
        return [type(error), str(error)]
    assert connected.subprotocol in (None, *subprotocols), "not offered"
    return [connected, ws.compression is None, trailing]
