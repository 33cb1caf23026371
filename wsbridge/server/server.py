"""`Server`: listening, lifespan, signals and a clean stop."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Union

from ..asgi.lifespan import Lifespan
from ..asgi.types import Application
from ..config import ServerConfig
from ..protocols.errors import ConfigError, LifespanFailed, StateError
from .arguments import (
    build_config,
    check_application,
    check_is_one_process,
    check_loop,
    check_sockets,
    check_ssl_context,
)
from .connection.info import ConnectionInfo
from .connection.websocket import WebSocketExchange
from .limited import build_service
from .listening.notifying import READY, STOPPING, notify, notify_reloading
from .listening.sockets import ListeningSockets
from .listening.tls import build_ssl_context, replace_certificates
from .logs.log import error_logger as logger
from .metrics.metrics import Metrics
from .metrics.slot import MetricsSlot
from .service import ABORT_TIMEOUT, Service
from .signals import SIGHUP, catch_signals

if TYPE_CHECKING:
    from ssl import SSLContext

    # Type checkers bring typing_extensions along; it is not needed at run time.
    from typing_extensions import Unpack

    from .options import ServerArguments, ServerOptions

__all__ = ["Server", "serve"]


class Server:
    """One application on its listening sockets.

    ``app`` is an ASGI application, or ``"module:attribute"``. ``options`` are
    fields of `ServerConfig`, which replace those of ``config``, or the defaults.

    ``sockets`` are bound sockets to listen on in place of ``host`` and
    ``port``. The server listens on duplicates: the sockets stay the caller's,
    who closes them when no server needs them any more. ``ssl_context`` is used
    as it is, in place of ``ssl_certfile``; if it agrees to protocols by ALPN,
    that must be ``http/1.1``.

    ``async with Server(app, port=0) as server:`` listens inside the block;
    `serve` runs until a signal or `stop_serving` ends it. A server that has
    ended can be used again, in either way.

    Raises `ConfigError` for a value that breaks its rule or an application
    that cannot be imported, `TypeError` for an argument of another type or an
    unknown option.

    ``config`` is the `ServerConfig`. ``startup_signal`` is the number of the
    signal that ended `serve` before the application had started, or None.
    ``is_main``, by default False, is set where the process is this server and
    nothing else: `serve` then uses the sockets that systemd has opened for the
    process, and tells systemd when it listens and when it stops.
    ``abandoned`` is the number of applications that ignored their cancellation
    when the server stopped.
    """

    def __init__(
        self,
        app: Union[Application, str],
        config: Optional[ServerConfig] = None,
        *,
        sockets: Optional[Sequence[socket.socket]] = None,
        ssl_context: Optional[SSLContext] = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        self.config = build_config(config, options)
        check_is_one_process(self.config)
        self.startup_signal: Optional[int] = None
        self.is_main = False
        self.abandoned = 0
        self._app = check_application(app, self.config)
        self._listening = ListeningSockets(self.config, check_sockets(sockets, self.config))
        self._ssl_context = check_ssl_context(ssl_context, self.config)
        # Made from the configuration, while the server is started.
        self._own_ssl_context: Optional[SSLContext] = None
        self._is_started = False
        # Held while the server starts or stops.
        self._lock: Optional[asyncio.Lock] = None
        self._service: Optional[Service] = None
        # Kept when the server has stopped.
        self._metrics: Optional[Metrics] = None
        self._metrics_slot: Optional[MetricsSlot] = None
        self._lifespan: Optional[Lifespan] = None
        # While `serve` runs: its loop, the task of `start` until that is done, and the requests to stop.
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._starting: Optional[asyncio.Task[None]] = None
        self._stop_requests = 0
        self._stop_requested: Optional[asyncio.Event] = None
        # The stop after ``limit_max_requests`` of a server that was started without `serve`.
        self._stopping: Optional[asyncio.Future[None]] = None

    # ------------------------------------------------------------------ start, stop

    async def start(self) -> None:
        """Run the application's startup, then listen.

        Raises `LifespanFailed` if the application could not start,
        `ConfigError` for a certificate or key that cannot be used or a malformed
        address, `OSError` if it cannot listen on the address, and
        `StateError` if the server is started already.
        """
        if self._is_started:
            raise StateError("the server is started already")
        check_loop(self.config, asyncio.get_running_loop())
        self._is_started = True
        self._lock = asyncio.Lock()
        async with self._lock:
            try:
                ssl = self._ssl_context
                if self.config.ssl_certfile is not None:
                    ssl = self._own_ssl_context = build_ssl_context(self.config)
                state = await self._start_lifespan()
                self._service = build_service(self._app, self.config, state, self._reach_limit)
                self._metrics = self._service.metrics
                await self._listening.open(self._service, ssl, use_systemd=self.is_main)
                if self._metrics is not None and self._metrics_slot is not None:
                    self._metrics.share(self._metrics_slot)
                self._warn_of_open_origins()
            except BaseException:
                await self._stop()
                raise

    async def _start_lifespan(self) -> Optional[Dict[str, Any]]:
        if self.config.lifespan == "off":
            return None
        self._lifespan = lifespan = Lifespan(self._app, self.config.lifespan)
        await lifespan.startup()
        if lifespan.seems_supported:
            text = "application raised after lifespan.startup: it is served without a lifespan"
            logger.warning(text, exc_info=lifespan.unsupported)
        elif lifespan.unsupported is not None:
            logger.debug("application has no lifespan: %r", lifespan.unsupported)
        return lifespan.state

    def _warn_of_open_origins(self) -> None:
        """Browsers let any page open a WebSocket, with the cookies of the user."""
        if self.config.allowed_origins is not None:
            return
        if not all(ip_address(host).is_loopback for host in self._listening.hosts):
            logger.warning(
                "other hosts reach this server, and pages of every origin may open WebSockets to it: "
                "set allowed_origins, such as same-origin, or * if that is meant"
            )

    async def stop(self) -> None:
        """Stop listening, close every connection with 1012, run the application's shutdown.

        The connections have ``timeout_graceful_shutdown`` to end, then the
        application's shutdown has ``timeout_lifespan_shutdown``. Raises
        `LifespanFailed` if the shutdown fails.
        """
        if self._lock is not None:
            # Another `start` or `stop` may be running.
            async with self._lock:
                await self._stop()

    async def _stop(self) -> None:
        self._listening.close()
        try:
            if self._service is not None:
                await self._service.shut_down(self.config.timeout_graceful_shutdown)
            if self._lifespan is not None:
                await self._stop_lifespan(self._lifespan)
        except BaseException:
            self._abort()
            raise
        finally:
            if self._service is not None:
                self.abandoned = self._service.abandoned
            self._service = self._lifespan = self._own_ssl_context = None
            self._is_started = False

    async def _stop_lifespan(self, lifespan: Lifespan) -> None:
        try:
            if lifespan.has_started:
                await asyncio.wait_for(lifespan.shutdown(), self.config.timeout_lifespan_shutdown)
        except asyncio.TimeoutError:
            raise LifespanFailed("application shutdown failed: it did not end in time") from None
        finally:
            lifespan.cancel()
            await lifespan.wait_until_over(ABORT_TIMEOUT)

    def _abort(self) -> None:
        """End connections and lifespan now."""
        if self._service is not None:
            self._service.abort()
        if self._lifespan is not None:
            self._lifespan.cancel()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    # ---------------------------------------------------------------------- serving

    @property
    def sockets(self) -> List[Any]:
        """The listening sockets; their `getsockname` has the port that ``port=0`` was given."""
        return self._listening.sockets

    @property
    def urls(self) -> List[str]:
        """The URLs at which the server can be reached; ``unix:PATH`` for a unix socket."""
        return self._listening.build_urls("https" if self.uses_tls else "http")

    @property
    def uses_tls(self) -> bool:
        """Whether the server listens for TLS."""
        return self._ssl_context is not None or self.config.ssl_certfile is not None

    @property
    def connections(self) -> List[ConnectionInfo]:
        """The WebSockets of this moment, those that the application has not accepted yet included.

        Each is the object that the application has as ``scope["wsbridge.connection"]``.
        """
        # Another thread may call this: read the attribute once, and copy the members in one step.
        service = self._service
        members = () if service is None else service.members.copy()
        infos = [member.info for member in members if isinstance(member, WebSocketExchange)]
        return [info for info in infos if info is not None and info.state != "closed"]

    @property
    def metrics(self) -> Dict[str, float]:
        """The values of all metrics by their series, such as ``wsbridge_handshakes_total{code="101"}``.

        They begin with a start, and stay as they are when the server has stopped. Empty without
        ``metrics_path``, and before the first start.
        """
        return {} if self._metrics is None else self._metrics.collect()

    @property
    def metrics_text(self) -> str:
        """What ``metrics_path`` shows: `metrics` in the text format, and those of other workers."""
        return "" if self._metrics is None else self._metrics.render()

    def share_metrics(self, slot: Optional[MetricsSlot]) -> None:
        """From the next start on, show the metrics of all workers that share the memory of ``slot``."""
        self._metrics_slot = slot

    def reload_certificates(self) -> bool:
        """Read ``ssl_certfile``, ``ssl_keyfile`` and ``ssl_ca_certs`` again, for new connections.

        Open connections stay as they are. Returns whether the new files are
        used: if one of them is broken, an error is logged, and those that were
        read before stay in use. May be called from any thread. Raises
        `StateError` if the server is not started with ``ssl_certfile``; an
        ``ssl_context`` is the caller's.
        """
        context = self._own_ssl_context
        if context is None:
            raise StateError("the server is not started with ssl_certfile: there are no certificates to read")
        if self.is_main:
            notify_reloading()
        try:
            replace_certificates(context, build_ssl_context(self.config))
        except ConfigError as error:
            logger.error("certificates are not read again, and the old ones stay in use: %s", error)
            return False
        finally:
            self._notify(READY)
        logger.info("certificates are read again")
        return True

    async def serve(self) -> None:
        """Start, run until a signal, `stop_serving` or ``limit_max_requests``, then stop.

        The signals are SIGINT and SIGTERM, and those of SIGQUIT and SIGHUP that
        would end the process. A second one ends the server at once. With
        ``ssl_certfile`` SIGHUP does not stop: see `reload_certificates`.

        Only the main thread catches signals. At the end the program's own
        handlers are restored, and called with the signals that have come.
        A server that is asked to stop before it listens cancels the
        application's startup.
        """
        if self._loop is not None:
            raise StateError("the server is serving already")
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        self.startup_signal = None
        try:
            with catch_signals(
                self._handle_signal,
                is_stopping=self._stop_requested.is_set,
                reloads=self.config.ssl_certfile is not None,
            ):
                if not self._stop_requests:
                    await self._serve(self._loop, self._stop_requested)
        finally:
            self._loop = self._stop_requested = None
            self._stop_requests = 0

    async def _serve(self, loop: asyncio.AbstractEventLoop, stop_requested: asyncio.Event) -> None:
        self._starting = loop.create_task(self.start())
        try:
            await self._starting
        except asyncio.CancelledError:
            # The server may just have begun to listen.
            await self.stop()
            if not stop_requested.is_set():
                raise
            logger.info("stopped before it was listening")
            return
        finally:
            self._starting = None
        try:
            self._announce()
            await stop_requested.wait()
            self._announce_stop()
        finally:
            await self.stop()

    def _announce(self) -> None:
        """Say that the server listens."""
        logger.info("listening on %s", ", ".join(self.urls))
        self._notify(READY)

    def _announce_stop(self) -> None:
        logger.info("stopping; a second signal stops at once")
        self._notify(STOPPING)

    def _notify(self, state: str) -> None:
        if self.is_main:
            notify(state)

    def _reach_limit(self) -> None:
        """The application has been called ``limit_max_requests`` times."""
        logger.info("limit_max_requests is reached")
        if self._stop_requested is not None:
            self._stop_requested.set()
        else:
            self._stopping = asyncio.ensure_future(self.stop())

    def stop_serving(self) -> None:
        """Stop `serve`, or the next call of it; a second time at once. May be called from any thread."""
        self._stop_requests += 1
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._handle_stop_requests)

    def _handle_signal(self, number: int) -> None:
        if number == SIGHUP and self._own_ssl_context is not None:
            self.reload_certificates()
            return
        has_started = self._lifespan is not None and self._lifespan.has_started
        if self._starting is not None and not has_started and self.startup_signal is None:
            self.startup_signal = number
        self._stop_requests += 1
        self._handle_stop_requests()

    def _handle_stop_requests(self) -> None:
        if self._stop_requested is not None:
            self._stop_requested.set()
            if self._starting is not None:
                self._starting.cancel()
            if self._stop_requests > 1:
                self._abort()


async def serve(
    app: Union[Application, str], config: Optional[ServerConfig] = None, **options: Unpack[ServerArguments]
) -> None:
    """Serve ``app`` until SIGINT or SIGTERM; see `Server` for the arguments, and `Server.serve`."""
    await Server(app, config, **options).serve()
