"""`Server`: listening, lifespan, signals and a clean stop; `serve` and `run` around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Union

from ..asgi.lifespan import Lifespan
from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import ConfigError, LifespanFailed
from .allocator import keep_freed_blocks
from .connection import Connection
from .event_loop import PollerEventLoop, new_event_loop
from .loading import load_application
from .service import CUT_TIMEOUT, Service, logger, set_up_logging

if TYPE_CHECKING:
    from ssl import SSLContext

    from .listener import Listener

__all__ = ["Server", "run", "serve"]

# Seconds: 30 years.
NO_LIMIT = 1e9


class Server:
    """One application on its listening sockets.

    ``app`` is an ASGI application, or ``"module:attribute"``. ``options`` are
    fields of `ServerConfig`, changed in ``config`` or in the defaults.

    ``async with Server(app, port=0) as server:`` listens inside the block;
    `serve` runs until a signal, or `stop_serving`, ends it.
    """

    def __init__(
        self, app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Any
    ) -> None:
        self.config = replace(config or ServerConfig(), **options)
        self._app = load_application(app) if isinstance(app, str) else app
        self._server: Optional[asyncio.AbstractServer] = None
        self._listeners: List[Listener] = []
        self._service: Optional[Service] = None
        self._lifespan: Optional[Lifespan] = None
        self._lifespan_task: Optional[asyncio.Task[None]] = None
        self._uds_identity: Optional[Tuple[int, int]] = None
        self._stop_requests = 0
        self._stop_requested: Optional[asyncio.Event] = None

    # ------------------------------------------------------------------ start, stop

    async def start(self) -> None:
        """Run the application's startup, then listen; malloc keeps large blocks from now on (`allocator`).

        Raises `LifespanFailed` where the application could not start,
        `ConfigError` for a certificate that cannot be read or an address that
        cannot be one, and `OSError` where the address cannot be had.
        """
        ssl = _build_ssl_context(self.config)
        keep_freed_blocks()
        await self._start_lifespan()
        try:
            await self._listen(ssl)
        except BaseException:
            await self.stop()
            raise

    async def _start_lifespan(self) -> None:
        state: Optional[Dict[str, Any]] = None
        if self.config.lifespan != "off":
            self._lifespan = lifespan = Lifespan(self._app, self.config.lifespan)
            self._lifespan_task = asyncio.get_running_loop().create_task(lifespan.run())
            try:
                await lifespan.startup()
            except BaseException:
                await self._cut_lifespan(self._lifespan_task)
                raise
            state = lifespan.state
            if lifespan.unsupported is not None:
                logger.debug("application has no lifespan: %r", lifespan.unsupported)
        self._service = Service(self._app, self.config, state=state)

    async def _stop_lifespan(self, timeout: Optional[float]) -> None:
        if self._lifespan is not None and self._lifespan_task is not None:
            try:
                await asyncio.wait_for(self._lifespan.shutdown(), timeout)
            except asyncio.TimeoutError:
                raise LifespanFailed("application shutdown failed: it did not end in time") from None
            finally:
                await self._cut_lifespan(self._lifespan_task)

    async def _cut_lifespan(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task], timeout=CUT_TIMEOUT)

    async def _listen(self, ssl: Optional[SSLContext]) -> None:
        service: Service = self._service  # type: ignore[assignment]  # set before anything is listened to
        config = self.config
        loop = asyncio.get_running_loop()
        poller = None
        if isinstance(loop, PollerEventLoop) and ssl is None and not loop.get_debug():
            poller = loop.poller
        # A TLS handshake comes before the first byte of the request, and has the same time.
        options: Dict[str, Any] = {"ssl": ssl, "backlog": 1, "start_serving": poller is None}
        if ssl is not None:
            # None would be asyncio's own limit.
            options["ssl_handshake_timeout"] = config.timeout_handshake or NO_LIMIT

        def build_connection() -> Connection:
            return Connection(service)

        try:
            if config.uds is not None:
                self._server = await loop.create_unix_server(build_connection, config.uds, **options)
                self._uds_identity = _identify(config.uds)
            else:
                host = config.host or None
                self._server = await loop.create_server(build_connection, host, config.port, **options)
        except ValueError as error:
            # A NUL, or a name that IDNA cannot encode.
            raise ConfigError(f"cannot listen on {config.uds or config.host!r}: {error}") from error
        for bound in self.sockets:
            # asyncio accepts as many connections in a row as the backlog says, and where no descriptor
            # is left reports each of them as an error: so it gets 1, and the kernel the real number.
            with socket.fromfd(bound.fileno(), bound.family, bound.type) as duplicate:
                duplicate.listen(config.backlog)
                if poller is not None:
                    from .listener import Listener

                    self._listeners.append(Listener(service, poller, duplicate))

    async def stop(self) -> None:
        """Listen no more, close every connection with 1012, run the application's shutdown.

        The connections have ``timeout_graceful_shutdown``, the application's
        shutdown ``timeout_lifespan_shutdown`` after that. Raises
        `LifespanFailed` where it fails.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
            if self.config.uds is not None:
                _unlink_if(self.config.uds, self._uds_identity)
        if self._service is not None:
            await self._service.shut_down(self.config.timeout_graceful_shutdown)
        await self._stop_lifespan(self.config.timeout_lifespan_shutdown)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    # ---------------------------------------------------------------------- serving

    @property
    def sockets(self) -> List[Any]:
        """The listening sockets; their `getsockname` tells the port that ``port=0`` took."""
        return list(getattr(self._server, "sockets", ()))

    @property
    def urls(self) -> List[str]:
        """Where the server can be reached."""
        scheme = "http" if self.config.ssl_certfile is None else "https"
        if self.config.uds is not None:
            return [f"unix:{self.config.uds}"]
        names = [listening.getsockname() for listening in self.sockets]
        return [f"{scheme}://{f'[{n[0]}]' if ':' in n[0] else n[0]}:{n[1]}" for n in names]

    async def serve(self) -> None:
        """Start, run until SIGINT, SIGTERM or `stop_serving`, then stop; a second signal ends at once."""
        self._stop_requested = asyncio.Event()
        with _signals_calling(self.stop_serving):
            async with self:
                logger.info("listening on %s", ", ".join(self.urls))
                await self._stop_requested.wait()
                logger.info("stopping; once more to stop at once")

    def stop_serving(self) -> None:
        """End `serve` in an orderly way; called again, at once."""
        self._stop_requests += 1
        if self._stop_requested is not None:
            self._stop_requested.set()
        if self._stop_requests > 1:
            if self._service is not None:
                self._service.cut()
            if self._lifespan_task is not None:
                self._lifespan_task.cancel()


