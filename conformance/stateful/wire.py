"""A TCP connection without a network: the server's transport, and the peer's end of it in the machine's hand.

It keeps what asyncio's selector transports and a kernel do, the unpleasant part too: a socket that is closed
while the peer's bytes are unread, or gets some afterwards, is reset, and what the peer has not read is lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Callable, Optional, Tuple

from .loop import NEVER, ManualLoop

__all__ = ["Abort", "Wire"]

# asyncio logs every write from this one on to a connection that is lost.
WRITES_UNTIL_WARNING = 5


@dataclass(frozen=True)
class Abort:
    """How things stood when the server aborted the connection."""

    time: float
    #: For how long the peer had taken nothing of what was written; None: it had taken all.
    stalled: Optional[float]
    #: Whether something of the peer's lay there unread, because the server had stopped reading.
    is_deaf: bool
    #: Whether the server had read the end of the peer's stream.
    was_eof_read: bool
    #: Whether the server had ended its own.
    has_ended: bool


class Wire(asyncio.Transport):
    """``window``: what the kernels hold of the server's bytes while the peer does not read."""

    #: As asyncio's socket transports have it: how much is read at once.
    max_size = 256 * 1024

    def __init__(self, loop: ManualLoop, peer: Any, *, window: int, is_tls: bool) -> None:
        super().__init__()
        self.loop = loop
        self._peer = peer
        self._window = window
        self._is_tls = is_tls
        self._protocol: Any = None
        # The server's side.
        self.is_paused = False
        self.is_protocol_paused = False
        #: How often the protocol was told to write on.
        self.resumptions = 0
        self.aborted: Optional[Abort] = None
        self.is_lost = False
        self._is_closing = False
        self._eof_asked = False
        #: Writes since the loss, as asyncio counts them: the loss itself is the first.
        self._losses = 0
        self.buffer = bytearray()
        self._high, self._low = 64 * 1024, 16 * 1024
        #: When the peer last took something, or nothing waited.
        self.progress_at = loop.time()
        # The peer's side.
        self.in_flight = bytearray()
        self._fin_in_flight = False
        self.is_peer_reading = True
        self.is_peer_closed = False
        self.is_dead = False
        self.is_reset = False
        self.inbound = bytearray()
        self.inbound_eof = False
        self.is_eof_told = False
        #: When the server first read the end of the peer's stream.
        self.eof_at = NEVER
        #: Bytes that reached a protocol.
        self.delivered = 0
        self.on_delivery: Callable[[int], None] = lambda size: None
        self.on_write: Callable[[bytes], None] = lambda data: None

    # ------------------------------------------------------------ what the peer does

    def send_from_peer(self, data: bytes) -> None:
        if self.is_lost and data:
            self._answer_with_reset()
        elif not self.is_dead and not self.is_reset:
            self.inbound += data

    @property
    def can_deliver(self) -> bool:
        """Whether the server's loop would find something to read."""
        is_reading = not (self.is_paused or self._is_closing or self.is_dead or self.is_reset)
        return is_reading and bool(self.inbound or (self.inbound_eof and not self.is_eof_told))

    def deliver(self, size: Optional[int] = None) -> None:
        """The server reads ``size`` bytes, None: all; the end of the stream is a read of its own."""
        if not self.can_deliver:
            return
        if self.inbound:
            data = bytes(self.inbound[: self.max_size if size is None else size])
            del self.inbound[: len(data)]
            # Before CPython 3.11 TLS hands over all that it has decrypted, and the end, paused or not.
            half = len(data) // 2 if self._is_tls else 0
            for record in (data[:half], data[half:]):
                if record and not self.is_lost:
                    self.delivered += len(record)
                    self.on_delivery(len(record))
                    self._protocol.data_received(record)
            if self._is_tls and not self.inbound and self.inbound_eof and not self._is_closing:
                self._tell_eof()
        else:
            self._tell_eof()

    def _tell_eof(self) -> None:
        self.is_eof_told = True
        self.eof_at = min(self.eof_at, self.loop.mark())
        stays_open = self._protocol.eof_received()
        if self._is_tls or not stays_open:
            self.close()

    def half_close(self) -> None:
        self.inbound_eof = True

    def close_peer(self) -> None:
        """The peer closes its socket: it reads nothing more, and is reset by what still comes."""
        self.inbound_eof = True
        self.is_peer_closed = True
        unread = bool(self.in_flight)
        self.in_flight.clear()
        if unread or self.buffer:
            self.reset()

    def reset(self) -> None:
        """The peer's reset arrives; the server notices when it reads, or writes."""
        if self.is_dead:
            return
        self.is_peer_closed = True
        if self.is_lost:
            return
        self.is_reset = True
        self.inbound.clear()
        self.in_flight.clear()
        self._notice_reset()

    def _notice_reset(self) -> None:
        if self.buffer or not (self.is_paused or self._is_closing):
            self._force_close(ConnectionResetError("reset by the peer"))

    def vanish(self) -> None:
        """From now on nothing arrives, on neither side."""
        self.is_dead = True

    def take(self, size: int) -> None:
        """The peer reads ``size`` bytes of what waits."""
        while size > 0 and self.in_flight and not self.is_dead:
            data = bytes(self.in_flight[:size])
            del self.in_flight[: len(data)]
            size -= len(data)
            self._peer.receive(data)
            self._write_ready()
        self._tell_fin()

    def read_on(self) -> None:
        """The peer reads whatever waits, and from now on whatever comes."""
        self.is_peer_reading = True
        if not self.is_dead:
            self._write_ready()
            self.take(1 << 40)

    @property
    def is_disturbed(self) -> bool:
        """Whether the peer has left without hearing all."""
        return self.is_peer_closed or self.is_dead

    # -------------------------------------------------------------------- the kernel

    def _push(self, data: bytearray) -> int:
        """Hand bytes to the kernel; how many it takes."""
        if self.is_peer_closed:
            self.is_reset = True
            return len(data)
        if self.is_peer_reading and not self.is_dead and not self.in_flight:
            self._peer.receive(bytes(data))
            return len(data)
        taken = max(0, min(len(data), self._window - len(self.in_flight)))
        self.in_flight += data[:taken]
        return taken

    def _answer_with_reset(self) -> None:
        if not self.is_reset and not self.is_dead:
            self.is_reset = True
            self.in_flight.clear()
            self._peer.is_reset = True

    def _send_fin(self) -> None:
        self._fin_in_flight = True
        if self.is_peer_reading:
            self._tell_fin()

    def _tell_fin(self) -> None:
        is_there = not (self.is_dead or self.is_reset or self.is_peer_closed)
        if self._fin_in_flight and not self.in_flight and is_there:
            self._fin_in_flight = False
            self._peer.receive_eof()

    # ---------------------------------------------------------- asyncio's transports

    def write(self, data: Any) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"written: {type(data).__name__}")
        if self._eof_asked:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._losses:
            self._losses += 1
            return
        self.on_write(bytes(data))
        is_first = not self.buffer
        self.buffer += data
        if is_first:
            self.progress_at = self.loop.time()
            if self.is_reset:
                self._force_close(BrokenPipeError("reset by the peer"))
                return
            del self.buffer[: self._push(self.buffer)]
        self._maybe_pause_protocol()

    @property
    def would_warn(self) -> bool:
        """Whether asyncio would have logged a warning: many writes to a connection that is lost."""
        return self._losses > WRITES_UNTIL_WARNING

    def _write_ready(self) -> None:
        if not self.buffer or self.is_lost:
            return
        taken = self._push(self.buffer)
        if taken:
            self.progress_at = self.loop.time()
            del self.buffer[:taken]
            if self.is_protocol_paused and len(self.buffer) <= self._low:
                self.is_protocol_paused = False
                self.resumptions += 1
                self._protocol.resume_writing()
        if not self.buffer and not self.is_lost:
            if self._is_closing:
                self._losses += 1
                self._lose(None)
            elif self._eof_asked:
                self._send_fin()

    def _maybe_pause_protocol(self) -> None:
        if len(self.buffer) > self._high and not self.is_protocol_paused:
            self.is_protocol_paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._maybe_pause_protocol()

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        if self._is_tls:
            raise NotImplementedError
        if self._is_closing or self._eof_asked:
            return
        self._eof_asked = True
        if not self.buffer:
            if self.is_reset:
                raise OSError("Transport endpoint is not connected")
            self._send_fin()

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext" and self._is_tls:
            return object()
        return {"peername": ("192.0.2.7", 50000), "sockname": ("192.0.2.1", 80)}.get(name, default)

    def is_reading(self) -> bool:
        return not self._is_closing and not self.is_paused

    def pause_reading(self) -> None:
        if not self._is_closing:
            self.is_paused = True

    def resume_reading(self) -> None:
        if not self._is_closing and self.is_paused:
            self.is_paused = False
            # A reader at its end finds the end again.
            self.is_eof_told = False
            if self.is_reset:
                self._notice_reset()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self.buffer:
                self._losses += 1
                self.loop.call_soon(self._lose, None)

    def abort(self) -> None:
        if not self._losses and self.aborted is None:
            self.aborted = Abort(
                time=self.loop.time(),
                stalled=self.loop.time() - self.progress_at if self.buffer else None,
                is_deaf=self.is_paused and bool(self.inbound or (self.inbound_eof and not self.is_eof_told)),
                was_eof_read=self.is_eof_told,
                has_ended=self._eof_asked or self._is_closing,
            )
        self._force_close(None)

    def _force_close(self, error: Optional[Exception]) -> None:
        if not self._losses:
            self.buffer.clear()
            self._is_closing = True
            self._losses += 1
            self.loop.call_soon(self._lose, error)

    def _lose(self, error: Optional[Exception]) -> None:
        self.is_lost = True
        protocol, self._protocol = self._protocol, None
        protocol.connection_lost(error)
        if self.inbound:
            self._answer_with_reset()
        elif not self._eof_asked or self.aborted is not None:
            self._send_fin()
