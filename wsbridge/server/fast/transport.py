"""`SocketTransport`: one accepted connection in a loop with a `Poller`; elsewhere asyncio has its own."""

from __future__ import annotations

import asyncio
import socket
from contextvars import copy_context
from select import EPOLLIN, EPOLLOUT
from typing import Any, Optional, Tuple

from ..connection.reading import READ_SIZE
from .poller import Poller

__all__ = ["SocketTransport"]

# asyncio's default limit of a write buffer, in bytes.
HIGH_WATER = 64 * 1024


class SocketTransport(asyncio.Transport):
    """An `asyncio.Transport` of a non-blocking socket, which passes what it reads to ``protocol``.

    It does not call `connection_made`. It calls `connection_lost` once, from
    the loop and never from inside a call, and nothing after it; then it closes
    ``accepted``. Data written after `close` is dropped. A protocol that raises
    loses its connection. Buffered protocols are not supported.
    """

    __slots__ = (
        "_buffer",
        "_descriptor",
        "_has_read_eof",
        "_has_written_eof",
        "_high_water",
        "_is_closing",
        "_is_lost",
        "_is_reading",
        "_is_writing_paused",
        "_loop",
        "_low_water",
        "_poller",
        "_protocol",
        "_socket",
        "context",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        accepted: socket.socket,
        peername: Any,
        protocol: asyncio.Protocol,
    ) -> None:
        sockname = accepted.getsockname()
        super().__init__({"socket": accepted, "peername": peername, "sockname": sockname})
        self._loop = loop
        self._poller = poller
        self._socket = accepted
        self._descriptor = accepted.fileno()
        self._protocol: Any = protocol
        self.context = copy_context()
        self._buffer = bytearray()
        self._is_writing_paused = False
        self.set_write_buffer_limits()
        self._is_reading = True
        self._has_read_eof = self._has_written_eof = False
        # Closing: nothing more is read, and `write` drops its data, but the buffer is still sent. Lost: the
        # buffer was dropped, and `connection_lost` is scheduled.
        self._is_closing = self._is_lost = False
        self._watch()

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def _watch(self) -> None:
        """Register EPOLLIN while reading, EPOLLOUT while the buffer is not empty."""
        events = (EPOLLIN if self._is_reading else 0) | (EPOLLOUT if self._buffer else 0)
        self._poller.watch(self._descriptor, events, self)

    def handle_events(self, events: int) -> None:
        """Read or send. Epoll also reports errors and hang-ups, which a read or a send then raises."""
        if events & ~EPOLLOUT and self._is_reading:
            try:
                data = self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                pass
            else:
                if data:
                    self._protocol.data_received(data)
                else:
                    self._read_eof()
        if events & ~EPOLLIN and self._buffer:
            self._send_buffer()

    # ------------------------------------------------------------------------ reading

    def _read_eof(self) -> None:
        self._has_read_eof = True
        self.pause_reading()
        if not self._protocol.eof_received():
            self.close()

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._watch()

    def resume_reading(self) -> None:
        if not (self._is_reading or self._has_read_eof or self._is_closing):
            self._is_reading = True
            self._watch()

    # ------------------------------------------------------------------------ writing

    def write(self, data: Any) -> None:
        """Send what the socket accepts now, and the rest once it is writable again."""
        if self._has_written_eof:
            raise RuntimeError("write() after write_eof()")
        if self._is_closing or not data:
            return
        if self._buffer:
            self._buffer += data
        else:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._buffer += memoryview(data)[sent:]
            self._watch()
        self._pause_if_full()

    def _send_buffer(self) -> None:
        try:
            sent = self._socket.send(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        del self._buffer[:sent]
        if self._is_writing_paused and len(self._buffer) <= self._low_water:
            self._is_writing_paused = False
            # This may write more: check the buffer again.
            self._protocol.resume_writing()
        if not self._buffer and not self._is_lost:
            self._watch()
            if self._is_closing:
                self._lose(None)
            elif self._has_written_eof:
                self._socket.shutdown(socket.SHUT_WR)

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_water, self._low_water = high, low
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        if len(self._buffer) > self._high_water and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self._low_water, self._high_water

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half close once everything is sent. Raises `OSError` if the connection is found to be lost."""
        if self._is_closing or self._has_written_eof:
            return
        self._has_written_eof = True
        if not self._buffer:
            self._socket.shutdown(socket.SHUT_WR)

    # ------------------------------------------------------------------------ the end

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Read no more, and end once everything is sent."""
        if not self._is_closing:
            self._is_closing = True
            self.pause_reading()
            if not self._buffer:
                self._lose(None)

    def abort(self) -> None:
        """End now; unsent data is lost."""
        self._lose(None)

    def handle_error(self, error: BaseException) -> None:
        """End because of ``error``. Report it to the loop if a protocol has raised it, not the network."""
        if not isinstance(error, OSError):
            who = {"transport": self, "protocol": self._protocol}
            self._loop.call_exception_handler({"message": "a protocol has raised", "exception": error, **who})
        self._lose(error)

    def _lose(self, error: Optional[BaseException]) -> None:
        if not self._is_lost:
            self._is_lost = self._is_closing = True
            self._is_reading = False
            self._buffer.clear()
            self._loop.call_soon(self._call_connection_lost, error)
            self._watch()

    def _call_connection_lost(self, error: Any) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()
            # Protocol and transport refer to each other: break the cycle that only the collector would free.
            self._protocol = None
