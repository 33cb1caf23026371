"""A TCP connection without a network: the server's socket, and the peer's end of it in the machine's hand.

It does what a kernel does, the unpleasant part too: a socket that is closed while the peer's bytes are
unread, or gets some afterwards, is reset, and what the peer has not read is lost.
"""

from __future__ import annotations

import socket
from typing import Any, Callable, Iterable


class Line:
    """``window``: what the kernels hold of the server's bytes while the peer does not read."""

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
        self.on_read: Callable[[int], None] = lambda size: None
        #: There is room for more of the server's bytes.
        self.on_room: Callable[[], None] = lambda: None
        self.on_reset: Callable[[], None] = lambda: None

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
            self.on_room()

    def reset(self) -> None:
        """The peer's reset arrives."""
        if self.is_dead:
            return
        self.is_peer_closed = True
        if not self._is_closed:
            self.is_reset = True
            self.inbound.clear()
            self.in_flight.clear()
            self.on_reset()

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
            self.on_room()
        self._tell_fin()

    def read_on(self) -> None:
        """The peer reads whatever waits, and from now on whatever comes."""
        self.is_peer_reading = True
        if not self.is_dead:
            self.on_room()
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
            self.on_read(len(data))
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
