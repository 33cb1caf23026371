"""The server's transport: asyncio's own, on a `Line`, that tells how things stand."""

from __future__ import annotations

import asyncio
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .line import Line
from .loop import NEVER, ManualLoop


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
        line.on_room, line.on_reset = self._find_room, self._notice_reset
        #: How often the protocol was told to write on.
        self.resumptions = 0
        self.aborted: Optional[Abort] = None
        self.is_lost = False
        self.is_eof_told = False
        #: When the server first read the end of the peer's stream.
        self.eof_at = NEVER
        #: When the peer last took something, or nothing waited.
        self.progress_at = loop.time()
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
            self._notice_reset()

    def _notice_reset(self) -> None:
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

    def _find_room(self) -> None:
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
