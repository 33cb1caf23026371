"""The three implementations, each driven in the way its documentation says, and each giving a transcript."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

import websockets.extensions.permessage_deflate
import websockets.protocol
import wsproto.connection
import wsproto.events
import wsproto.extensions

from wsbridge.protocols.deflate import DeflateSettings
from wsbridge.protocols.events import WebSocketDataReceived, WebSocketDisconnected
from wsbridge.protocols.ws import WSProtocol

from ..lib.wire import CLOSE, TEXT
from .cases import Case, Deflate, Message, Transcript
from .wire import Malformed, read_answers

# ------------------------------------------------------------------------------------ wsbridge


def make_wsbridge(client: bool, deflate: Optional[Deflate], limit: int, **settings: Any) -> WSProtocol:
    if deflate is None:
        return WSProtocol(client=client, max_message_size=limit)
    wanted = DeflateSettings(
        server_no_context_takeover=deflate.server_no_takeover,
        client_no_context_takeover=deflate.client_no_takeover,
        server_max_window_bits=deflate.server_bits,
        client_max_window_bits=deflate.client_bits,
        **settings,
    )
    heard = deflate.build_response() if client else "permessage-deflate; client_max_window_bits"
    protocol = WSProtocol(
        client=client,
        max_message_size=limit,
        enable_compression=True,
        peer_extensions=[heard.encode()],
        deflate=wanted,
    )
    if protocol.compression is None:
        raise Malformed(f"wsbridge did not agree to {deflate}")
    return protocol


def run_wsbridge(case: Case) -> Transcript:
    protocol = make_wsbridge(case.client, case.deflate, case.limit)
    messages: List[Message] = []
    ends: List[WebSocketDisconnected] = []
    outbound = b""
    trouble = ""
    try:
        for number, piece in enumerate(case.pieces):
            if number == case.close_before:
                outbound += protocol.close(1000)
            events, answer = protocol.receive_data(piece)
            outbound += answer
            for event in events:
                if isinstance(event, WebSocketDataReceived):
                    messages.append(event.data)
                    if ends:
                        trouble = "a message behind WebSocketDisconnected"
                else:
                    ends.append(event)
        failed = [end.code for end in ends if not protocol.close_received]
        ends.extend(event for event in protocol.receive_eof() if isinstance(event, WebSocketDisconnected))
    except Exception as error:
        return Transcript(tuple(messages), (), None, f"{type(error).__name__}: {error}")
    if len(ends) != 1:
        trouble = f"WebSocketDisconnected came {len(ends)} times"
    if not protocol.is_closed:
        trouble = "not closed after the end of the stream"
    received = (ends[0].code, ends[0].reason) if ends and protocol.close_received else None
    transcript = finish(case, messages, outbound, received, trouble)
    told = [entry[1] for entry in transcript.sent if entry[0] == "close"]
    if failed and case.close_before is None and told != failed and not transcript.trouble:
        return transcript._replace(trouble=f"sent CLOSE {told}, told the application {failed}")
    return transcript


# --------------------------------------------------------------------------------- websockets


class CheckedProtocol(websockets.protocol.Protocol):
    """Messages joined from frames, text decoded: what the library leaves to its caller.

    As in the library's own connections, a text that is not UTF-8 fails the connection with 1007 when the
    message is complete.
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


def make_websockets(client: bool, deflate: Optional[Deflate], limit: int) -> CheckedProtocol:
    side = websockets.protocol.CLIENT if client else websockets.protocol.SERVER
    protocol = CheckedProtocol(side, max_size=limit)
    if deflate is not None:
        remote_bits, remote_no_takeover = deflate.get_peer_side(client)
        local_bits, local_no_takeover = deflate.get_peer_side(not client)
        protocol.extensions = [
            websockets.extensions.permessage_deflate.PerMessageDeflate(
                remote_no_takeover, local_no_takeover, remote_bits, local_bits
            )
        ]
    return protocol


