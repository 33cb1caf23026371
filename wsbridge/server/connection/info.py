"""`ConnectionInfo`: what an application can ask about its connection."""

from __future__ import annotations

from typing import Any, Dict, Optional, Protocol, Tuple

from ...asgi.session import Phase
from ...protocols.ws import Trace, WSProtocol

__all__ = ["ConnectionInfo"]


_STATES = {Phase.OPEN: "open", Phase.ENDING: "closing", Phase.CLOSING: "closing", Phase.OVER: "closed"}


class Owner(Protocol):
    """The connection that a `ConnectionInfo` tells about."""

    def ping(self) -> None:
        """Send a ping now."""

    @property
    def messages_received(self) -> int:
        """The number of messages that have come."""

    @property
    def bytes_received(self) -> int:
        """The size of the frames that have come."""

    @property
    def bytes_sent(self) -> int:
        """The size of the frames that were written."""

    @property
    def messages_sent(self) -> int:
        """The number of messages that the application has sent."""

    @property
    def phase(self) -> Phase:
        """The phase of its session."""

    @property
    def write_buffer_size(self) -> int:
        """Bytes that the peer has not read."""


class ConnectionInfo:
    """What an application finds as ``scope["wsbridge.connection"]``, and its host in `Server.connections`.

    A connection has one; copying it, shallow or deep, returns the same object.
    All that it tells is looked up when it is asked for, so that it costs
    nothing for a message. ``client``, ``path`` and ``raw_path`` are those of the
    scope: host and port, or None for a peer on a unix socket.

    ``closed_by`` is who has ended the connection, None before: ``client`` with a
    CLOSE, ``application`` with a CLOSE or by returning or raising, ``stop`` of
    the server, ``violation`` of a rule by the client, ``timeout`` of a ping or
    a write, or ``lost``: the stream has ended without a CLOSE. ``seconds`` is
    the time from the accept to the end, None before the end.
    """

    __slots__ = ("_owner", "_ws", "client", "closed_by", "path", "raw_path", "seconds")

    def __init__(self, ws: WSProtocol, owner: Owner) -> None:
        self._ws = ws
        self._owner = owner
        self.client: Optional[Tuple[str, int]] = None
        self.path = ""
        self.raw_path = b""
        self.closed_by: Optional[str] = None
        self.seconds: Optional[float] = None

    def __copy__(self) -> ConnectionInfo:
        return self

    def __deepcopy__(self, memo: Dict[int, Any]) -> ConnectionInfo:
        # Applications deep-copy their scope; a connection cannot be copied.
        return self

    def ping(self) -> None:
        """Send a ping now; its answer sets `latency`."""
        self._owner.ping()

    @property
    def state(self) -> str:
        """``connecting``, ``open``, ``closing`` or ``closed``, as a browser's ``readyState`` has them."""
        return _STATES.get(self._owner.phase, "connecting")

    @property
    def subprotocol(self) -> Optional[str]:
        """The subprotocol that the application has accepted, or None."""
        return self._ws.subprotocol

    @property
    def code(self) -> Optional[int]:
        """The close code: of the CLOSE that came first, or of a violation; 1005, 1006; None before."""
        end = self._ws.end
        return None if end is None else end.code

    @property
    def reason(self) -> str:
        """The reason that belongs to `code`."""
        end = self._ws.end
        return "" if end is None else end.reason

    @property
    def messages_received(self) -> int:
        """The number of messages that have come, taken by the application or not."""
        return self._owner.messages_received

    @property
    def messages_sent(self) -> int:
        """The number of messages that the application has sent."""
        return self._owner.messages_sent

    @property
    def bytes_received(self) -> int:
        """Total size of the frames that have come, as they were on the wire, control frames included."""
        return self._owner.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Total size of the frames that were written, as they are on the wire, control frames included."""
        return self._owner.bytes_sent

    @property
    def write_buffer_size(self) -> int:
        """Bytes that were sent and not yet taken by the system: many if the peer reads slowly."""
        return self._owner.write_buffer_size

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
