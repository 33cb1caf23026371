"""A pytest plug-in for uvicorn's own tests: wsbridge's protocol stands where websockets-sansio stood."""

from __future__ import annotations

from typing import Any, List, Optional

import pytest
from uvicorn.protocols.websockets import websockets_sansio_impl

from wsbridge.plugins.uvicorn import WebSocketProtocol as Plugin


class WebSocketProtocol(Plugin):
    """The plug-in, on which a test may set attributes that uvicorn's class has."""


websockets_sansio_impl.WebSocketsSansIOProtocol = WebSocketProtocol


def pytest_collection_modifyitems(config: pytest.Config, items: List[Any]) -> None:
    """Keep what runs on the class that was replaced, and complete the transport that the tests made up."""
    dropped = [item for item in items if "wsproto" in item.callspec.id] if items else []
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]
    transport = items[0].module.MockWriteTransport
    for name, method in vars(_Completed).items():
        if not name.startswith("__"):
            setattr(transport, name, method)


class _Completed:
    """What every transport of asyncio has, and the tests' transport lacks; it cannot be half closed."""

    closed: bool

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = True