async def serve(app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Any) -> None:
    """Serve ``app`` until SIGINT or SIGTERM; see `Server` for the arguments."""
    await Server(app, config, **options).serve()


def run(app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Any) -> None:
    """Serve ``app`` in an event loop of its own, with log lines on stderr; see `Server` for the arguments."""
    server = Server(app, config, **options)
    set_up_logging(server.config.log_level)
    # Over TLS the transports are asyncio's, for which a `Poller` is only one system call more.
    loop = new_event_loop() if server.config.ssl_certfile is None else asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve())
    finally:
        _close_loop(loop)


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    # What `asyncio.run` does at its end, but without waiting for ever for what ignores its cancellation.
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CUT_TIMEOUT))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()


def _identify(path: str) -> Optional[Tuple[int, int]]:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _unlink_if(path: str, identity: Optional[Tuple[int, int]]) -> None:
    # Another server may have taken the path over; its socket stays.
    if identity is not None and _identify(path) == identity:
        os.unlink(path)


def _build_ssl_context(config: ServerConfig) -> Optional[SSLContext]:
    if config.ssl_certfile is None:
        return None
    try:
        import ssl
    except ImportError:
        raise ConfigError("ssl_certfile is set, but this Python was built without ssl") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 7301: over TLS we speak HTTP/1.1 and nothing else.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile, config.ssl_keyfile_password)
    except (OSError, ssl.SSLError) as error:
        files = f"ssl_certfile={config.ssl_certfile!r}, ssl_keyfile={config.ssl_keyfile!r}"
        raise ConfigError(f"{files}: {error}") from error
    return context


@contextlib.contextmanager
def _signals_calling(callback: Any) -> Any:
    """Call ``callback`` on SIGINT and SIGTERM, where this thread may ask for them."""
    loop = asyncio.get_running_loop()
    installed = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only the main thread gets signals, and not every loop can wait for them.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            loop.add_signal_handler(number, callback)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)
