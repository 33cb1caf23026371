"""`WSProtocol`: one WebSocket connection after its opening handshake, bytes in, events and bytes out.

The connection has two halves. `Receiving` is open until the peer's CLOSE, a
violation by the peer, or the end of the stream; `Sending` until our CLOSE or
the end of the stream. `TRANSITIONS` has the pair of halves that each input
leads to. What is sent, and which event is returned, depends on the pair that
the input meets:

====================== ============== ============== ======================== =========================
input                  receiving      sending        outbound                 event
====================== ============== ============== ======================== =========================
whole message          OPEN           OPEN           -                        DataReceived
whole message          OPEN           CLOSED         -                        - (see `close`)
PING                   OPEN           any            PONG                     -
CLOSE                  OPEN           OPEN           CLOSE, now or held       Disconnected(code or 1005)
CLOSE                  OPEN           CLOSED         -                        Disconnected(code or 1005)
violation              OPEN           OPEN           CLOSE, now or held       Disconnected(its code)
violation              OPEN           CLOSED         -                        Disconnected(its code)
end of stream          OPEN           any            -                        Disconnected(1006)
anything from the peer not OPEN       any            -                        - (discarded)
`send_message`         any            OPEN           data frame               -
`close`                OPEN           OPEN           CLOSE                    -
`close`                CLOSED, FAILED OPEN           the CLOSE that was held  -
====================== ============== ============== ======================== =========================

A CLOSE is held with ``hold_close=True``: the owner answers what came before the
peer's CLOSE, and then calls `close`. Otherwise our CLOSE is returned by the same
call, and both halves end there.
"""

from __future__ import annotations

import functools
import os
from enum import Enum
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union

from .deflate import SLICE, CeilingReached, DeflateSettings
from .deflate_negotiation import agree_on_deflate
from .errors import (
    EventError,
    ExpectedContinuation,
    InvalidUTF8,
    MessageTooBig,
    ProtocolViolation,
    StateError,
    UnexpectedContinuation,
)
from .events import WebSocketDataReceived, WebSocketDisconnected
from .frames import (
    ABNORMAL_CLOSURE,
    CLOSE,
    CONTINUATION,
    FIN,
    MASKED,
    MAX_CONTROL_PAYLOAD,
    PING,
    PONG,
    RSV1,
    SMALL_HEADERS,
    WHOLE_BINARY,
    WHOLE_MESSAGE,
    WHOLE_OR_COMPRESSED,
    WHOLE_TEXT,
    build_close_payload,
    build_frame,
    build_frame_header,
    build_masked_frame,
    find_extended_length,
    parse_close_payload,
    parse_header,
)
from .masking import mask_slice, unmask
from .messages import (
    FREE_SIZE,
    DiscardedMessage,
    Message,
    Reserve,
    compressed_limit,
    inflate_message,
    measure,
)

__all__ = ["WSProtocol", "Event", "Receiving", "Sending", "Trace"]

Event = Union[WebSocketDataReceived, WebSocketDisconnected]

#: A callable for every frame: "in" or "out", opcode, FIN, RSV1, and the payload's length on the wire.
Trace = Callable[[str, int, bool, bool, int], None]


class _State(Enum):
    # By identity: the hash of `Enum` is a function in Python, called at each look-up in `TRANSITIONS`.
    __hash__ = object.__hash__


class Receiving(_State):
    """The half that reads: open, or what has ended it."""

    OPEN = "open"
    CLOSED = "closed by the peer's CLOSE"
    FAILED = "failed by a violation of the peer's"
    LOST = "lost with the peer's stream"


class Sending(_State):
    """The half that writes: open, or ended."""

    OPEN = "open"
    CLOSED = "closed by our CLOSE, or with the stream"


class Input(_State):
    """What ends a half."""

    PEER_CLOSE = "a CLOSE frame has come"
    VIOLATION = "the peer has broken a rule"
    STREAM_END = "nothing more can come or leave"
    OUR_CLOSE = "our CLOSE frame leaves"


# Before Python 3.12 the attribute of an Enum class takes ten times as long as a global.
_READABLE, _PEER_CLOSED, _WRITABLE = Receiving.OPEN, Receiving.CLOSED, Sending.OPEN
_PEER_CLOSE, _VIOLATION, _STREAM_END, _OUR_CLOSE = Input

