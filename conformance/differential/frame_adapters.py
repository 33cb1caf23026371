"""wsbridge, websockets and wsproto on a stream of frames, each driven as its documentation says."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Type

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol
from wsproto import connection as wsproto
from wsproto import events, extensions

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from ..lib.wire import CLOSE, PONG, TEXT, build_close, build_frame, parse_frames
from .cases import Deflate, FrameCase, Message, Sent, Transcript


class Malformed(Exception):
    """Bytes that an implementation must not send."""


class Endpoint:
    """One implementation with one connection, and what it has delivered and sent so far."""

    def __init__(self, case: FrameCase) -> None:
        self.messages: List[Message] = []
        self.outbound = b""
        self.close_received: Optional[Tuple[int, str]] = None
        self.trouble = ""

    def close(self) -> None:
        """Send CLOSE 1000, where the connection is still open."""
        raise NotImplementedError

    def receive(self, piece: bytes) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """The stream has ended; what must be true now is checked."""


class WSBridge(Endpoint):
    def __init__(self, case: FrameCase) -> None:
        super().__init__(case)
        self._protocol = make_wsbridge(case.client, case.deflate, case.limit)
        self._events: List[Any] = []
        self._has_closed = False

    def close(self) -> None:
        self.outbound += self._protocol.close(1000)
        self._has_closed = True

    def receive(self, piece: bytes) -> None:
        received, answer = self._protocol.receive_data(piece)
        self._events += received
        self.outbound += answer

    def end(self) -> None:
        protocol = self._protocol
        *before, last = [*self._events, *protocol.receive_eof()]
        self.messages = [event.data for event in before if isinstance(event, WebSocketDataReceived)]
        closes = [frame for frame in parse_frames(self.outbound)[0] if frame.opcode == CLOSE]
        sent = [int.from_bytes(frame.payload[:2], "big") for frame in closes]
        if not isinstance(last, WebSocketDisconnected) or len(self.messages) != len(before):
            self.trouble = "not one WebSocketDisconnected behind all messages"
        elif not protocol.is_closed:
            self.trouble = "not closed after the end of the stream"
        elif protocol.close_received:
            self.close_received = last.code, last.reason
        elif last.code != 1006 and not self._has_closed and sent != [last.code]:
            self.trouble = f"sent CLOSE {sent}, told the application {last.code}"


def make_wsbridge(client: bool, deflate: Optional[Deflate], limit: int, **settings: Any) -> WSProtocol:
    if deflate is None:
        return WSProtocol(client=client, max_message_size=limit)
    heard = deflate.build_response() if client else "permessage-deflate; client_max_window_bits"
    protocol = WSProtocol(
        client=client,
        max_message_size=limit,
        enable_compression=True,
        peer_extensions=[heard.encode()],
        deflate=DeflateSettings(
            server_no_context_takeover=deflate.server_no_takeover,
            client_no_context_takeover=deflate.client_no_takeover,
            server_max_window_bits=deflate.server_bits,
            client_max_window_bits=deflate.client_bits,
            **settings,
        ),
    )
    if protocol.compression is None:
        raise Malformed(f"wsbridge did not agree to {deflate}")
    return protocol


class _JoiningProtocol(Protocol):
    """Messages joined from frames, text decoded: what websockets leaves to its caller.

    As in its own connections, a text that is not UTF-8 fails the connection with 1007 when the message is
    complete.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.messages: List[Message] = []
        self._fragments: List[bytes] = []
        self._is_text = False

    def recv_frame(self, frame: Any) -> None:
        super().recv_frame(frame)
        if frame.opcode >= CLOSE:
            return
        if frame.opcode:
            self._is_text = frame.opcode == TEXT
            self._fragments.clear()
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            message = b"".join(self._fragments)
            self.messages.append(message.decode() if self._is_text else message)


class WebSockets(Endpoint):
    def __init__(self, case: FrameCase) -> None:
        super().__init__(case)
        self._protocol = _JoiningProtocol(CLIENT if case.client else SERVER, max_size=case.limit)
        self.messages = self._protocol.messages
        if case.deflate is not None:
            remote_bits, remote_no_takeover = case.deflate.get_side(not case.client)
            local_bits, local_no_takeover = case.deflate.get_side(case.client)
            self._protocol.extensions = [
                PerMessageDeflate(remote_no_takeover, local_no_takeover, remote_bits, local_bits)
            ]

    def close(self) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_close(1000)

    def receive(self, piece: bytes) -> None:
        self._protocol.receive_data(piece)
        self.outbound += b"".join(self._protocol.data_to_send())

    def end(self) -> None:
        self._protocol.receive_eof()
        self.outbound += b"".join(self._protocol.data_to_send())
        close = self._protocol.close_rcvd
        self.close_received = None if close is None else (int(close.code), close.reason)


