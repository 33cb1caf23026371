"""A connection without a network: asyncio's own transport, on a socket that the machine holds."""

from __future__ import annotations

import asyncio
import socket
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Optional

from .loop import NEVER, ManualLoop


class Line:
    """The server's socket, and the peer's end of it.

    It does what a kernel does, the unpleasant part too: a socket that is closed while the peer's bytes are
    unread, or gets some afterwards, is reset, and what the peer has not read is lost. ``window``: what the
    kernels hold of the server's bytes while the peer does not read.
    """

    def __init__(self, peer: Any, window: int) -> None:
        self._peer = peer
        self._window = window
        #: What the server has sent and the peer has not read.
        self.in_flight = bytearray()
        self._has_ended = False
        self._fin_in_flight = False
        self._is_closed = False
        #: What the peer has sent and the server has not read.
        self.inbound = bytearray()
        self.inbound_eof = False
        #: How much of it the next read finds.
        self.readable = 0
        #: Bytes that the server has read.
        self.delivered = 0
        self.is_peer_reading = True
        self.is_peer_closed = False
        #: Nothing arrives any more, on neither side.
        self.is_dead = False
        self.is_reset = False
        self.wire: Any = None

    # ------------------------------------------------------------ what the peer does

    def send_from_peer(self, data: bytes) -> None:
        if self._is_closed and data:
            self._answer_with_reset()
        elif not self.is_dead and not self.is_reset:
            self.inbound += data

    def half_close(self) -> None:
        self.inbound_eof = True

    def close_peer(self) -> None:
        """The peer closes its socket: it reads nothing more, and is reset by what still comes."""
        self.inbound_eof = self.is_peer_closed = True
        if self.in_flight:
            self.reset()
        else:
            # What waits for room beyond a window of 0 is answered by the reset.
            self.wire.find_room()

    def reset(self) -> None:
        """The peer's reset arrives."""
        if self.is_dead:
            return
        self.is_peer_closed = True
        if not self._is_closed:
            self.is_reset = True
            self.inbound.clear()
            self.in_flight.clear()
            self.wire.notice_reset()

    def vanish(self) -> None:
        self.is_dead = True

    @property
    def is_disturbed(self) -> bool:
        """Whether the peer has left without hearing all."""
        return self.is_peer_closed or self.is_dead

    def take(self, size: int) -> None:
        """The peer reads ``size`` bytes of what waits."""
        while size > 0 and self.in_flight and not self.is_dead:
            data = bytes(self.in_flight[:size])
            del self.in_flight[: len(data)]
            size -= len(data)
            self._peer.receive(data)
            self.wire.find_room()
        self._tell_fin()

    def read_on(self) -> None:
        """The peer reads whatever waits, and from now on whatever comes."""
        self.is_peer_reading = True
        if not self.is_dead:
            self.wire.find_room()
            self.take(1 << 40)

    def _answer_with_reset(self) -> None:
        if not self.is_reset and not self.is_dead:
            self.is_reset = True
            self.in_flight.clear()
            self._peer.is_reset = True

    def _tell_fin(self) -> None:
        if self._fin_in_flight and not (self.in_flight or self.is_disturbed or self.is_reset):
            self._fin_in_flight = False
            self._peer.receive_eof()

    # ------------------------------------------- the server's socket, as asyncio uses it

    family = socket.AF_UNIX

    def fileno(self) -> int:
        return 1 << 20

    def getsockname(self) -> Any:
        return "192.0.2.1", 80

    def getpeername(self) -> Any:
        return "192.0.2.7", 50000

    def recv(self, size: int) -> bytes:
        if self.is_reset:
            raise ConnectionResetError("reset by the peer")
        data = bytes(self.inbound[: min(size, self.readable)])
        if data:
            del self.inbound[: len(data)]
            self.delivered += len(data)
            self.wire.on_read(len(data))
        elif self.inbound or not self.inbound_eof:
            raise BlockingIOError
        return data

    def send(self, data: Any) -> int:
        if self.is_reset:
            raise BrokenPipeError("reset by the peer")
        if self.is_peer_closed:
            self.is_reset = True
            return len(data)
        if self.is_peer_reading and not self.is_dead and not self.in_flight:
            self._peer.receive(bytes(data))
            return len(data)
        taken = min(len(data), self._window - len(self.in_flight))
        if taken <= 0:
            raise BlockingIOError
        self.in_flight += data[:taken]
        return taken

    def sendmsg(self, buffers: Iterable[Any]) -> int:
        """In place of `send`, from Python 3.12 on."""
        return self.send(b"".join(buffers))

    def shutdown(self, how: int) -> None:
        if self.is_reset:
            raise OSError("Transport endpoint is not connected")
        self._has_ended = self._fin_in_flight = True
        if self.is_peer_reading:
            self._tell_fin()

    def close(self) -> None:
        self._is_closed = True
        if self.inbound:
            self._answer_with_reset()
        elif not self._has_ended and not self.is_reset:
            self.shutdown(socket.SHUT_WR)


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