#: The pair of halves that each input leads to. A pair that is not listed stays as it is.
TRANSITIONS: Dict[Input, Dict[Tuple[Receiving, Sending], Tuple[Receiving, Sending]]] = {
    Input.PEER_CLOSE: {
        (Receiving.OPEN, Sending.OPEN): (Receiving.CLOSED, Sending.OPEN),
        (Receiving.OPEN, Sending.CLOSED): (Receiving.CLOSED, Sending.CLOSED),
    },
    Input.VIOLATION: {
        (Receiving.OPEN, Sending.OPEN): (Receiving.FAILED, Sending.OPEN),
        (Receiving.OPEN, Sending.CLOSED): (Receiving.FAILED, Sending.CLOSED),
    },
    Input.STREAM_END: {
        (Receiving.OPEN, Sending.OPEN): (Receiving.LOST, Sending.CLOSED),
        (Receiving.OPEN, Sending.CLOSED): (Receiving.LOST, Sending.CLOSED),
        (Receiving.CLOSED, Sending.OPEN): (Receiving.CLOSED, Sending.CLOSED),
        (Receiving.FAILED, Sending.OPEN): (Receiving.FAILED, Sending.CLOSED),
    },
    Input.OUR_CLOSE: {
        (Receiving.OPEN, Sending.OPEN): (Receiving.OPEN, Sending.CLOSED),
        (Receiving.CLOSED, Sending.OPEN): (Receiving.CLOSED, Sending.CLOSED),
        (Receiving.FAILED, Sending.OPEN): (Receiving.FAILED, Sending.CLOSED),
    },
}


