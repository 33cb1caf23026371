"""`ConnectionInfo`: what an application can ask about its connection."""

from __future__ import annotations

from typing import Any, Dict, Optional, Protocol

from ...protocols.ws import Trace, WSProtocol

__all__ = ["ConnectionInfo"]


class Pinger(Protocol):
    """An object that can send a ping."""

    def ping(self) -> None:
        """Send a ping now."""


class ConnectionInfo:
    """What an application finds as ``scope["wsbridge.connection"]``.

    A connection has one; copying it, shallow or deep, returns the same object.
    """

    __slots__ = ("_pinger", "_ws")

    def __init__(self, ws: WSProtocol, pinger: Pinger) -> None:
        self._ws = ws
        self._pinger = pinger

    def __copy__(self) -> ConnectionInfo:
        return self

    def __deepcopy__(self, memo: Dict[int, Any]) -> ConnectionInfo:
        # Applications deep-copy their scope; a connection cannot be copied.
        return self

    def ping(self) -> None:
        """Send a ping now; its answer sets `latency`."""
        self._pinger.ping()

    @property
    def latency(self) -> Optional[float]:
        """Seconds between the last answered ping and its pong; None before the first."""
        return self._ws.latency

    @property
    def trace(self) -> Optional[Trace]:
        """A callable for every frame: ``"in"`` or ``"out"``, opcode, FIN, RSV1, payload size on the wire."""
        return self._ws.trace

    @trace.setter
    def trace(self, trace: Optional[Trace]) -> None:
        self._ws.trace = trace

    @property
    def extensions_response(self) -> Optional[str]:
        """The Sec-WebSocket-Extensions value of the 101 response, or None."""
        return self._ws.extensions_response

    @property
    def bytes_before_compression(self) -> int:
        """Total size of the messages that were sent compressed, before compression."""
        return 0 if self._ws.compression is None else self._ws.compression.deflater.bytes_in

    @property
    def bytes_after_compression(self) -> int:
        """Total size of the messages that were sent compressed, on the wire."""
        return 0 if self._ws.compression is None else self._ws.compression.deflater.bytes_out

    @property
    def bytes_deflated(self) -> int:
        """Total size of the messages that were received compressed, on the wire."""
        return 0 if self._ws.compression is None else self._ws.compression.inflater.bytes_in

    @property
    def bytes_inflated(self) -> int:
        """Total size of the messages that were received compressed, inflated."""
        return 0 if self._ws.compression is None else self._ws.compression.inflater.bytes_out
