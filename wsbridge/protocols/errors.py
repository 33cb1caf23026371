"""Every error wsbridge raises, in one tree.

::

    WSBridgeError
    +-- ProtocolViolation     what a peer's frames did wrong; carries a close code
    +-- RequestRefused        what a peer's request did wrong; carries an HTTP status
    +-- HandshakeFailed       the server's answer to our own opening handshake
    +-- EventError            what the application's event did wrong (ValueError)
    +-- StateError            the right call at the wrong time (RuntimeError)
    +-- ConfigError           a configuration value outside its rule (ValueError)
    +-- LifespanFailed        the application could not start or stop
    +-- ClientDisconnected    the peer is gone (OSError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

if TYPE_CHECKING:
    from .http11 import ResponseReceived

__all__ = [
    "WSBridgeError",
    "ProtocolViolation",
    "ReservedBitsSet",
    "UnknownOpcode",
    "WrongMasking",
    "LengthNotMinimal",
    "LengthOverflow",
    "ControlFrameFragmented",
    "ControlFrameTooLong",
    "UnexpectedContinuation",
    "ExpectedContinuation",
    "ClosePayloadTruncated",
    "InvalidCloseCode",
    "InvalidUTF8",
    "InvalidCompressedData",
    "TooManyFragments",
    "MessageTooBig",
    "RequestRefused",
    "BadRequest",
    "Forbidden",
    "MethodNotAllowed",
    "RequestTimeout",
    "ContentTooLarge",
    "URITooLong",
    "UpgradeRequired",
    "TooManyRequests",
    "HeadTooLarge",
    "InternalServerError",
    "ProtocolNotSupported",
    "ServiceUnavailable",
    "HTTPVersionNotSupported",
    "HandshakeFailed",
    "EventError",
    "StateError",
    "ConfigError",
    "LifespanFailed",
    "ClientDisconnected",
]

Headers = Tuple[Tuple[bytes, bytes], ...]


class WSBridgeError(Exception):
    """The root of every error raised by wsbridge."""


# ------------------------------------------------------- what a peer's frames did


class ProtocolViolation(WSBridgeError):
    """A peer broke a rule: the connection is failed with ``close_code`` (RFC 6455 7.1.7).

    Never raised out of `WSProtocol.receive_data`, which turns it into an
    outbound CLOSE and one `WebSocketDisconnected`.
    """

    close_code = 1002


class ReservedBitsSet(ProtocolViolation):
    """RSV1, RSV2 or RSV3 without an extension that gives it a meaning (RFC 6455 5.2)."""

    def __init__(self, first_byte: int) -> None:
        super().__init__(f"reserved bits {first_byte >> 4 & 7:03b} set without a meaning")


class UnknownOpcode(ProtocolViolation):
    """Opcode 3-7 or 11-15 (RFC 6455 5.2)."""

    def __init__(self, opcode: int) -> None:
        super().__init__(f"unknown opcode {opcode}")


class WrongMasking(ProtocolViolation):
    """An unmasked frame from a client or a masked one from a server (RFC 6455 5.1)."""

    def __init__(self, masked: bool) -> None:
        super().__init__("masked frame from a server" if masked else "unmasked frame from a client")


class LengthNotMinimal(ProtocolViolation):
    """A payload length that does not use the shortest of its three forms (RFC 6455 5.2)."""

    def __init__(self, length: int) -> None:
        super().__init__(f"payload length {length} is not in its shortest form")


class LengthOverflow(ProtocolViolation):
    """The most significant bit of a 64-bit payload length is set (RFC 6455 5.2)."""

    def __init__(self) -> None:
        super().__init__("most significant bit of the payload length is set")


class ControlFrameFragmented(ProtocolViolation):
    """A control frame without FIN (RFC 6455 5.5)."""

    def __init__(self, opcode: int) -> None:
        super().__init__(f"fragmented control frame, opcode {opcode}")


class ControlFrameTooLong(ProtocolViolation):
    """A control frame with more than 125 bytes of payload (RFC 6455 5.5)."""

    def __init__(self, opcode: int) -> None:
        super().__init__(f"control frame of over 125 bytes, opcode {opcode}")


class UnexpectedContinuation(ProtocolViolation):
    """A continuation frame with no message in progress (RFC 6455 5.4)."""

    def __init__(self) -> None:
        super().__init__("continuation frame outside a message")


class ExpectedContinuation(ProtocolViolation):
    """A new data frame while a fragmented message is in progress (RFC 6455 5.4)."""

    def __init__(self, opcode: int) -> None:
        super().__init__(f"new message, opcode {opcode}, inside a fragmented one")


class ClosePayloadTruncated(ProtocolViolation):
    """A CLOSE payload of a single byte (RFC 6455 5.5.1)."""

    def __init__(self) -> None:
        super().__init__("close payload of 1 byte")


class InvalidCloseCode(ProtocolViolation):
    """A close code that must not appear in a CLOSE frame (RFC 6455 7.4)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"invalid close code {code}")