class _Suspended(Exception):
    """A message must not grow now: what begins at ``position`` waits."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class WSProtocol:
    """One connection's frames, messages, compression and closing handshake (RFC 6455, RFC 7692).

    ``subprotocol``: the one that the opening handshake agreed on, if it is known already.
    ``enable_compression``: agree to permessage-deflate if the peer offers it.
    ``peer_extensions``: the values of the peer's Sec-WebSocket-Extensions
    header lines: offers, or for a client the server's response. Without them
    nothing is compressed.
    ``deflate``: our parameters of permessage-deflate.
    ``client``: the role; a client masks its frames, and expects unmasked ones.
    ``max_message_size``: bytes, inflated; default 16 MiB, enough for most
    uploads and little enough for many connections. Past it the peer gets
    CLOSE 1009.
    ``max_fragments``: fragments of one message, and one more for every 32 bytes;
    default 1024. Past it CLOSE 1008: empty fragments could go on for ever.
    ``hold_close``: hold the answer to a CLOSE or a violation until `close`
    is called, so that messages received before can be answered first.
    ``make_message``: returns the event for the `str` or `bytes` of a whole
    message; default `WebSocketDataReceived`. With None it is the message itself.
    ``clock``: returns a monotonic time in seconds, for `latency`; without it
    `latency` stays None.
    ``reserve``: a `Reserve`, called before a message grows by inflating and
    after it has grown otherwise. Where it returns False parsing stops, and goes
    on with the next call of `receive_data`, which may be without data. It may
    be set later, and to None again. It needs ``make_message=None``.

    Attributes: ``receiving`` and ``sending`` are the two halves, which only
    this class sets. ``subprotocol`` and ``extensions_response`` are what the
    opening handshake agreed on, the latter as the value of
    Sec-WebSocket-Extensions in the 101; or None. ``compression`` is the codec,
    with its counters of bytes, or None. ``latency`` is the time in seconds
    between the last answered PING and its PONG, None before the first.
    ``trace`` may be set to a `Trace`, which must not raise.

    Raises `BadRequest` for a malformed offer, `HandshakeFailed` for a
    response that is malformed, or names an extension that was not offered.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_close_payload",
        "_first_byte",
        "_hold_close",
        "_is_discarding",
        "_mask_key",
        "_make_message",
        "_max_fragments",
        "_max_message_size",
        "_message",
        "_outbound",
        "_owed_pong",
        "_ping_payload",
        "_ping_sent",
        "_remaining",
        "_unparsed",
        "_whole_limit",
        "_wire_limit",
        "_writing_paused",
        "compression",
        "extensions_response",
        "latency",
        "receiving",
        "reserve",
        "sending",
        "subprotocol",
        "trace",
    )

    def __init__(
        self,
        *,
        subprotocol: Optional[str] = None,
        enable_compression: bool = False,
        peer_extensions: Iterable[bytes] = (),
        deflate: DeflateSettings = DeflateSettings(),  # noqa: B008 (immutable)
        client: bool = False,
        max_message_size: int = 16 * 1024 * 1024,
        max_fragments: int = 1024,
        hold_close: bool = False,
        make_message: Optional[Callable[[Any], Any]] = WebSocketDataReceived,
        clock: Optional[Callable[[], float]] = None,
        reserve: Optional[Reserve] = None,
    ) -> None:
        self.subprotocol = subprotocol
        self.latency: Optional[float] = None
        self.trace: Optional[Trace] = None
        self.reserve = reserve
        self._client = client
        self._max_message_size = self._wire_limit = self._whole_limit = max_message_size
        self._max_fragments = max_fragments
        self._hold_close = hold_close
        self._make_message = make_message
        self._clock = clock
        self.receiving, self.sending = _READABLE, _WRITABLE
        # Whether our CLOSE has left, and messages that come after it are discarded.
        self._is_discarding = False
        self._unparsed = b""
        self._first_byte = self._remaining = 0
        self._mask_key: Optional[bytes] = None
        self._message: Optional[DiscardedMessage] = None
        # A `bytearray` while it is not empty.
        self._outbound: Union[bytes, bytearray] = b""
        # Of the first CLOSE: ours, the peer's, or the one for its violation.
        self._close_payload = b""
        self._owed_pong: Optional[bytes] = None
        self._writing_paused = False
        self._ping_payload: Optional[bytes] = None
        self._ping_sent = 0.0
        settings = deflate if enable_compression else None
        self.compression, self.extensions_response = agree_on_deflate(peer_extensions, settings, client)
        if self.compression is not None:
            self._wire_limit = compressed_limit(max_message_size)
            # What is inflated in one piece.
            self._whole_limit = min(max_message_size, SLICE)

    # ------------------------------------------------------------------ properties

    @property
    def is_closed(self) -> bool:
        """Whether both halves have ended: this side neither reads nor sends any more."""
        return self.receiving is not _READABLE and self.sending is not _WRITABLE

    @property
    def can_send(self) -> bool:
        """Whether `send_message` may be called."""
        return self.sending is _WRITABLE

    @property
    def is_receiving(self) -> bool:
        """Whether the receiving half is open."""
        return self.receiving is _READABLE

    @property
    def close_received(self) -> bool:
        """Whether the peer's CLOSE has come."""
        return self.receiving is _PEER_CLOSED

    @property
    def has_ended(self) -> bool:
        """Whether `end` is known."""
        return self.receiving is not _READABLE or bool(self._close_payload)

    @property
    def end(self) -> Optional[WebSocketDisconnected]:
        """Code and reason of what has ended the connection; None before.

        They are those of the CLOSE that came first, ours or the peer's, or of the peer's violation; 1006 if
        the stream ended before (RFC 6455 7.1.5).
        """
        if not self.has_ended:
            return None
        if self._close_payload or self.receiving is _PEER_CLOSED:
            return WebSocketDisconnected(*parse_close_payload(self._close_payload))
        return WebSocketDisconnected(ABNORMAL_CLOSURE, "")

    @property
    def unfinished_size(self) -> int:
        """Bytes that are held of messages and frames that are not complete."""
        return len(self._unparsed) + (0 if self._message is None else self._message.size)

    @property
    def is_suspended(self) -> bool:
        """Whether parsing has stopped because ``reserve`` gave no room."""
        return self._remaining > 0 and bool(self._unparsed)

    def _step(self, input: Input) -> None:
        halves = self.receiving, self.sending
        self.receiving, self.sending = TRANSITIONS[input].get(halves, halves)

    # ------------------------------------------------------------------- receiving

    def receive_data(self, data: bytes) -> Tuple[List[Any], bytes]:
        """Parse bytes from the peer; return the events that they complete, and the bytes to write now.

        Nothing that a peer sends raises: a violation becomes an outbound CLOSE
        and one `WebSocketDisconnected`, after the events decoded before it.
        """
        # The hot loop, and so one long method: a message in a single frame that is complete is decoded here.
        # Every other frame, and every violation, is left to `_receive_frame`.
        events: List[Any] = []
        if self.receiving is not _READABLE:
            return events, b""
        if self._unparsed:
            data = self._unparsed + data
            self._unparsed = b""
        elif type(data) is not bytes:
            data = bytes(data)
        masked, mask_bit, header_size = True, MASKED, 6
        if self._client:
            masked, mask_bit, header_size = False, 0, 2
        position, end = 0, len(data)
        make_message = self._make_message
        compression = self.compression
        decoded_here = WHOLE_MESSAGE if compression is None else WHOLE_OR_COMPRESSED
        if self._is_discarding or self.trace is not None:
            decoded_here = ()
        limit = self._whole_limit
        try:
            if self._remaining:
                position = self._receive_payload(data, 0, events)
            while end - position >= 2:
                first = data[position]
                if first in decoded_here and self._message is None:
                    start = position + header_size
                    # A wrong mask bit leaves 128 or more.
                    length = data[position + 1] ^ mask_bit
                    if length > 125:
                        length = find_extended_length(data, position, length)
                        start += 2 if length < 65536 else 8
                    stop = start + length
                    if stop <= end and length <= limit:
                        payload = unmask(data, start, stop) if masked else data[start:stop]
                        if compression is not None and first & RSV1:
                            try:
                                content = inflate_message(first & 0x0F, payload, compression.inflater)
                            except CeilingReached as reached:
                                position = self._receive_rest(data, position, stop, length, reached, events)
                                continue
                        else:
                            content = payload.decode() if first == WHOLE_TEXT else bytes(payload)
                        events.append(content if make_message is None else make_message(content))
                        position = stop
                        continue
                stop = self._receive_frame(data, position, events)
                if stop < 0:
                    break
                position = stop if self.receiving is _READABLE else end
        except ProtocolViolation as violation:
            self._fail(violation, events)
        except UnicodeDecodeError:
            self._fail(InvalidUTF8("text message"), events)
        except _Suspended as suspended:
            self._unparsed = data[suspended.position :]
        else:
            if position < end:
                self._unparsed = data[position:]
        if not self._outbound:
            return events, b""
        outbound, self._outbound = bytes(self._outbound), b""
        return events, outbound

    def _receive_frame(self, data: bytes, position: int, events: List[Any]) -> int:
        """Receive a frame, or the part that has come. Return its end in ``data``; -1 if more is needed."""
        try:
            header = parse_header(
                data,
                position,
                masked=not self._client,
                rsv1_allowed=self.compression is not None,
                max_length=self._wire_limit,
            )
        except MessageTooBig:
            # The error of `parse_header` names the limit of the compressed size, not that of the message.
            raise MessageTooBig(self._max_message_size) from None
        if header is None:
            return -1
        first, length, key, start = header
        opcode = first & 0x0F
        if opcode >= CLOSE:
            stop = start + length
            if stop > len(data):
                return -1
            self._trace_frame("in", first, length)
            payload = bytes(unmask(data, start, stop)) if key else data[start:stop]
            self._receive_control(opcode, payload, events)
            return stop
        self._begin_data_frame(first, length)
        self._trace_frame("in", first, length)
        self._first_byte, self._remaining, self._mask_key = first, length, key
        return self._receive_payload(data, start, events)

    def _begin_data_frame(self, first: int, length: int) -> None:
        opcode = first & 0x0F
        message = self._message
        # RFC 6455 5.4: fragments of one message are not interleaved with another's.
        if opcode == CONTINUATION:
            if message is None:
                raise UnexpectedContinuation()
        elif message is not None:
            raise ExpectedContinuation(opcode)
        elif self._is_discarding:
            message = self._discard_message()
        else:
            inflater = self.compression.inflater if self.compression is not None and first & RSV1 else None
            message = Message(opcode, self._max_message_size, self._max_fragments, inflater)
        message.begin_frame(length)
        self._message = message

    def _receive_rest(
        self, data: bytes, position: int, stop: int, length: int, reached: CeilingReached, events: List[Any]
    ) -> int:
        """Receive a whole message that does not inflate at once as one in progress, with what is left of it.

        Its frame begins at ``position``, and its payload of ``length`` ends at ``stop``, which is returned.
        """
        first, left = data[position], reached.left
        self._begin_data_frame(first, length)
        message: Message = self._message  # type: ignore[assignment]  # nothing is discarded here
        message.keep_inflated(reached.output)
        self._first_byte, self._remaining, self._mask_key = first, left, None
        if not self._client:
            start = stop - length
            self._mask_key = _rotate(data[start - 4 : start], length - left)
        return self._receive_payload(data, stop - left, events)

    def _discard_message(self) -> DiscardedMessage:
        """Replace the next message, or the one in progress, by one that is only counted."""
        return DiscardedMessage(self._max_message_size, self._max_fragments, self._wire_limit, self._message)

    def _receive_payload(self, data: bytes, start: int, events: List[Any]) -> int:
        """Receive the part of a data frame's payload that has come. Return its end in ``data``.

        Raises `_Suspended` if there is no room for it.
        """
        stop = min(start + self._remaining, len(data))
        size, left = stop - start, 0
        message = self._message
        if message is not None and size:
            key = self._mask_key
            piece = data[start:stop] if key is None else mask_slice(data, start, stop, key)
            reserve = None if self.reserve is None else functools.partial(self._reserve, events)
            left = message.append(piece, reserve)
            size -= left
            if key is not None:
                # The next piece begins in the middle of the key.
                self._mask_key = _rotate(key, size)
        self._remaining -= size
        if left:
            raise _Suspended(start + size)
        if message is not None and not self._remaining and self._first_byte & FIN:
            content = message.finish()
            self._message = None
            if content is not None:
                events.append(content if self._make_message is None else self._make_message(content))
                if message.size > FREE_SIZE:
                    # A text may take four times the space of its bytes.
                    self._reserve(events, 0)
        return start + size

    def _reserve(self, events: List[Any], size: int) -> bool:
        # Until `receive_data` returns, nobody else knows of the messages that the same data has completed.
        return self.reserve is None or self.reserve(size + measure(events))

    def _receive_control(self, opcode: int, payload: bytes, events: List[Any]) -> None:
        if opcode == CLOSE:
            code, reason = parse_close_payload(payload)
            # RFC 6455 5.5.1: an endpoint that has not sent a CLOSE answers with one.
            self._end_receiving(_PEER_CLOSE, payload)
            events.append(WebSocketDisconnected(code, reason))
        elif opcode == PING:
            # RFC 6455 5.5.2 and 5.5.3: answer until a CLOSE was received, even after our own; while the peer
            # does not read, only the newest PING.
            if self._writing_paused:
                self._owed_pong = payload
            else:
                self._answer(self._build_control_frame(PONG, payload))
        elif payload == self._ping_payload:
            self._ping_payload = None
            if self._clock is not None:
                self.note_latency(self._clock() - self._ping_sent)

    def note_latency(self, seconds: float) -> None:
        """Keep the time between a PING and its PONG; a subclass may do more with it."""
        self.latency = seconds

    def _fail(self, violation: ProtocolViolation, events: List[Any]) -> None:
        # RFC 6455 7.1.7: send a CLOSE with the status that says why, and process nothing more.
        code, reason = violation.close_code, str(violation)
        self._end_receiving(_VIOLATION, build_close_payload(code, reason))
        events.append(WebSocketDisconnected(code, reason))

    def _end_receiving(self, input: Input, close_payload: bytes) -> None:
        """End the receiving half. Our CLOSE, unless it was sent before, gets ``close_payload``."""
        self._step(input)
        self._message = None
        if self.sending is _WRITABLE:
            self._close_payload = close_payload
            if not self._hold_close:
                self._answer(self.close())

    def _answer(self, frame: bytes) -> None:
        if self._outbound:
            self._outbound += frame
        else:
            self._outbound = bytearray(frame)

    def receive_eof(self) -> List[Any]:
        """End both halves with the stream; return `WebSocketDisconnected` (1006), unless one was returned."""
        was_receiving = self.receiving is _READABLE
        self._step(_STREAM_END)
        # Free a message in progress, which may be large: the application may keep this object.
        self._message, self._unparsed = None, b""
        # RFC 6455 7.1.5: without a CLOSE from the peer the code is 1006.
        return [WebSocketDisconnected(ABNORMAL_CLOSURE, "")] if was_receiving else []

    # --------------------------------------------------------------------- sending

    def send_message(self, data: Union[str, bytes]) -> bytes:
        """One whole message as one frame: `str` is text, `bytes` (or bytearray, memoryview) binary.

        Raises `EventError` for another type or a lone surrogate, `StateError`
        after a CLOSE.
        """
        header, payload = self.send_message_parts(data)
        return header + payload

    def send_message_parts(self, data: Union[str, bytes]) -> Tuple[bytes, Union[bytes, bytearray]]:
        """As `send_message`, but the header, with the masking key of a client, and the payload apart."""
        if self.sending is not _WRITABLE:
            raise StateError("the connection is closing: nothing can be sent after a CLOSE")
        if isinstance(data, str):
            first = WHOLE_TEXT
            try:
                payload = data.encode()
            except UnicodeEncodeError:
                raise EventError("text has a lone surrogate, which UTF-8 cannot carry") from None
        elif isinstance(data, (bytes, bytearray, memoryview)):
            first = WHOLE_BINARY
            payload = bytes(data)
        else:
            raise EventError(f"a message must be str or bytes, not {type(data).__name__}")
        if self.compression is not None and len(payload) >= self.compression.threshold:
            payload = self.compression.deflater.deflate(payload)
            first |= RSV1
        length = len(payload)
        if self.trace is not None:
            self._trace_frame("out", first, length)
        if self._client:
            return build_masked_frame(first, payload)
        return SMALL_HEADERS[first][length] if length < 126 else build_frame_header(first, length), payload

    def ping(self, payload: Optional[bytes] = None) -> bytes:
        """A PING (RFC 6455 5.5.2) of up to 125 bytes; the PONG to the last one sets `latency`.

        Without ``payload`` it has four random bytes, so that no peer can answer
        in advance. Returns ``b""`` once a CLOSE was sent or received.
        """
        if not (self.is_receiving and self.can_send):
            return b""
        if payload is None:
            payload = os.urandom(4)
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise EventError(f"a PING carries at most {MAX_CONTROL_PAYLOAD} bytes, not {len(payload)}")
        self._ping_payload = payload
        if self._clock is not None:
            self._ping_sent = self._clock()
        return self._build_control_frame(PING, payload)

    def close(self, code: int = 1000, reason: str = "", *, discard: bool = True) -> bytes:
        """End the sending half: begin the closing handshake, or send the answer that was held.

        Returns the CLOSE to write, or ``b""`` if the half has ended already.
        ``code`` and ``reason`` count only if this side closes first.
        ``discard``: messages that still come are discarded, but their limits
        hold; with False they are delivered until the peer's CLOSE.

        Raises `EventError` for a code that cannot be sent or a reason of over
        123 bytes of UTF-8.
        """
        if self.sending is not _WRITABLE:
            return b""
        if self.receiving is _READABLE:
            self._close_payload = build_close_payload(code, reason)
            self._is_discarding = discard
            if discard and self._message is not None:
                self._message = self._discard_message()
        self._step(_OUR_CLOSE)
        return self._build_control_frame(CLOSE, self._close_payload)

    def pause_writing(self) -> None:
        """Note that the peer does not read: from now on only the newest PING will be answered."""
        self._writing_paused = True

    def resume_writing(self) -> bytes:
        """Note that the peer reads again. Returns the PONG that is owed, or ``b""``."""
        self._writing_paused = False
        payload, self._owed_pong = self._owed_pong, None
        if payload is None or self.receiving is not _READABLE:
            return b""
        return self._build_control_frame(PONG, payload)

    def _build_control_frame(self, opcode: int, payload: bytes) -> bytes:
        self._trace_frame("out", FIN | opcode, len(payload))
        return build_frame(opcode, payload, mask=self._client)

    def _trace_frame(self, direction: str, first: int, length: int) -> None:
        if self.trace is not None:
            self.trace(direction, first & 0x0F, first >= FIN, first & RSV1 != 0, length)


def _rotate(key: bytes, size: int) -> bytes:
    """The masking key of what follows ``size`` bytes."""
    return key[size & 3 :] + key[: size & 3]
