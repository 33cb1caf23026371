"""A stream of frames, read as RFC 6455 and RFC 7692 say: slowly, and by nothing that wsbridge is made of.

A reading has switches, one for each ruling (rulings.py): a place where an implementation departs from the
standard, or takes another of the ways it leaves open. With no switch it is what wsbridge must do; with the
switches of a peer it is, to the byte, what that peer does. That is how a disagreement is explained: not
because it looks like a known one, but because the known departure alone produces this very transcript.

Where the standard is silent on *when* a fault is told (it only says that the connection fails), a reading
without switches is told as soon as the bytes that decide it are there, in the order of the header's fields.
"""

from __future__ import annotations

from typing import FrozenSet, List, Optional, Set, Tuple

from ..lib.wire import CLOSE, CONTINUATION, PING, TEXT, apply_mask
from .cases import Case, Message, Sent, Transcript
from .inflating import UNLIMITED, CannotInflate, Inflater, TooBig
from .parts import FrameInProgress, MessageInProgress, Violation, parse_close
from .utf8 import NotUTF8

OPEN, CLOSING, OVER = range(3)


class Reading:
    """peer: whose switches may be followed, "" for none; granted: the switches; met: those that mattered."""

    def __init__(self, case: Case, peer: str = "", granted: FrozenSet[str] = frozenset()) -> None:
        self._case = case
        self._peer = peer
        self._granted = granted
        self.met: Set[str] = set()
        self._state = OPEN
        self._data = b""
        self._frame: Optional[FrameInProgress] = None
        self._message: Optional[MessageInProgress] = None
        self._inflater: Optional[Inflater] = None
        # Deflate makes incompressible data a little larger: what a message may have on the wire.
        self._wire_limit = case.limit
        if case.deflate is not None:
            bits, no_takeover = case.deflate.get_peer_side(case.client)
            self._inflater = Inflater(peer, bits, no_takeover, self._deviates)
            self._wire_limit = case.limit + case.limit // 8 + 64
        self._messages: List[Message] = []
        self._sent: List[Sent] = []
        self._received: Optional[Tuple[int, str]] = None
        self._received_payload: Optional[bytes] = None
        self._run()
        self.transcript = Transcript(tuple(self._messages), tuple(self._sent), self._received)

    def _deviates(self, name: str) -> bool:
        """Asked only where the answer matters."""
        if name not in self._granted:
            return False
        self.met.add(name)
        return True

    def _run(self) -> None:
        for number, piece in enumerate(self._case.pieces):
            if number == self._case.close_before and self._state == OPEN:
                self._sent.append(("close", 1000, False))
                self._state = CLOSING
                self._discard_message()
            self._read(piece)
        if self._received_payload is not None:
            echo = self._received_payload
            self._sent = [self._mark_echo(entry, echo) for entry in self._sent]

    def _mark_echo(self, entry: Sent, echo: bytes) -> Sent:
        if entry == ("close", 1000, False) and echo == b"\x03\xe8":
            return ("close", 1000, True)
        return entry

    def _discard_message(self) -> None:
        if self._message is not None and not self._is_read_on():
            self._message.is_discarded = True

    def _is_read_on(self) -> bool:
        """Whether messages are still delivered after our own CLOSE."""
        return self._peer != "" and self._deviates(f"{self._peer}-after-own-close")

    def _read(self, data: bytes) -> None:
        self._data += data
        try:
            while self._state != OVER:
                if self._frame is None and not self._begin_frame():
                    break
                if not self._continue_frame():
                    break
        except Violation as violation:
            if self._state == OPEN:
                self._sent.append(("close", violation.code, False))
            self._state = OVER

    # --------------------------------------------------------------------------------- headers

    def _begin_frame(self) -> bool:
        data = self._data
        if len(data) < 2:
            return False
        first, second = data[0], data[1]
        size = {126: 4, 127: 10}.get(second & 0x7F, 2)
        fault = self._check_first_bytes(first, second, len(data) < size)
        if fault is None or len(data) < size:
            return False
        length = second & 0x7F if size == 2 else int.from_bytes(data[2:size], "big")
        if first & 15 < CLOSE or size == 2 or fault:
            self._check_length(length, size)
        self._check_header_limit(first & 15, length)
        start = size + (4 if second & 0x80 else 0)
        if len(data) < start:
            return False
        key = data[size:start] if second & 0x80 else None
        frame = FrameInProgress(first, length, key, fault)
        if frame.opcode < CLOSE and not fault and not self._begin_data_frame(frame, data[start:]):
            return False
        self._data = data[start:]
        self._frame = frame
        return True

    def _check_first_bytes(self, first: int, second: int, is_cut: bool) -> Optional[bool]:
        """False without a fault, True for one to be told later, None to wait; else raises."""
        opcode, rsv = first & 15, first & 0x70
        # RFC 6455 5.2: reserved bits MUST be 0 unless an extension gives them a meaning; RFC 7692 6: RSV1
        # is for the first frame of a data message.
        has_rsv = bool(rsv) and not (rsv == 0x40 and self._inflater is not None and opcode in (1, 2))
        # RFC 6455 5.1: a client masks, a server does not.
        has_mask = bool(second & 0x80) is self._case.client
        # RFC 6455 5.5: 125 bytes at most, and not fragmented.
        has_control = opcode >= CLOSE and (first < 0x80 or second & 0x7F > 125)
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise Violation(1002)
        if self._peer == "websockets" and has_control and not has_rsv and not has_mask and first >= 0x80:
            return self._check_long_control(second, is_cut)
        if (
            self._peer == "wsproto"
            and is_cut
            and (has_rsv or has_mask)
            and not has_control
            and self._deviates("wsproto-late-faults")
        ):
            return None
        if not (has_rsv or has_mask or has_control):
            return False
        if self._peer == "websockets" and not has_mask and self._deviates("websockets-whole-frames"):
            return True
        raise Violation(1002)

    def _check_long_control(self, second: int, is_cut: bool) -> Optional[bool]:
        """websockets counts a control frame's payload when it is there, not the form of its length."""
        size = 4 if second & 0x7F == 126 else 10
        length = int.from_bytes(self._data[2:size], "big")
        if not is_cut and length < 126 and self._deviates("websockets-long-length"):
            return False
        if not is_cut and length > self._get_room() and self._deviates("websockets-limit-control"):
            raise Violation(1009)
        if not self._deviates("websockets-whole-frames"):
            raise Violation(1002)
        return None if is_cut else True

    def _get_room(self) -> int:
        """How many bytes a frame may still have."""
        return self._case.limit - (len(self._message.content) if self._message else 0)

    def _check_length(self, length: int, size: int) -> None:
        # RFC 6455 5.2: the minimal number of bytes MUST be used; the top bit of 64 MUST be 0.
        if (size == 4 and length < 126) or (size == 10 and length < 65536):
            if not self._deviates("websockets-long-length"):
                raise Violation(1002)
        elif length >> 63 and not self._deviates("websockets-top-bit"):
            raise Violation(1002)

    def _check_header_limit(self, opcode: int, length: int) -> None:
        is_over = self._peer == "websockets" and length > self._get_room()
        if is_over and self._is_limited_by_websockets(opcode):
            raise Violation(1009)
        if (
            opcode < CLOSE
            and length > (self._case.limit if self._inflater is None else self._wire_limit)
            and not self._deviates("wsproto-no-limit")
        ):
            raise Violation(1009)

    def _is_limited_by_websockets(self, opcode: int) -> bool:
        return self._deviates("websockets-limit-control" if opcode >= CLOSE else "websockets-limit-header")

    def _begin_data_frame(self, frame: FrameInProgress, rest: bytes) -> bool:
        """RFC 6455 5.4: whether the frame may come now; False to wait."""
        if (frame.opcode == CONTINUATION) is (self._message is None):
            if (
                self._peer == "wsproto"
                and frame.length
                and not rest
                and self._deviates("wsproto-late-faults")
            ):
                return False
            if self._peer == "websockets" and self._deviates("websockets-whole-frames"):
                frame.fault = True
                return True
            if self._peer == "wsproto":
                self._inflate_as_wsproto(frame, rest)
            raise Violation(1002)
        if frame.opcode != CONTINUATION:
            is_discarded = self._state == CLOSING and not self._is_read_on()
            is_compressed = frame.rsv1 and self._inflater is not None
            self._message = MessageInProgress(frame.opcode == TEXT, is_compressed, is_discarded)
            if is_compressed and self._inflater is not None and not is_discarded:
                self._inflater.begin_message()
        self._count(frame)
        return True

    def _inflate_as_wsproto(self, frame: FrameInProgress, rest: bytes) -> None:
        """wsproto inflates what there is of a frame before it asks whether the frame may come now."""
        message = self._message
        if message is None or self._inflater is None:
            return
        if not message.is_compressed and not (message.was_interrupted and frame.rsv1):
            return
        piece = rest[: frame.length]
        try:
            self._inflater.feed(apply_mask(piece, frame.key) if frame.key else piece, UNLIMITED)
            if frame.fin and len(piece) == frame.length:
                self._inflater.finish_message()
        except CannotInflate:
            if self._deviates("wsproto-late-faults"):
                raise Violation(1007) from None

    def _count(self, frame: FrameInProgress) -> None:
        message = self._message
        if message is None:
            return
        message.was_interrupted = False
        message.wire_size += frame.length
        may_grow = self._inflater is not None and (message.is_compressed or message.is_discarded)
        limit = self._wire_limit if may_grow else self._case.limit
        if message.wire_size <= limit or self._deviates("wsproto-no-limit"):
            return
        if message.is_compressed and self._deviates("websockets-no-wire-limit"):
            return
        raise Violation(1009)

    # -------------------------------------------------------------------------------- payloads

    def _continue_frame(self) -> bool:
        """Take what is here of the payload; False while the frame is incomplete."""
        frame = self._frame
        if frame is None:
            return False
        available = len(self._data)
        missing = frame.length - frame.taken
        is_cut = available < missing
        if is_cut and (frame.opcode >= CLOSE or frame.fault or self._waits_for_all()):
            return False
        piece, self._data = self._data[:missing], self._data[missing:]
        if frame.key is not None:
            turn = frame.taken & 3
            piece = apply_mask(piece, frame.key[turn:] + frame.key[:turn])
        frame.taken += len(piece)
        is_complete = frame.taken == frame.length
        if frame.fault:
            self._tell_late(frame, piece)
        if frame.opcode >= CLOSE:
            self._frame = None
            self._take_control(frame, piece)
            return True
        self._take_data(frame, piece, is_complete)
        if is_complete:
            self._frame = None
        return is_complete

    def _waits_for_all(self) -> bool:
        return self._peer == "websockets" and self._deviates("websockets-whole-frames")

    def _tell_late(self, frame: FrameInProgress, payload: bytes) -> None:
        """websockets inflates a frame, and meets the limit there, before it looks at what else is wrong."""
        message, inflater = self._message, self._inflater
        begins = frame.opcode in (1, 2) and frame.rsv1
        goes_on = (
            frame.opcode == CONTINUATION and message is not None and message.is_compressed and not frame.rsv1
        )
        if inflater is not None and (begins or goes_on):
            room = self._get_room()
            if begins:
                inflater.begin_message()
            try:
                if inflater.feed_whole(payload, room, frame.fin) is None:
                    room -= len(inflater.feed(payload, room))
                    if frame.fin:
                        inflater.finish_message(len(payload), room)
            except TooBig:
                raise Violation(1009) from None
            except CannotInflate:
                pass
        raise Violation(1002)

    def _take_data(self, frame: FrameInProgress, piece: bytes, is_complete: bool) -> None:
        message = self._message
        if message is None:
            return
        is_last = is_complete and frame.fin
        if not message.is_discarded:
            content = piece
            if message.is_compressed and (piece or is_complete):
                content = self._inflate(message, piece, is_last)
            message.content += content
            if message.is_text:
                self._check_text(message, content, is_last)
        if is_last:
            self._message = None
            if not message.is_discarded:
                text = message.content.decode() if message.is_text else None
                self._messages.append(message.content if text is None else text)

    def _inflate(self, message: MessageInProgress, piece: bytes, is_last: bool) -> bytes:
        inflater = self._inflater
        if inflater is None:
            return piece
        room = self._case.limit - len(message.content)
        try:
            if self._peer == "websockets":
                whole = inflater.feed_whole(piece, room, is_last)
                if whole is not None:
                    return whole
            content = inflater.feed(piece, room)
            if is_last:
                content += inflater.finish_message(len(piece), room - len(content))
        except TooBig:
            raise Violation(1009) from None
        except CannotInflate:
            # RFC 6455 7.4.1: 1007 is for data that is not consistent with the type of the message.
            raise Violation(1002 if self._deviates("websockets-inflate-code") else 1007) from None
        return content

    def _check_text(self, message: MessageInProgress, content: bytes, is_last: bool) -> None:
        # RFC 6455 8.1: the connection fails when the text is found not to be UTF-8.
        try:
            message.utf8.feed(content)
            if is_last:
                message.utf8.finish()
        except NotUTF8 as error:
            if not is_last and self._deviates("websockets-whole-text"):
                return
            if not is_last and error.is_surrogate_lead and self._deviates("wsproto-surrogate"):
                return
            raise Violation(1007) from None

    # --------------------------------------------------------------------------------- control

    def _take_control(self, frame: FrameInProgress, payload: bytes) -> None:
        message = self._message
        if message is not None and message.is_compressed and self._deviates("wsproto-control-in-compressed"):
            message.is_compressed = False
        if message is not None:
            message.was_interrupted = True
        if frame.opcode == CLOSE:
            self._take_close(payload)
        # RFC 6455 5.5.2: answered "unless it already received a Close frame".
        elif frame.opcode == PING and (
            self._state == OPEN or not self._deviates("wsproto-no-pong-after-own-close")
        ):
            self._sent.append(("pong", payload))

    def _take_close(self, payload: bytes) -> None:
        code, reason = parse_close(payload, self._deviates)
        self._received, self._received_payload = (code, reason), payload
        if self._message is not None and self._deviates("websockets-close-in-message"):
            raise Violation(1002)
        # RFC 6455 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame,
        # the endpoint MUST send a Close frame in response."
        if self._state == OPEN:
            self._sent.append(("close", None if code == 1005 else code, True))
        self._state = OVER
