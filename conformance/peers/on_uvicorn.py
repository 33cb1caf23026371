"""A pytest plug-in for uvicorn's own tests: wsbridge's protocol stands where websockets-sansio stood."""

from __future__ import annotations

from typing import Any, List

import pytest
from uvicorn.protocols.websockets import websockets_sansio_impl

from wsbridge.plugins.uvicorn import WebSocketProtocol as Plugin

from .transports import TransportRest


class WebSocketProtocol(Plugin):
    """The plug-in, on which a test may set attributes that uvicorn's class has."""


websockets_sansio_impl.WebSocketsSansIOProtocol = WebSocketProtocol


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep what runs on the class that was replaced, and complete the transport that the tests made up."""
    dropped = [item for item in items if "wsproto" in item.callspec.id] if items else []
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
    module = items[0].module
    module.MockWriteTransport = type("MockWriteTransport", (module.MockWriteTransport, TransportRest), {})
