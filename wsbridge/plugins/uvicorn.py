"""`WebSocketProtocol`: wsbridge as uvicorn's WebSocket implementation.

``uvicorn app:app --ws wsbridge.plugins.uvicorn:WebSocketProtocol``

uvicorn makes one object of this class for each upgrade request that it has
read, and gives it the transport and the request's head. Nothing of uvicorn is
imported: what it hands over is used by the names that it has there.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Coroutine,
    Dict,
    List,
    Mapping,
    Optional,
    Protocol,
    Set,
    Tuple,
    TypeVar,
)
from urllib.parse import quote

from ..asgi.types import Application, HeaderPairs, Scope
from ..config import ServerConfig
from ..protocols.events import RequestReceived
from ..server.connection.embedded import EmbeddedConnection
from ..server.connection.head import Connection
from ..server.connection.info import ConnectionInfo
from ..server.logs.log import describe_end, log_safely
from ..server.service import Service

if TYPE_CHECKING:
    # Type checkers bring typing_extensions along; it is not needed at run time.
    from typing_extensions import Unpack

    from ..server.options import ServerOptions

__all__ = ["WebSocketProtocol"]

T = TypeVar("T")


class UvicornConfig(Protocol):
    """What is used of a ``uvicorn.Config``."""

    loaded: bool
    loaded_app: Application
    root_path: str
    ws_max_size: Optional[int]
    ws_max_queue: Optional[int]
    ws_ping_interval: Optional[float]
    ws_ping_timeout: Optional[float]
    ws_per_message_deflate: bool

    def load(self) -> None:
        """Import the application, and wrap it in uvicorn's middleware."""


class UvicornState(Protocol):
    """What is used of a ``uvicorn.server.ServerState``."""

    connections: Set[Any]
    tasks: Set[asyncio.Task[Any]]
    default_headers: List[Tuple[bytes, bytes]]


