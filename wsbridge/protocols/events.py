"""The four events of the ground floor: plain objects with slots, equal by value."""

from __future__ import annotations

from typing import Optional, Tuple, Union

__all__ = ["RequestReceived", "WebSocketConnected", "WebSocketDataReceived", "WebSocketDisconnected"]


class _Event:
    __slots__: Tuple[str, ...] = ()

    def _values(self) -> Tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Event) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class RequestReceived(_Event):
    """A request head (RFC 9112): what the opening handshake begins with.

    ``method`` and ``target`` as on the wire; ``headers`` are pairs of
    lower-case name and value, order and duplicates kept; ``http_version`` is
    ``"1.1"``.
    """

    __slots__ = __match_args__ = ("method", "target", "headers", "http_version")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Tuple[Tuple[bytes, bytes], ...],
        http_version: str,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http_version = http_version


class WebSocketConnected(_Event):
    """The opening handshake is complete; ``subprotocol`` is what was agreed on, or None."""

    __slots__ = __match_args__ = ("subprotocol",)

    def __init__(self, subprotocol: Optional[str]) -> None:
        self.subprotocol = subprotocol


class WebSocketDataReceived(_Event):
    """One whole message: ``data`` is `str` for text, `bytes` for binary; it may be empty."""

    __slots__ = __match_args__ = ("data",)

    def __init__(self, data: Union[str, bytes]) -> None:
        self.data = data


class WebSocketDisconnected(_Event):
    """The connection is over; comes exactly once, after every message.

    ``code`` is the peer's close code, 1005 when its CLOSE had none, 1006 when
    there was no CLOSE, or the code of the peer's violation.
    """

    __slots__ = __match_args__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
