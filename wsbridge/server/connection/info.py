"""`ConnectionInfo`: what an application may know of the connection it is talking on."""

from __future__ import annotations

from typing import Any, Dict, Optional, Protocol

from ...protocols.ws import Trace, WSProtocol

__all__ = ["ConnectionInfo"]


class Pinger(Protocol):
    """What can send a ping."""

    def ping(self) -> None:
        """Send one now."""


class ConnectionInfo:
    """What an application finds as ``scope["wsbridge.connection"]``.

    There is one of each connection: its copies, shallow and deep, are itself.
    """

    __slots__ = ("_pinger", "_ws")

    def __init__(self, ws: WSProtocol, pinger: Pinger) -> None:
        self._ws = ws
        self._pinger = pinger

    def __copy__(self) -> ConnectionInfo:
        return self

    def __deepcopy__(self, memo: Dict[int, Any]) -> ConnectionInfo:
        # Applications copy their scope; a socket has no copy.
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
        """Called for every frame: ``"in"`` or ``"out"``, opcode, FIN, RSV1, payload bytes on the wire."""
        return self._ws.trace

    @trace.setter
    def trace(self, trace: Optional[Trace]) -> None:
        self._ws.trace = trace

    @property
    def extensions_response(self) -> Optional[str]:
        """What was agreed on of the client's Sec-WebSocket-Extensions, or None."""
        return self._ws.extensions_response

    @property
    def bytes_before_compression(self) -> int:
        """Bytes of the messages that were sent compressed, before."""
        return 0 if self._ws.compression is None else self._ws.compression.deflater.bytes_in

    @property
    def bytes_after_compression(self) -> int:
        """Bytes of the messages that were sent compressed, on the wire."""
        return 0 if self._ws.compression is None else self._ws.compression.deflater.bytes_out

    @property
    def bytes_deflated(self) -> int:
        """Bytes of the messages that were received compressed, on the wire."""
        return 0 if self._ws.compression is None else self._ws.compression.inflater.bytes_in

    @property
    def bytes_inflated(self) -> int:
        """Bytes of the messages that were received compressed, inflated."""
        return 0 if self._ws.compression is None else self._ws.compression.inflater.bytes_out
