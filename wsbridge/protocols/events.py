"""The four events of the ground floor: plain objects with slots, equal by value."""

from __future__ import annotations

from typing import Dict, Iterable, List, Optional, Tuple, Union

from .fields import group_header_values

__all__ = ["RequestReceived", "WebSocketConnected", "WebSocketDataReceived", "WebSocketDisconnected"]


class _Event:
    __slots__: Tuple[str, ...] = ()
    __match_args__: Tuple[str, ...] = ()

    def _values(self) -> Tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Event) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"


_HTTP_VERSIONS = ("1.1", "1.0", "2", "3")


class RequestReceived(_Event):
    """A request head (RFC 9112): what the opening handshake begins with.

    ``method`` and ``target`` as on the wire; ``headers`` are pairs of name
    and value, order and duplicates kept, and their names are made lower case;
    ``http_version`` is ``"1.1"``, ``"1.0"``, ``"2"`` or ``"3"``, as in an
    ASGI scope. The attribute ``values`` has the values of each header by its
    name, in order; requests share it, so that it must not be changed.

    A server with a parser of its own creates these: a value of the wrong type
    raises `TypeError`; another version, or a target that is neither a path nor
    an absolute URI nor ``*``, raises `ValueError`.
    """

    __match_args__ = ("method", "target", "headers", "http_version")
    __slots__ = (*__match_args__, "values")

    def __init__(
        self, method: bytes, target: bytes, headers: Iterable[Tuple[bytes, bytes]], http_version: str
    ) -> None:
        if not isinstance(method, bytes) or not isinstance(target, bytes):
            raise TypeError(f"method and target must be bytes, not {method!r:.40} and {target!r:.40}")
        if not isinstance(http_version, str):
            raise TypeError(f"http_version must be a str, not {http_version!r:.40}")
        if http_version not in _HTTP_VERSIONS:
            raise ValueError(f"http_version {http_version!r:.40} is not one of {', '.join(_HTTP_VERSIONS)}")
        if not target.startswith(b"/") and b"://" not in target and target != b"*":
            raise ValueError(f"target {target!r:.40} is neither a path, nor an absolute URI, nor b'*'")
        self.method = method
        self.target = target
        self.headers = _check_pairs(headers)
        self.http_version = http_version
        self.values = group_header_values(self.headers)

    @classmethod
    def from_parser(
        cls,
        method: bytes,
        target: bytes,
        headers: Tuple[Tuple[bytes, bytes], ...],
        http_version: str,
        values: Dict[bytes, List[bytes]],
    ) -> RequestReceived:
        """Make a request of values that `RequestParser` has checked."""
        request = cls.__new__(cls)
        request.method = method
        request.target = target
        request.headers = headers
        request.http_version = http_version
        request.values = values
        return request


def _check_pairs(headers: Iterable[Tuple[bytes, bytes]]) -> Tuple[Tuple[bytes, bytes], ...]:
    pairs = []
    for pair in headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers must be pairs of name and value, not {pair!r:.80}")
        name, value = pair
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"header names and values must be bytes, not {name!r:.40}: {value!r:.40}")
        pairs.append((name.lower(), value))
    return tuple(pairs)


class WebSocketConnected(_Event):
    """The opening handshake is complete; ``subprotocol`` is the one that was agreed on, or None."""

    __slots__ = __match_args__ = ("subprotocol",)

    def __init__(self, subprotocol: Optional[str]) -> None:
        self.subprotocol = subprotocol


class WebSocketDataReceived(_Event):
    """One whole message: ``data`` is `str` for text, `bytes` for binary; it may be empty."""

    __slots__ = __match_args__ = ("data",)

    def __init__(self, data: Union[str, bytes]) -> None:
        self.data = data


class WebSocketDisconnected(_Event):
    """The connection has ended; comes exactly once, after every message.

    ``code`` is the peer's close code, 1005 if its CLOSE had none, 1006 if there
    was no CLOSE, or the code of the peer's violation. ``reason`` is the text of
    the peer's CLOSE or of the violation.
    """

    __slots__ = __match_args__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