class InvalidUTF8(ProtocolViolation):
    """Text or a close reason that is not UTF-8 (RFC 6455 8.1)."""

    close_code = 1007

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not valid UTF-8")


class InvalidCompressedData(ProtocolViolation):
    """A compressed message that does not inflate (RFC 7692 7.2.2)."""

    close_code = 1007

    def __init__(self, detail: str) -> None:
        super().__init__(f"compressed message does not inflate: {detail}")


class TooManyFragments(ProtocolViolation):
    """More fragments than the message's bytes can justify; see ``max_fragments``."""

    close_code = 1008

    def __init__(self, limit: int) -> None:
        super().__init__(f"message in more than {limit} fragments")


class MessageTooBig(ProtocolViolation):
    """A message over the size limit, known from its header or while inflating (RFC 6455 7.4.1)."""

    close_code = 1009

    def __init__(self, limit: int) -> None:
        super().__init__(f"message over {limit} bytes")


# ------------------------------------------------------ what a peer's request did


class RequestRefused(WSBridgeError):
    """A request that is answered with an HTTP error; its text is the body.

    ``status`` is the HTTP status, ``headers`` what the response must carry
    besides the usual ones.
    """

    status = 400
    headers: Headers = ()


class BadRequest(RequestRefused):
    """400: the request breaks RFC 9112, or the opening handshake RFC 6455 4.2.1."""


class Forbidden(RequestRefused):
    """403: an Origin that is not allowed, or an application that did not accept."""

    status = 403


class MethodNotAllowed(RequestRefused):
    """405: CONNECT, or an opening handshake with another method than GET."""

    status = 405
    headers = ((b"Allow", b"GET, HEAD"),)


class RequestTimeout(RequestRefused):
    """408: the head or the body did not come in time."""

    status = 408


class ContentTooLarge(RequestRefused):
    """413: a length of the body that no counter holds."""

    status = 413


class URITooLong(RequestRefused):
    """414: a request line over its limit."""

    status = 414


class UpgradeRequired(RequestRefused):
    """426: a Sec-WebSocket-Version other than 13 (RFC 6455 4.4), or an opening handshake in HTTP/1.0."""

    status = 426
    # RFC 9110 15.5.22: a 426 names the protocol it asks for.
    headers: Headers = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13"))


class TooManyRequests(RequestRefused):
    """429: a client that has too many connections; a proxy must not take it for a failure of the server."""

    status = 429
    headers = ((b"Retry-After", b"1"),)


class HeadTooLarge(RequestRefused):
    """431: a head, or a number of header lines, over its limit."""

    status = 431


class InternalServerError(RequestRefused):
    """500: the application raised, or returned, before it answered."""

    status = 500


class ProtocolNotSupported(RequestRefused):
    """501: an extended CONNECT for another protocol than WebSocket (RFC 8441 4, RFC 9220 3)."""

    status = 501


class ServiceUnavailable(RequestRefused):
    """503: too many connections, a server that is stopping, or an application that never accepts."""

    status = 503
    headers = ((b"Retry-After", b"1"),)


class HTTPVersionNotSupported(RequestRefused):
    """505: any version but HTTP/1.1 and HTTP/1.0."""

    status = 505


class HandshakeFailed(WSBridgeError):
    """The server's answer to a client's opening handshake breaks RFC 6455 4.1, or refuses it.

    ``response`` is that answer if `ClientHandshake` has read one, else None.
    """

    response: Optional[ResponseReceived] = None


# -------------------------------------------------------- what the application did


class EventError(WSBridgeError, ValueError):
    """An ASGI event, or an argument of `WSProtocol`, that breaks a rule; nothing was written."""


class StateError(WSBridgeError, RuntimeError):
    """A valid event at the wrong time, such as ``websocket.send`` before ``websocket.accept``."""


class ConfigError(WSBridgeError, ValueError):
    """A configuration value that breaks its rule; the text names the value and the rule."""


class LifespanFailed(WSBridgeError):
    """The application reported that it could not start or stop, or it raised and ``lifespan`` is ``on``."""


class ClientDisconnected(WSBridgeError, OSError):
    """The peer is gone, or the connection was closed, so that nothing can be sent any more.

    A subclass of `OSError`, as the ASGI specification asks. The server does not
    log it as an error if the application does not catch it.
    """
