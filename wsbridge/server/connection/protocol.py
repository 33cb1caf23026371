"""`build_protocol`: the `WSProtocol` of one connection, as its server is configured."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from ...protocols.events import RequestReceived
from ...protocols.ws import WSProtocol
from ..metrics.metrics import Metrics
from ..service import Service

__all__ = ["MeasuredProtocol", "build_protocol"]


class MeasuredProtocol(WSProtocol):
    """A `WSProtocol` whose answered pings are counted by ``metrics``."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._metrics = metrics

    def note_latency(self, seconds: float) -> None:
        super().note_latency(seconds)
        self._metrics.count_ping(seconds)


def build_protocol(service: Service, request: RequestReceived) -> WSProtocol:
    """The protocol that follows ``request``. Raises `BadRequest` for malformed extension offers."""
    config, metrics = service.config, service.metrics
    build: Callable[..., WSProtocol] = WSProtocol if metrics is None else partial(MeasuredProtocol, metrics)
    return build(
        enable_compression=config.ws_per_message_deflate,
        peer_extensions=request.values.get(b"sec-websocket-extensions", ()),
        deflate=config.deflate,
        max_message_size=config.ws_max_size,
        max_fragments=config.ws_max_fragments,
        hold_close=True,
        make_message=None,
        clock=service.clock,
    )
