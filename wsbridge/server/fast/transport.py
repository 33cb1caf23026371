"""`SocketTransport`: one accepted connection in a loop with a `Poller`; elsewhere asyncio has its own."""

from __future__ import annotations

import asyncio
import socket
from contextvars import copy_context
from select import EPOLLIN, EPOLLOUT
from typing import Any, Iterable, List, Optional, Tuple, Union

from ..connection.reading import READ_SIZE
from .poller import Poller

__all__ = ["SocketTransport"]

# asyncio's default limits of a write buffer, in bytes.
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024

# Parts in one system call, which takes at most IOV_MAX, 1024 on Linux.
MAX_PARTS = 1024

# Bytes. Larger data is sent at once.
COLLECTED_SIZE = 32 * 1024

# Bytes. Unsent data up to this size is joined: a `bytes` object of its own takes 40 bytes more than its data.
JOINED_SIZE = 4 * 1024


class SocketTransport(asyncio.Transport):
    """An `asyncio.Transport` of a non-blocking socket, which passes what it reads to ``protocol``.

    It does not call `connection_made`. It calls `connection_lost` once, from
    the loop and never from inside a call, and nothing after it; then it closes
    ``accepted``. Data written after `close` is dropped. A protocol that raises
    loses its connection. Buffered protocols are not supported.
    """

    __slots__ = (
        "_descriptor",
        "_has_read_eof",
        "_has_written_eof",
        "_high_water",
        "_is_awaiting_room",
        "_is_closing",
        "_is_collected",
        "_is_lost",
        "_is_reading",
        "_is_writing_paused",
        "_loop",
        "_low_water",
        "_peername",
        "_poller",
        "_protocol",
        "_socket",
        "_sockname",
        "_unsent",
        "_unsent_size",
        "context",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: Poller,
        accepted: socket.SocketType,
        peername: Any,
        sockname: Any,
        protocol: asyncio.Protocol,
    ) -> None:
        # asyncio's own keeps these in a dict, which takes as much memory as this object.
        self._peername = peername
        self._sockname = sockname
        self._loop = loop
        self._poller = poller
        self._socket = accepted
        self._descriptor = accepted.fileno()
        self._protocol: Any = protocol
        self.context = copy_context()
        # What waits until the socket is writable, or the poller calls `send_collected`. Large parts are not
        # copied: of the first one a `memoryview` may be left.
        self._unsent: List[Union[bytes, memoryview]] = []
        self._unsent_size = 0
        # Whether the poller's next call is still to come, and whether it watches for room.
        self._is_collected = self._is_awaiting_room = False
        self._is_writing_paused = False
        self._high_water, self._low_water = HIGH_WATER, LOW_WATER
        self._is_reading = True
        self._has_read_eof = self._has_written_eof = False
        # Closing: nothing more is read or written, but what is unsent still leaves. Lost: that was dropped,
        # and `connection_lost` is scheduled.
        self._is_closing = self._is_lost = False
        poller.watch(self._descriptor, EPOLLIN, self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._peername
        if name == "sockname":
            return self._sockname
        return self._socket if name == "socket" else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def _watch(self) -> None:
        """Register EPOLLIN while reading, EPOLLOUT while something is unsent."""
        self._is_awaiting_room = bool(self._unsent)
        events = (EPOLLIN if self._is_reading else 0) | (EPOLLOUT if self._unsent else 0)
        self._poller.watch(self._descriptor, events, self)

    def handle_events(self, events: int) -> None:
        """Read or send. Epoll also reports errors and hang-ups, which a read or a send then raises."""
        if events != EPOLLOUT and self._is_reading:
            try:
                data = self._socket.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                pass
            else:
                if data:
                    self._protocol.data_received(data)
                else:
                    self._read_eof()
        if self._unsent and events != EPOLLIN:
            self._send_unsent()

    # ------------------------------------------------------------------------ reading

    def _read_eof(self) -> None:
        self._has_read_eof = True
        self.pause_reading()
        if not self._protocol.eof_received():
            self._is_closing = True
            if not (self._unsent or self._is_lost):
                # `_lose` would wait for the loop's next turn: here it is the loop that calls.
                self._is_lost = True
                self._call_connection_lost(None)

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
        """Send what the socket accepts now, and the rest once it is writable again.

        While several connections are served, the first short write waits for
        the poller's next call. The second does not: an application that blocks
        the loop between them must not hold the first one back for longer.
        """
        if self._has_written_eof:
            raise RuntimeError("write() after write_eof()")
        if self._is_closing or not data:
            return
        if self._unsent:
            if self._is_awaiting_room:
                self._add_unsent(data)
            else:
                self._send_with_unsent([data])
            return
        if self._poller.ready_count > 1 and not self._is_collected and len(data) <= COLLECTED_SIZE:
            self._is_collected = True
            self._unsent.append(data)
            self._unsent_size = len(data)
            self._poller.collected.append(self)
            return
        sent = 0
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._lose(error)
            return
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])
            self._unsent_size = len(data) - sent
            self._watch()
            self._pause_if_full()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write several parts in one system call, without joining them."""
        parts = [data for data in list_of_data if data]
        if len(parts) < 2 or self._is_awaiting_room or self._is_closing or self._has_written_eof:
            for data in parts:
                self.write(data)
        else:
            self._send_with_unsent(parts)

    def _send_with_unsent(self, parts: List[Any]) -> None:
        """Send ``parts`` behind what was collected, and keep what the socket does not accept."""
        self._unsent += parts
        self._unsent_size += sum(map(len, parts))
        try:
            self._send_unsent()
        except OSError as error:
            self._lose(error)

    def _add_unsent(self, data: Any) -> None:
        """Add ``data`` behind what is unsent."""
        last = self._unsent[-1]
        if type(last) is bytes and len(last) + len(data) <= JOINED_SIZE:
            self._unsent[-1] = last + data
        else:
            self._unsent.append(data)
        self._unsent_size += len(data)
        self._pause_if_full()

    def _drop_sent(self, sent: int) -> None:
        """Drop ``sent`` bytes, which are not all, from the front of what is unsent."""
        self._unsent_size -= sent
        whole_parts = 0
        while sent >= len(self._unsent[whole_parts]):
            sent -= len(self._unsent[whole_parts])
            whole_parts += 1
        del self._unsent[:whole_parts]
        if sent:
            self._unsent[0] = memoryview(self._unsent[0])[sent:]

    def send_collected(self) -> None:
        """Called by the poller: send what `write` has collected, unless it has left since."""
        self._is_collected = False
        if self._unsent:
            self._send_unsent()

    def _send_unsent(self) -> None:
        unsent = self._unsent
        try:
            sent = (
                self._socket.send(unsent[0]) if len(unsent) == 1 else self._socket.sendmsg(unsent[:MAX_PARTS])
            )
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == self._unsent_size:
            unsent.clear()
            self._unsent_size = 0
        else:
            self._drop_sent(sent)
        if self._is_writing_paused and self._unsent_size <= self._low_water:
            self._is_writing_paused = False
            # This may write more: check the buffer again.
            self._protocol.resume_writing()
        if self._is_lost:
            return
        if bool(self._unsent) is not self._is_awaiting_room:
            self._watch()
            self._pause_if_full()
        if self._unsent:
            return
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
        if self._is_awaiting_room and self._unsent_size > self._high_water and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self._low_water, self._high_water

    def get_write_buffer_size(self) -> int:
        # What was collected waits for no peer.
        return self._unsent_size if self._is_awaiting_room else 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half close once everything is sent. Raises `OSError` if the connection is found to be lost."""
        if self._is_closing or self._has_written_eof:
            return
        self._has_written_eof = True
        if not self._unsent:
            self._socket.shutdown(socket.SHUT_WR)

    # ------------------------------------------------------------------------ the end

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Read no more, and end once everything is sent."""
        if not self._is_closing:
            self._is_closing = True
            self.pause_reading()
            if not self._unsent:
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
            self._unsent.clear()
            self._loop.call_soon(self._call_connection_lost, error, context=self.context)
            self._watch()

    def _call_connection_lost(self, error: Any) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()
            # Protocol and transport refer to each other: break the cycle that only the collector would free.
            self._protocol = None