def run_websockets(case: Case) -> Transcript:
    protocol = make_websockets(case.client, case.deflate, case.limit)
    outbound = b""
    try:
        for number, piece in enumerate(case.pieces):
            if number == case.close_before and protocol.state is websockets.protocol.OPEN:
                protocol.send_close(1000)
            protocol.receive_data(piece)
            outbound += b"".join(protocol.data_to_send())
        protocol.receive_eof()
        outbound += b"".join(protocol.data_to_send())
    except Exception as error:
        return Transcript(tuple(protocol.messages), (), None, f"{type(error).__name__}: {error}")
    close = protocol.close_rcvd
    received = None if close is None else (int(close.code), close.reason)
    return finish(case, protocol.messages, outbound, received)


# ------------------------------------------------------------------------------------ wsproto


def make_wsproto(client: bool, deflate: Optional[Deflate]) -> wsproto.connection.Connection:
    extensions: List[wsproto.extensions.Extension] = []
    if deflate is not None:
        extension = wsproto.extensions.PerMessageDeflate()
        extension.finalize(deflate.build_response())
        extensions.append(extension)
    kind = wsproto.connection.CLIENT if client else wsproto.connection.SERVER
    return wsproto.connection.Connection(kind, extensions)


class WSProtoRun:
    """The loop around wsproto's connection that its documentation shows."""

    def __init__(self, case: Case) -> None:
        self.connection = make_wsproto(case.client, case.deflate)
        self.messages: List[Message] = []
        self.received: Optional[Tuple[int, str]] = None
        self.outbound = b""
        self.is_over = False
        self._fragments: List[Any] = []

    def close(self) -> None:
        if self.connection.state is wsproto.connection.ConnectionState.OPEN and not self.is_over:
            self.outbound += self.connection.send(wsproto.events.CloseConnection(code=1000))

    def receive(self, piece: bytes) -> None:
        if self.is_over:
            return
        self.connection.receive_data(piece)
        for event in self.connection.events():
            self._take(event)

    def _take(self, event: Any) -> None:
        state = self.connection.state
        states = wsproto.connection.ConnectionState
        if isinstance(event, wsproto.events.Ping):
            # In any other state `send` raises.
            if state is states.OPEN:
                self.outbound += self.connection.send(event.response())
        elif isinstance(event, wsproto.events.CloseConnection):
            self.is_over = True
            if state in (states.REMOTE_CLOSING, states.CLOSED):
                self.received = (int(event.code), event.reason or "")
            if state in (states.OPEN, states.REMOTE_CLOSING):
                self.outbound += self.connection.send(event.response())
        elif isinstance(event, wsproto.events.Message):
            self._fragments.append(event.data)
            if event.message_finished:
                is_text = isinstance(event, wsproto.events.TextMessage)
                self.messages.append("".join(self._fragments) if is_text else b"".join(self._fragments))
                self._fragments.clear()


def run_wsproto(case: Case) -> Transcript:
    run = WSProtoRun(case)
    try:
        for number, piece in enumerate(case.pieces):
            if number == case.close_before:
                run.close()
            run.receive(piece)
    except Exception as error:
        return Transcript(tuple(run.messages), (), None, f"{type(error).__name__}: {error}")
    return finish(case, run.messages, run.outbound, run.received)


# -------------------------------------------------------------------------------------- all


def finish(
    case: Case,
    messages: List[Message],
    outbound: bytes,
    received: Optional[Tuple[int, str]],
    trouble: str = "",
) -> Transcript:
    payload = None
    if received is not None:
        code, reason = received
        payload = b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
    try:
        sent = read_answers(bytes(outbound), masked=case.client, close_payload=payload)
    except (Malformed, UnicodeDecodeError) as error:
        return Transcript(tuple(messages), (), received, f"sent {outbound.hex(' ')}: {error}")
    return Transcript(tuple(messages), sent, received, trouble)


PEERS: Dict[str, Any] = {"wsproto": run_wsproto, "websockets": run_websockets}
