"""A stream of frames, read as RFC 6455 and RFC 7692 say: slowly, and by nothing that wsbridge is made of.

Where the standard is silent on *when* a fault is told (it only says that the connection fails), a reading
without switches is told as soon as the bytes that decide it are there, in the order of the header's fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import FrozenSet, List, Optional, Tuple

from ..lib import wire
from ..lib.wire import CLOSE, CONTINUATION, FIN, PING, RSV1, SENDABLE_CODES, TEXT, apply_mask
from .cases import FrameCase, Message, Outcome, Sent, Transcript
from .inflating import CannotInflate, Inflater, TooBig
from .rulings import LostItsWay, Reading

OPEN, CLOSING, OVER = range(3)

SURROGATE_BEGUN = re.compile(rb"\xed[\xa0-\xbf]")


class IsLate(Exception):
    """A fault that this peer tells when it likes, if the rest of the frame comes at all."""


class Violation(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class FrameInProgress:
    """A frame whose header was read."""

    first: int
    length: int
    key: Optional[bytes]
    taken: int = 0

    @property
    def opcode(self) -> int:
        return self.first & 15


@dataclass
class MessageInProgress:
    is_text: bool
    inflater: Optional[Inflater]  # None for one that is not compressed
    is_discarded: bool
    content: bytes = b""
    undecided: bytes = b""  # the end of a text: a character that has begun, or what is none
    wire_size: int = 0


class FrameReading(Reading):
    def __init__(self, case: FrameCase, peer: str = "", granted: FrozenSet[str] = frozenset()) -> None:
        super().__init__(peer, granted)
        self._case = case
        self._state = OPEN
        self._is_lost = self._is_late = False
        self._data = b""
        self._frame: Optional[FrameInProgress] = None
        self._message: Optional[MessageInProgress] = None
        self._inflater: Optional[Inflater] = None
        # Deflate makes incompressible data a little larger: what a message may have on the wire.
        self._wire_limit = case.limit
        if case.deflate is not None:
            self._inflater = Inflater(self.peer, *case.deflate.get_side(not case.client), self.deviates)
            self._wire_limit = case.limit + case.limit // 8 + 64
        self._messages: List[Message] = []
        self._sent: List[Sent] = []
        self._received: Optional[Tuple[int, str]] = None
        self._run()
        self.outcome = Transcript(tuple(self._messages), tuple(self._sent), self._received)

    def explains(self, outcome: Outcome) -> bool:
        if not (self._is_lost or self._is_late) or not isinstance(outcome, Transcript):
            return super().explains(outcome)
        messages, sent = outcome.messages[: len(self._messages)], outcome.sent[: len(self._sent)]
        # Without the last part: whether our own CLOSE repeats the peer's is not known here.
        is_sent = [entry[:2] for entry in sent] == [entry[:2] for entry in self._sent]
        is_begun = is_sent and messages == tuple(self._messages) and not outcome.trouble
        return is_begun and (self._is_lost or self._has_failed(outcome))

    def _has_failed(self, outcome: Transcript) -> bool:
        """Whether nothing but a CLOSE, of whatever code, comes behind what is known here."""
        rest = outcome.sent[len(self._sent) :]
        return len(outcome.messages) == len(self._messages) and [kind for kind, *_ in rest] in ([], ["close"])

    def _run(self) -> None:
        for number, piece in enumerate(self._case.pieces):
            if number == self._case.close_before and self._state == OPEN:
                self._sent.append(("close", 1000, False))
                self._state = CLOSING
                if self._message is not None and not self._is_read_on():
                    self._message.is_discarded = True
            self._read(piece)
        if self._received == (1000, ""):
            # Our own CLOSE 1000 turned out to be the same as the peer's.
            self._sent = [("close", 1000, True) if e == ("close", 1000, False) else e for e in self._sent]

    def _is_read_on(self) -> bool:
        """Whether messages are still delivered after our own CLOSE."""
        return self.deviates(f"{self.peer}-after-own-close")

    def _read(self, data: bytes) -> None:
        self._data += data
        try:
            while self._state != OVER and (self._frame is not None or self._begin_frame()):
                if not self._continue_frame():
                    break
        except Violation as violation:
            if self._state == OPEN:
                self._sent.append(("close", violation.code, False))
            self._state = OVER
        except (LostItsWay, IsLate) as error:
            self._is_lost, self._is_late = isinstance(error, LostItsWay), isinstance(error, IsLate)
            self._state = OVER

    # --------------------------------------------------------------------------------- headers

    def _begin_frame(self) -> bool:
        """Whether a header is complete, and the payload may be looked at."""
        data = self._data
        if len(data) < 2:
            return False
        first, second = data[0], data[1]
        size = {126: 4, 127: 10}.get(second & 0x7F, 2)
        if not self._check_first_bytes(first, second, len(data) < size) or len(data) < size:
            return False
        length = second & 0x7F if size == 2 else int.from_bytes(data[2:size], "big")
        opcode = first & 15
        if opcode < CLOSE:
            self._check_length(length, size)
        self._check_limit(opcode, length)
        start = size + (4 if second & 0x80 else 0)
        if len(data) < start:
            return False
        frame = FrameInProgress(first, length, data[size:start] or None)
        if opcode < CLOSE:
            self._begin_data_frame(frame)
        self._data = data[start:]
        self._frame = frame
        return True

    def _check_first_bytes(self, first: int, second: int, is_cut: bool) -> bool:
        """Whether the header may be read on; else raises."""
        opcode, rsv = first & 15, first & 0x70
        if opcode not in (0, 1, 2, 8, 9, 10):
            raise Violation(1002)
        # RFC 6455 5.2: reserved bits MUST be 0 unless an extension gives them a meaning; RFC 7692 6: RSV1
        # is for the first frame of a data message.
        has_rsv = bool(rsv) and not (rsv == RSV1 and self._inflater is not None and opcode in (1, 2))
        # RFC 6455 5.1: a client masks, a server does not.
        has_mask = bool(second & 0x80) is self._case.client
        # RFC 6455 5.5: not fragmented, and 125 bytes at most.
        is_fragmented = opcode >= CLOSE and first < FIN
        is_long = opcode >= CLOSE and second & 0x7F > 125
        if not (has_rsv or has_mask or is_fragmented or is_long):
            return True
        if not (has_rsv or has_mask or is_fragmented) and self.peer == "websockets":
            # It counts a control frame's payload when it is there, not the form of its length.
            length = int.from_bytes(self._data[2 : 4 if second & 0x7F == 126 else 10], "big")
            if (is_cut or length < 126) and self.deviates("websockets-long-length"):
                return not is_cut
        if self.deviates("wsproto-late-faults") or (
            not has_mask and self.deviates("websockets-whole-frames")
        ):
            raise IsLate
        raise Violation(1002)

    def _get_room(self) -> int:
        """How many bytes a frame may still have."""
        return self._case.limit - (len(self._message.content) if self._message else 0)

    def _check_length(self, length: int, size: int) -> None:
        # RFC 6455 5.2: the minimal number of bytes MUST be used; the top bit of 64 MUST be 0.
        if (size == 4 and length < 126) or (size == 10 and length < 65536):
            if not self.deviates("websockets-long-length"):
                raise Violation(1002)
        elif length >> 63 and not self.deviates("websockets-top-bit"):
            raise Violation(1002)

    def _check_limit(self, opcode: int, length: int) -> None:
        kind = "control" if opcode >= CLOSE else "header"
        if length > self._get_room() and self.deviates(f"websockets-limit-{kind}"):
            raise Violation(1009)
        if opcode < CLOSE and length > self._wire_limit:
            self._fail(1009, "wsproto-no-limit")

    def _begin_data_frame(self, frame: FrameInProgress) -> None:
        """RFC 6455 5.4: whether the frame may come now; else raises."""
        if (frame.opcode == CONTINUATION) is (self._message is None):
            if self.deviates("wsproto-late-faults") or self.deviates("websockets-whole-frames"):
                raise IsLate
            raise Violation(1002)
        if frame.opcode != CONTINUATION:
            is_discarded = self._state == CLOSING and not self._is_read_on()
            inflater = self._inflater if frame.first & RSV1 else None
            self._message = MessageInProgress(frame.opcode == TEXT, inflater, is_discarded)
        if self._message is not None:
            self._count(self._message, frame.length)

    def _count(self, message: MessageInProgress, length: int) -> None:
        message.wire_size += length
        may_grow = message.inflater is not None or message.is_discarded
        if message.wire_size > (self._wire_limit if may_grow else self._case.limit):
            self._fail(1009, "wsproto-no-limit", "websockets-no-wire-limit" if message.inflater else "")

    def _fail(self, code: int, *names: str) -> None:
        """Raise `Violation`, unless it is known that the peer lets this pass."""
        raise LostItsWay if any(map(self.deviates, names)) else Violation(code)

    # -------------------------------------------------------------------------------- payloads

    def _continue_frame(self) -> bool:
        """Take what is here of the payload; False while the frame is incomplete."""
        frame = self._frame
        assert frame is not None
        missing = frame.length - frame.taken
        is_cut = len(self._data) < missing
        if is_cut and (frame.opcode >= CLOSE or self.deviates("websockets-whole-frames")):
            return False
        piece, self._data = self._data[:missing], self._data[missing:]
        if frame.key is not None:
            turn = frame.taken & 3
            piece = apply_mask(piece, frame.key[turn:] + frame.key[:turn])
        frame.taken += len(piece)
        self._frame = frame if is_cut else None
        if frame.opcode >= CLOSE:
            self._take_control(frame.opcode, piece)
        elif self._message is not None and (piece or not is_cut):
            self._take_data(self._message, piece, not is_cut and frame.first >= FIN)
        return not is_cut

    def _take_data(self, message: MessageInProgress, piece: bytes, is_last: bool) -> None:
        if is_last:
            self._message = None
        if message.is_discarded:
            return
        content = piece
        if message.inflater is not None:
            content = self._inflate(message.inflater, piece, self._case.limit - len(message.content), is_last)
        message.content += content
        if message.is_text:
            self._check_text(message, content, is_last)
        if is_last:
            self._messages.append(message.content.decode() if message.is_text else message.content)

    def _inflate(self, inflater: Inflater, piece: bytes, room: int, is_last: bool) -> bytes:
        try:
            return inflater.inflate(piece, room, is_last)
        except TooBig:
            raise Violation(1009) from None
        except CannotInflate:
            # RFC 6455 7.4.1: 1007 is for data that is not consistent with the type of the message.
            raise Violation(1002 if self.deviates("websockets-inflate-code") else 1007) from None

    def _check_text(self, message: MessageInProgress, content: bytes, is_last: bool) -> None:
        """RFC 6455 8.1: the connection fails when the text is found not to be UTF-8."""
        rest = message.undecided = wire.find_undecided(message.undecided + content)
        if not rest or (not is_last and (wire.has_begun(rest) or not content)):
            return
        if not is_last and self.deviates("websockets-whole-text"):
            return
        if not is_last and SURROGATE_BEGUN.fullmatch(rest) and self.deviates("wsproto-surrogate"):
            return
        raise Violation(1007)

    # --------------------------------------------------------------------------------- control

    def _take_control(self, opcode: int, payload: bytes) -> None:
        message = self._message
        if opcode == CLOSE:
            self._take_close(payload)
        # RFC 6455 5.5.2: answered "unless it already received a Close frame".
        elif opcode == PING and (self._state == OPEN or not self.deviates("wsproto-no-pong-after-own-close")):
            self._sent.append(("pong", payload))
        if message and message.inflater and self.deviates("wsproto-control-in-compressed"):
            raise LostItsWay

    def _take_close(self, payload: bytes) -> None:
        self._received = self._parse_close(payload)
        if self._message is not None and self.deviates("websockets-close-in-message"):
            raise Violation(1002)
        # RFC 6455 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame,
        # the endpoint MUST send a Close frame in response."
        if self._state == OPEN:
            code = self._received[0]
            self._sent.append(("close", None if code == 1005 else code, True))
        self._state = OVER

    def _parse_close(self, payload: bytes) -> Tuple[int, str]:
        """Code and reason (RFC 6455 5.5.1); 1005 where there is none (7.1.5)."""
        if not payload:
            return 1005, ""
        code = int.from_bytes(payload[:2], "big")
        is_bad = len(payload) == 1 or code not in SENDABLE_CODES
        is_bad = is_bad or (code == 1014 and self.deviates("wsproto-1014"))
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            raise Violation(
                1002 if is_bad and not self.deviates("websockets-reason-first") else 1007
            ) from None
        if is_bad:
            raise Violation(1002)
        return code, reason