class WSProto(Endpoint):
    """The loop around wsproto's connection that its documentation shows."""

    def __init__(self, case: FrameCase) -> None:
        super().__init__(case)
        agreed: List[extensions.Extension] = []
        if case.deflate is not None:
            extension = extensions.PerMessageDeflate()
            extension.finalize(case.deflate.build_response())
            agreed.append(extension)
        self._connection = wsproto.Connection(wsproto.CLIENT if case.client else wsproto.SERVER, agreed)
        self._is_over = False
        self._fragments: List[Any] = []

    def close(self) -> None:
        if self._connection.state is wsproto.ConnectionState.OPEN and not self._is_over:
            self.outbound += self._connection.send(events.CloseConnection(code=1000))

    def receive(self, piece: bytes) -> None:
        if self._is_over:
            return
        self._connection.receive_data(piece)
        for event in self._connection.events():
            self._take(event)

    def _take(self, event: Any) -> None:
        state, states = self._connection.state, wsproto.ConnectionState
        if isinstance(event, events.Ping):
            # In any other state `send` raises.
            if state is states.OPEN:
                self.outbound += self._connection.send(event.response())
        elif isinstance(event, events.CloseConnection):
            self._is_over = True
            if state in (states.REMOTE_CLOSING, states.CLOSED):
                self.close_received = int(event.code), event.reason or ""
            if state in (states.OPEN, states.REMOTE_CLOSING):
                self.outbound += self._connection.send(event.response())
        elif isinstance(event, events.Message):
            self._fragments.append(event.data)
            if event.message_finished:
                is_text = isinstance(event, events.TextMessage)
                self.messages.append("".join(self._fragments) if is_text else b"".join(self._fragments))
                self._fragments.clear()


ENDPOINTS: Dict[str, Type[Endpoint]] = {"wsbridge": WSBridge, "wsproto": WSProto, "websockets": WebSockets}


def run_frames(who: str, case: FrameCase) -> Transcript:
    endpoint = ENDPOINTS[who](case)
    try:
        for number, piece in enumerate(case.pieces):
            if number == case.close_before:
                endpoint.close()
            endpoint.receive(piece)
        endpoint.end()
    except Exception as error:
        return Transcript(tuple(endpoint.messages), trouble=f"{type(error).__name__}: {error}")
    sent: Tuple[Sent, ...] = ()
    trouble = endpoint.trouble
    try:
        sent = read_answers(endpoint.outbound, case.client, endpoint.close_received)
    except (Malformed, UnicodeDecodeError) as error:
        trouble = f"sent {endpoint.outbound.hex(' ')}: {error}"
    return Transcript(tuple(endpoint.messages), sent, endpoint.close_received, trouble)


def read_answers(data: bytes, masked: bool, received: Optional[Tuple[int, str]]) -> Tuple[Sent, ...]:
    """What an endpoint answered on its own, PONGs and at most one CLOSE; else raises `Malformed`.

    A CLOSE is told by its code and whether it repeats the one that was received; the reason of another one
    is the implementation's own text.
    """
    frames, rest = parse_frames(data)
    # RFC 6455 5.2: "the minimal number of bytes MUST be used to encode the length".
    size = sum(len(build_frame(0, frame.payload, bytes(4) if masked else None)) for frame in frames)
    if rest or size != len(data):
        raise Malformed("a frame that is cut, or a length that is not in its shortest form")
    sent: List[Sent] = []
    for frame in frames:
        payload = frame.payload
        if frame.masked is not masked or not frame.fin or frame.rsv or len(payload) > 125:
            raise Malformed(f"not a control frame of this role: {frame}")
        # RFC 6455 5.5.1 forbids data frames behind a CLOSE; a PONG it does not.
        if frame.opcode == PONG:
            sent.append(("pong", payload))
        elif frame.opcode == CLOSE and all(kind != "close" for kind, *_ in sent) and len(payload) != 1:
            payload[2:].decode()
            code = int.from_bytes(payload[:2], "big") if payload else None
            sent.append(("close", code, received is not None and payload == build_payload(*received)))
        else:
            raise Malformed(f"sent unasked: {frame}")
    return tuple(sent)


def build_payload(code: int, reason: str) -> bytes:
    """Of the CLOSE that was received as this code and reason (RFC 6455 7.1.5: 1005 for none)."""
    return b"" if code == 1005 else build_close(code, reason.encode())