class Wire(_SelectorSocketTransport):  # type: ignore[misc]
    """Reads when the machine delivers, and writes on as soon as the line has room."""

    def __init__(self, loop: ManualLoop, line: Line, *, is_tls: bool) -> None:
        self.loop = loop
        self.line = line
        self._is_tls = is_tls
        line.wire = self
        #: How often the protocol was told to write on.
        self.resumptions = 0
        self.aborted: Optional[Abort] = None
        self.is_lost = False
        self.is_eof_told = False
        #: When the server first read the end of the peer's stream.
        self.eof_at = NEVER
        #: When the peer last took something, or nothing waited.
        self.progress_at = loop.time()
        self.on_read: Callable[[int], None] = lambda size: None
        self.on_write: Callable[[bytes], None] = lambda data: None
        super().__init__(loop, line, asyncio.Protocol(), extra={"sslcontext": is_tls or None})
        # The protocol comes later.
        loop.turn()

    # ------------------------------------------------------------------------ reading

    @property
    def is_paused(self) -> bool:
        return bool(self._paused)

    @property
    def has_unread(self) -> bool:
        return bool(self.line.inbound or (self.line.inbound_eof and not self.is_eof_told))

    @property
    def can_deliver(self) -> bool:
        """Whether the server's loop would find something to read."""
        return self.is_reading() and not (self.line.is_dead or self.line.is_reset) and self.has_unread

    def deliver(self, size: Optional[int] = None) -> None:
        """The server reads ``size`` bytes, None: all; the end of the stream is a read of its own."""
        if not self.can_deliver:
            return
        line = self.line
        if not line.inbound or not self._is_tls:
            self._read(self.max_size if size is None else size)
            return
        # Before CPython 3.11 TLS hands over all that it has decrypted, and the end, paused or not.
        size = min(len(line.inbound), self.max_size if size is None else size)
        for record in (size // 2, size - size // 2):
            self._read(record)
        if not line.inbound and line.inbound_eof and not self.is_closing():
            self._read(1)

    def _read(self, size: int) -> None:
        self.line.readable = size
        self._read_ready()

    def _read_ready__on_eof(self) -> None:
        self.is_eof_told = True
        self.eof_at = min(self.eof_at, self.loop.mark())
        super()._read_ready__on_eof()
        if self._is_tls:
            self.close()

    def resume_reading(self) -> None:
        if self.is_paused and not self.is_closing():
            # A reader at its end finds the end again.
            self.is_eof_told = False
            super().resume_reading()
            self.notice_reset()

    def notice_reset(self) -> None:
        if self.line.is_reset and self.get_write_buffer_size():
            self._write_ready()
        elif self.line.is_reset and self.is_reading():
            self._read_ready()

    # ------------------------------------------------------------------------ writing

    @property
    def is_protocol_paused(self) -> bool:
        return bool(self._protocol_paused)

    def write(self, data: Any) -> None:
        if data and not self._conn_lost:
            if not self.get_write_buffer_size():
                self.progress_at = self.loop.time()
            self.on_write(bytes(data))
        super().write(data)

    def find_room(self) -> None:
        unsent = self.get_write_buffer_size()
        if unsent:
            self._write_ready()
            if self.get_write_buffer_size() < unsent:
                self.progress_at = self.loop.time()

    def _maybe_resume_protocol(self) -> None:
        was_paused = self._protocol_paused
        super()._maybe_resume_protocol()
        self.resumptions += was_paused and not self._protocol_paused

    def can_write_eof(self) -> bool:
        return not self._is_tls

    # ------------------------------------------------------------------------ the end

    def abort(self) -> None:
        if not (self._conn_lost or self.is_lost or self.aborted is not None):
            self.aborted = Abort(
                time=self.loop.time(),
                stalled=self.loop.time() - self.progress_at if self.get_write_buffer_size() else None,
                is_deaf=self.is_paused and self.has_unread,
                was_eof_read=self.is_eof_told,
                has_ended=self._eof or self.is_closing(),
            )
        super().abort()

    def _call_connection_lost(self, exc: Optional[Exception]) -> None:
        self.is_lost = True
        super()._call_connection_lost(exc)