class UvicornService(Service):
    """All connections that one uvicorn server has handed over."""

    def __init__(
        self,
        config: UvicornConfig,
        server_state: UvicornState,
        app_state: Optional[Dict[str, Any]],
        options: Mapping[str, Any],
    ) -> None:
        if not config.loaded:
            config.load()
        # uvicorn renews its default headers every second, and the date is one of them.
        super().__init__(config.loaded_app, build_config(config, options), state=app_state, date=lambda: None)
        uvicorn_logger = logging.getLogger("uvicorn.error")
        # Not uvicorn.access: its formatter expects the arguments of uvicorn's own lines.
        self.access_logger = uvicorn_logger if self.config.access_log else None
        self.logger = uvicorn_logger
        self.server_state = server_state
        # Made once for all tasks: a callback keeps its function and a context until its task ends.
        self._forget_task = server_state.tasks.discard
        self._context = contextvars.Context()

    def get_headers(self) -> HeaderPairs:
        return self.server_state.default_headers

    def log_answer(self, scope: Scope, status: int) -> None:
        # As uvicorn's own implementations do: the path re-encoded, the client as a proxy names it.
        query = scope["query_string"].decode("ascii")
        target = quote(scope["path"]) + (f"?{query}" if query else "")
        self._log(scope["client"], target, "[accepted]" if status == 101 else status)

    def log_end(self, info: ConnectionInfo) -> None:
        self._log(info.client, quote(info.path), describe_end(info))

    def _log(self, client: Optional[Tuple[str, int]], target: str, what: object) -> None:
        if self.access_logger is not None:
            peer = "" if client is None else f"{client[0]}:{client[1]}"
            log_safely(self.access_logger, logging.INFO, '%s - "WebSocket %s" %s', peer, target, what)

    def create_task(self, application: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = super().create_task(application)
        # uvicorn waits for these when it stops.
        self.server_state.tasks.add(task)
        task.add_done_callback(self._forget_task, context=self._context)
        return task

    def is_from_outside(self, error: BaseException) -> bool:
        # uvicorn catches SIGINT, and cancels what is left after its timeout_graceful_shutdown.
        return isinstance(error, asyncio.CancelledError) and self.is_stopping


def build_config(config: UvicornConfig, options: Mapping[str, Any]) -> ServerConfig:
    """The configuration for uvicorn's options, where 0 and None mean no limit; ``options`` go before them."""
    root_path = config.root_path.strip("/")
    values: Dict[str, Any] = {
        "root_path": f"/{root_path}" if root_path else "",
        "ws_max_size": config.ws_max_size or sys.maxsize,
        "ws_max_queue": config.ws_max_queue or sys.maxsize,
        "ws_ping_interval": config.ws_ping_interval or None,
        "ws_ping_timeout": config.ws_ping_timeout or None,
        "ws_per_message_deflate": config.ws_per_message_deflate,
    }
    # uvicorn has read the head, and whatever was in front of it.
    return ServerConfig(**{**values, **options, "proxy_protocol": False})


class _Head(Connection):
    """Finds what uvicorn has read behind the request's head, as it hands over the head alone."""

    __slots__ = ("_early_data",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._early_data = find_early_data(transport)
        super().connection_made(transport)

    def answer(self, request: RequestReceived, trailing: bytes = b"") -> None:
        # If a later uvicorn hands over what it drops today, the bytes must not come twice.
        super().answer(request, trailing or self._early_data)


def find_early_data(transport: asyncio.BaseTransport) -> bytes:
    """The bytes that uvicorn has read behind the head and would drop.

    Call this while uvicorn's HTTP protocol is still the transport's. A client must wait for the 101 before
    it sends more (RFC 6455 4.1), but some do not.
    """
    get_protocol: Any = getattr(transport, "get_protocol", lambda: None)
    trailing = getattr(getattr(get_protocol(), "conn", None), "trailing_data", None)
    if isinstance(trailing, tuple):
        # h11: bytes, and whether the stream has ended.
        return bytes(trailing[0])
    # httptools: uvicorn handles the exception, which has the offset, in the function that has the data.
    _, error, traceback = sys.exc_info()
    if type(error).__name__ == "HttpParserUpgrade" and traceback is not None and error is not None:
        data = traceback.tb_frame.f_locals.get("data", b"")
        return bytes(data[error.args[0] :])
    return b""


class WebSocketProtocol(EmbeddedConnection):
    """One WebSocket of a uvicorn server: ``--ws wsbridge.plugins.uvicorn:WebSocketProtocol``.

    A class of your own can set fields of `ServerConfig`, for most of which uvicorn
    has no option: ``class SameOrigin(WebSocketProtocol, allowed_origins=("same-origin",))``.
    They go before uvicorn's options.

    ``transport`` is uvicorn's, None before `connection_made`.
    """

    __slots__ = ("_service", "transport")

    head_class = _Head
    _options: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **options: Unpack[ServerOptions]) -> None:
        super().__init_subclass__()
        cls._options = {**cls._options, **options}
        # A value that breaks its field's rule raises where the class is written.
        ServerConfig(**cls._options)

    def __init__(
        self,
        config: UvicornConfig,
        server_state: UvicornState,
        app_state: Optional[Dict[str, Any]] = None,
        _loop: Optional[asyncio.AbstractEventLoop] = None,
    ) -> None:
        self._service = self._find_service(config, server_state, app_state)
        self.transport: Optional[asyncio.BaseTransport] = None
        super().__init__(self._service)

    def _find_service(
        self, config: UvicornConfig, server_state: UvicornState, app_state: Optional[Dict[str, Any]]
    ) -> UvicornService:
        """The service of the server, which lasts as long as the server's state."""
        attributes = vars(server_state)
        service: Optional[UvicornService] = attributes.get("_wsbridge_service")
        if service is None:
            service = UvicornService(config, server_state, app_state, self._options)
            attributes["_wsbridge_service"] = service
        return service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._service.server_state.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        super().connection_lost(exc)
        self._service.server_state.connections.discard(self)

    def shutdown(self) -> None:
        """Close every connection with 1012: uvicorn calls this for each when it stops, then waits."""
        self._service.begin_shutdown()
